/**
 * An outcome that waits to be written, and what became of it.
 * @module
 */
import type { RecordHead } from "../record_head.ts";
import type { SettledParts } from "../settlement.ts";
import type { WantedSettle } from "../takes.ts";

/** One that waits for its transaction; its claim is the lease that it was taken under. */
export type PendingSettle = WantedSettle<number>;

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
