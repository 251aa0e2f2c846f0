/**
 * What becomes of records that wait for a target which is not configured any more: they go to another, or are given up. A relay may be
 * running. These are the only ways out, so that a typo in the configuration deletes nothing.
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { SIGNAL_NAMES, type SignalName } from "../../signal.ts";
import type { MoveResult } from "../inspection.ts";
import type { TargetId } from "../queue.ts";
import { openOrThrow, readable } from "./inspect.ts";
import { addBook, OVERLAP, Routes } from "./file/routes.ts";
import { COST } from "./file/statements.ts";
import { StorageError } from "../storage_error.ts";

/** Bounds of one transaction: the relay's own wait behind it. */
const STEP_RECORDS = 128;
const STEP_BYTES = 4 * 1024 * 1024;

/** The pause after each, in ms, in which the relay gets its turn: SQLite's lock has no queue. */
const PAUSE_MS = 20;

type Row = Record<string, unknown>;

/**
 * Moves all that waits for one target, and its dead letters, to another. A relay that runs sees them within about a second; what it has in
 * flight for the first target may arrive at both. A record that the other target has or had already is not given to it twice.
 * @throws {StorageError} as {@link queueStats}; `missing` where the file knows no such target. What has been moved until then stays so.
 */
export function moveTarget(path: string, from: string, to: string): Promise<MoveResult> {
  return inSteps(path, from, to);
}

/**
 * Gives up all that waits for a target: the books count it as abandoned. Dead letters stay.
 * @throws {StorageError} as {@link moveTarget}
 */
export function abandonTarget(path: string, name: string): Promise<MoveResult> {
  return inSteps(path, name, undefined);
}

