/**
 * Makes the transactions of outcomes. They wait a little for company; what fails is tried until it is written. An outcome of what
 * another relay has taken meanwhile has no effect.
 * @module
 */
import { messageOf, Refusal } from "../../errors.ts";
import { partsOf } from "../lanes.ts";
import { codeOfEncoding, codeOfSignal } from "./codes.ts";
import { type Connections, PostgresFailure } from "./connections.ts";
import { type LedgerRow, OVERLAP, sendersOf } from "./ledger.ts";
import { settlePartly } from "./partial.ts";
import type { PendingSettle, Settled } from "./pending_settle.ts";
import type { Room } from "./room.ts";
import { SETTLE } from "./statements.ts";

/** How long an outcome waits for a transaction that it can share, in ms: a crash in this time delivers again what it was of. */
const SETTLE_MS = 20;
const SETTLES_MAX = 256;
const WITHIN_MS = 8_000;
/** The pause after a transaction that failed, in ms. */
const PAUSE_MS = 1_000;

export interface SettlerSettings {
  readonly connections: Connections;
  readonly room: Room;
  readonly deadLetterBytesMax: number;
  settled(settle: PendingSettle, result: Settled): void;
  /** After a transaction. @param failed Why it was not made. */
  done(failed: string | undefined): void;
}

export class Settler {
  readonly #settings: SettlerSettings;
  #waiting: PendingSettle[] = [];
  #working: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closing = false;
  #failing = false;

  constructor(settings: SettlerSettings) {
    this.#settings = settings;
  }

  settle(settle: PendingSettle): void {
    this.#waiting.push(settle);
    if (this.#waiting.length >= SETTLES_MAX || this.#closing) this.hurry();
    else this.#soon(SETTLE_MS);
  }

  /** Outcomes that wait for company go now. */
  hurry(): void {
    if (!this.#failing) queueMicrotask(() => this.#flush());
  }

  /** Writes what waits, unless that fails. */
  async drain(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    do {
      this.#flush();
      await this.#working;
    } while (!this.#failing && this.#waiting.length > 0);
  }

  /** Refuses all that still waits: the queue is closed. */
  abandon(): void {
    this.#closing = true;
    clearTimeout(this.#timer);
    for (const { entry, reject } of this.#waiting.splice(0)) {
      reject(new Refusal("shutting_down", `Record ${entry.head.id} stays in the queue and will be sent again`));
    }
  }

  #soon(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flush();
    }, ms);
  }

  #flush(): void {
    if (this.#working !== undefined || this.#waiting.length === 0) return;
    const batch = this.#waiting.splice(0, SETTLES_MAX);
    this.#working = this.#write(batch).finally(() => {
      this.#working = undefined;
      if (this.#waiting.length > 0 && !this.#closing) this.#soon(this.#failing ? PAUSE_MS : SETTLE_MS);
    });
  }

  async #write(batch: readonly PendingSettle[]): Promise<void> {
    const whole = batch.filter(({ settlement }) => settlement.kind !== "parts");
    const left = new Set(batch);
    let refused: PostgresFailure | undefined;
    try {
      if (whole.length > 0) await this.#settleWhole(whole, left);
      for (const settle of batch) {
        if (settle.settlement.kind !== "parts") continue;
        try {
          await this.#settlePartly(settle, left);
        } catch (error) {
          // What is refused of one record holds up no other.
          if (!(error instanceof PostgresFailure) || error.kind !== "refused") throw error;
          refused = error;
        }
      }
      this.#failing = refused !== undefined;
      this.#waiting.push(...left);
      this.#settings.done(refused?.message);
    } catch (error) {
      if (!(error instanceof PostgresFailure)) {
        // If no repetition would help, the record is let go: it comes back when the lease ends.
        for (const { reject } of left) reject(error instanceof Error ? error : new Error(messageOf(error)));
        this.#settings.done(messageOf(error));
        return;
      }
      this.#failing = true;
      this.#waiting.unshift(...left);
      this.#settings.done(error.message);
    }
  }

  async #settleWhole(settles: readonly PendingSettle[], left: Set<PendingSettle>): Promise<void> {
    const { connections, room } = this.#settings;
    const written = room.write();
    const changes: LedgerRow[] = [];
    try {
      // In the order in which others lock such rows, as far as the server's plan follows it: `queue move` and `queue abandon` do, too.
      const ordered = settles.toSorted(byPlace);
      const ops = ordered.map(({ settlement, entry, claim }, n) => ({
        n,
        target: entry.target,
        signal: codeOfSignal(entry.head.signal),
        encoding: codeOfEncoding(entry.head.encoding),
        record: entry.head.id,
        lease: claim,
        expired: settlement.kind === "expired",
        rejected: settlement.kind === "done" ? settlement.rejected : 0,
        senders: Object.fromEntries(sendersOf(partsOf(entry))),
      }));
      const rows = await connections.run({ text: SETTLE, values: [JSON.stringify(ops)] }, WITHIN_MS);
      const finished = new Map(rows.map((row) => [Number(row.n), row.finished === true]));
      for (const [n, settle] of ordered.entries()) {
        const effective = finished.has(n);
        const { target, head: { cost, signal } } = settle.entry;
        if (effective) changes.push({ target, signal: codeOfSignal(signal), bytes: -cost });
        // What another target still waits for is stored all the same.
        if (finished.get(n) === false) changes.push({ target: OVERLAP, signal: codeOfSignal(signal), bytes: cost });
        left.delete(settle);
        this.#settings.settled(settle, { effective, finished: finished.get(n) === true });
      }
    } finally {
      written(changes);
    }
  }

  async #settlePartly(settle: PendingSettle, left: Set<PendingSettle>): Promise<void> {
    const { connections, room, deadLetterBytesMax } = this.#settings;
    const written = room.write();
    let changes: readonly LedgerRow[] = [];
    try {
      const { ledger, ...settled } = await connections.transaction(
        (ask) => settlePartly(ask, settle, deadLetterBytesMax),
        WITHIN_MS,
      );
      changes = ledger;
      left.delete(settle);
      this.#settings.settled(settle, settled);
    } finally {
      written(changes);
    }
  }
}

/** By the key of `deliveries`. */
function byPlace({ entry: one }: PendingSettle, { entry: other }: PendingSettle): number {
  return one.target - other.target || codeOfSignal(one.head.signal) - codeOfSignal(other.head.signal) ||
    codeOfEncoding(one.head.encoding) - codeOfEncoding(other.head.encoding) || one.head.id - other.head.id;
}
