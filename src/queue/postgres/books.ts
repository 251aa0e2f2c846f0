/**
 * Reads the totals, and what each sender has.
 * @module
 */
import type { SignalName } from "../../signal.ts";
import type { TargetId } from "../queue.ts";
import { emptyTarget, type TargetTotals, type Totals } from "../totals.ts";
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
  const targets: Record<TargetId, TargetTotals> = {};
  let [records, bytes, deadRecords, deadBytes] = [0, 0, 0, 0];
  for (const book of rowsOf(row.books)) {
    const target = Number(book.target);
    const signal: SignalName = signalOf(book.signal);
    const before = targets[target] ?? emptyTarget();
    records += Number(book.records);
    bytes += Number(book.bytes);
    deadRecords += Number(book.dead_records);
    deadBytes += Number(book.dead_bytes);
    targets[target] = {
      records: before.records + Number(book.records),
      bytes: before.bytes + Number(book.bytes),
      skipped: before.skipped + Number(book.skipped),
      deadRecords: before.deadRecords + Number(book.dead_records),
      deadBytes: before.deadBytes + Number(book.dead_bytes),
      books: {
        ...before.books,
        [signal]: {
          accepted: Number(book.accepted),
          delivered: Number(book.delivered),
          rejectedByCollector: Number(book.rejected),
          deadLettered: Number(book.dead),
          expired: Number(book.expired),
          abandoned: Number(book.abandoned),
          queued: Number(book.queued),
        },
      },
    };
  }
  const names = new Map<TargetId, string>();
  for (const pair of Array.isArray(row.targets) ? row.targets : []) {
    if (Array.isArray(pair)) names.set(Number(pair[0]), String(pair[1]));
  }
  return {
    totals: { records, bytes, deadRecords, deadBytes, held: Number(row.held), lastId: 0, targets },
    oldestMs: row.oldest_ms === null ? undefined : Number(row.oldest_ms),
    names,
  };
}

function rowsOf(value: unknown): readonly Row[] {
  return Array.isArray(value) ? value : [];
}
