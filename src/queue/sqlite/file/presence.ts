/**
 * Whether the files at the queue's path are still those that are open. If somebody deletes or replaces them
 * under a running relay, the relay writes to files that nobody will read again; SQLite does not notice.
 * @module
 */
import { closeSync, fstatSync, openSync, statSync } from "node:fs";
import { codeOf } from "../../../errors.ts";

/**
 * - `whole`: all is where it was.
 * - `moved`: nothing is at the path, and the file has another name.
 * - `deleted`: nothing is at the path, and the file has no name any more.
 * - `replaced`: another file is at the path.
 * - `log_lost`: the database is there; its WAL or its shared memory is gone, or another.
 * - `mark_lost`: the mark alone is gone, or another.
 * - `written`: somebody else has written the database, or cut it short.
 * - `log_shorter`: the WAL is shorter than it was.
 */
export type Presence =
  | "whole"
  | "moved"
  | "deleted"
  | "replaced"
  | "log_lost"
  | "mark_lost"
  | "written"
  | "log_shorter";

interface Identity {
  readonly dev: number;
  readonly ino: number;
}

export class FileWatch {
  readonly #path: string;
  /** Held open only to be asked about. To be closed after SQLite's own: a close drops this process's locks on the file. */
  readonly #fd: number;
  readonly #main: Identity;
  readonly #beside = new Map<string, Identity | undefined>();
  #size = 0;
  #writtenAt = 0;
  #logBytes = 0;

  /** @param path The database, whose files SQLite has just opened and written. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, "r");
    this.#main = fstatSync(this.#fd);
    for (const suffix of ["-wal", "-shm", ".mark"]) this.remember(suffix);
    this.written();
    this.logWritten();
  }

  /** The file at the path, with this suffix, is one that the relay has just made. */
  remember(suffix: string): void {
    this.#beside.set(suffix, identityOf(this.#path + suffix));
  }

  /** The relay has written the database itself: what it looks like now is as it should be. */
  written(): void {
    const { size, mtimeMs } = fstatSync(this.#fd);
    this.#size = size;
    this.#writtenAt = mtimeMs;
  }

  /** The WAL's length is as it should be. */
  logWritten(): void {
    this.#logBytes = this.logBytes;
  }

  /** The WAL's length, in bytes. */
  get logBytes(): number {
    return statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Whether the WAL is shorter than it was: somebody cut it, or another process has copied all of it into the database. */
  get logShorter(): boolean {
    return this.logBytes < this.#logBytes;
  }

  /** Whether the database is shorter than it was. */
  get cutShort(): boolean {
    return fstatSync(this.#fd).size < this.#size;
  }

  /** Whether the file at the path, with this suffix, is one that was there when the database was opened. */
  isOwn(suffix: string): boolean {
    const own = suffix === "" ? this.#main : this.#beside.get(suffix);
    return own !== undefined && same(identityOf(this.#path + suffix), own);
  }

  look(): Presence {
    const { nlink, size, mtimeMs } = fstatSync(this.#fd);
    const there = identityOf(this.#path);
    if (there === undefined) return nlink > 0 ? "moved" : "deleted";
    if (!same(there, this.#main)) return "replaced";
    if (!this.isOwn("-wal") || !this.isOwn("-shm")) return "log_lost";
    if (!this.isOwn(".mark")) return "mark_lost";
    if (this.logShorter) return "log_shorter";
    return size === this.#size && mtimeMs === this.#writtenAt ? "whole" : "written";
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function identityOf(path: string): Identity | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A part of the path is no folder any more. Anything else says nothing of the file.
    if (codeOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

function same(a: Identity | undefined, b: Identity): boolean {
  return a !== undefined && a.dev === b.dev && a.ino === b.ino;
}
