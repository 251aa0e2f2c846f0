/**
 * The tables of the queue's file, their versions, and how every connection to it is set up.
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { RECORD_BYTES } from "../../cost.ts";
import { StorageError } from "../../storage_error.ts";

/** "efq1": marks a SQLite file as a queue of ours. */
const APPLICATION_ID = 0x65667131;

const bookOf = (signal: string): string => `INSERT INTO books VALUES ('${signal}', 0, 0, 0, 0, 0, 0, 0, 0);`;

/**
 * What makes each version out of the one before; `user_version` is how many have run.
 *
 * Payloads are the last column, so that reading a row's head does not walk its overflow pages. The partial index is what a
 * lane is read by; a held record (no room among the dead letters) leaves it by one bit. `books` counts items, and moves in
 * the transaction that moves the rows: accepted = delivered + rejected + dead + expired + abandoned + queued.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    identity INTEGER NOT NULL,
    next_id INTEGER NOT NULL,
    bytes_max INTEGER NOT NULL,
    dead_letter_bytes_max INTEGER NOT NULL,
    dead_records INTEGER NOT NULL,
    dead_bytes INTEGER NOT NULL,
    held INTEGER NOT NULL,
    salvage_path TEXT,
    salvage_after INTEGER NOT NULL,
    salvage_records INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE books (
    signal TEXT PRIMARY KEY,
    accepted INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    held INTEGER NOT NULL,
    signal TEXT NOT NULL,
    encoding TEXT NOT NULL,
    mergeable INTEGER NOT NULL,
    items INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    inflated_bytes INTEGER NOT NULL,
    enqueued_at INTEGER NOT NULL,
    parts TEXT NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;
  CREATE INDEX records_takeable ON records (signal, encoding) WHERE held = 0;
  CREATE INDEX records_held ON records (bytes) WHERE held = 1;
  CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    signal TEXT NOT NULL,
    encoding TEXT NOT NULL,
    mergeable INTEGER NOT NULL,
    sender TEXT NOT NULL,
    items INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    inflated_bytes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    status INTEGER,
    enqueued_at INTEGER NOT NULL,
    died_at INTEGER NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;
  INSERT INTO meta VALUES (1, abs(random() % 9007199254740991), 1, 0, 0, 0, 0, 0, NULL, 0, 0);
  ${["traces", "metrics", "logs"].map(bookOf).join("\n  ")}
  `,
  bookOf("profiles"),
  // Which files that stand beside the queue are being salvaged, by name, and which have been. An older version knew of one at a time:
  // the row without a name says that files of its time are not to be read again (see `Store`).
  `
  CREATE TABLE salvages (
    name TEXT PRIMARY KEY,
    after INTEGER NOT NULL,
    records INTEGER NOT NULL,
    done INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO salvages SELECT
    substr(salvage_path, length(rtrim(salvage_path, replace(salvage_path, '/', ''))) + 1), salvage_after, salvage_records, 0
    FROM meta WHERE salvage_path IS NOT NULL;
  INSERT INTO salvages SELECT '', 0, 0, 1 FROM meta WHERE next_id > 1;
  ALTER TABLE meta DROP COLUMN salvage_path;
  ALTER TABLE meta DROP COLUMN salvage_after;
  ALTER TABLE meta DROP COLUMN salvage_records;
  CREATE TABLE clock_steps (after_id INTEGER NOT NULL, ms INTEGER NOT NULL) STRICT;
  -- What a record costs, and not its payload alone.
  UPDATE books SET bytes = (SELECT coalesce(sum(bytes + length(parts) + ${RECORD_BYTES}), 0) FROM records
    WHERE records.signal = books.signal);
  `,
  // Many targets. `route` stands behind the payload, where reading it would walk the payload's pages: it is asked for by the index alone.
  // A record of one target needs nothing but its route; of several, a row in `done` says which of them is done with it. The books are
  // those of each target; target 0 has by how much all of them together exceed what stands in `records`.
  `
  CREATE TABLE targets (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
  INSERT INTO targets VALUES (1, 'default');
  CREATE TABLE routes (id INTEGER PRIMARY KEY, targets TEXT NOT NULL UNIQUE) STRICT;
  INSERT INTO routes VALUES (1, '[1]');
  ALTER TABLE records ADD COLUMN route INTEGER NOT NULL DEFAULT 1;
  DROP INDEX records_takeable;
  CREATE INDEX records_takeable ON records (signal, encoding, route) WHERE held = 0;
  CREATE TABLE done (record INTEGER NOT NULL, target INTEGER NOT NULL, PRIMARY KEY (record, target)) STRICT, WITHOUT ROWID;
  ALTER TABLE dead_letters ADD COLUMN target INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE books RENAME TO books_before;
  CREATE TABLE books (
    target INTEGER NOT NULL,
    signal TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    abandoned INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    dead_records INTEGER NOT NULL,
    dead_bytes INTEGER NOT NULL,
    PRIMARY KEY (target, signal)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO books SELECT 1, signal, accepted, delivered, rejected, dead, expired, 0, 0, queued, records, bytes,
    (SELECT count(*) FROM dead_letters WHERE dead_letters.signal = books_before.signal),
    (SELECT coalesce(sum(bytes), 0) FROM dead_letters WHERE dead_letters.signal = books_before.signal)
    FROM books_before;
  DROP TABLE books_before;
  `,
];

/** How long a connection waits for another process's transaction, in ms. */
const BUSY_MS = 5000;

