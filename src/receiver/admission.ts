/**
 * How much the relay holds at once: bytes of bodies over all requests in flight. What does not fit is refused with 503 and
 * stays with its sender, so that memory is bounded by configuration and not by the senders. One sender has a part of it at most, or
 * a few large bodies that arrive slowly would keep everyone else out.
 * @module
 */
import { Refusal } from "../errors.ts";

/** Bytes held for one request; given back exactly once. */
export class Permit {
  #bytes: number;
  readonly #gate: Admission;
  readonly #sender: string;

  constructor(gate: Admission, bytes: number, sender: string) {
    this.#gate = gate;
    this.#bytes = bytes;
    this.#sender = sender;
  }

  /** Takes more for the same request. Refuses when there is no room. */
  grow(bytes: number): void {
    this.#gate.take(bytes, this.#bytes, this.#sender);
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
   * Lets a request of a sender in that states `bytes` for its body. Refuses with 503 when there is no room or when closed, with 429
   * when the sender has its part.
   */
  admit(bytes: number, sender: string): Permit {
    if (this.#closed) {
      throw new Refusal(
        "shutting_down",
        "The relay is shutting down; retry, another instance or the next start takes it",
        {
          headers: { connection: "close" },
        },
      );
    }
    this.take(bytes, 0, sender);
    return new Permit(this, bytes, sender);
  }

  /** Lets nothing more in; what is in goes on. */
  close(): void {
    this.#closed = true;
  }

  /** @internal */
  take(bytes: number, own: number, sender: string): void {
    // A request alone is always let in: its own size is bounded before.
    if (this.#bytes > own && this.#bytes + bytes > this.#bytesMax) {
      throw new Refusal(
        "overloaded",
        `The relay holds ${this.#bytes} of at most ${this.#bytesMax} bytes in flight; retry`,
      );
    }
    const senders = this.#bySender.get(sender) ?? 0;
    if (senders > own && senders + bytes > this.#senderBytesMax) {
      throw new Refusal(
        "throttled",
        `Sender ${sender} has ${senders} of at most ${this.#senderBytesMax} bytes in flight; retry`,
      );
    }
    this.#bytes += bytes;
    this.#bySender.set(sender, senders + bytes);
  }

  /** @internal */
  give(bytes: number, sender: string): void {
    this.#bytes -= bytes;
    const left = (this.#bySender.get(sender) ?? 0) - bytes;
    if (left > 0) this.#bySender.set(sender, left);
    else this.#bySender.delete(sender);
  }
}
