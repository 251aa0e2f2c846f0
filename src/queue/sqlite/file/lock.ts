/**
 * The folder a queue lives in, and the lock that keeps a second relay out.
 * @module
 */
import { closeSync, constants, existsSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../../errors.ts";
import { sqliteFaultOf, StorageError } from "./storage_error.ts";

/**
 * Makes the file (mode 600), durably, where it is missing, and finds out whether it can be written.
 * Call it under the lock: closing a file of a database drops the POSIX locks that this process has on it.
 * @throws {StorageError} `read_only`
 */
export function makeQueueFile(path: string): void {
  try {
    const missing = !existsSync(path);
    closeSync(openSync(path, constants.O_CREAT | constants.O_RDWR, 0o600));
    if (missing) fsyncFolder(dirname(path));
  } catch (error) {
    throw new StorageError(
      "read_only",
      `Cannot write queue ${path}: ${messageOf(error)}; make it and its folder writable by this user`,
      {
        cause: error,
      },
    );
  }
}

/** Makes the folder of a path, mode 700, durably. */
export function makeFolder(path: string): void {
  const folder = dirname(resolve(path));
  try {
    const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let made = folder; made.length >= first.length; made = dirname(made)) fsyncFolder(dirname(made));
  } catch (error) {
    throw new StorageError("unusable", `Cannot create folder ${folder}: ${messageOf(error)}; create it for this user`, {
      cause: error,
    });
  }
}

/** Makes the entries of a folder durable. */
export function fsyncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Takes the lock of the queue at `path`: an exclusive transaction, never committed, on an empty database beside it. The
 * operating system ends it with the process, however that ends, and it keeps off a second relay in the same process too.
 * @throws {StorageError} `locked` when a relay has it
 */
export function takeLock(path: string): Disposable {
  const lockPath = `${path}.lock`;
  let db: DatabaseSync | undefined;
  try {
    if (!existsSync(lockPath)) closeSync(openSync(lockPath, constants.O_CREAT | constants.O_RDWR, 0o600));
    db = new DatabaseSync(lockPath, { timeout: 0 });
    db.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    db?.close();
    if (sqliteFaultOf(error) === "busy") {
      throw new StorageError(
        "locked",
        `Cannot open queue ${path}: another relay has it open; stop that one or set another sending_queue.path`,
        { cause: error },
      );
    }
    const code = (error as { code?: unknown }).code;
    const readOnly = code === "EROFS" || code === "EACCES" || code === "EPERM" || sqliteFaultOf(error) === "read_only";
    throw new StorageError(
      readOnly ? "read_only" : "unusable",
      `Cannot lock queue ${path}: ${messageOf(error)}; its folder must be writable by this user`,
      { cause: error },
    );
  }
  const held = db;
  return { [Symbol.dispose]: () => held.close() };
}
