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
