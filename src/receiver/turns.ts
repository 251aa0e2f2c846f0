/**
 * Which sender's work is done next on the event loop. A small body takes a few milliseconds at the worst; sixty bodies of one sender
 * in a row would make all other senders wait.
 * @module
 */

/** After so much work, in ms, the event loop goes round once: it reads what other senders have sent meanwhile, and they have their turn. */
const SLICE_MS = 4;
/** From so much work on, in ms, the slice is counted at all: most bodies are a fraction of it, and cost no timer. */
const COUNTED_MS = 0.5;

/** Shares the event loop among senders: little work is done at once; beyond a slice of it each sender has a turn. */
export class Turns {
  readonly #now: () => number;
  readonly #goRound: (then: () => void) => void;
  /** By sender, in turn: who has been served goes to the end. */
  readonly #waiting = new Map<string, (() => void)[]>();
  /** Work done since the event loop went round, in ms. */
  #spentMs = 0;
  #goingRound = false;

  /**
   * @param options For tests: ms that only rise, and how the event loop is let go round.
   */
  constructor(
    options: { readonly now?: () => number; readonly goRound?: (then: () => void) => void } = {},
  ) {
    this.#now = options.now ?? (() => performance.now());
    this.#goRound = options.goRound ?? ((then) => void setImmediate(then));
  }

  /** Does the work of a sender: at once, or when it is its turn. Throws, or rejects, as the work does. */
  run<Result>(sender: string, work: () => Result): Result | Promise<Result> {
    if (this.#waiting.size === 0 && this.#spentMs < SLICE_MS) return this.#timed(work);
    return new Promise<Result>((resolve, reject) => {
      const job = () => {
        try {
          resolve(this.#timed(work));
        } catch (error) {
          reject(error);
        }
      };
      const others = this.#waiting.get(sender);
      if (others === undefined) this.#waiting.set(sender, [job]);
      else others.push(job);
      this.#schedule();
    });
  }

  #timed<Result>(work: () => Result): Result {
    const from = this.#now();
    try {
      return work();
    } finally {
      this.#spentMs += this.#now() - from;
      if (this.#spentMs >= COUNTED_MS) this.#schedule();
    }
  }

  #schedule(): void {
    if (this.#goingRound) return;
    this.#goingRound = true;
    this.#goRound(() => {
      this.#goingRound = false;
      this.#slice();
    });
  }

  #slice(): void {
    this.#spentMs = 0;
    for (const [sender, theirs] of this.#waiting) {
      const job = theirs.shift()!;
      this.#waiting.delete(sender);
      if (theirs.length > 0) this.#waiting.set(sender, theirs);
      job();
      if (this.#spentMs >= SLICE_MS) break;
    }
    if (this.#waiting.size > 0) this.#schedule();
  }
}
