/**
 * What one transaction does to the rows and to the books, added up and written once at its end.
 * @module
 */
import { concatenate, discard } from "../../../codec/bytes.ts";
import type { SignalName } from "../../../signal.ts";
import {
  costOfRow,
  type DeadLetter,
  decodeParts,
  encodeParts,
  type RecordHead,
  type Remainder,
  type SettleOp,
  type Totals,
} from "../protocol.ts";
import { addBooks, type Delta, emptyDelta, headOf, type Open, type Row, setMeta, unbind } from "./statements.ts";

/** The operations of one transaction, and what they add up to. */
export class Transaction {
  readonly #open: Open;
  readonly #meta: Row;
  readonly #now: number;
  readonly #deadBytesMax: number;
  readonly #deltas = new Map<SignalName, Delta>();
  #nextId: number;
  #deadRecords: number;
  #deadBytes: number;
  #held: number;

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
    const delta = this.#delta(record.signal);
    delta.accepted += record.items;
    delta.queued += record.items;
  }

  keepDeadLetter(letter: DeadLetter): void {
    this.#insertDeadLetter(letter);
    const delta = this.#delta(letter.signal);
    delta.accepted += letter.items;
    delta.dead += letter.items;
  }

  /** A record that is gone already (a settle that is tried again) moves nothing. */
  settle(op: SettleOp): Remainder | undefined {
    const { sql } = this.#open;
    if (op.kind === "parts") return this.#settleParts(op);
    const row = sql.remove.get(op.id);
    if (row === undefined) return undefined;
    const items = Number(row.items);
    const delta = this.#removed(row);
    if (op.kind === "expired") {
      delta.expired += items;
    } else {
      const rejected = Math.min(op.rejected, items);
      delta.rejected += rejected;
      delta.delivered += items - rejected;
    }
    return undefined;
  }

  finish(): void {
    for (const [signal, delta] of this.#deltas) addBooks(this.#open, signal, delta);
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
    const books = { ...before.books };
    for (const [signal, delta] of this.#deltas) {
      records += delta.records;
      bytes += delta.bytes;
      const { accepted, delivered, rejectedByCollector, deadLettered, expired, abandoned, queued } = books[signal];
      books[signal] = {
        accepted: accepted + delta.accepted,
        delivered: delivered + delta.delivered,
        rejectedByCollector: rejectedByCollector + delta.rejected,
        deadLettered: deadLettered + delta.dead,
        expired: expired + delta.expired,
        abandoned,
        queued: queued + delta.queued,
      };
    }
    return {
      records,
      bytes,
      books,
      deadRecords: this.#deadRecords,
      deadBytes: this.#deadBytes,
      held: this.#held,
      lastId: this.#nextId - 1,
    };
  }

  #settleParts({ id, bytes, outcomes }: SettleOp & { readonly kind: "parts" }): Remainder | undefined {
    const { sql } = this.#open;
    const row = sql.row.get(id);
    if (row === undefined) return undefined;
    // A settle that is tried again after a crash of the Worker may meet a row that it has cut down already: its outcomes are of parts
    // that have gone.
    if (Number(row.bytes) !== bytes) return { id, head: headOf(row), heldRecords: 0 };
    const payload = row.payload as Uint8Array<ArrayBuffer>;
    try {
      return this.#settlePartsOf(headOf(row), payload, outcomes);
    } finally {
      discard(payload);
    }
  }

  #settlePartsOf(
    head: RecordHead,
    payload: Uint8Array<ArrayBuffer>,
    outcomes: (SettleOp & { readonly kind: "parts" })["outcomes"],
  ): Remainder | undefined {
    const { sql } = this.#open;
    const { id } = head;
    const delta = this.#delta(head.signal);
    const retried = new Remnant();
    const held = new Remnant();
    let offset = 0;
    for (const [index, part] of decodeParts(head.parts).entries()) {
      const bytes = payload.subarray(offset, offset + part.bytes);
      offset += part.bytes;
      const outcome = outcomes[index]!;
      const bury = (guilty: Uint8Array, { items, inflatedBytes, reason, status }: Burial): void => {
        if (this.#deadBytes + guilty.length > this.#deadBytesMax) {
          held.add({ sender: part.sender, items, inflatedBytes }, guilty);
          return;
        }
        this.#insertDeadLetter({
          ...head,
          sender: part.sender,
          items,
          bytes: guilty.length,
          inflatedBytes,
          reason,
          status: status ?? null,
          diedAt: this.#now,
          payload: guilty,
        });
        delta.dead += items;
        delta.queued -= items;
      };
      if (outcome.kind === "retry" && outcome.remains === undefined) {
        retried.add(part, bytes);
      } else if (outcome.kind === "retry") {
        const { rest, dead, rejected = 0 } = outcome.remains!;
        const deadItems = Math.min(dead?.items ?? 0, part.items);
        const restItems = Math.min(rest.items, part.items - deadItems);
        const gone = part.items - deadItems - restItems;
        delta.rejected += Math.min(rejected, gone);
        delta.delivered += gone - Math.min(rejected, gone);
        delta.queued -= gone;
        retried.add({ sender: part.sender, items: restItems, inflatedBytes: rest.inflatedBytes }, rest.payload);
        if (dead !== undefined) bury(dead.payload, { ...dead, items: deadItems });
      } else if (outcome.kind === "delivered") {
        const rejected = Math.min(outcome.rejected, part.items);
        delta.rejected += rejected;
        delta.delivered += part.items - rejected;
        delta.queued -= part.items;
      } else {
        const items = Math.min(outcome.items ?? part.items, part.items);
        const rejected = Math.min(outcome.rejected ?? 0, part.items - items);
        delta.rejected += rejected;
        delta.delivered += part.items - items - rejected;
        delta.queued -= part.items - items;
        const { reason, status } = outcome;
        bury(outcome.payload ?? bytes, {
          items,
          inflatedBytes: part.inflatedBytes,
          reason,
          ...(status === undefined ? {} : { status }),
        });
      }
    }
    const heldRecords = held.empty ? 0 : 1;
    this.#held += heldRecords;
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
    return { id, head: retried.empty ? undefined : stayed, heldRecords };
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
    );
    unbind(this.#open, "insert", payload.length);
    const delta = this.#delta(record.signal);
    delta.records += 1;
    delta.bytes += record.cost;
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
    );
    unbind(this.#open, "dead", letter.payload.length);
    this.#deadRecords += 1;
    this.#deadBytes += letter.bytes;
  }

  #removed(row: Row): Delta {
    if (Number(row.held) === 1) this.#held -= 1;
    const delta = this.#delta(row.signal as SignalName);
    delta.queued -= Number(row.items);
    delta.records -= 1;
    delta.bytes -= Number(row.cost);
    return delta;
  }

  #delta(signal: SignalName): Delta {
    let delta = this.#deltas.get(signal);
    if (delta === undefined) this.#deltas.set(signal, delta = emptyDelta());
    return delta;
  }
}

