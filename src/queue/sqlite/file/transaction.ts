/**
 * What one transaction does to the rows and to the books, added up and written once at its end.
 * @module
 */
import { OwnedBytes } from "../../../codec/owned_bytes.ts";
import type { SignalName } from "../../../signal.ts";
import type { RecordHead } from "../../record_head.ts";
import { settleParts } from "../../settlement.ts";
import type { DeadLetter, Remainder, SettleOp } from "../protocol.ts";
import { emptyTarget, type Totals } from "../../totals.ts";
import type { TargetId } from "../../queue.ts";
import { OVERLAP } from "./routes.ts";
import { addBooks, type Delta, emptyDelta, headOfRow, type Open, type Row, setMeta, unbind } from "./statements.ts";

/** The operations of one transaction, and what they add up to. */
export class Transaction {
  readonly #open: Open;
  readonly #meta: Row;
  readonly #now: number;
  readonly #deadBytesMax: number;
  /** Dead-letter bytes of a target, counted from its first dead letter on. */
  readonly #deadBytesOf = new Map<TargetId, number>();
  readonly #deltas = new Map<
    string,
    { readonly target: TargetId; readonly signal: SignalName; readonly delta: Delta }
  >();
  #nextId: number;
  #deadRecords: number;
  #deadBytes: number;
  #held: number;

  /** @param deadBytesMax Room for the dead letters of each target, in bytes. */
  constructor(open: Open, meta: Row, now: number, deadBytesMax: number) {
    this.#open = open;
    this.#meta = meta;
    this.#now = now;
    this.#deadBytesMax = deadBytesMax;
    this.#nextId = Number(meta.next_id);
    this.#deadRecords = Number(meta.dead_records);
    this.#deadBytes = Number(meta.dead_bytes);
    this.#held = Number(meta.held);
  }

  append(record: Omit<RecordHead, "id">, payload: Uint8Array): void {
    this.#insert(record, payload, 0);
    for (const target of record.targets) {
      const delta = this.#delta(target, record.signal);
      delta.accepted += record.items;
      delta.queued += record.items;
    }
    const overlap = record.targets.length - 1;
    if (overlap > 0) {
      const delta = this.#delta(OVERLAP, record.signal);
      delta.accepted -= overlap * record.items;
      delta.queued -= overlap * record.items;
    }
  }

  /** A target was left out, because it is full. */
  skip(target: TargetId, signal: SignalName, items: number): void {
    this.#delta(target, signal).skipped += items;
  }

  keepDeadLetter(letter: DeadLetter): void {
    this.#insertDeadLetter(letter);
    const delta = this.#delta(letter.target, letter.signal);
    delta.accepted += letter.items;
    delta.dead += letter.items;
  }

  /** A record that is gone already (a settle that is tried again) moves nothing. */
  settle(op: SettleOp): Remainder | undefined {
    if (op.kind === "parts") return this.#settleParts(op);
    const { id, target, targets } = op;
    const { sql } = this.#open;
    const shared = targets.length > 1;
    const row = shared ? this.#pending(op) : sql.remove.get(id);
    if (row === undefined) return undefined;
    const items = Number(row.items);
    const signal = row.signal as SignalName;
    const delta = this.#delta(target, signal);
    if (op.kind === "expired") {
      delta.expired += items;
    } else {
      const rejected = Math.min(op.rejected, items);
      delta.rejected += rejected;
      delta.delivered += items - rejected;
    }
    if (!shared) {
      if (Number(row.held) === 1) this.#held -= 1;
      delta.queued -= items;
      delta.records -= 1;
      delta.bytes -= Number(row.cost);
      return undefined;
    }
    const stays = this.#done(op, signal, items, Number(row.cost));
    return stays ? { id, target, head: undefined, heldRecords: 0, stays, split: false } : undefined;
  }

