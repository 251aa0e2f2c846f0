/**
 * What waits for a transaction, and when the next one is made: one at a time, shared by what comes meanwhile.
 * @module
 */
import { Refusal, type RefusalCode } from "../../errors.ts";
import type { Entry } from "./lanes.ts";
import type { Accepted, NewRecord } from "../queue.ts";
import { type NewRow, rowOf } from "./packing.ts";
import type { SettleOp } from "./protocol.ts";

/** Bounds of one transaction, so that none keeps the others waiting. */
const TRANSACTION_BYTES_MAX = 16 * 1024 * 1024;
const TRANSACTION_RECORDS_MAX = 4096;
const TRANSACTION_SETTLES_MAX = 256;

/** How long an outcome waits for a transaction that it can share, in ms: a crash in this time delivers again what it was of. */
const SETTLE_MS = 20;

export interface PendingAppend extends NewRow {
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: Refusal) => void;
}

export interface PendingSettle {
  readonly op: SettleOp;
  readonly entry: Entry;
  /** When what is left of the record may be taken again, in ms since the Unix epoch. */
  readonly dueAt: number;
  /** Whether it is in flight; an expired one is not. */
  readonly taken: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Who makes the transactions. */
export interface Committer {
  /** No transaction can be made now. */
  readonly ended: boolean;
  /** Why the last one failed; undefined when all is well. */
  readonly trouble: string | undefined;
  /** Answers each append, and answers each settle or puts it back; never rejects. */
  commit(appends: readonly PendingAppend[], settles: readonly PendingSettle[]): Promise<void>;
}

export class Commits {
  readonly #committer: Committer;
  #appends: PendingAppend[] = [];
  #appendBytes = 0;
  #settles: PendingSettle[] = [];
  #committing: Promise<void> | undefined;
  #flushScheduled = false;
  #settleTimer: ReturnType<typeof setTimeout> | undefined;
  #closing = false;

  constructor(committer: Committer) {
    this.#committer = committer;
  }

  /** Payload bytes appended and not answered. */
  get appendBytes(): number {
    return this.#appendBytes;
  }

  /** Resolves, or rejects, when a transaction's maker has called {@link accept} or {@link refuse}. */
  append(record: NewRecord, enqueuedAt: number): Promise<Accepted> {
    const op = rowOf(record, enqueuedAt);
    this.#appendBytes += op.bytes;
    return new Promise((resolve, reject) => {
      this.#appends.push({ record, op, resolve, reject });
      this.#schedule();
    });
  }

  settle(settle: PendingSettle): void {
    this.#settles.push(settle);
    this.#scheduleSettles();
  }

  accept({ op, resolve }: PendingAppend): void {
    this.#appendBytes -= op.bytes;
    resolve({});
  }

  refuse(appends: readonly PendingAppend[], text: string, code: RefusalCode = "storage_failed"): void {
    for (const { op, reject } of appends) {
      this.#appendBytes -= op.bytes;
      reject(new Refusal(code, text));
    }
  }

  /** Settles that could not be written come first in the next transaction. */
  putBack(settles: readonly PendingSettle[]): void {
    this.#settles.unshift(...settles);
  }

  /** Makes a transaction of what waits, if none is under way. @param probe Even of nothing, to see whether storage works. */
  flush(probe = false): void {
    if (this.#committing !== undefined || this.#committer.ended) return;
    if (!probe && this.#appends.length === 0 && this.#settles.length === 0) return;
    const settles = this.#settles.splice(0, TRANSACTION_SETTLES_MAX);
    this.#committing = this.#committer.commit(this.#nextAppends(), settles).finally(() => {
      this.#committing = undefined;
      if (this.#appends.length > 0) this.flush();
      else if (this.#settles.length > 0 && this.#committer.trouble === undefined) this.#scheduleSettles();
    });
  }

  /** Commits what waits, unless storage fails. */
  async drain(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#settleTimer);
    const committer = this.#committer;
    do {
      this.flush();
      await this.#committing;
    } while (!committer.ended && committer.trouble === undefined && this.#appends.length + this.#settles.length > 0);
  }

  /** Refuses all that still waits: the queue is closed. */
  abandon(): void {
    this.refuse(this.#appends.splice(0), "The relay is shutting down", "shutting_down");
    for (const { entry, reject } of this.#settles.splice(0)) {
      reject(new Refusal("shutting_down", `Record ${entry.head.id} stays in the queue and will be sent again`));
    }
  }

  /** What comes in this turn shares the transaction. */
  #schedule(): void {
    if (this.#flushScheduled || this.#committing !== undefined) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      this.flush();
    });
  }

  /** Outcomes wait a little for a transaction that they can share: no sender waits for them. */
  #scheduleSettles(): void {
    if (this.#settles.length >= TRANSACTION_SETTLES_MAX || this.#closing) return this.#schedule();
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = undefined;
      this.#schedule();
    }, SETTLE_MS);
  }

  #nextAppends(): PendingAppend[] {
    let count = 0;
    let bytes = 0;
    for (const { op } of this.#appends) {
      if (count > 0 && (count >= TRANSACTION_RECORDS_MAX || bytes + op.bytes > TRANSACTION_BYTES_MAX)) break;
      count += 1;
      bytes += op.bytes;
    }
    return this.#appends.splice(0, count);
  }
}
