/**
 * How fast the queue empties, for the Retry-After of a full one.
 * @module
 */

/** The time, in ms, over which the rate forgets. */
const WINDOW_MS = 30_000;

/** What is told while nothing has drained lately, in seconds: nothing is measured then, and a Collector that returns drains at once. */
const UNKNOWN_S = 30;

/** Bounds of the answer, in seconds. */
const RETRY_AFTER_MIN_S = 1;
const RETRY_AFTER_MAX_S = 300;

/** An exponentially weighted mean of bytes settled a second. */
export class DrainRate {
  readonly #now: () => number;
  readonly #startedAt: number;
  #weight = 0;
  #at: number;

  constructor(now: () => number) {
    this.#now = now;
    this.#startedAt = now();
    this.#at = this.#startedAt;
  }

  /** Notes bytes that have just left the queue. */
  note(bytes: number): void {
    this.#decay();
    this.#weight += bytes;
  }

  /** Bytes a second, now. */
  bytesPerS(): number {
    this.#decay();
    // In its first half minute the mean has seen less than a whole window; a second is the least it is held to have seen.
    const seenMs = Math.max(1000, this.#at - this.#startedAt);
    return this.#weight / (WINDOW_MS / 1000) / (1 - Math.exp(-seenMs / WINDOW_MS));
  }

  /** In how many seconds `bytes` will have drained: whole, from 1 to 300. */
  retryAfterS(bytes: number): number {
    const rate = this.bytesPerS();
    if (rate < 1) return UNKNOWN_S;
    return Math.min(RETRY_AFTER_MAX_S, Math.max(RETRY_AFTER_MIN_S, Math.ceil(bytes / rate)));
  }

  #decay(): void {
    const now = this.#now();
    // A clock set back must not make the past heavier.
    if (now > this.#at) this.#weight *= Math.exp((this.#at - now) / WINDOW_MS);
    this.#at = now;
  }
}
