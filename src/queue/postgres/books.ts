/**
 * Reads the totals, and what each sender has.
 * @module
 */
import type { TargetId } from "../queue.ts";
import { type Totals, totalsOf } from "../totals.ts";
import { signalOfCode } from "./codes.ts";
import type { Row } from "./connections.ts";

/** The state of the queue at one moment. */
export interface Snapshot {
  readonly totals: Totals;
  /** How long the oldest record has been queued, in ms; undefined without one. */
  readonly oldestMs: number | undefined;
  /** The least id of each lane that has records. */
  readonly firsts: readonly First[];
  /** Every target that there has been. */
  readonly names: ReadonlyMap<TargetId, string>;
}

/** Where a lane begins, in the numbers of the database. */
export interface First {
  readonly target: TargetId;
  readonly signal: number;
  readonly encoding: number;
  readonly record: number;
}

/** How often a floor is looked for from the beginning, in ms: a lower id may have been committed later. */
const SWEEP_MS = 10_000;

/** Below which ids nothing waits, as far as was seen: a look at the totals need not go through what has gone. */
export class Floors {
  readonly #floors = new Map<string, Omit<First, "record"> & { readonly floor: number }>();
  #sweptAt = -Infinity;

  /** What `STATS` is to be asked with. @param now ms of a clock that never steps */
  parameter(now: number): string | null {
    if (now - this.#sweptAt >= SWEEP_MS) {
      this.#sweptAt = now;
      return null;
    }
    return JSON.stringify([...this.#floors.values()]);
  }

  /** Lanes that have nothing keep theirs. */
  learn(firsts: readonly First[]): void {
    for (const { target, signal, encoding, record } of firsts) {
      this.#floors.set(`${target} ${signal} ${encoding}`, { target, signal, encoding, floor: record });
    }
  }
}

/** What `STATS` has returned. */
export function snapshotOf(row: Row): Snapshot {
  const names = new Map<TargetId, string>();
  for (const pair of Array.isArray(row.targets) ? row.targets : []) {
    if (Array.isArray(pair)) names.set(Number(pair[0]), String(pair[1]));
  }
  const firsts: First[] = [];
  let oldestMs: number | undefined;
  for (const lane of Array.isArray(row.oldest) ? row.oldest : []) {
    if (!Array.isArray(lane)) continue;
    const [target = 0, signal = 0, encoding = 0, record = 0, ageMs = 0] = lane.map(Number);
    firsts.push({ target, signal, encoding, record });
    oldestMs = Math.max(oldestMs ?? -Infinity, ageMs);
  }
  return {
    totals: { ...totalsOf(rowsOf(row.books), signalOfCode), held: Number(row.held), lastId: 0 },
    oldestMs,
    firsts,
    names,
  };
}

function rowsOf(value: unknown): readonly Row[] {
  return Array.isArray(value) ? value : [];
}
