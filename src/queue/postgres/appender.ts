/**
 * Makes the transactions of appends: what comes in one turn, and what comes while one is under way, shares one. What nobody knows the
 * outcome of is repeated under the same id on another connection, for as long as a sender waits; **a record is safe when this resolves**.
 * @module
 */
import { createHash, randomUUID } from "node:crypto";
import { concatenate } from "../../codec/bytes.ts";
import type { OwnedBytes } from "../../codec/owned_bytes.ts";
import { messageOf, Refusal } from "../../errors.ts";
import { costOfPart } from "../cost.ts";
import type { Accepted, QueueRecord, TargetId } from "../queue.ts";
import type { RecordHead } from "../record_head.ts";
import { codeOfEncoding, codeOfSignal } from "./codes.ts";
import { type Connections, PostgresFailure, type Row } from "./connections.ts";
import { LedgerRows, OVERLAP, sendersOf } from "./ledger.ts";
import type { Room } from "./room.ts";
import { rotate } from "./rotate.ts";
import { APPEND, DISOWN, DISOWN_APPEND } from "./statements.ts";

/** How long an append is tried, in ms: senders wait 10 s. */
const WITHIN_MS = 8_000;
/** The pause before a repetition, in ms. */
const PAUSE_MS = 100;
/** A transaction that takes longer, in ms, holds up no other. */
const SLOW_MS = 250;
/** Bounds of one transaction. */
const BYTES_MAX = 16 * 1024 * 1024;
const RECORDS_MAX = 1024;
/** Appends that were refused and may have been kept all the same, which one relay remembers. */
const DISOWNED_MAX = 10_000;
/**
 * How much of a bound may be left, as a part of it, before the database is asked whether a record fits. What others have appended since this
 * relay's last look, a second ago at most, is not known until then: by so much the bound may be passed.
 */
const NEAR = 1 / 8;

/** Of this text alone: behind a pooler another version of edgeferry may have prepared its own. */
const APPEND_NAME = `append_${createHash("sha256").update(APPEND).digest("hex").slice(0, 16)}`;

/** Serialization failure, deadlock, lock not available. */
const RETRIED_STATES = new Set(["40001", "40P01", "55P03"]);
/** Check violation: there is no partition for these ids yet. */
const NO_PARTITION = "23514";

/** A record that waits for its transaction. */
export interface PendingAppend {
  readonly record: Omit<QueueRecord, "payload">;
  readonly payload: OwnedBytes;
  readonly head: Omit<RecordHead, "id">;
  /** Targets that it would have gone to, and that are full and not required. */
  readonly skipped: readonly TargetId[];
  /** How often the database has found it too large. */
  readonly tries: number;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: unknown) => void;
}

export interface AppenderSettings {
  readonly connections: Connections;
  readonly room: Room;
  /** Most bytes queued; the bound of each target by its number. */
  readonly bytesMax: number;
  bytesMaxOf(target: TargetId): { readonly bytesMax: number; readonly required: boolean };
  /** A test's time in place of the database's, in ms since the Unix epoch. */
  readonly databaseNow?: (() => number) | undefined;
  /** The lease that appends are owned by; undefined where they are nobody's. */
  lease(): number | undefined;
  /** Whether a record would stay in memory, `besideBytes` being about to. */
  keeps(head: Omit<RecordHead, "id">, besideBytes: number): boolean;
  /** A record is safe; its 200 follows. Takes the payload over. @param lease Under which it is owned; undefined where it is anybody's. */
  kept(append: PendingAppend, id: number, lease: number | undefined): void;
  /** Records that the lease owns and this process does not know: their append was repeated. */
  strange(lease: number, appends: readonly PendingAppend[], ids: readonly number[]): void;
  /** The database has no room for it: it is to be refused, or appended anew with what there is room for. Takes it over. */
  tooLarge(append: PendingAppend): void;
  /** Nothing is under way any more, or one ended. @param failed Why nothing was kept. */
  done(failed: string | undefined): void;
}

export class Appender {
  readonly #settings: AppenderSettings;
  #waiting: PendingAppend[] = [];
  readonly #underWay = new Map<Promise<void>, number>();
  #bytes = 0;
  readonly #targetBytes = new Map<TargetId, number>();
  #scheduled = false;
  #slowTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #disowned = new Map<string, number | null>();
  #disowning = false;

