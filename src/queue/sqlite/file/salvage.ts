/**
 * Reads out of a damaged file what SQLite can still read, a bounded step at a time.
 * @module
 */
import { existsSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { SIGNAL_NAMES, type SignalName } from "../../../signal.ts";
import type { PayloadEncoding } from "../../queue.ts";
import { type Mark, MarkFile } from "./mark.ts";
import { sqliteFaultOf } from "../../storage_error.ts";
import { costOfRow, decodeParts, type RecordHead } from "../../record_head.ts";
import type { DeadLetter } from "../protocol.ts";

/** Ids in a row that may be unreadable or absent before the rest is given up. */
const GAP_MAX = 200_000;

/** Dead letters are few, and read in one piece. */
const DEAD_LETTERS_PER_STEP = 64;

/** A row of the damaged file, with the names of the targets that still wait for it. */
export interface SalvagedRecord extends Omit<RecordHead, "targets"> {
  readonly targets: readonly string[];
  readonly payload: Uint8Array<ArrayBuffer>;
}

export interface SalvagedLetter extends Omit<DeadLetter, "target"> {
  readonly target: string;
}

/** The accounts of a target and a signal in the damaged file, as far as they are closed. */
export interface ClosedBooks {
  /** Undefined for what was counted for several targets. */
  readonly target: string | undefined;
  readonly signal: SignalName;
  readonly accepted: number;
  readonly abandoned: number;
  readonly skipped: number;
  readonly delivered: number;
  readonly rejected: number;
  readonly expired: number;
}

/** How far a file has been moved into another. */
export interface Progress {
  /** As {@link Salvage.after}. */
  readonly after: number;
  readonly moved: number;
  readonly done: boolean;
}

/** What one step has read. */
export interface SalvageStep {
  readonly records: readonly SalvagedRecord[];
  readonly deadLetters: readonly SalvagedLetter[];
  readonly done: boolean;
}

/**
 * Reads a damaged file, records first. After each record it asks for the next higher id; if that fails, it tries one id after
 * another, because a damaged page breaks the walk but not the rows on other pages. It reads the dead letters in the same way.
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
  #names: ReadonlyMap<unknown, string> | undefined;
  #routes: ReadonlyMap<unknown, readonly number[]> | undefined;

  /** @throws what SQLite throws where the file cannot be opened at the moment; damage throws nothing. */
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

  /** How far it had come with files that were to be moved into it, by their names. */
  progress(): ReadonlyMap<string, Progress> {
    return new Map(
      this.#all("SELECT name, after, records, done FROM salvages").map(({ name, after, records, done }) => [
        String(name),
        { after: Number(after), moved: Number(records), done: done === 1 },
      ]),
    );
  }

  books(): ClosedBooks[] {
    return this.#all("SELECT * FROM books").flatMap((row): ClosedBooks[] => {
      const { signal } = row;
      if (!isSignal(signal)) return [];
      const number = (column: string) => typeof row[column] === "number" ? row[column] : 0;
      const [delivered, rejected, expired] = [number("delivered"), number("rejected"), number("expired")];
      const abandoned = number("abandoned");
      const closed = { signal, delivered, rejected, expired, abandoned, skipped: number("skipped") };
      // What was counted for several targets has no other accounts.
      if (row.target === 0) return [{ ...closed, target: undefined, accepted: number("accepted") - number("queued") }];
      const accepted = delivered + rejected + expired + abandoned;
      return [{ ...closed, target: this.#nameOf(row.target), accepted }];
    });
  }

  /** A file of before there were targets has one. */
  #nameOf(target: unknown): string {
    this.#names ??= new Map(this.#all("SELECT id, name FROM targets").map(({ id, name }) => [id, String(name)]));
    return this.#names.get(target) ?? "default";
  }

  /** Names of the targets of a row that are not done with it. */
  #targetsOf({ id, route }: Record<string, unknown>): string[] {
    this.#routes ??= new Map(
      this.#all("SELECT id, targets FROM routes").map(({ id, targets }) => [id, targetsIn(targets)]),
    );
    const targets = this.#routes.get(route) ?? [];
    if (targets.length < 2) return [this.#nameOf(targets[0])];
    const done = new Set(this.#all(`SELECT target FROM done WHERE record = ${Number(id)}`).map(({ target }) => target));
    return targets.filter((target) => !done.has(target)).map((target) => this.#nameOf(target));
  }

  /** Reads on, until about `bytesMax` bytes have been read or `ms` have passed. */
  next(bytesMax: number, ms: number): SalvageStep {
    const until = performance.now() + ms;
    const records: SalvagedRecord[] = [];
    let bytes = 0;
    while (this.after >= 0 && bytes < bytesMax && performance.now() < until) {
      const row = this.#step("records", this.after);
      if (row === "end") this.after = -1;
      if (typeof row === "string") continue;
      const record = recordOf(row);
      if (record === undefined) continue;
      const targets = this.#targetsOf(row);
      // All are done with it: it was about to be removed.
      if (targets.length === 0) continue;
      records.push({ ...record, targets });
      bytes += record.bytes;
      this.moved += 1;
    }
    if (this.after >= 0 || records.length > 0) return { records, deadLetters: [], done: false };

    const deadLetters: SalvagedLetter[] = [];
    let done = false;
    while (deadLetters.length < DEAD_LETTERS_PER_STEP && bytes < bytesMax && performance.now() < until && !done) {
      const row = this.#step("dead_letters", -this.after - 1);
      done = row === "end";
      if (typeof row === "string") continue;
      const letter = deadLetterOf(row);
      if (letter === undefined) continue;
      deadLetters.push({ ...letter, target: this.#nameOf(row.target) });
      bytes += letter.bytes;
    }
    return { records, deadLetters, done };
  }

  /** Where it is: to be called where what was read since has not been kept, and is to be read again. */
  bookmark(): () => void {
    const { after, moved } = this;
    const gap = this.#gap;
    return () => {
      this.after = after;
      this.moved = moved;
      this.#gap = gap;
    };
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
      } catch (error) {
        throwPassing(error);
        this.#gap = 1;
      }
    }
    try {
      const row = this.#prepare(`SELECT * FROM ${table} WHERE id = ?`).get(after + 1);
      moveTo(after + 1);
      if (row !== undefined) {
        this.#gap = 0;
        return row;
      }
    } catch (error) {
      throwPassing(error);
      moveTo(after + 1);
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

  /** No rows where they cannot be read. */
  #all(text: string): Record<string, unknown>[] {
    try {
      return this.#db?.prepare(text).all() ?? [];
    } catch (error) {
      throwPassing(error);
      return [];
    }
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
  } catch (error) {
    db?.close();
    const fault = sqliteFaultOf(error);
    if (fault === "io" || fault === "read_only") throw error;
    throwPassing(error);
    return undefined;
  }
}

/** Errors that may be over at the next try: they are no damage, and no reason to give rows up. A page that the disk cannot read is damage. */
function throwPassing(error: unknown): void {
  const fault = sqliteFaultOf(error);
  if (fault === "busy" || fault === "cannot_open" || fault === "full") throw error;
}

/** The highest id that a file which stands aside knows of; 0 where it cannot be read. */
export function lastIdOf(path: string): number {
  let salvage: Salvage | undefined;
  try {
    salvage = new Salvage(path, 0, 0);
    return salvage.lastId();
  } catch {
    return 0;
  } finally {
    salvage?.close();
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

/** The row if it is plausible, or undefined: a damaged page can also yield rubbish. */
function recordOf(row: Record<string, unknown>): Omit<SalvagedRecord, "targets"> | undefined {
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

function deadLetterOf(row: Record<string, unknown>): Omit<DeadLetter, "target"> | undefined {
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

function targetsIn(text: unknown): number[] {
  try {
    const targets: unknown = JSON.parse(String(text));
    return Array.isArray(targets) ? targets.filter((target) => typeof target === "number") : [];
  } catch {
    return [];
  }
}
