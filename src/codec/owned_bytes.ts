/**
 * Bytes with one owner. Large buffers are given back at once and not left to the garbage collector (see `discard`), so each needs
 * one place that says who gives it back: the owner releases it, or hands it on ({@link OwnedBytes.move}, {@link OwnedBytes.take}). Whoever
 * has done either holds nothing: what it does with the bytes afterwards throws.
 * @module
 */
import { discard } from "./bytes.ts";

/** Bytes that are released once, by their owner or by whoever takes them over. */
export class OwnedBytes implements Disposable {
  #bytes: Uint8Array | undefined;
  readonly #lender: (() => void) | undefined;

  /**
   * @param bytes A buffer that is nobody else's; or a view into memory of a lender.
   * @param lender Told once, when the view is needed no longer.
   */
  constructor(bytes: Uint8Array, lender?: () => void) {
    this.#bytes = bytes;
    this.#lender = lender;
    if (watched !== undefined) watched.set(this, new Error("Held since"));
  }

  /** To be read while they are owned. @throws {ReferenceError} afterwards. */
  get bytes(): Uint8Array {
    if (this.#bytes === undefined) throw new ReferenceError("These bytes have been given back");
    return this.#bytes;
  }

  /** How many they are. @throws {ReferenceError} when they are owned no longer. */
  get length(): number {
    return this.bytes.length;
  }

  /** Hands them to another owner, without a copy: this one holds nothing then. @throws {ReferenceError} where it held nothing. */
  move(): OwnedBytes {
    const { bytes } = this;
    this.#let();
    return new OwnedBytes(bytes, this.#lender);
  }

  /**
   * Hands them out of this thread's ownership, in a whole buffer of their own: the same where they have one, or else a copy.
   * @throws {ReferenceError} where it held nothing.
   */
  take(): Uint8Array<ArrayBuffer> {
    const { bytes } = this;
    if (this.#lender !== undefined || !isWhole(bytes)) {
      // Not `slice`: that of a Buffer, which zlib returns, is a view.
      const copy = new Uint8Array(bytes);
      this[Symbol.dispose]();
      return copy;
    }
    this.#let();
    return bytes;
  }

  /** Gives them back; does nothing where that has happened or they have been handed on. */
  [Symbol.dispose](): void {
    const bytes = this.#bytes;
    if (bytes === undefined) return;
    this.#let();
    if (this.#lender === undefined) discard(bytes);
    else this.#lender();
  }

  #let(): void {
    this.#bytes = undefined;
    if (watched !== undefined) watched.delete(this);
  }
}

/** The owners that hold bytes, and since when; undefined unless a test watches, for a stack costs more than a request. */
let watched: Map<OwnedBytes, Error> | undefined;

/** The owners that have come to hold bytes in this thread since the watch began, and hold them still. */
export interface OwnersWatch extends Disposable {
  /** Of each, the stack of where it came to hold them. */
  readonly held: readonly string[];
}

/** Begins a watch, for tests: one at a time. @throws {Error} while there is another */
export function watchOwners(): OwnersWatch {
  if (watched !== undefined) throw new Error("Owners of bytes are watched already");
  const owners = watched = new Map();
  return {
    get held(): readonly string[] {
      return [...owners.values()].map(({ stack }) => String(stack));
    },
    [Symbol.dispose]: () => {
      watched = undefined;
    },
  };
}

function isWhole(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength;
}
