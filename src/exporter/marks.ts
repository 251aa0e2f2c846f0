/**
 * What is remembered of parts that were not taken, until they are settled: in memory alone, so that a restart begins anew.
 * @module
 */
import type { Delivery, PartOutcome } from "../queue/queue.ts";
import type { Occasion } from "./evidence.ts";
import type { Piece } from "./payload.ts";

/** Parts that were refused by themselves since the endpoint has taken something. */
export interface Row {
  /** The last request that it took. */
  readonly lastTaken: number;
  /** How often the data had gone to another endpoint. */
  readonly moves: number;
  refused: number;
}

/** What is known of one part that was refused by itself. */
export interface Suspicion extends Occasion {
  /** Its refusals in a row. */
  readonly refusals: number;
  /** How many of them came after the endpoint had taken data since the one before. */
  readonly proofs: number;
  /** Its first refusal of these, by `performance.now()`. */
  readonly since: number;
  /** It was proven and cut down, and nothing of it was taken. */
  readonly vain: boolean;
  readonly row: Row;
}

/** What is known of one part. */
export interface Mark {
  /**
   * - `doubted`: it was in a request that failed. The endpoint may have been down, or one of them is guilty.
   * - `refused`: the Collector refused it, by itself or with others, and the search for the guilty has still to be made.
   * - `apart`: the Collector fails on it by itself, and takes others. It waits alone.
   * - `suspected`: the Collector refused it by itself, and it is not known yet whether it takes others. It waits alone.
   */
  readonly kind: "doubted" | "refused" | "apart" | "suspected";
  /** How many requests of data had been sent when this one was not taken. */
  readonly sentBefore: number;
  /** In a row. */
  readonly failures: number;
  /** With `apart` and `suspected`: not to be sent before, by `performance.now()`. */
  readonly dueAt?: number;
  /** With `suspected`, and with `apart` where it was refused before. */
  readonly suspicion?: Suspicion;
  /** Some of it has gone since it was refused: that what is left is taken is no surprise. */
  readonly changed?: true;
  /** The last look at it was broken off by an answer that says nothing of it, before anything was found. */
  readonly interrupted?: true;
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
    if (mark?.kind === "apart" || mark?.kind === "suspected") this.#apart += by;
  }
}
