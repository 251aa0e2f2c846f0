/**
 * An outcome that waits to be written, and what became of it.
 * @module
 */
import type { Entry } from "../lanes.ts";
import type { Settlement } from "../outcomes.ts";
import type { RecordHead } from "../record_head.ts";
import type { SettledParts } from "../settlement.ts";

/** One that waits for its transaction. */
export interface PendingSettle {
  readonly settlement: Settlement;
  readonly entry: Entry;
  /** The lease that it was taken under. */
  readonly lease: number;
  /** When what is left of the record may be taken again, in ms of a clock that never steps. */
  readonly dueAt: number;
  /** Whether it is in flight; an expired one is not. */
  readonly taken: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** What became of one. */
export interface Settled {
  /** Whether it was still this relay's. */
  readonly effective: boolean;
  /** Whether no other target waits for the record. */
  readonly finished: boolean;
  /** What stays for this target under its id. */
  readonly head?: RecordHead | undefined;
  readonly outcome?: SettledParts | undefined;
  /** Something was left that is a record of its own now. */
  readonly split?: boolean | undefined;
}
