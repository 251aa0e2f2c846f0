/**
 * The takers that wait, and until when: for a new record, one that is due, one of another process, an abort or the end.
 * @module
 */
import type { SignalName } from "../signal.ts";
import { whenAborted } from "../within.ts";
import type { TargetId } from "./queue.ts";

/** Takers of one signal for one target. */
export function takerKind(target: TargetId, signal: SignalName): string {
  return `${target} ${signal}`;
}

/** How often a waiting taker looks for records that another process has inserted, in ms. */
const POLL_MS = 1000;

/** The clock; a test moves it by hand. */
export interface Timers {
  /** ms, of a clock that nobody sets. */
  now(): number;
  /** Calls `run` in `ms`, unless the returned function is called before. */
  start(run: () => void, ms: number): () => void;
}

const TIMERS: Timers = {
  now: () => performance.now(),
  start: (run, ms) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export interface TakersSettings {
  /** ms of a clock that never steps: the clock of what is due. */
  readonly now: () => number;
  /** Looks for records that nobody announces, at most once a second and while somebody waits; never rejects. */
  readonly poll?: () => Promise<void>;
  readonly timers?: Timers;
}

/** All share one timer: each commit wakes some of them, and they wait again at once. */
export class Takers {
  readonly #now: () => number;
  readonly #poll: (() => Promise<void>) | undefined;
  readonly #timers: Timers;
  readonly #waiting = new Set<{ readonly of: string; readonly wake: () => void }>();
  readonly #onTimer = () => void this.#tick();
  #stopTimer: (() => void) | undefined;
  #timerAt = 0;
  #polledAt = -Infinity;

  constructor(settings: TakersSettings) {
    this.#now = settings.now;
    this.#poll = settings.poll;
    this.#timers = settings.timers ?? TIMERS;
  }

  /**
   * Resolves when a taker of the kind `of` is woken, or `signal` aborts; at the latest at `dueAt`, and within a
   * second where there is something to poll.
   */
  wait(of: string, signal: AbortSignal, dueAt = Infinity): Promise<void> {
    return new Promise((resolve) => {
      let goOn = () => {};
      const taker = {
        of,
        wake: () => {
          goOn();
          this.#waiting.delete(taker);
          resolve();
        },
      };
      this.#waiting.add(taker);
      this.#setTimer(dueAt);
      goOn = whenAborted(signal, taker.wake);
    });
  }

  #setTimer(dueAt: number): void {
    const ms = Math.max(1, Math.min(this.#poll === undefined ? Infinity : POLL_MS, dueAt - this.#now()));
    if (ms === Infinity) return;
    const at = this.#timers.now() + ms;
    // A timer that goes off sooner than needed stays: setting another at each commit costs more than an idle look.
    if (this.#stopTimer !== undefined && at >= this.#timerAt) return;
    this.#stopTimer?.();
    this.#timerAt = at;
    this.#stopTimer = this.#timers.start(this.#onTimer, ms);
  }

  /** Whether anybody waits to take of this kind. */
  waits(of: string): boolean {
    for (const taker of this.#waiting) if (taker.of === of) return true;
    return false;
  }

  /** Wakes those of one kind, or all. */
  wake(of?: string): void {
    for (const taker of [...this.#waiting]) if (of === undefined || of === taker.of) taker.wake();
  }

  /** Wakes all takers, and looks for nothing any more. */
  close(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.wake();
  }

  async #tick(): Promise<void> {
    this.#stopTimer = undefined;
    if (this.#waiting.size === 0) return;
    const now = this.#timers.now();
    if (this.#poll !== undefined && now - this.#polledAt >= POLL_MS) {
      this.#polledAt = now;
      await this.#poll();
    }
    this.wake();
  }
}
