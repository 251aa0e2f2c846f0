/**
 * How fast the queue drains, for the `Retry-After` of a full queue.
 * @module
 */
import { Refusal } from "../errors.ts";

/** The time, in ms, over which the rate forgets. */
const WINDOW_MS = 30_000;

/** How long a sender is asked to wait while the Collector is down, in seconds: once it is back, the queue drains at once. */
export const AWAY_RETRY_S = 2;

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
    // In its first half minute the mean covers less than a whole window; it counts as one second at least.
    const seenMs = Math.max(1000, this.#at - this.#startedAt);
    return this.#weight / (WINDOW_MS / 1000) / (1 - Math.exp(-seenMs / WINDOW_MS));
  }

  /** In how many seconds `bytes` will have drained at the present rate; undefined while nothing drains. */
  secondsFor(bytes: number): number | undefined {
    const rate = this.bytesPerS();
    return rate < 1 ? undefined : bytes / rate;
  }

  #decay(): void {
    const now = this.#now();
    // A clock set back must not make the past heavier.
    if (now > this.#at) this.#weight *= Math.exp((this.#at - now) / WINDOW_MS);
    this.#at = now;
  }
}

/**
 * The refusal of what has no room in the queue.
 * @param what Is full, and how much it holds.
 * @param seconds Until there will be room; undefined: nothing drains.
 */
export function noRoom(what: string, seconds: number | undefined): Refusal {
  const when = seconds === undefined
    ? "nothing drains now"
    : `there will be room in about ${Math.max(1, Math.ceil(seconds))} s`;
  return new Refusal("queue_full", `${what}; ${when}`, { remedy: "retry", retryAfterS: seconds ?? AWAY_RETRY_S });
}
