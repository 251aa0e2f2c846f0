/**
 * The folder a queue lives in, and the lock that keeps a second relay out.
 * @module
 */
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  statSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../../errors.ts";
import { syncFolderSync } from "../../../files/sync_folder.ts";
import { sqliteFaultOf, StorageError } from "../../storage_error.ts";

/**
 * Makes the file (mode 600), durably, where it is missing, and finds out whether it can be written.
 * Call it under the lock: closing a file of a database drops the POSIX locks that this process has on it.
 * @throws {StorageError} `read_only`
 */
export function makeQueueFile(path: string): void {
  try {
    const missing = !existsSync(path);
    closeSync(openSync(path, constants.O_CREAT | constants.O_RDWR, 0o600));
    if (missing) syncFolderSync(dirname(path));
  } catch (error) {
    throw new StorageError(
      "read_only",
      {
        what: `Cannot write queue ${path}`,
        state: messageOf(error),
        remedy: "make it and its folder writable by this user",
      },
      {
        cause: error,
      },
    );
  }
}

/** Symbolic links that are followed from one to the next. */
const LINKS_MAX = 40;

/**
 * Where the file really is, or would be made: the same for every way to it, symbolic links to the file or to a folder included, so that
 * what stands beside it, the lock among it, is the same for all. Its folder must be there.
 * @throws {StorageError} `unusable`
 */
export function realPathOf(path: string): string {
  let real = resolve(path);
  try {
    for (let links = 0; links < LINKS_MAX; links++) {
      real = join(realpathSync(dirname(real)), basename(real));
      if (lstatSync(real, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return real;
      real = resolve(dirname(real), readlinkSync(real));
    }
  } catch (error) {
    throw new StorageError("unusable", {
      what: `Cannot find queue ${path}`,
      state: messageOf(error),
      remedy: "name a path that exists",
    }, {
      cause: error,
    });
  }
  throw new StorageError(
    "unusable",
    { what: `Cannot find queue ${path}`, state: "its symbolic links form a circle", remedy: "name the file itself" },
  );
}

/**
 * Keeps out a relay that has the same file open under another name: hard links have folders, locks and WALs of their own, and two
 * relays that write one file through two WALs destroy it. SQLite's own lock on the file tells whether anybody has it open.
 * Call it before the file is opened. It costs nothing where the file has one name.
 * @throws {StorageError} `locked`
 */
export function refuseOtherNames(path: string): void {
  const names = statSync(path, { throwIfNoEntry: false })?.nlink ?? 1;
  if (names < 2) return;
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { timeout: OTHER_NAMES_MS });
    // Without a WAL of its own the connection needs the whole file for itself: it gets it where nobody has it open.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.prepare("SELECT count(*) FROM sqlite_schema").get();
  } catch (error) {
    if (sqliteFaultOf(error) !== "busy") return;
    throw new StorageError(
      "locked",
      {
        what: `Cannot open queue ${path}`,
        state: `its file has ${names} names (hard links), and another process has it open under one of them`,
        remedy: "end that process, or remove the other names",
      },
      { cause: error },
    );
  } finally {
    db?.close();
  }
}

/** How long a command that reads the file under another name is waited for, in ms. */
const OTHER_NAMES_MS = 2_000;

/** Makes the folder of a path, mode 700, durably. */
export function makeFolder(path: string): void {
  const folder = dirname(resolve(path));
  try {
    const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let made = folder; made.length >= first.length; made = dirname(made)) syncFolderSync(dirname(made));
  } catch (error) {
    throw new StorageError("unusable", {
      what: `Cannot create folder ${folder}`,
      state: messageOf(error),
      remedy: "create it for this user",
    }, {
      cause: error,
    });
  }
}

/** The lock of a queue, held. */
export interface QueueLock extends Disposable {
  /**
   * Takes it again where its file has been deleted or replaced, which would let a second relay in.
   * @throws {StorageError} `locked` when another relay has taken it meanwhile
   */
  keep(): void;
}

/**
 * Takes the lock of the queue at `path`: an exclusive transaction, never committed, on an empty database beside it. The
 * operating system ends it with the process, however that ends, and it keeps off a second relay in the same process too.
 * @param path As {@link realPathOf} has it.
 * @throws {StorageError} `locked` when a relay has it
 */
export function takeLock(path: string): QueueLock {
  const lockPath = `${path}.lock`;
  let held = lockFile(path, lockPath);
  return {
    keep() {
      if (held.isAtItsPath()) return;
      const next = lockFile(path, lockPath);
      held.db.close();
      held = next;
    },
    [Symbol.dispose]: () => held.db.close(),
  };
}

function lockFile(path: string, lockPath: string): { readonly db: DatabaseSync; isAtItsPath(): boolean } {
  let db: DatabaseSync | undefined;
  try {
    if (!existsSync(lockPath)) closeSync(openSync(lockPath, constants.O_CREAT | constants.O_RDWR, 0o600));
    db = new DatabaseSync(lockPath, { timeout: 0 });
    db.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    const { dev, ino } = statSync(lockPath);
    return {
      db,
      isAtItsPath() {
        const now = statSync(lockPath, { throwIfNoEntry: false });
        // Without a folder nobody can take it elsewhere.
        if (now === undefined) return !existsSync(dirname(lockPath));
        return now.dev === dev && now.ino === ino;
      },
    };
  } catch (error) {
    db?.close();
    if (sqliteFaultOf(error) === "busy") {
      throw new StorageError(
        "locked",
        {
          what: `Cannot open queue ${path}`,
          state: "another relay has it open",
          remedy: "stop that one or set another sending_queue.path",
        },
        { cause: error },
      );
    }
    throw new StorageError(
      sqliteFaultOf(error) === "read_only" ? "read_only" : "unusable",
      {
        what: `Cannot lock queue ${path}`,
        state: messageOf(error),
        remedy: "its folder must be writable by this user",
      },
      { cause: error },
    );
  }
}
