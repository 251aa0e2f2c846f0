/**
 * The statements of the queue's file, prepared once a connection, and what is shared by all that run them.
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { SignalName } from "../../../signal.ts";
import { costOfPart, RECORD_BYTES } from "../../cost.ts";
import type { PayloadEncoding, TargetId } from "../../queue.ts";
import type { MarkFile } from "./mark.ts";
import type { FileWatch } from "./presence.ts";
import type { ClockStep } from "../protocol.ts";
import { type Totals, totalsOf } from "../../totals.ts";
import type { RecordHead } from "../../record_head.ts";
import type { Routes } from "./routes.ts";
import type { Salvage } from "./salvage.ts";

/** Held records that one release may free. */
const RELEASE_MAX = 256;

/** Pages given back to the file system at a time: 1 MiB. */
export const VACUUM_PAGES = 256;

/** A row, as `node:sqlite` gives it. */
export type Row = Record<string, unknown>;

/** What one transaction adds to a signal's books. */
export interface Delta {
  accepted: number;
  delivered: number;
  rejected: number;
  dead: number;
  expired: number;
  skipped: number;
  queued: number;
  records: number;
  bytes: number;
  deadRecords: number;
  deadBytes: number;
}

/** What a row costs the queue, as {@link costOfRow} has it. */
export const COST = `bytes + length(parts) + ${RECORD_BYTES}`;

const HEAD = `id, signal, encoding, mergeable, items, bytes, ${COST} AS cost, inflated_bytes, enqueued_at, parts`;

const STATEMENTS = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
  meta: "SELECT identity, next_id, dead_records, dead_bytes, held FROM meta",
  setMeta: "UPDATE meta SET next_id = ?, dead_records = ?, dead_bytes = ?, held = ?",
  setBounds: "UPDATE meta SET bytes_max = ?, dead_letter_bytes_max = ?",
  salvages: "SELECT name, after, records, done FROM salvages",
  addSalvage: "INSERT INTO salvages VALUES (?, ?, ?, ?)",
  setSalvage: "UPDATE salvages SET after = ?, records = ?, done = ? WHERE name = ?",
  removeSalvage: "DELETE FROM salvages WHERE name = ?",
  books: "SELECT * FROM books",
  addBooks:
    `UPDATE books SET accepted = accepted + ?, delivered = delivered + ?, rejected = rejected + ?, dead = dead + ?,
    expired = expired + ?, skipped = skipped + ?, queued = queued + ?, records = records + ?, bytes = bytes + ?,
    dead_records = dead_records + ?, dead_bytes = dead_bytes + ? WHERE target = ? AND signal = ?`,
  addAbandoned:
    "UPDATE books SET accepted = accepted + ?1, abandoned = abandoned + ?1 WHERE target = ?2 AND signal = ?3",
  // This and `dead` do nothing without a payload: see `unbind`.
  insert: "INSERT INTO records SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 WHERE ?11 IS NOT NULL",
  remove: `DELETE FROM records WHERE id = ? RETURNING signal, items, ${COST} AS cost, held`,
  row: `SELECT ${HEAD}, held, payload FROM records WHERE id = ?`,
  payload: "SELECT payload FROM records WHERE id = ?",
  rewrite: "UPDATE records SET held = ?, items = ?, bytes = ?, inflated_bytes = ?, parts = ?, payload = ? WHERE id = ?",
  dead: `INSERT INTO dead_letters (signal, encoding, mergeable, sender, items, bytes, inflated_bytes, reason, status,
    enqueued_at, died_at, payload, target) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
    WHERE ?12 IS NOT NULL`,
  read: `SELECT ${HEAD}, CASE WHEN bytes <= ? THEN payload END AS payload FROM records
    WHERE held = 0 AND signal = ? AND encoding = ? AND route = ? AND id > ? ORDER BY id`,
  head: `SELECT ${HEAD} FROM records WHERE id = ?`,
  routeOf: "SELECT route FROM records WHERE id = ?",
  isDone: "SELECT 1 FROM done WHERE record = ? AND target = ?",
  setDone: "INSERT OR IGNORE INTO done VALUES (?, ?)",
  forgetDone: "DELETE FROM done WHERE record = ?",
  deadBytesOf: "SELECT sum(dead_bytes) AS bytes FROM books WHERE target = ?",
  heldFitting:
    `SELECT ${HEAD} FROM records WHERE held = 1 AND route = ? AND bytes <= ? ORDER BY bytes LIMIT ${RELEASE_MAX}`,
  release: "UPDATE records SET held = 0 WHERE id = ?",
  releaseAll: "UPDATE records SET held = 0 WHERE held = 1",
  oldest: "SELECT id, enqueued_at FROM records ORDER BY id LIMIT 1",
  senders: `SELECT json_extract(part.value, '$[0]') AS sender,
    sum(json_extract(part.value, '$[2]') + ${costOfPart(0)}) AS bytes
    FROM (SELECT parts FROM records WHERE json_valid(parts)) AS record, json_each(record.parts) AS part
    WHERE part.type = 'array' GROUP BY 1`,
  clockSteps: "SELECT after_id, ms FROM clock_steps ORDER BY rowid",
  addClockStep: "INSERT INTO clock_steps VALUES (?, ?)",
  // Steps that no record is left from.
  forgetClockSteps: "DELETE FROM clock_steps WHERE after_id < (SELECT coalesce(min(id), 9e15) FROM records)",
  dataVersion: "PRAGMA data_version",
  walState: "PRAGMA wal_checkpoint(NOOP)",
  checkpoint: "PRAGMA wal_checkpoint(PASSIVE)",
  truncate: "PRAGMA wal_checkpoint(TRUNCATE)",
  freePages: "PRAGMA freelist_count",
  allPages: "PRAGMA page_count",
  vacuum: `PRAGMA incremental_vacuum(${VACUUM_PAGES})`,
} as const;

