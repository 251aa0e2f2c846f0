/**
 * Bytes with one owner. Large buffers are given back at once and not left to the garbage collector (see `discard`), so each needs
 * one place that says who gives it back: `using` at the owner, {@link OwnedBytes.take} where it is handed on.
 * @module
 */
import { discard } from "./bytes.ts";

/** Bytes that are given back once: by their owner's `using`, or by whoever takes them over. */
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
  }

  /** To be read while they are owned. @throws {ReferenceError} afterwards. */
  get bytes(): Uint8Array {
    if (this.#bytes === undefined) throw new ReferenceError("These bytes have been given back");
    return this.#bytes;
  }

  /** Hands them on, in a whole buffer of their own: the same where they have one, or else a copy. */
  take(): Uint8Array<ArrayBuffer> {
    const { bytes } = this;
    if (this.#lender !== undefined || !isWhole(bytes)) {
      // Not `slice`: that of a Buffer, which zlib returns, is a view.
      const copy = new Uint8Array(bytes);
      this[Symbol.dispose]();
      return copy;
    }
    this.#bytes = undefined;
    return bytes;
  }

  /** Gives them back; does nothing where that has happened or they have been handed on. */
  [Symbol.dispose](): void {
    const bytes = this.#bytes;
    if (bytes === undefined) return;
    this.#bytes = undefined;
    if (this.#lender === undefined) discard(bytes);
    else this.#lender();
  }
}

function isWhole(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength;
}
