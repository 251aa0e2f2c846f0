/**
 * A queue's file from outside, while a relay may be writing it: what it holds, its dead letters, and their way back.
 * @module
 */
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../errors.ts";
import type { SignalName } from "../../signal.ts";
import {
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterGroup,
  type DeadLetterHead,
  type DropResult,
  type GroupedDeadLetters,
  type QueueSnapshot,
  queueSnapshotOf,
  type ReplayResult,
  type ReplaySelection,
} from "../inspection.ts";
import type { PayloadEncoding } from "../queue.ts";
import { appendedAt } from "./clock_steps.ts";
import { costOfRow, encodeParts } from "../record_head.ts";
import { totalsOf } from "../totals.ts";
import { Routes } from "./file/routes.ts";
import { openBeside } from "./file/schema.ts";
import { sqliteFaultOf, StorageError } from "../storage_error.ts";

/** Dead letters looked at for groups, the newest first: whoever looks at a page does not wait for more. */
const GROUPED_MAX = 5_000;

/** Bounds of one transaction of a replay: the relay's own wait behind it. */
const REPLAY_RECORDS = 128;
const REPLAY_BYTES = 4 * 1024 * 1024;

/** The pause after each, in ms, in which the relay gets its turn: SQLite's lock has no queue. */
const REPLAY_PAUSE_MS = 20;

type Row = Record<string, unknown>;

/**
 * The totals of the queue at `path`.
 * @throws {StorageError} `missing`, `not_a_queue`, `newer_version`, `older_version` or `unusable`
 */
export function queueStats(path: string): QueueSnapshot {
  return beside(path, { readOnly: true }, (db) => {
    // One transaction: the totals and the oldest row are of the same moment.
    db.exec("BEGIN");
    const meta = db.prepare("SELECT * FROM meta").get() as Row;
    const rows: Row[] = db.prepare("SELECT * FROM books").all();
    const oldest = db.prepare("SELECT id, enqueued_at FROM records ORDER BY id LIMIT 1").get();
    const steps = db.prepare("SELECT after_id, ms FROM clock_steps ORDER BY rowid").all()
      .map(({ after_id, ms }) => ({ afterId: Number(after_id), ms: Number(ms) }));
    const names = db.prepare("SELECT id, name FROM targets ORDER BY id").all();
    db.exec("COMMIT");
    return queueSnapshotOf({
      path,
      bytesMax: Number(meta.bytes_max),
      deadLetterBytesMax: Number(meta.dead_letter_bytes_max),
      oldestAt: oldest === undefined ? undefined : appendedAt(steps, Number(oldest.id), Number(oldest.enqueued_at)),
      totals: {
        ...totalsOf(rows, (signal) => signal as SignalName),
        deadRecords: Number(meta.dead_records),
        deadBytes: Number(meta.dead_bytes),
        held: Number(meta.held),
      },
      names: names.map(({ id, name }) => [Number(id), String(name)] as const),
    });
  });
}

/**
 * The dead letters of the queue at `path`, oldest first unless the newest are asked for, at most `limit`.
 * @throws {StorageError} as {@link queueStats}
 */
export function listDeadLetters(
  path: string,
  options: DeadLetterFilter & { readonly limit: number; readonly newestFirst?: boolean },
): DeadLetterHead[] {
  return beside(path, { readOnly: true }, (db) => {
    const { condition, values } = conditionOf(options);
    const order = options.newestFirst === true ? "DESC" : "ASC";
    const rows = db.prepare(`SELECT ${HEAD} FROM dead_letters WHERE ${condition} ORDER BY id ${order} LIMIT :limit`)
      .all({ ...values, limit: options.limit });
    return rows.map(headOf);
  });
}

/**
 * The dead letter of an id, with what was sent; undefined where there is none.
 * @throws {StorageError} as {@link queueStats}
 */
export function readDeadLetter(path: string, id: number): DeadLetter | undefined {
  return beside(path, { readOnly: true }, (db) => {
    const row = db.prepare(`SELECT ${HEAD}, payload FROM dead_letters WHERE id = ?`).get(id);
    return row === undefined ? undefined : { ...headOf(row), payload: row.payload as Uint8Array };
  });
}

/**
 * The newest dead letters by sender, signal and reason, those of which the last died last first.
 * @returns `ungrouped`: older ones that have not been looked at
 * @throws {StorageError} as {@link queueStats}
 */
