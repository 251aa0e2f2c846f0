/**
 * What an engine holds in all, by target.
 * @module
 */
import { bySignal, type SignalName } from "../signal.ts";
import { type Books, type DoorBooks, NO_BOOKS, type TargetId } from "./queue.ts";

/** The totals after a transaction, from the tables. */
export interface Totals {
  readonly records: number;
  readonly bytes: number;
  readonly deadRecords: number;
  readonly deadBytes: number;
  /** Records for which the dead letters have no room. */
  readonly held: number;
  /** The highest id given out. */
  readonly lastId: number;
  /** For each target that has books. Target 0 is not a target: it holds by how much the sum of all exceeds what is queued, see `routes.ts`. */
  readonly targets: Readonly<Record<TargetId, TargetTotals>>;
}

/** What one target has. */
export interface TargetTotals {
  readonly records: number;
  readonly bytes: number;
  readonly skipped: number;
  readonly deadRecords: number;
  readonly deadBytes: number;
  readonly books: Readonly<Record<SignalName, Books>>;
}

/** Nothing. */
export function emptyTarget(): TargetTotals {
  return { records: 0, bytes: 0, skipped: 0, deadRecords: 0, deadBytes: 0, books: bySignal(() => NO_BOOKS) };
}

/** A row of books: of one target and one signal, with the columns that every engine has. */
type BookRow = Readonly<Record<string, unknown>>;

/** The totals that rows of books come to; those of one target and signal are one row. @param signalOf What stands for a signal in them. */
export function totalsOf(
  rows: Iterable<BookRow>,
  signalOf: (value: unknown) => SignalName,
): Pick<Totals, "records" | "bytes" | "deadRecords" | "deadBytes" | "targets"> {
  const targets: Record<TargetId, TargetTotals> = {};
  let [records, bytes, deadRecords, deadBytes] = [0, 0, 0, 0];
  for (const row of rows) {
    const target = Number(row["target"]);
    const before = targets[target] ?? emptyTarget();
    records += Number(row["records"]);
    bytes += Number(row["bytes"]);
    deadRecords += Number(row["dead_records"]);
    deadBytes += Number(row["dead_bytes"]);
    targets[target] = {
      records: before.records + Number(row["records"]),
      bytes: before.bytes + Number(row["bytes"]),
      skipped: before.skipped + Number(row["skipped"]),
      deadRecords: before.deadRecords + Number(row["dead_records"]),
      deadBytes: before.deadBytes + Number(row["dead_bytes"]),
      books: {
        ...before.books,
        [signalOf(row["signal"])]: {
          accepted: Number(row["accepted"]),
          delivered: Number(row["delivered"]),
          rejectedByCollector: Number(row["rejected"]),
          deadLettered: Number(row["dead"]),
          expired: Number(row["expired"]),
          abandoned: Number(row["abandoned"]),
          queued: Number(row["queued"]),
        },
      },
    };
  }
  return { records, bytes, deadRecords, deadBytes, targets };
}

/** The accounts of a signal at the door: of all targets together, less what was counted for several of them. */
export function doorBooksOf({ targets }: Pick<Totals, "targets">, signal: SignalName): DoorBooks {
  let accepted = 0;
  let queued = 0;
  for (const { books } of Object.values(targets)) {
    accepted += books[signal].accepted;
    queued += books[signal].queued;
  }
  // If one target has split a record and another has not finished it, both are queued.
  queued = Math.min(queued, accepted);
  return { accepted, finished: accepted - queued, queued };
}
