/**
 * Ages that survive when somebody sets the clock. Each record has the time of its append by the clock as it was then; by how much the
 * clock was set since is remembered, with the last record from before.
 * @module
 */

import type { ClockStep } from "./protocol.ts";

/** Two clocks that differ by so much more than a moment ago, in ms, have not drifted apart: one was set. */
const STEP_MS_MIN = 1_000;

export class ClockSteps {
  readonly #now: () => number;
  readonly #steady: () => number;
  #offset: number;
  #steps: readonly ClockStep[] = [];

  /**
   * @param now ms since the Unix epoch
   * @param steady ms of a clock that never steps
   */
  constructor(now: () => number, steady: () => number) {
    this.#now = now;
    this.#steady = steady;
    this.#offset = now() - steady();
  }

  /** Those that were reported in earlier runs. */
  restore(steps: readonly ClockStep[]): void {
    this.#steps = [...steps];
  }

  /** Whether the clock has been set since the last look; `lastId` is the last record from before this moment. */
  look(lastId: number): ClockStep | undefined {
    const offset = this.#now() - this.#steady();
    const ms = offset - this.#offset;
    // Small differences are followed, so that a clock that is slewed never adds up to a step.
    this.#offset = offset;
    if (Math.abs(ms) < STEP_MS_MIN) return undefined;
    const step = { afterId: lastId, ms };
    this.#steps = [...this.#steps, step];
    return step;
  }

  /** When a record was appended, in ms since the Unix epoch by the clock as it is set now. */
  appendedAt(id: number, enqueuedAt: number): number {
    return appendedAt(this.#steps, id, enqueuedAt);
  }
}

/** As {@link ClockSteps.appendedAt}. */
export function appendedAt(steps: readonly ClockStep[], id: number, enqueuedAt: number): number {
  return steps.reduce((at, { afterId, ms }) => id <= afterId ? at + ms : at, enqueuedAt);
}