/**
 * How large the WAL grows before it is copied into the database, in pages of 4 KiB. Each commit until then is one sequential
 * write and one fdatasync; at 4 MiB the copy takes some 10 ms, done after the answers of the commit that filled it.
 */
export const CHECKPOINT_PAGES = 1000;

/** The WAL's file is reused in place (an fdatasync of blocks it has is cheaper) and cut back to this size, in bytes. */
const WAL_KEPT_BYTES = 16 * 1024 * 1024;

function pragma(db: DatabaseSync, name: string): unknown {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

/**
 * Opens the file for writing as the relay does, makes or migrates its tables.
 * @throws {StorageError} `not_a_queue`, `newer_version`; anything else as SQLite throws it
 */
export function openDatabase(path: string, migrations: readonly string[] = MIGRATIONS): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS });
  try {
    const version = checkVersion(db, path, migrations.length);
    if (version === 0) db.exec("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL");
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA wal_autocheckpoint = 0;
      PRAGMA journal_size_limit = ${WAL_KEPT_BYTES};
      PRAGMA foreign_keys = OFF;
      PRAGMA cache_size = -8000;
    `);
    if (pragma(db, "journal_mode") !== "wal") {
      throw new StorageError(
        "unusable",
        {
          what: `Cannot use queue ${path}`,
          state: "its file system has no shared memory for a WAL",
          remedy: "move it",
        },
      );
    }
    if (version < migrations.length) {
      db.exec("BEGIN IMMEDIATE");
      for (const step of migrations.slice(version)) db.exec(step);
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${migrations.length}; COMMIT`);
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Opens a queue that a relay may be writing, from another process.
 * @throws {StorageError} `not_a_queue`, `newer_version`, `older_version`; anything else as SQLite throws it
 */
export function openBeside(path: string, access: { readonly readOnly: boolean }): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS, readOnly: access.readOnly });
  try {
    const version = checkVersion(db, path, MIGRATIONS.length);
    if (version === 0) {
      throw new StorageError("not_a_queue", {
        what: `Cannot read queue ${path}`,
        state: "it is empty",
        remedy: "name the relay's file",
      });
    }
    if (version < MIGRATIONS.length) {
      throw new StorageError(
        "older_version",
        {
          what: `Cannot read queue ${path}`,
          state: `its version is ${version}, this edgeferry reads ${MIGRATIONS.length}`,
          remedy: "start the relay once, which migrates it",
        },
      );
    }
    // A command's commit must be as durable as the relay's: it moves records that have been answered 200.
    if (!access.readOnly) db.exec("PRAGMA synchronous = FULL");
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** The version of the file, 0 for an empty one. */
function checkVersion(db: DatabaseSync, path: string, newest: number): number {
  const version = Number(pragma(db, "user_version"));
  const tables = Number(Object.values(db.prepare("SELECT count(*) FROM sqlite_schema").get() ?? {})[0]);
  if (tables === 0 && version === 0) return 0;
  if (Number(pragma(db, "application_id")) !== APPLICATION_ID) {
    throw new StorageError(
      "not_a_queue",
      {
        what: `Cannot open queue ${path}`,
        state: "it is a SQLite file of another program",
        remedy: "set sending_queue.path to a file of the relay's own",
      },
    );
  }
  if (version > newest) {
    throw new StorageError(
      "newer_version",
      {
        what: `Cannot open queue ${path}`,
        state: `its version is ${version}, this edgeferry knows ${newest}`,
        remedy: "run the newer edgeferry or let it drain there first",
      },
    );
  }
  return version;
}
