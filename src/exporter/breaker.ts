/**
 * The circuit breaker of one signal's way to the Collector: exponential backoff with jitter, and one probe at a time after it.
 * @module
 */

/** Settings of a breaker, as the Collector's `retry_on_failure` has them. */
export interface BreakerOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /** A number in [0, 1), for the jitter. */
  readonly random?: () => number;
  readonly now?: () => number;
}

/** Closed: all go. Open: none go until the wait is over. Half-open: one goes, the others wait for what comes of it. */
export class Breaker {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  readonly #now: () => number;
  #failures = 0;
  #openUntil = 0;
  #probing = false;
  #changed = Promise.withResolvers<void>();

  constructor(options: BreakerOptions) {
    this.#initialMs = options.initialMs;
    this.#maxMs = options.maxMs;
    this.#random = options.random ?? Math.random;
    this.#now = options.now ?? Date.now;
  }

  /** Failures in a row; 0 is closed. */
  get failures(): number {
    return this.#failures;
  }

  /** Resolves when a request may go: true, or false when aborted. Each true is answered by one `succeeded` or `failed`. */
  async admit(abort: AbortSignal): Promise<boolean> {
    while (!abort.aborted) {
      if (this.#failures === 0) return true;
      const waitMs = this.#openUntil - this.#now();
      if (waitMs <= 0 && !this.#probing) {
        this.#probing = true;
        return true;
      }
      await this.#wait(this.#probing ? undefined : waitMs, abort);
    }
    return false;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#openUntil = 0;
    this.#settle();
  }

  /**
   * Opens for the next backoff, or for `atLeastMs` if that is longer (Retry-After).
   * @param slow Goes to the longest backoff at once: for faults that time alone does not mend.
   * @returns how long it is open, in ms.
   */
  failed(atLeastMs = 0, slow = false): number {
    if (this.#failures > 0 && !this.#probing && this.#openUntil > this.#now()) {
      // One of several that were under way when the breaker opened: it tells nothing new.
      this.#openUntil = Math.max(this.#openUntil, this.#now() + atLeastMs);
      return this.#openUntil - this.#now();
    }
    const backoff = slow ? this.#maxMs : Math.min(this.#maxMs, this.#initialMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    // Half of it at random: senders that failed together do not come back together.
    const waitMs = Math.max(atLeastMs, backoff / 2 + (backoff / 2) * this.#random());
    this.#openUntil = Math.max(this.#openUntil, this.#now() + waitMs);
    this.#settle();
    return waitMs;
  }

  /** A probe that was never sent (shutdown): another may go. */
  withdrawn(): void {
    this.#settle();
  }

  #settle(): void {
    this.#probing = false;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async #wait(ms: number | undefined, abort: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.resolve();
    abort.addEventListener("abort", onAbort, { once: true });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const waits = [this.#changed.promise, aborted.promise];
    if (ms !== undefined) waits.push(new Promise((resolve) => timer = setTimeout(resolve, ms)));
    await Promise.race(waits);
    clearTimeout(timer);
    abort.removeEventListener("abort", onAbort);
  }
}