/** A dead letter, but for what it has of its record. */
interface Burial {
  readonly items: number;
  readonly inflatedBytes: number;
  readonly reason: string;
  readonly status?: number;
}

/** Parts of a record that stay after its settle. */
class Remnant {
  readonly #parts: { sender: string; items: number; bytes: number; inflatedBytes: number }[] = [];
  readonly #payloads: Uint8Array[] = [];

  get empty(): boolean {
    return this.#parts.length === 0;
  }

  add(part: { sender: string; items: number; inflatedBytes: number }, payload: Uint8Array): void {
    this.#parts.push({ ...part, bytes: payload.length });
    this.#payloads.push(payload);
  }

  head(of: RecordHead): RecordHead {
    const sum = (pick: (part: { items: number; bytes: number; inflatedBytes: number }) => number) =>
      this.#parts.reduce((total, part) => total + pick(part), 0);
    const bytes = sum((part) => part.bytes);
    const parts = encodeParts(this.#parts);
    return {
      ...of,
      items: sum(({ items }) => items),
      bytes,
      cost: costOfRow(bytes, parts),
      inflatedBytes: sum(({ inflatedBytes }) => inflatedBytes),
      parts,
    };
  }

  payload(): Uint8Array<ArrayBuffer> {
    return concatenate(this.#payloads);
  }
}
