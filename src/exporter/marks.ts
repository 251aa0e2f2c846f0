/**
 * What is remembered of parts that were not taken, until they are settled: in memory alone, so that a restart begins anew.
 * @module
 */
import type { Delivery, PartOutcome } from "../queue/queue.ts";
import type { Piece } from "./payload.ts";
import type { Refused } from "./search.ts";

/** What is known of one part. */
export interface Mark {
  /**
   * - `doubted`: it was in a request that failed. The endpoint may have been down, or one of them is guilty.
   * - `refused`: the Collector refused it, by itself or with others, and the search for the guilty has still to be made.
   * - `apart`: the Collector fails on it by itself, and takes others. It waits alone.
   */
  readonly kind: "doubted" | "refused" | "apart";
  /** How many requests of data the endpoint had taken when this one was not. */
  readonly takenBefore: number;
  /** In a row. */
  readonly failures: number;
  /** With `refused`: the verdict. */
  readonly verdict?: Refused;
  /** With `apart`: not to be sent before, by `performance.now()`. */
  readonly dueAt?: number;
}

/** Records remembered at most; beyond it the first are forgotten, which costs a request or two. */
const RECORDS_MAX = 50_000;

/** The marks of one lane. */
export class Marks {
  /** By record, and in it by the place of the part. */
  readonly #records = new Map<number, (Mark | undefined)[]>();
  #apart = 0;

  /** Whether there are none: most of the time. */
  get none(): boolean {
    return this.#records.size === 0;
  }

  /** Parts that wait alone. */
  get apart(): number {
    return this.#apart;
  }

  of({ delivery, index }: Piece): Mark | undefined {
    return this.#records.get(delivery.id)?.[index];
  }

  set({ delivery, index }: Piece, mark: Mark): void {
    let marks = this.#records.get(delivery.id);
    if (marks === undefined) {
      this.#records.set(delivery.id, marks = []);
      const [first] = this.#records.keys();
      if (this.#records.size > RECORDS_MAX && first !== undefined) this.#forget(first);
    }
    this.#count(marks[index], -1);
    marks[index] = mark;
    this.#count(mark, 1);
  }

  /** Parts that are settled leave; those that stay move up, as they do in the queue. */
  settle({ id }: Pick<Delivery, "id">, outcomes: readonly PartOutcome[]): void {
    const marks = this.#records.get(id);
    if (marks === undefined) return;
    this.#forget(id);
    const left = outcomes.flatMap(({ kind }, index) => kind === "retry" ? [marks[index]] : []);
    if (left.every((mark) => mark === undefined)) return;
    this.#records.set(id, left);
    for (const mark of left) this.#count(mark, 1);
  }

  #forget(record: number): void {
    for (const mark of this.#records.get(record) ?? []) this.#count(mark, -1);
    this.#records.delete(record);
  }

  #count(mark: Mark | undefined, by: number): void {
    if (mark?.kind === "apart") this.#apart += by;
  }
}
