/**
 * What can be wrong with a queue's file, for the relay or for a command.
 * @module
 */
import { messageOf, StatedError, type Statement } from "../errors.ts";

/** Why a queue's file cannot be used. */
export type StorageErrorCode =
  | "missing"
  | "locked"
  | "not_a_queue"
  | "newer_version"
  | "older_version"
  | "read_only"
  | "disk_full"
  | "no_rights"
  | "unusable";

/** What an error says that has no file to name. */
export const CANNOT_USE = "Cannot use the queue";

/** A queue's file that cannot be used: names the file, its state and the remedy. */
export class StorageError extends StatedError {
  override readonly name = "StorageError";
  readonly code: StorageErrorCode;

  constructor(code: StorageErrorCode, statement: Statement, options?: ErrorOptions) {
    super(statement, options);
    this.code = code;
  }
}

/** SQLite's primary result codes that decide something here (https://www.sqlite.org/rescode.html). */
export type SqliteFault = "busy" | "read_only" | "io" | "corrupt" | "full" | "cannot_open" | "other";

const FAULT_BY_CODE: Readonly<Record<number, SqliteFault>> = {
  5: "busy",
  6: "busy",
  8: "read_only",
  10: "io",
  11: "corrupt",
  13: "full",
  14: "cannot_open",
  26: "corrupt",
};

/** Deno sets `errcode` on errors of prepared statements only; those of `exec` and of the constructor carry the text alone. */
const FAULT_BY_TEXT: readonly (readonly [string, SqliteFault])[] = [
  ["is locked", "busy"],
  ["readonly database", "read_only"],
  ["disk I/O error", "io"],
  ["malformed", "corrupt"],
  ["not a database", "corrupt"],
  ["is full", "full"],
  ["unable to open database", "cannot_open"],
];

/** What `node:fs` throws for the files beside the database, in SQLite's terms. */
const FAULT_BY_ERRNO: Readonly<Record<string, SqliteFault>> = {
  ENOSPC: "full",
  EDQUOT: "full",
  EFBIG: "full",
  EROFS: "read_only",
  EACCES: "read_only",
  EPERM: "read_only",
  EIO: "io",
  ENOENT: "cannot_open",
  ENOTDIR: "cannot_open",
  EMFILE: "cannot_open",
  ENFILE: "cannot_open",
};

/** Which of SQLite's faults an error thrown by `node:sqlite`, or by `node:fs` for a file beside the database, is. */
export function sqliteFaultOf(error: unknown): SqliteFault {
  if (!(error instanceof Error)) return "other";
  const { errcode, code } = error as { errcode?: unknown; code?: unknown };
  if (typeof errcode === "number") return FAULT_BY_CODE[errcode & 0xff] ?? "other";
  if (typeof code === "string" && Object.hasOwn(FAULT_BY_ERRNO, code)) return FAULT_BY_ERRNO[code]!;
  return FAULT_BY_TEXT.find(([text]) => error.message.includes(text))?.[1] ?? "other";
}

export function diskFull(path: string, cause?: unknown): StorageError {
  return new StorageError(
    "disk_full",
    {
      what: `Cannot write queue ${path}`,
      state: "its disk is full",
      remedy: "free space there or lower sending_queue.queue_size",
    },
    { cause },
  );
}

/** An error of the relay's use of the file, for people. @param path The queue's file. */
export function storageErrorOf(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const cause = { cause: error };
  switch (sqliteFaultOf(error)) {
    case "full":
      return diskFull(path, error);
    case "read_only":
      return new StorageError(
        "read_only",
        {
          what: `Cannot write queue ${path}`,
          state: "the file is read-only",
          remedy: "make it and its folder writable by this user",
        },
        cause,
      );
    case "cannot_open":
      return new StorageError(
        "unusable",
        {
          what: `Cannot open queue ${path}`,
          state: `it, its folder or a file beside it cannot be opened (${messageOf(error)})`,
          remedy: "check owner, mode, mount, free inodes and the limit on open files",
        },
        cause,
      );
    case "busy":
      return new StorageError(
        "locked",
        { what: `Cannot open queue ${path}`, state: "another process has locked it", remedy: "end that process" },
        cause,
      );
    default:
      return new StorageError(
        "unusable",
        { what: `Cannot use queue ${path}`, state: messageOf(error), remedy: "check its disk, and that it has room" },
        cause,
      );
  }
}