export function groupDeadLetters(
  path: string,
  options: { readonly limit: number },
): GroupedDeadLetters {
  return beside(path, { readOnly: true }, (db) => {
    const all = Number(db.prepare("SELECT count(*) AS all_of_them FROM dead_letters").get()?.all_of_them);
    const rows = db.prepare(
      `SELECT sender, signal, reason, status, count(*) AS records, sum(items) AS items, sum(bytes) AS bytes,
         min(died_at) AS first_at, max(died_at) AS last_at
       FROM (SELECT sender, signal, reason, status, items, bytes, died_at FROM dead_letters ORDER BY id DESC LIMIT ?)
       GROUP BY 1, 2, 3, 4 ORDER BY last_at DESC`,
    ).all(GROUPED_MAX);
    const groups = rows.slice(0, options.limit).map((row): DeadLetterGroup => ({
      sender: String(row.sender),
      signal: row.signal as SignalName,
      reason: String(row.reason),
      status: row.status === null ? undefined : Number(row.status),
      records: Number(row.records),
      items: Number(row.items),
      bytes: Number(row.bytes),
      firstAt: Number(row.first_at),
      lastAt: Number(row.last_at),
    }));
    return { groups, groupsMore: rows.length - groups.length, ungrouped: Math.max(0, all - GROUPED_MAX) };
  });
}

/**
 * Puts dead letters back into the queue, as new records at its end, in bounded transactions; the books move with them. A
 * relay that runs sees them within about a second. What does not fit into the queue stays a dead letter.
 * @throws {StorageError} as {@link queueStats}, `read_only` or `disk_full`; what has been replayed until then stays so
 */
export async function replayDeadLetters(path: string, selection: ReplaySelection = {}): Promise<ReplayResult> {
  const db = openOrThrow(path, { readOnly: false });
  try {
    const wanted = idsOf(db, selection);
    const unknown = selection.ids?.filter((id) => !wanted.includes(id)) ?? [];
    let replayed = 0;
    let next = 0;
    while (next < wanted.length) {
      const step = replayStep(db, wanted.slice(next, next + REPLAY_RECORDS));
      next += step.seen;
      replayed += step.moved;
      selection.onProgress?.({ replayed, total: wanted.length });
      if (step.full) return { replayed, left: wanted.length - next, unknown, stoppedBy: "queue_full" };
      if (next < wanted.length) await new Promise((resolve) => setTimeout(resolve, REPLAY_PAUSE_MS));
    }
    return { replayed, left: 0, unknown, stoppedBy: undefined };
  } catch (error) {
    throw readable(path, error);
  } finally {
    db.close();
  }
}

/**
 * Drops dead letters for good, in bounded transactions. In the books they stay what they are: dead-lettered.
 * @throws {StorageError} as {@link replayDeadLetters}; what has been dropped until then is gone
 */
export async function dropDeadLetters(path: string, filter: DeadLetterFilter): Promise<DropResult> {
  const db = openOrThrow(path, { readOnly: false });
  try {
    const wanted = idsOf(db, filter);
    const unknown = filter.ids?.filter((id) => !wanted.includes(id)) ?? [];
    let dropped = 0;
    for (let next = 0; next < wanted.length; next += REPLAY_RECORDS) {
      if (next > 0) await new Promise((resolve) => setTimeout(resolve, REPLAY_PAUSE_MS));
      dropped += dropStep(db, wanted.slice(next, next + REPLAY_RECORDS));
    }
    return { dropped, unknown };
  } catch (error) {
    throw readable(path, error);
  } finally {
    db.close();
  }
}

