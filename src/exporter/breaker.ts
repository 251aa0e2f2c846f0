/**
 * The circuit breaker of one signal's way to the Collector: exponential backoff with jitter, and one probe at a time after it.
 * @module
 */
import { whenAborted } from "../within.ts";

/** Settings of a breaker, as the Collector's `retry_on_failure` has them. */
export interface BreakerOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /**
   * The longest wait just now, in ms, where that is less; asked at each failure. While the queue is full its senders are refused, and they
   * keep their data for 10 s.
   */
  readonly mostMs?: () => number;
  /** A number in [0, 1), for the jitter. */
  readonly random?: () => number;
  /** A clock in ms that is never set back. */
  readonly now?: () => number;
}

/** Leave to send; what comes of it is told with it, and it is released once. */
export interface Permit {
  /** How often the breaker had opened when it was given. */
  readonly epoch: number;
}

/** Closed: all go. Open: none go until the wait is over. Half-open: one goes, the others wait for what comes of it. */
export class Breaker {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #mostMs: () => number;
  readonly #random: () => number;
  readonly #now: () => number;
  #failures = 0;
  #openUntil = 0;
  #epoch = 0;
  #probe: Permit | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(options: BreakerOptions) {
    this.#initialMs = options.initialMs;
    this.#maxMs = options.maxMs;
    this.#mostMs = options.mostMs ?? (() => Infinity);
    this.#random = options.random ?? Math.random;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Failures in a row; 0 is closed. */
  get failures(): number {
    return this.#failures;
  }

  /** Whether the wait after a failure is still on. */
  get waits(): boolean {
    return this.#failures > 0 && this.#now() < this.#openUntil;
  }

  /** Waits until a request may go. Undefined when aborted. */
  async admit(abort: AbortSignal): Promise<Permit | undefined> {
    while (!abort.aborted) {
      if (this.#failures === 0) return this.pass();
      const waitMs = this.#openUntil - this.#now();
      if (waitMs <= 0 && this.#probe === undefined) return this.#probe = this.pass();
      await this.#wait(this.#probe === undefined ? waitMs : undefined, abort);
    }
    return undefined;
  }

  /** Whether leave that was given still stands: nothing has failed since, and what is sent is the probe where one is wanted. */
  holds(permit: Permit): boolean {
    return permit.epoch === this.#epoch && (this.#failures === 0 || this.#probe === permit);
  }

  /** Whether what is sent by this leave is the one request after a wait, whose answer all others wait for. */
  probes(permit: Permit): boolean {
    return this.#probe === permit;
  }

  /** Leave to go at once, for requests that no outage may hold up. */
  pass(): Permit {
    return { epoch: this.#epoch };
  }

  /**
   * The Collector answered for a request. One that was under way when the breaker opened tells nothing of after it.
   * @returns failures in a row before it, when this has closed the breaker; otherwise 0.
   */
  succeeded(permit: Permit): number {
    const failures = this.#failures;
    if (permit.epoch !== this.#epoch || failures === 0) return 0;
    this.#failures = 0;
    this.#settle();
    return failures;
  }

  /**
   * Opens for the next backoff, or for `atLeastMs` if that is longer (Retry-After).
   * @param slow Goes to the longest backoff at once: for faults that time alone does not mend.
   * @returns when to try again what failed, in ms from now.
   */
  failed(permit: Permit, atLeastMs = 0, slow = false): number {
    const backoffMs = this.#backoffMs(slow);
    if (permit.epoch !== this.#epoch) {
      // One of several that were under way when the breaker opened: it tells nothing new, but what it was asked to wait.
      this.#openUntil = Math.max(this.#openUntil, this.#now() + atLeastMs);
      return this.#failures === 0 ? Math.max(atLeastMs, backoffMs) : Math.max(0, this.#openUntil - this.#now());
    }
    this.#failures++;
    this.#epoch++;
    const waitMs = Math.max(atLeastMs, backoffMs);
    this.#openUntil = this.#now() + waitMs;
    this.#settle();
    return waitMs;
  }

  /** Ends the wait: what was in the way may be gone. A probe under way is waited for all the same. */
  hasten(): void {
    this.#openUntil = Math.min(this.#openUntil, this.#now());
    this.#tell();
  }

  /** Nothing more comes of this permit. A probe that was never sent, or told nothing, makes room for another. */
  release(permit: Permit): void {
    if (this.#probe === permit) this.#settle();
  }

  /** Half of it at random: senders that failed together do not come back together. */
  #backoffMs(slow: boolean): number {
    const growing = Math.min(this.#maxMs, this.#initialMs * 2 ** Math.min(this.#failures, 30));
    const backoff = slow ? this.#maxMs : Math.min(growing, this.#mostMs());
    return backoff / 2 + (backoff / 2) * this.#random();
  }

  #settle(): void {
    this.#probe = undefined;
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async #wait(ms: number | undefined, abort: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const goOn = whenAborted(abort, aborted.resolve);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const waits = [this.#changed.promise, aborted.promise];
    if (ms !== undefined) waits.push(new Promise((resolve) => timer = setTimeout(resolve, ms)));
    await Promise.race(waits);
    clearTimeout(timer);
    goOn();
  }
}
