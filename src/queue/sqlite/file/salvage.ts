/**
 * Getting out of a damaged file what SQLite can still read, a bounded step at a time.
 * @module
 */
import { existsSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { SIGNAL_NAMES, type SignalName } from "../../../signal.ts";
import type { PayloadEncoding } from "../../queue.ts";
import { type Mark, MarkFile } from "./mark.ts";
import { costOfRow, type DeadLetter, decodeParts, type RecordRow } from "../protocol.ts";

/** Ids in a row that may be unreadable or absent before the rest is given up. */
const GAP_MAX = 200_000;

/** Dead letters are few, and read in one piece. */
const DEAD_LETTERS_PER_STEP = 64;

/** A signal's accounts in the damaged file, as far as they are closed. */
export interface ClosedBooks {
  readonly signal: SignalName;
  readonly delivered: number;
  readonly rejected: number;
  readonly expired: number;
}

/** What one step has read. */
export interface SalvageStep {
  readonly records: readonly RecordRow[];
  readonly deadLetters: readonly DeadLetter[];
  readonly done: boolean;
}

/**
 * Reads a damaged file. Records come first: after each the next higher id is asked for, and where that fails one id after
 * another, because a damaged page spoils the walk but not the rows on other pages. Then the dead letters, in the same way.
 */
export class Salvage {
  readonly path: string;
  /** The last id looked at; negative once the dead letters are being read. */
  after: number;
  /** Records moved so far. */
  moved: number;
  /** Records that were queued, where the damaged file still says so. */
  readonly expected: number | undefined;
  readonly #db: DatabaseSync | undefined;
  readonly #mark: Mark | undefined;
  readonly #lastId: number;
  #gap = 0;

  constructor(path: string, after: number, moved: number) {
    this.path = path;
    this.after = after;
    this.moved = moved;
    this.#db = openDamaged(path);
    this.#mark = markOf(`${path}.mark`);
    this.#lastId = this.lastId();
    this.expected = this.#value("SELECT sum(records) AS value FROM books") ?? this.#mark?.records;
  }

  /** The highest id that the file knows of, 0 if none. */
  lastId(): number {
    return Math.max(
      (this.#value("SELECT next_id AS value FROM meta") ?? 1) - 1,
      this.#value("SELECT max(id) AS value FROM records") ?? 0,
      this.#mark?.lastId ?? 0,
    );
  }

  /** Which database it is: the random number in its `meta` row, or in its mark. */
  identity(): number | undefined {
    return this.#value("SELECT identity AS value FROM meta") ?? this.#mark?.identity;
  }

  books(): ClosedBooks[] {
    const books: ClosedBooks[] = [];
    for (const signal of SIGNAL_NAMES) {
      const value = (column: string) =>
        this.#value(`SELECT ${column} AS value FROM books WHERE signal = '${signal}'`) ?? 0;
      books.push({ signal, delivered: value("delivered"), rejected: value("rejected"), expired: value("expired") });
    }
    return books;
  }

  /** Reads on, until about `bytesMax` bytes have been read or `ms` have passed. */
  next(bytesMax: number, ms: number): SalvageStep {
    const until = performance.now() + ms;
    const records: RecordRow[] = [];
    let bytes = 0;
    while (this.after >= 0 && bytes < bytesMax && performance.now() < until) {
      const row = this.#step("records", this.after);
      if (row === "end") this.after = -1;
      if (typeof row === "string") continue;
      const record = recordOf(row);
      if (record === undefined) continue;
      records.push(record);
      bytes += record.bytes;
      this.moved += 1;
    }
    if (this.after >= 0 || records.length > 0) return { records, deadLetters: [], done: false };

    const deadLetters: DeadLetter[] = [];
    let done = false;
    while (deadLetters.length < DEAD_LETTERS_PER_STEP && bytes < bytesMax && performance.now() < until && !done) {
      const row = this.#step("dead_letters", -this.after - 1);
      done = row === "end";
      if (typeof row === "string") continue;
      const letter = deadLetterOf(row);
      if (letter === undefined) continue;
      deadLetters.push(letter);
      bytes += letter.bytes;
    }
    return { records, deadLetters, done };
  }

  close(): void {
    this.#db?.close();
  }

  /** The next row of a table; moves `after` along. */
  #step(table: "records" | "dead_letters", after: number): Record<string, unknown> | "gap" | "end" {
    const moveTo = (id: number) => this.after = table === "records" ? id : -id - 1;
    if (this.#db === undefined) return "end";
    if (this.#gap === 0) {
      try {
        const row = this.#prepare(`SELECT * FROM ${table} WHERE id > ? ORDER BY id LIMIT 1`).get(after);
        if (row === undefined) return "end";
        moveTo(Number(row.id));
        return row;
      } catch {
        this.#gap = 1;
      }
    }
    moveTo(after + 1);
    try {
      const row = this.#prepare(`SELECT * FROM ${table} WHERE id = ?`).get(after + 1);
      if (row !== undefined) {
        this.#gap = 0;
        return row;
      }
    } catch {
      // This row is lost; the next may lie on a sound page.
    }
    this.#gap += 1;
    const beyond = table === "records" && this.#lastId > 0 && after + 1 >= this.#lastId;
    if (this.#gap <= GAP_MAX && !beyond) return "gap";
    this.#gap = 0;
    return "end";
  }

  readonly #prepared = new Map<string, StatementSync>();

  #prepare(text: string): StatementSync {
    let statement = this.#prepared.get(text);
    if (statement === undefined) this.#prepared.set(text, statement = this.#db!.prepare(text));
    return statement;
  }

  #value(text: string): number | null {
    try {
      const value = this.#db?.prepare(text).get()?.value;
      return typeof value === "number" ? value : null;
    } catch {
      return null;
    }
  }
}

/** Read-only: the file is evidence, and a closing writer would fold the WAL into it. */
function openDamaged(path: string): DatabaseSync | undefined {
  // SQLite reads nothing at all of a file that is shorter than its header says, unless the schema is writable.
  const options = { readOnly: true, defensive: false };
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, options);
    db.exec("PRAGMA writable_schema = ON");
    // Without a readable schema no row can be asked for.
    db.prepare("SELECT id FROM records WHERE id = 0");
    return db;
  } catch {
    db?.close();
    return undefined;
  }
}