function dropStep(db: DatabaseSync, ids: readonly number[]): number {
  db.prepare("BEGIN IMMEDIATE").run();
  try {
    const remove = db.prepare("DELETE FROM dead_letters WHERE id = ? RETURNING target, signal, bytes");
    const book = db.prepare(
      "UPDATE books SET dead_records = dead_records - 1, dead_bytes = dead_bytes - ? WHERE target = ? AND signal = ?",
    );
    const gone = ids.flatMap((id): Row[] => remove.all(id));
    for (const { target, signal, bytes } of gone) book.run(Number(bytes), Number(target), String(signal));
    db.prepare("UPDATE meta SET dead_records = dead_records - ?, dead_bytes = dead_bytes - ?")
      .run(gone.length, sumOf(gone, "bytes"));
    db.prepare("COMMIT").run();
    return gone.length;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

const HEAD = "id, signal, encoding, sender, items, bytes, reason, status, enqueued_at, died_at";

function headOf(row: Row): DeadLetterHead {
  return {
    id: Number(row.id),
    signal: row.signal as SignalName,
    encoding: row.encoding as PayloadEncoding,
    sender: String(row.sender),
    items: Number(row.items),
    bytes: Number(row.bytes),
    reason: String(row.reason),
    status: row.status === null ? undefined : Number(row.status),
    enqueuedAt: Number(row.enqueued_at),
    diedAt: Number(row.died_at),
  };
}

function conditionOf({ ids, signal, sender, reason, diedBefore }: DeadLetterFilter) {
  return {
    condition:
      `(:ids IS NULL OR id IN (SELECT value FROM json_each(:ids))) AND (:signal IS NULL OR signal = :signal) AND (:sender IS NULL OR sender = :sender)
      AND (:reason IS NULL OR instr(reason, :reason) > 0) AND (:diedBefore IS NULL OR died_at <= :diedBefore)`,
    values: {
      ids: ids === undefined ? null : JSON.stringify(ids),
      signal: signal ?? null,
      sender: sender ?? null,
      reason: reason ?? null,
      diedBefore: diedBefore ?? null,
    },
  };
}

function idsOf(db: DatabaseSync, filter: DeadLetterFilter): number[] {
  const { condition, values } = conditionOf(filter);
  const rows = db.prepare(`SELECT id FROM dead_letters WHERE ${condition} ORDER BY id`).all(values);
  return rows.map(({ id }) => Number(id));
}

/** One transaction. `seen` of the ids are dealt with: moved, or gone meanwhile. */
function replayStep(db: DatabaseSync, ids: readonly number[]): { seen: number; moved: number; full: boolean } {
  db.prepare("BEGIN IMMEDIATE").run();
  try {
    const meta = db.prepare("SELECT next_id, bytes_max, dead_records, dead_bytes FROM meta").get() as Row;
    let queuedBytes = sumOf(db.prepare("SELECT bytes FROM books").all(), "bytes");
    let nextId = Number(meta.next_id);
    const select = db.prepare("SELECT * FROM dead_letters WHERE id = ?");
    const routes = new Routes(db);
    const insert = db.prepare("INSERT INTO records VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    const remove = db.prepare("DELETE FROM dead_letters WHERE id = ?");
    const book = db.prepare(
      `UPDATE books SET dead = dead - ?1, queued = queued + ?1, records = records + 1, bytes = bytes + ?2,
        dead_records = dead_records - 1, dead_bytes = dead_bytes - ?3 WHERE target = ?4 AND signal = ?5`,
    );
    let seen = 0;
    let moved = 0;
    let movedBytes = 0;
    let full = false;
    const now = Date.now();
    for (const id of ids) {
      if (movedBytes >= REPLAY_BYTES) break;
      const row = select.get(id);
      seen += 1;
      if (row === undefined) continue;
      const [items, bytes, inflatedBytes] = [Number(row.items), Number(row.bytes), Number(row.inflated_bytes)];
      const parts = encodeParts([{ sender: String(row.sender), items, bytes, inflatedBytes }]);
      const cost = costOfRow(bytes, parts);
      if (queuedBytes + cost > Number(meta.bytes_max)) {
        full = true;
        seen -= 1;
        break;
      }
      const { signal, encoding, mergeable, payload } = row as Record<string, string>;
      // Its age counts from now: under a max_age it would otherwise expire before it is tried again.
      const target = Number(row.target);
      // For the target alone that set it aside.
      const route = routes.idOf([target]);
      insert.run(nextId++, signal!, encoding!, mergeable!, items, bytes, inflatedBytes, now, parts, payload!, route);
      remove.run(id);
      book.run(items, cost, bytes, target, signal!);
      queuedBytes += cost;
      movedBytes += bytes;
      moved += 1;
    }
    db.prepare("UPDATE meta SET next_id = ?, dead_records = dead_records - ?, dead_bytes = dead_bytes - ?")
      .run(nextId, moved, movedBytes);
    db.prepare("COMMIT").run();
    return { seen, moved, full };
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

function beside<T>(path: string, access: { readonly readOnly: boolean }, work: (db: DatabaseSync) => T): T {
  const db = openOrThrow(path, access);
  try {
    return work(db);
  } catch (error) {
    throw readable(path, error);
  } finally {
    db.close();
  }
}

/** Opens a queue's file for a command. @throws {StorageError} */
export function openOrThrow(path: string, access: { readonly readOnly: boolean }): DatabaseSync {
  if (!existsSync(path)) {
    throw new StorageError(
      "missing",
      {
        what: `Cannot read queue ${path}`,
        state: "there is no such file",
        remedy: "name the relay's sending_queue.path",
      },
    );
  }
  try {
    return openBeside(path, access);
  } catch (error) {
    throw readable(path, error);
  }
}

/** What a command's use of the file threw, as people are told. */
export function readable(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const cause = { cause: error };
  switch (sqliteFaultOf(error)) {
    case "read_only":
      return new StorageError(
        "read_only",
        { what: `Cannot write queue ${path}`, state: "it is read-only for this user", remedy: "run as the relay's" },
        cause,
      );
    case "full":
      return new StorageError("disk_full", {
        what: `Cannot write queue ${path}`,
        state: "its disk is full",
        remedy: "free space there",
      }, cause);
    case "busy":
      return new StorageError(
        "locked",
        { what: `Cannot use queue ${path}`, state: "another process keeps it locked", remedy: "end its transaction" },
        cause,
      );
    case "corrupt":
      return new StorageError(
        "unusable",
        {
          what: `Cannot read queue ${path}`,
          state: "it is damaged or no database",
          remedy: "the relay sets a damaged queue aside when it starts",
        },
        cause,
      );
    default:
      return new StorageError("unusable", {
        what: `Cannot use queue ${path}`,
        state: messageOf(error),
        remedy: "check owner and mode",
      }, cause);
  }
}

function sumOf(rows: readonly Row[], column: string): number {
  return rows.reduce((sum, row) => sum + Number(row[column]), 0);
}
