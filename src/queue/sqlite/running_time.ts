/**
 * Time as a thread lives through it. While it does not run, because its process is frozen or others have the cores, it hears nothing of
 * what others answer: such time says nothing about who is waited for.
 * @module
 */

export class RunningTime {
  readonly #now: () => number;
  readonly #tickMs: number;
  #ms = 0;
  #tickedAt: number;

  /** @param tickMs How often the thread ticks. @param now ms that only rise. */
  constructor(tickMs: number, now: () => number) {
    this.#tickMs = tickMs;
    this.#now = now;
    this.#tickedAt = now();
  }

  /** In ms, from when it was made. From one tick to the next no more is counted than there should be, however late the next one is. */
  get ms(): number {
    return this.#ms + Math.min(this.#tickMs, this.#now() - this.#tickedAt);
  }

  /** The thread runs. */
  tick(): void {
    this.#ms = this.ms;
    this.#tickedAt = this.#now();
  }
}
