/**
 * Bounds how much the relay holds at once: bytes of bodies over all requests in flight. A body that does not fit is refused with 503
 * and stays with its sender, so that the configuration bounds memory and not the senders. One sender may hold only a part of it, or
 * a few large bodies that arrive slowly would keep everyone else out.
 * @module
 */
import { Refusal } from "../errors.ts";

/**
 * How many bytes a body counts before it has arrived; a shorter one counts its stated length. The rest counts as it arrives: a stated
 * length is only a promise, and three large ones must not keep everybody else out. Every connection has buffers of about this size,
 * and a thousand of them (`max_connections`) are half of the default bound.
 */
export const FLOOR_BYTES = 16 * 1024;

/** Bytes held for one request; given back exactly once. */
export class Permit {
  /** Counted: the floor, or what is there where that is more. */
  #bytes: number;
  #arrived = 0;
  readonly #gate: Admission;
  readonly #sender: string;

  constructor(gate: Admission, bytes: number, sender: string) {
    this.#gate = gate;
    this.#bytes = bytes;
    this.#sender = sender;
  }

  /** More bytes of the body have arrived. Refuses when there is no room for them. */
  arrived(bytes: number): void {
    this.#arrived += bytes;
    if (this.#arrived > this.#bytes) this.#take(this.#arrived - this.#bytes);
  }

  /** The body is complete: gives back what was counted beyond its length. */
  whole(): void {
    if (this.#arrived >= this.#bytes) return;
    this.#gate.give(this.#bytes - this.#arrived, this.#sender);
    this.#bytes = this.#arrived;
  }

  /** Takes more for the same request, beside its body. Refuses when there is no room. */
  grow(bytes: number): void {
    this.#take(bytes);
    this.#arrived += bytes;
  }

  /** What is refused gives back what it holds at once: bodies that grow side by side would else all be refused, and none let in. */
  #take(bytes: number): void {
    try {
      this.#gate.take(bytes, this.#bytes, this.#sender);
    } catch (refused) {
      this.release();
      throw refused;
    }
    this.#bytes += bytes;
  }

  release(): void {
    this.#gate.give(this.#bytes, this.#sender);
    this.#bytes = 0;
  }
}

/** What one sender may hold of the bound. */
const SENDER_SHARE = 0.75;

/** The gate before the bodies. */
export class Admission {
  readonly #bytesMax: number;
  readonly #senderBytesMax: number;
  readonly #bySender = new Map<string, number>();
  #bytes = 0;
  #closed = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#senderBytesMax = Math.floor(bytesMax * SENDER_SHARE);
  }

  /** Bytes held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Lets a request of a sender in.
   * @param stated The length of its body, in bytes, where it states one.
   * @throws {Refusal} `overloaded` when there is no room, `throttled` when the sender has its part, `shutting_down` when closed.
   */
  admit(stated: number | undefined, sender: string): Permit {
    if (this.#closed) {
      throw new Refusal(
        "shutting_down",
        "The relay is shutting down",
        {
          remedy: "retry, another instance or the next start takes it",
          headers: { connection: "close" },
        },
      );
    }
    // What cannot fit now is refused before a byte of it is read; what can is counted as it comes.
    this.#check(stated ?? FLOOR_BYTES, 0, sender);
    const bytes = Math.min(stated ?? FLOOR_BYTES, FLOOR_BYTES);
    this.take(bytes, 0, sender);
    return new Permit(this, bytes, sender);
  }

  /** Lets nothing more in; what is in goes on. */
  close(): void {
    this.#closed = true;
  }

  /** @internal */
  take(bytes: number, own: number, sender: string): void {
    this.#check(bytes, own, sender);
    this.#bytes += bytes;
    this.#bySender.set(sender, (this.#bySender.get(sender) ?? 0) + bytes);
  }

  #check(bytes: number, own: number, sender: string): void {
    // A request alone is always let in: its own size is bounded before.
    if (this.#bytes > own && this.#bytes + bytes > this.#bytesMax) {
      throw new Refusal(
        "overloaded",
        `The relay holds ${this.#bytes} of at most ${this.#bytesMax} bytes in flight`,
        { remedy: "retry" },
      );
    }
    const senders = this.#bySender.get(sender) ?? 0;
    if (senders > own && senders + bytes > this.#senderBytesMax) {
      throw new Refusal(
        "throttled",
        `Sender ${sender} has ${senders} of at most ${this.#senderBytesMax} bytes in flight`,
        { remedy: "retry" },
      );
    }
  }

  /** @internal */
  give(bytes: number, sender: string): void {
    this.#bytes -= bytes;
    const left = (this.#bySender.get(sender) ?? 0) - bytes;
    if (left > 0) this.#bySender.set(sender, left);
    else this.#bySender.delete(sender);
  }
}
