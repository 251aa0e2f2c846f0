/**
 * What the queue's main side and its Worker say to each other: plain data, cheap to clone.
 * @module
 */
import type { Statement } from "../../errors.ts";
import type { SignalName } from "../../signal.ts";
import type { Settlement } from "../outcomes.ts";
import type { PayloadEncoding, TargetId } from "../queue.ts";
import type { RecordHead } from "../record_head.ts";
import type { Totals } from "../totals.ts";
import type { Fault } from "./injected_faults.ts";
import type { StorageErrorCode } from "../storage_error.ts";

/** The clock was set while the relay ran. */
export interface ClockStep {
  /** The last record from before it. */
  readonly afterId: number;
  /** By how much, in ms; negative when it was set back. */
  readonly ms: number;
}

/** One record to insert. A small payload lies in the commit's `packed` buffer, a large one comes with its own. */
export interface AppendOp extends Omit<RecordHead, "id"> {
  readonly payload: Uint8Array<ArrayBuffer> | { readonly offset: number };
  /** Whether the payload is to be sent back after the commit, for the next take. */
  readonly giveBack: boolean;
  /** Targets that it would have gone to, and that are full and not required. */
  readonly skipped: readonly TargetId[];
}

/** What became of one record. `done`: every part was delivered, so the row need not be read. */
export type SettleOp =
  & { readonly id: number; readonly target: TargetId; readonly targets: readonly TargetId[] }
  & Settlement;

/** A record whose append was refused after a failed commit: should it be found all the same, it is removed. */
export interface Disowned {
  readonly id: number;
  readonly enqueuedAt: number;
  readonly bytes: number;
}

export interface WorkerSettings {
  readonly path: string;
  readonly bytesMax: number;
  readonly deadLetterBytesMax: number;
  /** Names of the targets that are configured. */
  readonly targets: readonly string[];
  readonly faults: readonly Fault[];
  /** Upper bound on the file's size, in bytes; undefined: the disk's. */
  readonly fileBytesMax: number | undefined;
}

/** A dead letter as it is written. */
export interface DeadLetter {
  readonly target: TargetId;
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  readonly mergeable: boolean;
  readonly sender: string;
  readonly items: number;
  readonly bytes: number;
  readonly inflatedBytes: number;
  readonly reason: string;
  readonly status: number | null;
  readonly enqueuedAt: number;
  readonly diedAt: number;
  readonly payload: Uint8Array;
}

/** What the main side asks. Each request is answered once, in order. */
export type Request =
  | { readonly kind: "open"; readonly settings: WorkerSettings; readonly disowned: readonly Disowned[] }
  | {
    readonly kind: "commit";
    readonly appends: readonly AppendOp[];
    readonly settles: readonly SettleOp[];
    readonly packed: ArrayBuffer;
    /** When, by the main side's clock: dead letters are dated by it. */
    readonly now: number;
  }
  | {
    readonly kind: "read";
    readonly target: TargetId;
    readonly signal: SignalName;
    readonly encoding: PayloadEncoding;
    readonly afterId: number;
    readonly bytesMax: number;
    readonly recordsMax: number;
  }
  | { readonly kind: "load"; readonly ids: readonly number[] }
  | { readonly kind: "release" }
  | { readonly kind: "poll" }
  | { readonly kind: "stats" }
  | { readonly kind: "senders" }
  /** The clock was set: it is remembered with the file. */
  | { readonly kind: "clock"; readonly step: ClockStep }
  | { readonly kind: "close" };

/** Why a transaction was not made. */
export interface Failure {
  readonly text: string;
}

/** What a settle left behind: the record's new head, or that it is held, or nothing. */
export interface Remainder {
  readonly id: number;
  readonly target: TargetId;
  readonly head: RecordHead | undefined;
  readonly heldRecords: number;
  /** Whether the record stays as it is, for other targets. */
  readonly stays: boolean;
  /** Whether what this target left of it is a record of its own now, which is in the file. */
  readonly split: boolean;
}

/** The answers. */
export interface Replies {
  open: {
    /** Every target that there has been, and its number. */
    readonly targets: readonly (readonly [TargetId, string])[];
    readonly totals: Totals;
    readonly clockSteps: readonly ClockStep[];
  };
  commit: {
    readonly totals: Totals | undefined;
    /** Id of the first record appended; the others follow it. Absent with `appendFailure`. */
    readonly firstId: number;
    readonly appendFailure: Failure | undefined;
    readonly settleFailure: Failure | undefined;
    /** Another process has inserted records since the last transaction. */
    readonly foreign: boolean;
    readonly remainders: readonly Remainder[];
    /** Payloads asked back, in order. */
    readonly returned: readonly Uint8Array<ArrayBuffer>[];
  };
  /** Rows of a lane behind an id. A large payload stays in the file until its record is taken. */
  read: {
    readonly rows: readonly (RecordHead & { readonly payload: Uint8Array<ArrayBuffer> | undefined })[];
    readonly exhausted: boolean;
    /** The last id up to which nothing is left out. */
    readonly seenTo: number;
  };
  load: { readonly payloads: readonly (Uint8Array<ArrayBuffer> | undefined)[] };
  release: { readonly heads: readonly RecordHead[]; readonly totals: Totals };
  poll: { readonly foreign: boolean; readonly totals: Totals | undefined };
  stats: { readonly totals: Totals; readonly oldest: { readonly id: number; readonly enqueuedAt: number } | undefined };
  clock: { readonly clockSteps: readonly ClockStep[] };
  /** What each sender has queued, in bytes (see `costOfPart`); undefined where storage could not tell. */
  senders: { readonly senders: readonly { readonly sender: string; readonly bytes: number }[] | undefined };
  close: { readonly closed: true };
}

/** From the Worker: an answer, a refusal to answer, or news. */
export type FromWorker =
  | { readonly kind: "reply"; readonly to: number; readonly reply: Replies[keyof Replies] }
  | { readonly kind: "error"; readonly to: number; readonly code: StorageErrorCode; readonly statement: Statement }
  | {
    readonly kind: "log";
    readonly level: "warn" | "error";
    readonly message: string;
    readonly fields: Record<string, unknown>;
  }
  /** Rows have come that no append announced (salvage), or a new file has taken the place of a damaged one (`reset`). */
  | { readonly kind: "rows"; readonly reset: boolean; readonly totals: Totals }
  /** Why nothing can be appended, although no transaction has failed; undefined when that is over. */
  | { readonly kind: "trouble"; readonly text: string | undefined };

export type ToWorker = Request & { readonly seq: number };
