/**
 * The value of `Retry-After`: never more than the sender will wait. A stock SDK gives an export 10 s in all, and drops the data at
 * once when `Retry-After` is longer than the rest of this time.
 * @module
 */
import type { Refusal } from "../errors.ts";

/** What the policy needs to be told. */
export interface RetryAfterOptions {
  /** The longest wait that a sender is asked for, in ms; whole seconds of it count, and one at least. */
  readonly maxMs: number;
  /** A number in [0, 1), for the jitter. */
  readonly random?: () => number;
}

/** The policy, for every refusal that may be retried. */
export class RetryAfter {
  readonly #maxS: number;
  readonly #random: () => number;

  constructor({ maxMs, random = Math.random }: RetryAfterOptions) {
    this.#maxS = Math.max(1, Math.floor(maxMs / 1000));
    this.#random = random;
  }

  /**
   * The value of `Retry-After` (RFC 9110, 10.2.3), in whole seconds; undefined where the request may not be retried.
   *
   * A wait within the limit is sent as it is, or somewhat longer, so that senders which were refused together do not come back
   * together. A longer one is not sent, because the sender would drop its data. The value is then about half of the limit, which makes
   * the four stock SDKs try three to five times in their 10 s, the last time after 8 s or later (measured; `docs/senders.md`).
   */
  told({ retryAfterS, spread }: Refusal): number | undefined {
    if (retryAfterS === undefined) return undefined;
    const max = this.#maxS;
    if (!spread) return Math.min(retryAfterS, max);
    const [from, to] = retryAfterS > max
      ? [Math.max(1, Math.ceil(max * 0.4)), Math.max(1, Math.floor(max * 0.6))]
      : [retryAfterS, Math.min(max, retryAfterS + Math.max(1, Math.ceil(retryAfterS / 2)))];
    return from + Math.floor(this.#random() * (Math.max(from, to) - from + 1));
  }
}
