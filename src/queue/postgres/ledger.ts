/**
 * What a transaction adds to the books, as rows of the ledger, and what one relay knows of the totals between two looks.
 * @module
 */
import type { SignalName } from "../../signal.ts";
import { costOfPart } from "../cost.ts";
import type { Part, TargetId } from "../queue.ts";
import type { RecordHead } from "../record_head.ts";
import { codeOfSignal } from "./codes.ts";

/** A row of the ledger; what is absent is 0. Names are those of the columns. */
export interface LedgerRow {
  readonly target: TargetId;
  readonly signal: number;
  accepted?: number;
  delivered?: number;
  rejected?: number;
  dead?: number;
  expired?: number;
  skipped?: number;
  queued?: number;
  records?: number;
  bytes?: number;
  dead_records?: number;
  dead_bytes?: number;
}

type Account = Exclude<keyof LedgerRow, "target" | "signal">;

/** No target: it has by how much all targets together exceed what is stored. */
export const OVERLAP: TargetId = 0;

/** The rows of one transaction, one for each target and signal. */
export class LedgerRows {
  readonly #rows = new Map<string, LedgerRow>();

  add(target: TargetId, signal: SignalName, changes: Readonly<Partial<Record<Account, number>>>): void {
    const key = `${target} ${signal}`;
    let row = this.#rows.get(key);
    if (row === undefined) this.#rows.set(key, row = { target, signal: codeOfSignal(signal) });
    for (const [account, change] of Object.entries(changes) as [Account, number][]) {
      row[account] = (row[account] ?? 0) + change;
    }
  }

  /** A record that is appended, and the targets that it would have gone to. */
  append({ targets, signal, items, cost }: Omit<RecordHead, "id">, skipped: readonly TargetId[]): void {
    for (const target of targets) {
      this.add(target, signal, { accepted: items, queued: items, records: 1, bytes: cost });
    }
    for (const target of skipped) this.add(target, signal, { skipped: items });
    const over = targets.length - 1;
    if (over > 0) {
      this.add(OVERLAP, signal, {
        accepted: -over * items,
        queued: -over * items,
        records: -over,
        bytes: -over * cost,
      });
    }
  }

  get rows(): readonly LedgerRow[] {
    return [...this.#rows.values()];
  }
}

/** What parts count for their senders, in bytes. */
export function sendersOf(parts: readonly Pick<Part, "sender" | "bytes">[]): Map<string, number> {
  const senders = new Map<string, number>();
  for (const { sender, bytes } of parts) senders.set(sender, (senders.get(sender) ?? 0) + costOfPart(bytes));
  return senders;
}