/** All of them, prepared. */
export type Statements = Record<keyof typeof STATEMENTS, StatementSync>;

/** The file, open; everything about it is in this one place, so that closing forgets it all. */
export interface Open {
  readonly db: DatabaseSync;
  readonly sql: Statements;
  mark: MarkFile;
  readonly watch: FileWatch;
  readonly routes: Routes;
  readonly identity: number;
  /** Where ids go on: the main side knows the rows below. */
  nextId: number;
  dataVersion: number;
  totals: Totals;
  salvage: Salvage | undefined;
}

/** Prepares them on a connection. */
export function prepareStatements(db: DatabaseSync): Statements {
  return Object.fromEntries(Object.entries(STATEMENTS).map(([name, text]) => [name, db.prepare(text)])) as Statements;
}

/** One transaction; rolled back where `work` throws. `committed` is told after the commit. */
export function inTransaction(
  { db, sql, routes }: Pick<Open, "db" | "sql" | "routes">,
  work: () => void,
  committed?: () => void,
): void {
  sql.begin.run();
  try {
    work();
    sql.commit.run();
    routes.committed();
    committed?.();
  } catch (error) {
    routes.rolledBack();
    if (db.isTransaction) sql.rollback.run();
    throw error;
  }
}

/**
 * The totals as the tables have them; they are remembered as those of the last transaction. `nextId` is not: it alone shows that
 * another process has inserted rows, and code that moves it must report them.
 */
export function readTotals(open: Open): Totals {
  const meta = open.sql.meta.get() as Row;
  open.totals = {
    ...totalsOf(open.sql.books.all(), (signal) => String(signal) as SignalName),
    deadRecords: Number(meta.dead_records),
    deadBytes: Number(meta.dead_bytes),
    held: Number(meta.held),
    lastId: Number(meta.next_id) - 1,
  };
  return open.totals;
}

/** By how much the clock was set since the records were appended that are left. */
export function clockStepsOf({ sql }: Pick<Open, "sql">): ClockStep[] {
  sql.forgetClockSteps.run();
  return sql.clockSteps.all().map(({ after_id, ms }) => ({ afterId: Number(after_id), ms: Number(ms) }));
}

/** A record without its payload. @param targets Of its route. */
export function headOfRow(row: Row, targets: readonly TargetId[]): RecordHead {
  return {
    id: Number(row.id),
    targets,
    signal: row.signal as SignalName,
    encoding: row.encoding as PayloadEncoding,
    mergeable: row.mergeable === 1,
    items: Number(row.items),
    bytes: Number(row.bytes),
    cost: Number(row.cost),
    inflatedBytes: Number(row.inflated_bytes),
    enqueuedAt: Number(row.enqueued_at),
    parts: String(row.parts),
  };
}

/** No change. */
export function emptyDelta(): Delta {
  const items = { accepted: 0, delivered: 0, rejected: 0, dead: 0, expired: 0, skipped: 0, queued: 0 };
  return { ...items, records: 0, bytes: 0, deadRecords: 0, deadBytes: 0 };
}

/** Adds to the books of a target and a signal. */
export function addBooks(open: Pick<Open, "sql">, target: TargetId, signal: SignalName, delta: Delta): void {
  const { accepted, delivered, rejected, dead, expired, skipped, queued, records, bytes, deadRecords, deadBytes } =
    delta;
  open.sql.addBooks.run(
    accepted,
    delivered,
    rejected,
    dead,
    expired,
    skipped,
    queued,
    records,
    bytes,
    deadRecords,
    deadBytes,
    target,
    signal,
  );
}

/** Changes some of the one row of `meta`; the rest is as `meta` says. */
export function setMeta(
  open: Pick<Open, "sql">,
  meta: Row,
  changes: { next_id?: number; dead_records?: number; dead_bytes?: number; held?: number },
): void {
  const value = (name: keyof typeof changes) => changes[name] ?? Number(meta[name]);
  open.sql.setMeta.run(value("next_id"), value("dead_records"), value("dead_bytes"), value("held"));
}

/** A payload of this size on, in bytes, is not left bound to its statement. */
const BOUND_BYTES_MAX = 256 * 1024;

/** How many values are bound to the statements that a payload is bound to. */
const BINDINGS = { insert: 12, dead: 13, rewrite: 7 } as const;

/** Binds nulls, for which these statements do nothing: SQLite keeps its copy of a payload until something else is bound. */
export function unbind({ sql }: Open, statement: keyof typeof BINDINGS, payloadBytes: number): void {
  if (payloadBytes >= BOUND_BYTES_MAX) sql[statement].run(...Array<null>(BINDINGS[statement]).fill(null));
}