  constructor(settings: AppenderSettings) {
    this.#settings = settings;
  }

  /** What the records cost that were appended and are not answered, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  bytesOf(target: TargetId): number {
    return this.#targetBytes.get(target) ?? 0;
  }

  /** How long the oldest transaction under way has taken, in ms. */
  get waitMs(): number {
    const oldest = Math.min(...this.#underWay.values());
    return oldest === Infinity ? 0 : performance.now() - oldest;
  }

  /** Appends that may have been kept although their sender was refused. */
  get disowned(): number {
    return this.#disowned.size;
  }

  append(append: PendingAppend): void {
    this.#count(append, 1);
    this.#waiting.push(append);
    this.#schedule();
  }

  /** Takes out again what was refused and kept all the same, as far as nobody has taken it. @throws {PostgresFailure} */
  async disown(): Promise<void> {
    if (this.#disowning) return;
    this.#disowning = true;
    try {
      for (const [appendId, lease] of [...this.#disowned]) {
        await this.#settings.connections.transaction(async (ask) => {
          const [row] = await ask({ text: DISOWN_APPEND, values: [appendId] });
          await ask({ text: DISOWN, values: [row?.records, lease, costOfPart(0)] });
        }, WITHIN_MS);
        this.#disowned.delete(appendId);
      }
    } finally {
      this.#disowning = false;
    }
  }

  /** Resolves when nothing waits or is under way. */
  async drain(): Promise<void> {
    while (this.#waiting.length + this.#underWay.size > 0) {
      this.#flush();
      await Promise.race(this.#underWay.keys());
    }
  }

  /** Refuses all that has not been sent: the queue is closed. */
  abandon(): void {
    clearTimeout(this.#slowTimer);
    for (const append of this.#waiting.splice(0)) {
      this.#refuse(append, new Refusal("shutting_down", "The relay is shutting down"));
    }
  }

  #count({ head: { cost, targets } }: PendingAppend, by: 1 | -1): void {
    this.#bytes += by * cost;
    for (const target of targets) this.#targetBytes.set(target, this.bytesOf(target) + by * cost);
  }

  #refuse(append: PendingAppend, error: unknown): void {
    this.#count(append, -1);
    append.payload[Symbol.dispose]();
    append.reject(error);
  }

  /** What comes in this turn shares the transaction. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    clearTimeout(this.#slowTimer);
    this.#slowTimer = undefined;
    if (this.#waiting.length === 0) return;
    if (this.#underWay.size > 0) {
      const newest = performance.now() - Math.max(...this.#underWay.values());
      if (newest < SLOW_MS) {
        this.#slowTimer = setTimeout(() => this.#flush(), SLOW_MS - newest);
        return;
      }
    }
    let bytes = 0;
    let count = 0;
    for (const { head } of this.#waiting) {
      if (count === RECORDS_MAX || (count > 0 && bytes + head.bytes > BYTES_MAX)) break;
      bytes += head.bytes;
      count += 1;
    }
    const committing = this.#commit(this.#waiting.splice(0, count)).finally(() => {
      this.#underWay.delete(committing);
      this.#flush();
    });
    this.#underWay.set(committing, performance.now());
  }

  async #commit(batch: readonly PendingAppend[]): Promise<void> {
    const { room } = this.#settings;
    const appendId = randomUUID();
    const lease = this.#settings.lease();
    const ledger = new LedgerRows();
    for (const { head, skipped } of batch) ledger.append(head, skipped);
    const values = this.#valuesOf(batch, appendId, lease, ledger);
    const written = room.write();
    let row: Row;
    try {
      row = await this.#try(values);
    } catch (error) {
      written([]);
      const unknown = error instanceof PostgresFailure && error.kind === "unknown";
      if (unknown && this.#disowned.size < DISOWNED_MAX) this.#disowned.set(appendId, lease ?? null);
      const text = messageOf(error);
      for (const append of batch) this.#refuse(append, new Refusal("storage_failed", text, { unknown }));
      this.#settings.done(text);
      return;
    }
    for (const bound of listOf(row.bytes)) {
      const [target, bytes] = listOf(bound);
      if (row.records === null) room.correct(Number(target), Number(bytes));
    }
    if (row.records === null) {
      written([]);
      for (const append of batch) {
        this.#count(append, -1);
        this.#settings.tooLarge(append);
      }
      return;
    }
    written(ledger.rows);
    const ids = listOf(row.records).map(Number);
    const owner = row.owner === null ? undefined : Number(row.owner);
    if (row.added !== true && lease !== undefined) this.#settings.strange(lease, batch, ids);
    for (const [index, append] of batch.entries()) {
      this.#count(append, -1);
      this.#settings.kept(append, ids[index]!, row.added === true && this.#owns.has(append) ? owner : undefined);
      append.resolve({});
    }
    this.#settings.done(undefined);
  }

  /** Those of what is under way that would stay in memory. */
  readonly #owns = new WeakSet<PendingAppend>();

  #valuesOf(
    batch: readonly PendingAppend[],
    appendId: string,
    lease: number | undefined,
    ledger: LedgerRows,
  ): readonly unknown[] {
    let start = 1;
    let besideBytes = 0;
    const records = batch.map((append, index) => {
      const { signal, encoding, mergeable, items, bytes, cost, inflatedBytes, parts, targets } = append.head;
      const own = lease !== undefined && this.#settings.keeps(append.head, besideBytes);
      if (own) {
        besideBytes += bytes;
        this.#owns.add(append);
      }
      start += bytes;
      return {
        n: index + 1,
        signal: codeOfSignal(signal),
        encoding: codeOfEncoding(encoding),
        mergeable,
        items,
        bytes,
        cost,
        inflated: inflatedBytes,
        parts,
        start: start - bytes,
        own,
        targets,
      };
    });
    const senders = sendersOf(batch.flatMap(({ record }) => record.parts));
    return [
      appendId,
      JSON.stringify(records),
      payloadOf(batch),
      lease ?? null,
      JSON.stringify(ledger.rows),
      JSON.stringify([...senders].map(([sender, bytes]) => ({ sender, bytes }))),
      this.#boundsOf(batch),
      this.#settings.databaseNow?.() ?? null,
    ];
  }