async function inSteps(path: string, fromName: string, toName: string | undefined): Promise<MoveResult> {
  const db = openOrThrow(path, { readOnly: false });
  try {
    const from = numberOf(db, path, fromName);
    const to = toName === undefined ? undefined : numberOf(db, path, toName);
    if (from === to) {
      throw new StorageError("missing", {
        what: `Cannot move target ${fromName}`,
        state: "it would go to itself",
        remedy: "name another target",
      });
    }
    let records = 0;
    let items = 0;
    for (;;) {
      const step = inOne(db, () => new Step(db, from, to).run());
      records += step.records;
      items += step.items;
      if (step.records === 0) break;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    const deadLetters = to === undefined ? 0 : inOne(db, () => moveDeadLetters(db, from, to));
    return { records, items, deadLetters };
  } catch (error) {
    throw readable(path, error);
  } finally {
    db.close();
  }
}

function numberOf(db: DatabaseSync, path: string, name: string): TargetId {
  const { targets } = new Routes(db);
  for (const [id, known] of targets) if (known === name) return id;
  const known = [...targets.values()].join(", ");
  throw new StorageError("missing", {
    what: `Cannot find target ${name}`,
    state: `queue ${path} does not have it`,
    remedy: `name one of these: ${known}`,
  });
}

function inOne<T>(db: DatabaseSync, work: () => T): T {
  db.prepare("BEGIN IMMEDIATE").run();
  try {
    const result = work();
    db.prepare("COMMIT").run();
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** One transaction's worth of records. */
class Step {
  readonly #db: DatabaseSync;
  readonly #from: TargetId;
  readonly #to: TargetId | undefined;
  readonly #routes: Routes;
  #nextId: number;
  #held = 0;

  constructor(db: DatabaseSync, from: TargetId, to: TargetId | undefined) {
    this.#db = db;
    this.#from = from;
    this.#to = to;
    this.#routes = new Routes(db);
    this.#nextId = Number(db.prepare("SELECT next_id FROM meta").get()?.next_id);
  }

  run(): { readonly records: number; readonly items: number } {
    const row = this.#db.prepare(`SELECT *, ${COST} AS cost FROM records WHERE id = ?`);
    let records = 0;
    let items = 0;
    let bytes = 0;
    for (const { id, targets } of this.#waiting()) {
      if (records >= STEP_RECORDS || bytes >= STEP_BYTES) break;
      const record = row.get(id) as Row;
      this.#leave(record, targets);
      records += 1;
      items += Number(record.items);
      bytes += Number(record.bytes);
    }
    this.#db.prepare("UPDATE meta SET next_id = ?, held = held - ?").run(this.#nextId, this.#held);
    return { records, items };
  }

  /** The oldest that wait for the target, by the index that has their route. */
  #waiting(): { readonly id: number; readonly targets: readonly TargetId[] }[] {
    const fresh = this.#db.prepare(
      `SELECT id FROM records WHERE held = 0 AND signal = ? AND encoding = ? AND route = ?
        AND NOT EXISTS (SELECT 1 FROM done WHERE record = records.id AND target = ?) ORDER BY id LIMIT ${STEP_RECORDS}`,
    );
    const held = this.#db.prepare(`SELECT id FROM records WHERE held = 1 AND route = ? LIMIT ${STEP_RECORDS}`);
    const found: { id: number; targets: readonly TargetId[] }[] = [];
    for (const { id: route, targets } of this.#routes.to(this.#from)) {
      const add = (row: Row) => found.push({ id: Number(row.id), targets });
      for (const signal of SIGNAL_NAMES) {
        for (const encoding of ["gzip", "identity"]) fresh.all(signal, encoding, route, this.#from).forEach(add);
      }
      held.all(route).forEach(add);
    }
    return found.sort((a, b) => a.id - b.id);
  }

  #leave(row: Row, targets: readonly TargetId[]): void {
    const [id, items, cost] = [Number(row.id), Number(row.items), Number(row.cost)];
    const signal = row.signal as SignalName;
    const to = this.#to;
    const stays = targets.some((other) => other !== this.#from && !this.#isDone(id, other));
    const goes = to !== undefined && !targets.includes(to);
    if (goes) {
      this.#db.prepare("INSERT INTO records VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)").run(
        this.#nextId++,
        signal,
        String(row.encoding),
        Number(row.mergeable),
        items,
        Number(row.bytes),
        Number(row.inflated_bytes),
        Number(row.enqueued_at),
        String(row.parts),
        row.payload as Uint8Array,
        this.#routes.idOf([to]),
      );
      this.#book(to, signal, { accepted: items, queued: items, records: 1, bytes: cost });
    }
    const moved = to === undefined ? { abandoned: items } : { accepted: -items };
    this.#book(this.#from, signal, { ...moved, queued: -items, records: -1, bytes: -cost });
    // What all targets together have lost or gained, and the door has not.
    const overlap = { accepted: to !== undefined && !goes ? items : 0, queued: 0, records: 0, bytes: 0 };
    if (stays) {
      this.#db.prepare("INSERT OR IGNORE INTO done VALUES (?, ?)").run(id, this.#from);
      this.#book(OVERLAP, signal, { ...overlap, queued: items, records: 1, bytes: cost });
    } else {
      if (Number(row.held) === 1) this.#held += 1;
      this.#db.prepare("DELETE FROM records WHERE id = ?").run(id);
      this.#db.prepare("DELETE FROM done WHERE record = ?").run(id);
      if (overlap.accepted > 0) this.#book(OVERLAP, signal, overlap);
    }
  }

  #isDone(id: number, target: TargetId): boolean {
    return this.#db.prepare("SELECT 1 FROM done WHERE record = ? AND target = ?").get(id, target) !== undefined;
  }

  #book(
    target: TargetId,
    signal: SignalName,
    change: { accepted?: number; abandoned?: number; queued: number; records: number; bytes: number },
  ): void {
    const { accepted = 0, abandoned = 0, queued, records, bytes } = change;
    addBook(this.#db, target, signal);
    this.#db.prepare(
      `UPDATE books SET accepted = accepted + ?, abandoned = abandoned + ?, queued = queued + ?, records = records + ?,
        bytes = bytes + ? WHERE target = ? AND signal = ?`,
    ).run(accepted, abandoned, queued, records, bytes, target, signal);
  }
}

/** Dead letters are few: all in one transaction. */
function moveDeadLetters(db: DatabaseSync, from: TargetId, to: TargetId): number {
  const rows = db.prepare(
    "SELECT signal, count(*) AS letters, sum(items) AS items, sum(bytes) AS bytes FROM dead_letters WHERE target = ? GROUP BY signal",
  ).all(from);
  db.prepare("UPDATE dead_letters SET target = ? WHERE target = ?").run(to, from);
  // What dropped dead letters left behind in the account stays where it is.
  const book = db.prepare(
    `UPDATE books SET accepted = accepted + ?1, dead = dead + ?1, dead_records = dead_records + ?2, dead_bytes = dead_bytes + ?3
      WHERE target = ?4 AND signal = ?5`,
  );
  let moved = 0;
  for (const { signal, letters, items, bytes } of rows) {
    const counts = [Number(items), Number(letters), Number(bytes)] as const;
    book.run(-counts[0], -counts[1], -counts[2], from, String(signal));
    book.run(...counts, to, String(signal));
    moved += counts[1];
  }
  return moved;
}
