/**
 * What waits for a transaction, and what goes into the next one. It does nothing by itself: the {@link Committer} asks it.
 * @module
 */
import type { Refusal } from "../../errors.ts";
import type { Accepted } from "../queue.ts";
import type { WantedSettle } from "../takes.ts";
import type { Append } from "./packing.ts";
import type { SettleOp } from "./protocol.ts";

/** Bounds of one transaction, so that none keeps the others waiting. */
const TRANSACTION_BYTES_MAX = 16 * 1024 * 1024;
const TRANSACTION_RECORDS_MAX = 4096;
const TRANSACTION_SETTLES_MAX = 256;

export interface PendingAppend extends Append {
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: Refusal) => void;
}

export interface PendingSettle extends Omit<WantedSettle<true>, "settlement" | "claim"> {
  readonly op: SettleOp;
}

/** The operations of one transaction. */
export interface Batch {
  readonly appends: readonly PendingAppend[];
  readonly settles: readonly PendingSettle[];
}

export class Commits {
  #appends: PendingAppend[] = [];
  #settles: PendingSettle[] = [];

  /** Appends that wait. */
  get appends(): number {
    return this.#appends.length;
  }

  /** Settles that wait. */
  get settles(): number {
    return this.#settles.length;
  }

  /** Whether the settles that wait fill a transaction. */
  get settlesFill(): boolean {
    return this.#settles.length >= TRANSACTION_SETTLES_MAX;
  }

  append(append: PendingAppend): void {
    this.#appends.push(append);
  }

  settle(settle: PendingSettle): void {
    this.#settles.push(settle);
  }

  /** Settles that could not be written come first in the next transaction. */
  putBack(settles: readonly PendingSettle[]): void {
    this.#settles.unshift(...settles);
  }

  /** Takes out what the next transaction is of, in the order in which it came. */
  next(): Batch {
    let count = 0;
    let bytes = 0;
    for (const { op } of this.#appends) {
      if (count > 0 && (count >= TRANSACTION_RECORDS_MAX || bytes + op.bytes > TRANSACTION_BYTES_MAX)) break;
      count += 1;
      bytes += op.bytes;
    }
    return { appends: this.#appends.splice(0, count), settles: this.#settles.splice(0, TRANSACTION_SETTLES_MAX) };
  }

  /** Takes out all appends that wait. */
  takeAppends(): PendingAppend[] {
    return this.#appends.splice(0);
  }

  /** Takes out all settles that wait. */
  takeSettles(): PendingSettle[] {
    return this.#settles.splice(0);
  }
}
