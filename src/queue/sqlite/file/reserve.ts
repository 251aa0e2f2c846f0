/**
 * Disk space kept back for the day the disk is full. A settle needs space too, for the log and for what the log is copied
 * into: without a reserve a full disk would also stop the very writes that empty the queue.
 * @module
 */
import { closeSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { randomFillSync } from "node:crypto";

/** More than a whole log of one large transaction takes when it is copied, in bytes. */
const RESERVE_BYTES = 16 * 1024 * 1024;

/** Not zeros: a file system that compresses would keep nothing back for them. */
const BLOCK_BYTES = 256 * 1024;

/** A file beside the queue that can be given up. */
export class Reserve {
  readonly #path: string;
  #held = false;

  constructor(path: string) {
    this.#path = path;
  }

  get held(): boolean {
    return this.#held;
  }

  /** Takes the space, unless it is held; false where the disk has it not. */
  take(): boolean {
    if (this.#held) return true;
    if ((statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) === RESERVE_BYTES) return this.#held = true;
    try {
      const block = randomFillSync(new Uint8Array(BLOCK_BYTES));
      const fd = openSync(this.#path, "w", 0o600);
      try {
        for (let written = 0; written < RESERVE_BYTES;) {
          written += writeSync(fd, block, 0, Math.min(block.length, RESERVE_BYTES - written));
        }
      } finally {
        closeSync(fd);
      }
      return this.#held = true;
    } catch {
      this.give();
      return false;
    }
  }

  /** Gives the space up; false where there was none. */
  give(): boolean {
    this.#held = false;
    const existed = statSync(this.#path, { throwIfNoEntry: false }) !== undefined;
    try {
      rmSync(this.#path, { force: true });
    } catch {
      return false;
    }
    return existed;
  }
}