  /** The head of a record of several targets, unless this one is done with it. */
  #pending({ id, target }: SettleOp): Row | undefined {
    const { sql } = this.#open;
    return sql.isDone.get(id, target) === undefined ? sql.head.get(id) : undefined;
  }

  /** A target is done with a record of several: it is noted, or the record removed where it was the last. Returns whether it stays. */
  #done({ id, target, targets }: SettleOp, signal: SignalName, items: number, cost: number): boolean {
    const { sql } = this.#open;
    const delta = this.#delta(target, signal);
    delta.queued -= items;
    delta.records -= 1;
    delta.bytes -= cost;
    const stays = targets.some((other) => other !== target && sql.isDone.get(id, other) === undefined);
    if (stays) {
      sql.setDone.run(id, target);
      const overlap = this.#delta(OVERLAP, signal);
      overlap.queued += items;
      overlap.records += 1;
      overlap.bytes += cost;
    } else {
      sql.remove.get(id);
      sql.forgetDone.run(id);
    }
    return stays;
  }

  finish(): void {
    for (const { target, signal, delta } of this.#deltas.values()) addBooks(this.#open, target, signal, delta);
    setMeta(this.#open, this.#meta, {
      next_id: this.#nextId,
      dead_records: this.#deadRecords,
      dead_bytes: this.#deadBytes,
      held: this.#held,
    });
  }

  /** What the totals have become, once it is committed: where no other process has written since `before`. */
  totalsAfter(before: Totals): Totals {
    let { records, bytes } = before;
    const targets = { ...before.targets };
    for (const { target, signal, delta } of this.#deltas.values()) {
      records += delta.records;
      bytes += delta.bytes;
      const known = targets[target] ?? emptyTarget();
      const { accepted, delivered, rejectedByCollector, deadLettered, expired, abandoned, queued } =
        known.books[signal];
      targets[target] = {
        records: known.records + delta.records,
        bytes: known.bytes + delta.bytes,
        skipped: known.skipped + delta.skipped,
        deadRecords: known.deadRecords + delta.deadRecords,
        deadBytes: known.deadBytes + delta.deadBytes,
        books: {
          ...known.books,
          [signal]: {
            accepted: accepted + delta.accepted,
            delivered: delivered + delta.delivered,
            rejectedByCollector: rejectedByCollector + delta.rejected,
            deadLettered: deadLettered + delta.dead,
            expired: expired + delta.expired,
            abandoned,
            queued: queued + delta.queued,
          },
        },
      };
    }
    return {
      records,
      bytes,
      targets,
      deadRecords: this.#deadRecords,
      deadBytes: this.#deadBytes,
      held: this.#held,
      lastId: this.#nextId - 1,
    };
  }

  #settleParts(op: PartsOp): Remainder | undefined {
    const { id, target, targets, bytes } = op;
    const { sql } = this.#open;
    if (targets.length > 1 && this.#pending(op) === undefined) return undefined;
    const row = sql.row.get(id);
    if (row === undefined) return undefined;
    const head = headOfRow(row, targets);
    // A settle that is tried again after a crash of the Worker may meet a row that it has cut down already: its outcomes are of parts
    // that have gone.
    if (head.bytes !== bytes) return { id, target, head, heldRecords: 0, stays: false, split: false };
    using payload = new OwnedBytes(row.payload as Uint8Array<ArrayBuffer>);
    return this.#settlePartsOf(op, head, payload.bytes);
  }

  #settlePartsOf(op: PartsOp, head: RecordHead, payload: Uint8Array): Remainder | undefined {
    const { sql } = this.#open;
    const { id, target, outcomes } = op;
    const delta = this.#delta(target, head.signal);
    let deadBytes: number | undefined;
    const { delivered, rejected, dead, buried, retried, held } = settleParts(head, payload, outcomes, (bytes) => {
      deadBytes ??= this.#deadBytesFor(target);
      if (deadBytes + bytes > this.#deadBytesMax) return false;
      deadBytes += bytes;
      return true;
    });
    delta.delivered += delivered;
    delta.rejected += rejected;
    delta.dead += dead;
    delta.queued -= delivered + rejected + dead;
    for (const { payload, status, ...letter } of buried) {
      this.#insertDeadLetter({
        ...head,
        ...letter,
        target,
        bytes: payload.length,
        status: status ?? null,
        diedAt: this.#now,
        payload,
      });
    }
    const heldRecords = held.empty ? 0 : 1;
    this.#held += heldRecords;
    if (op.targets.length > 1) {
      // The payload is the others' too: what is left of it for this target becomes a record of its own.
      const left = [...(retried.empty ? [] : [[retried, 0] as const]), ...(held.empty ? [] : [[held, 1] as const])];
      let items = 0;
      for (const [remnant, isHeld] of left) {
        const own = { ...remnant.head(head), targets: [target] };
        items += own.items;
        this.#insert(own, remnant.payload(), isHeld);
      }
      // Above, `queued` has lost what found its end; the rest is queued in the records of its own.
      delta.queued += head.items - items;
      const stays = this.#done(op, head.signal, head.items, head.cost);
      delta.queued += items;
      return { id, target, head: undefined, heldRecords, stays, split: !retried.empty };
    }
    if (retried.empty && held.empty) {
      sql.remove.get(id);
      delta.records -= 1;
      delta.bytes -= head.cost;
      return undefined;
    }
    // Where both are left they part company: the held one gets an id of its own, so that it does not hold up the other.
    const staying = retried.empty ? held : retried;
    const stayed = staying.head(head);
    sql.rewrite.run(
      retried.empty ? 1 : 0,
      stayed.items,
      stayed.bytes,
      stayed.inflatedBytes,
      stayed.parts,
      staying.payload(),
      id,
    );
    unbind(this.#open, "rewrite", stayed.bytes);
    delta.bytes += stayed.cost - head.cost;
    if (!retried.empty && !held.empty) this.#insert(held.head(head), held.payload(), 1);
    return { id, target, head: retried.empty ? undefined : stayed, heldRecords, stays: false, split: false };
  }

  #insert(record: Omit<RecordHead, "id">, payload: Uint8Array, held: 0 | 1): void {
    this.#open.sql.insert.run(
      this.#nextId++,
      held,
      record.signal,
      record.encoding,
      record.mergeable ? 1 : 0,
      record.items,
      record.bytes,
      record.inflatedBytes,
      record.enqueuedAt,
      record.parts,
      payload,
      this.#open.routes.idOf(record.targets),
    );
    unbind(this.#open, "insert", payload.length);
    for (const target of record.targets) {
      const delta = this.#delta(target, record.signal);
      delta.records += 1;
      delta.bytes += record.cost;
    }
    const overlap = record.targets.length - 1;
    if (overlap === 0) return;
    const delta = this.#delta(OVERLAP, record.signal);
    delta.records -= overlap;
    delta.bytes -= overlap * record.cost;
  }

  #insertDeadLetter(letter: DeadLetter): void {
    this.#open.sql.dead.run(
      letter.signal,
      letter.encoding,
      letter.mergeable ? 1 : 0,
      letter.sender,
      letter.items,
      letter.bytes,
      letter.inflatedBytes,
      letter.reason,
      letter.status,
      letter.enqueuedAt,
      letter.diedAt,
      letter.payload,
      letter.target,
    );
    unbind(this.#open, "dead", letter.payload.length);
    this.#deadRecords += 1;
    this.#deadBytes += letter.bytes;
    this.#deadBytesOf.set(letter.target, this.#deadBytesFor(letter.target) + letter.bytes);
    const delta = this.#delta(letter.target, letter.signal);
    delta.deadRecords += 1;
    delta.deadBytes += letter.bytes;
  }

  #deadBytesFor(target: TargetId): number {
    return this.#deadBytesOf.get(target) ?? Number(this.#open.sql.deadBytesOf.get(target)?.bytes ?? 0);
  }

  #delta(target: TargetId, signal: SignalName): Delta {
    const key = `${target} ${signal}`;
    let of = this.#deltas.get(key);
    if (of === undefined) this.#deltas.set(key, of = { target, signal, delta: emptyDelta() });
    return of.delta;
  }
}

type PartsOp = SettleOp & { readonly kind: "parts" };