function markOf(path: string): Mark | undefined {
  if (!existsSync(path)) return undefined;
  const file = new MarkFile(path);
  try {
    return file.read();
  } finally {
    file.close();
  }
}

/** A row that makes sense, or undefined: a damaged page can also yield rubbish. */
function recordOf(row: Record<string, unknown>): RecordRow | undefined {
  const { payload, signal, encoding, parts } = row;
  if (!(payload instanceof Uint8Array) || !isSignal(signal) || !isEncoding(encoding) || typeof parts !== "string") {
    return undefined;
  }
  try {
    const bytes = decodeParts(parts).reduce((sum, part) => sum + part.bytes, 0);
    if (bytes !== payload.length || bytes !== Number(row.bytes)) return undefined;
  } catch {
    return undefined;
  }
  return {
    id: Number(row.id),
    signal,
    encoding,
    mergeable: row.mergeable === 1,
    items: Number(row.items),
    bytes: payload.length,
    cost: costOfRow(payload.length, parts),
    inflatedBytes: Number(row.inflated_bytes),
    enqueuedAt: Number(row.enqueued_at),
    parts,
    payload: payload as Uint8Array<ArrayBuffer>,
  };
}

function deadLetterOf(row: Record<string, unknown>): DeadLetter | undefined {
  const { payload, signal, encoding } = row;
  if (!(payload instanceof Uint8Array) || !isSignal(signal) || !isEncoding(encoding)) return undefined;
  return {
    signal,
    encoding,
    mergeable: row.mergeable === 1,
    sender: String(row.sender),
    items: Number(row.items),
    bytes: payload.length,
    inflatedBytes: Number(row.inflated_bytes),
    reason: String(row.reason),
    status: typeof row.status === "number" ? row.status : null,
    enqueuedAt: Number(row.enqueued_at),
    diedAt: Number(row.died_at),
    payload,
  };
}

function isSignal(value: unknown): value is SignalName {
  return SIGNAL_NAMES.some((name) => name === value);
}

function isEncoding(value: unknown): value is PayloadEncoding {
  return value === "gzip" || value === "identity";
}
