/**
 * Reads the totals, and what each sender has.
 * @module
 */
import type { TargetId } from "../queue.ts";
import { type Totals, totalsOf } from "../totals.ts";
import { signalOf } from "./codes.ts";
import type { Row } from "./connections.ts";

/** The state of the queue at one moment. */
export interface Snapshot {
  readonly totals: Totals;
  /** How long the oldest record has been queued, in ms; undefined without one. */
  readonly oldestMs: number | undefined;
  /** Every target that there has been. */
  readonly names: ReadonlyMap<TargetId, string>;
}

/** What `STATS` has returned. */
export function snapshotOf(row: Row): Snapshot {
  const names = new Map<TargetId, string>();
  for (const pair of Array.isArray(row.targets) ? row.targets : []) {
    if (Array.isArray(pair)) names.set(Number(pair[0]), String(pair[1]));
  }
  return {
    totals: { ...totalsOf(rowsOf(row.books), signalOf), held: Number(row.held), lastId: 0 },
    oldestMs: row.oldest_ms === null ? undefined : Number(row.oldest_ms),
    names,
  };
}

function rowsOf(value: unknown): readonly Row[] {
  return Array.isArray(value) ? value : [];
}