  /** The bounds that the database is to look at: none while all of them are far. */
  #boundsOf(batch: readonly PendingAppend[]): string | null {
    const { room, bytesMax, bytesMaxOf } = this.#settings;
    const coming = new Map<TargetId, number>();
    let all = 0;
    for (const { head: { cost, targets } } of batch) {
      all += cost;
      for (const target of targets) coming.set(target, (coming.get(target) ?? 0) + cost);
    }
    const near = (has: number, comes: number, most: number) => has + comes > most * (1 - NEAR);
    const bounds: [TargetId, number, number][] = [];
    if (near(room.bytes + this.#bytes - all, all, bytesMax)) bounds.push([OVERLAP, all, bytesMax]);
    for (const [target, comes] of coming) {
      const most = bytesMaxOf(target).bytesMax;
      if (near(room.of(target) + this.bytesOf(target) - comes, comes, most)) bounds.push([target, comes, most]);
    }
    return bounds.length === 0 ? null : JSON.stringify(bounds);
  }

  /** @throws {PostgresFailure} `unknown` where it may have been kept, by whichever of the attempts */
  async #try(values: readonly unknown[]): Promise<Row> {
    const { connections } = this.#settings;
    const until = performance.now() + WITHIN_MS;
    let unknown: PostgresFailure | undefined;
    for (;;) {
      try {
        const [row] = await connections.run({ name: APPEND_NAME, text: APPEND, values }, until - performance.now());
        return row!;
      } catch (error) {
        if (!(error instanceof PostgresFailure)) throw error;
        const { kind, sqlState = "" } = error;
        if (kind === "unknown") unknown = error;
        const again = unknown !== undefined || RETRIED_STATES.has(sqlState) || sqlState === NO_PARTITION;
        if (!again || performance.now() + PAUSE_MS >= until) throw unknown ?? error;
        if (sqlState === NO_PARTITION) await this.#rotate(until);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  async #rotate(until: number): Promise<void> {
    try {
      await rotate(this.#settings.connections, until - performance.now());
    } catch (error) {
      // Another relay may have done it, and the append shows it.
      if (!(error instanceof PostgresFailure)) throw error;
    }
  }
}

/** Payloads one behind the other. */
function payloadOf(batch: readonly PendingAppend[]): Uint8Array {
  return batch.length === 1 ? batch[0]!.payload.bytes : concatenate(batch.map(({ payload }) => payload.bytes));
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
