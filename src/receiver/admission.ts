/**
 * How much the relay holds at once: bytes of bodies over all requests in flight. What does not fit is refused with 503 and
 * stays with its sender, so that memory is bounded by configuration and not by the senders.
 * @module
 */
import { Refusal } from "../errors.ts";

/** Bytes held for one request; given back exactly once. */
export class Permit {
  #bytes: number;
  readonly #gate: Admission;

  constructor(gate: Admission, bytes: number) {
    this.#gate = gate;
    this.#bytes = bytes;
  }

  /** Takes more for the same request. Refuses when there is no room. */
  grow(bytes: number): void {
    this.#gate.take(bytes, this.#bytes);
    this.#bytes += bytes;
  }

  release(): void {
    this.#gate.give(this.#bytes);
    this.#bytes = 0;
  }
}

/** The gate before the bodies. */
export class Admission {
  readonly #bytesMax: number;
  #bytes = 0;
  #closed = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Lets a request in that states `bytes` for its body. Refuses when there is no room, or when closed. */
  admit(bytes: number): Permit {
    if (this.#closed) {
      throw new Refusal(
        "shutting_down",
        "The relay is shutting down; retry, another instance or the next start takes it",
        {
          headers: { connection: "close" },
        },
      );
    }
    this.take(bytes, 0);
    return new Permit(this, bytes);
  }

  /** Lets nothing more in; what is in goes on. */
  close(): void {
    this.#closed = true;
  }

  /** @internal */
  take(bytes: number, own: number): void {
    // A request alone is always let in: its own size is bounded before.
    if (this.#bytes > own && this.#bytes + bytes > this.#bytesMax) {
      throw new Refusal(
        "overloaded",
        `The relay holds ${this.#bytes} of at most ${this.#bytesMax} bytes in flight; retry`,
      );
    }
    this.#bytes += bytes;
  }

  /** @internal */
  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}
