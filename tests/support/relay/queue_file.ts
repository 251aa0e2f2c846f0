/** A queue's file as SQLite has it, read beside the relay or after it: apart from the relay's own code. */
import { DatabaseSync } from "node:sqlite";
import { gunzipSync } from "node:zlib";
import type { SignalName } from "../../../src/signal.ts";

export interface FileBooks {
  readonly accepted: number;
  readonly delivered: number;
  readonly rejected: number;
  readonly dead: number;
  readonly expired: number;
  readonly queued: number;
  /** Rows and payload bytes that are queued. */
  readonly records: number;
  readonly bytes: number;
}

export interface FileDeadLetter {
  readonly sender: string;
  readonly reason: string;
  readonly status: number | null;
  readonly items: number;
  /** The export request, inflated. */
  readonly request: Uint8Array;
}

/** What the books of a signal say, of one target or of all together. */
export function readBooks(path: string, signal: SignalName = "traces", target?: string): FileBooks {
  return read(path, (db) => {
    const row = db.prepare(
      `SELECT count(*) AS rows, sum(accepted) AS accepted, sum(delivered) AS delivered, sum(rejected) AS rejected,
        sum(dead) AS dead, sum(expired) AS expired, sum(queued) AS queued, sum(records) AS records, sum(bytes) AS bytes
      FROM books WHERE signal = ? AND target > 0 AND (? IS NULL OR target = (SELECT id FROM targets WHERE name = ?))`,
    ).get(signal, target ?? null, target ?? null);
    if (Number(row?.rows) === 0 || row === undefined) throw new Error(`${path} has no books for ${signal}`);
    const value = (name: keyof FileBooks) => Number(row[name]);
    return {
      accepted: value("accepted"),
      delivered: value("delivered"),
      rejected: value("rejected"),
      dead: value("dead"),
      expired: value("expired"),
      queued: value("queued"),
      records: value("records"),
      bytes: value("bytes"),
    };
  });
}

/** What the rows add up to: the other side of the books. */
export function countRows(
  path: string,
  signal: SignalName = "traces",
): { queued: number; records: number; dead: number } {
  return read(path, (db) => {
    const sum = (text: string) => Object.values(db.prepare(text).get(signal) ?? {}).map(Number);
    const [queued = 0, records = 0] = sum("SELECT coalesce(sum(items), 0), count(*) FROM records WHERE signal = ?");
    const [dead = 0] = sum("SELECT coalesce(sum(items), 0) FROM dead_letters WHERE signal = ?");
    return { queued, records, dead };
  });
}

/** Of one target, or of all. */
export function readDeadLetters(path: string, signal: SignalName = "traces", target?: string): FileDeadLetter[] {
  return read(
    path,
    (db) =>
      db.prepare(
        `SELECT * FROM dead_letters
        WHERE signal = ? AND (? IS NULL OR target = (SELECT id FROM targets WHERE name = ?)) ORDER BY id`,
      ).all(signal, target ?? null, target ?? null).map((row) => {
        const payload = row["payload"] as Uint8Array;
        return {
          sender: String(row["sender"]),
          reason: String(row["reason"]),
          status: row["status"] === null ? null : Number(row["status"]),
          items: Number(row["items"]),
          request: row["encoding"] === "gzip" ? new Uint8Array(gunzipSync(payload)) : payload,
        };
      }),
  );
}

function read<T>(path: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    return work(db);
  } finally {
    db.close();
  }
}
