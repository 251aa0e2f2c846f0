/**
 * A queue from outside, while relays may be using it: what it holds, its dead letters and their way back, and what becomes of records of
 * a target that is not configured any more. Each engine that keeps anything has one.
 * @module
 */
import { bySignal, type SignalName } from "../signal.ts";
import { type Books, NO_BOOKS, type PayloadEncoding, type TargetId } from "./queue.ts";
import type { Totals } from "./totals.ts";

/** What it holds. */
export interface QueueSnapshot {
  /** The file, or the database's URL without its secrets. */
  readonly path: string;
  /** Records queued. */
  readonly records: number;
  /** What is queued, in bytes, as the bound counts it: payloads, and what each record costs beside. */
  readonly bytes: number;
  /** The bound on `bytes` that the relay last started with. */
  readonly bytesMax: number;
  /** When the oldest queued record was appended, in ms since the Unix epoch. */
  readonly oldestAt: number | undefined;
  /** Records that the Collector refused for good and for which the dead letters have no room. */
  readonly held: number;
  readonly deadLetters: { readonly records: number; readonly bytes: number; readonly bytesMax: number };
  readonly books: Readonly<Record<SignalName, Books>>;
  /** By target, those that have or had something. */
  readonly targets: readonly TargetSnapshot[];
  /** Whether accepted = delivered + rejected + dead-lettered + expired + abandoned + queued holds for each target and signal. */
  readonly balanced: boolean;
}

/** One dead letter, without its payload. */
export interface DeadLetterHead {
  readonly id: number;
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  /** Id of the sender. */
  readonly sender: string;
  readonly items: number;
  /** Length of the payload, in bytes. */
  readonly bytes: number;
  /** The Collector's own words. */
  readonly reason: string;
  /** HTTP status, if it was one that condemned it. */
  readonly status: number | undefined;
  /** ms since the Unix epoch. */
  readonly enqueuedAt: number;
  /** ms since the Unix epoch. */
  readonly diedAt: number;
}

/** One dead letter with what was sent. */
export interface DeadLetter extends DeadLetterHead {
  /** As it is stored: protobuf, by `encoding` in gzip. */
  readonly payload: Uint8Array;
}

/** What it holds for one target. */
export interface TargetSnapshot {
  readonly name: string;
  /** Records that wait for it. */
  readonly records: number;
  /** What they cost, in bytes. */
  readonly bytes: number;
  /** Items that it was not given, because it was full. */
  readonly skipped: number;
  readonly deadLetters: { readonly records: number; readonly bytes: number };
  readonly books: Readonly<Record<SignalName, Books>>;
}

/** Dead letters that are alike. */
export interface DeadLetterGroup {
  readonly sender: string;
  readonly signal: SignalName;
  /** The Collector's own words. */
  readonly reason: string;
  readonly status: number | undefined;
  readonly records: number;
  readonly items: number;
  /** Length of the payloads, in bytes. */
  readonly bytes: number;
  /** When the first and the last of them died, in ms since the Unix epoch. */
  readonly firstAt: number;
  readonly lastAt: number;
}

/** Which dead letters; what is undefined is not asked for. */
export interface DeadLetterFilter {
  readonly ids?: readonly number[] | undefined;
  readonly signal?: SignalName | undefined;
  /** Id of the sender, whole. */
  readonly sender?: string | undefined;
  /** Stands somewhere in the Collector's words. */
  readonly reason?: string | undefined;
  /** Died at this time or before, in ms since the Unix epoch. */
  readonly diedBefore?: number | undefined;
}

/** Which dead letters to replay; without a filter, all that are there when the replay begins. */
export interface ReplaySelection extends DeadLetterFilter {
  /** Called after each transaction, with the counts so far. */
  readonly onProgress?: (progress: { readonly replayed: number; readonly total: number }) => void;
}

/** What a replay did. */
export interface ReplayResult {
  readonly replayed: number;
  /** Dead letters that were asked for and are still there. */
  readonly left: number;
  /** Ids asked for that name no dead letter. */
  readonly unknown: readonly number[];
  /** Why some are left: the queue's own bound. */
  readonly stoppedBy: "queue_full" | undefined;
}

