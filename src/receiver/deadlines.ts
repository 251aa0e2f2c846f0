/**
 * Deadlines of one length for many requests at once, by one timer. A timer for each request costs more than the walk of a small
 * body, and nearly none of them ever goes off.
 * @module
 */

/** One deadline; what is to happen at its end. */
interface Deadline {
  readonly at: number;
  onLate: ((early: boolean) => void) | undefined;
}

/** Deadlines that all lie equally far ahead, so that the first one set is the first one due. */
export class Deadlines implements Disposable {
  readonly #ms: number;
  readonly #keepTimer: boolean;
  #waiting: Deadline[] = [];
  /** Those before it are over. */
  #first = 0;
  #live = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param ms How far ahead each deadline lies.
   * @param options `keepTimer`: the timer stays for the next deadline when there is none left, until it goes off or this is
   * disposed of: under load one is set every few seconds and not every few requests.
   */
  constructor(ms: number, options: { readonly keepTimer?: boolean } = {}) {
    this.#ms = ms;
    this.#keepTimer = options.keepTimer ?? false;
  }

  /** Lifts all. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting.length = this.#first = this.#live = 0;
  }

  /** Ends all deadlines now, before their time. */
  pass(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting.splice(0);
    this.#first = this.#live = 0;
    for (const deadline of waiting) {
      const { onLate } = deadline;
      deadline.onLate = undefined;
      onLate?.(true);
    }
  }

  /** How far ahead each deadline lies, in ms. */
  get ms(): number {
    return this.#ms;
  }

  /**
   * Sets a deadline; `onLate` is called once it has passed, with true where {@link pass} has ended it before its time.
   * @returns a function that lifts it; to be called as soon as the deadline is not needed any more.
   */
  set(onLate: (early: boolean) => void): () => void {
    const deadline: Deadline = { at: performance.now() + this.#ms, onLate };
    this.#waiting.push(deadline);
    this.#live++;
    this.#timer ??= setTimeout(() => this.#check(), this.#ms);
    return () => this.#lift(deadline);
  }

  #lift(deadline: Deadline): void {
    if (deadline.onLate === undefined) return;
    deadline.onLate = undefined;
    this.#live--;
    // The timer stays while anybody waits; when it goes off it looks which deadlines have passed.
    if (this.#live > 0) return this.#trim();
    this.#waiting.length = this.#first = 0;
    if (this.#keepTimer) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #trim(): void {
    while (this.#first < this.#waiting.length && this.#waiting[this.#first]!.onLate === undefined) this.#first++;
    if (this.#first < 1024 || this.#first * 2 < this.#waiting.length) return;
    this.#waiting.splice(0, this.#first);
    this.#first = 0;
  }

  #check(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (; this.#first < this.#waiting.length; this.#first++) {
      const deadline = this.#waiting[this.#first]!;
      const { onLate } = deadline;
      if (onLate === undefined) continue;
      if (deadline.at > now) {
        this.#timer ??= setTimeout(() => this.#check(), deadline.at - now);
        return;
      }
      deadline.onLate = undefined;
      this.#live--;
      onLate(false);
    }
    this.#waiting.length = this.#first = 0;
  }
}