/** What a drop did. */
export interface DropResult {
  readonly dropped: number;
  /** Ids asked for that name no dead letter. */
  readonly unknown: readonly number[];
}

/** What was done. */
export interface MoveResult {
  readonly records: number;
  /** Spans, data points or log records. */
  readonly items: number;
  /** Dead letters that went along. */
  readonly deadLetters: number;
}

/** Dead letters by what is alike of them. */
export interface GroupedDeadLetters {
  readonly groups: readonly DeadLetterGroup[];
  readonly groupsMore: number;
  readonly ungrouped: number;
}

/** What can be asked of it. Each rejects with a `StorageError` for people. */
export interface QueueInspector {
  /** `queue data/queue.db`, for messages. */
  readonly path: string;
  stats(): Promise<QueueSnapshot>;
  /** Oldest first unless the newest are asked for, at most `limit`. */
  list(
    options: DeadLetterFilter & { readonly limit: number; readonly newestFirst?: boolean },
  ): Promise<DeadLetterHead[]>;
  /** Undefined where there is none of this id. */
  read(id: number): Promise<DeadLetter | undefined>;
  /** The newest by sender, signal and reason, those of which the last died last first. `ungrouped`: older ones that were not looked at. */
  group(options: { readonly limit: number }): Promise<GroupedDeadLetters>;
  /** Puts them back into the queue as new records, for the target that set them aside. What does not fit stays a dead letter. */
  replay(selection: ReplaySelection): Promise<ReplayResult>;
  /** For good. In the books they stay what they are: dead-lettered. */
  drop(filter: DeadLetterFilter): Promise<DropResult>;
  /** All that waits for one target, and its dead letters, to another. What is in flight may arrive at both. */
  move(from: string, to: string): Promise<MoveResult>;
  /** Gives up all that waits for a target, counted as abandoned. Dead letters stay. */
  abandon(target: string): Promise<MoveResult>;
}

/** What an engine has read of a queue at one moment. */
export interface QueueReading {
  readonly path: string;
  readonly bytesMax: number;
  readonly deadLetterBytesMax: number;
  /** ms since the Unix epoch. */
  readonly oldestAt: number | undefined;
  readonly totals: Omit<Totals, "lastId">;
  /** Every target that there has been, in the order of their numbers. */
  readonly names: Iterable<readonly [TargetId, string]>;
}

/** What a reading says. */
export function queueSnapshotOf(reading: QueueReading): QueueSnapshot {
  const { path, bytesMax, deadLetterBytesMax, oldestAt, totals, names } = reading;
  const targets = [...names].flatMap(([id, name]): TargetSnapshot[] => {
    const own = totals.targets[id];
    if (own === undefined) return [];
    const { records, bytes, skipped, deadRecords, deadBytes, books } = own;
    return [{ name, records, bytes, skipped, deadLetters: { records: deadRecords, bytes: deadBytes }, books }];
  });
  return {
    path,
    records: totals.records,
    bytes: totals.bytes,
    bytesMax,
    oldestAt,
    held: totals.held,
    deadLetters: { records: totals.deadRecords, bytes: totals.deadBytes, bytesMax: deadLetterBytesMax },
    books: bySignal((signal) => targets.map(({ books }) => books[signal]).reduce(plusBooks, NO_BOOKS)),
    targets: targets.filter(({ records, deadLetters, books }) =>
      records > 0 || deadLetters.records > 0 || Object.values(books).some(({ accepted }) => accepted > 0)
    ),
    balanced: targets.every(({ books }) => Object.values(books).every(balances)),
  };
}

/** Two accounts in one. */
function plusBooks(a: Books, b: Books): Books {
  return {
    accepted: a.accepted + b.accepted,
    delivered: a.delivered + b.delivered,
    rejectedByCollector: a.rejectedByCollector + b.rejectedByCollector,
    deadLettered: a.deadLettered + b.deadLettered,
    expired: a.expired + b.expired,
    abandoned: a.abandoned + b.abandoned,
    queued: a.queued + b.queued,
  };
}

/** Whether what was accepted has met its ends, or waits. */
function balances({ accepted, ...ended }: Books): boolean {
  return accepted === Object.values(ended).reduce((sum, items) => sum + items, 0);
}
