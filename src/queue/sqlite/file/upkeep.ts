/**
 * Work on the queue's file that can wait until the answers have been sent: it copies a full WAL into the database, gives pages back to
 * the file system, and restores the reserve that a full disk took. Runs in the Worker.
 * @module
 */
import type { AppendOp } from "../protocol.ts";
import { Reserve } from "./reserve.ts";
import type { Salvage } from "./salvage.ts";
import { CHECKPOINT_PAGES } from "./schema.ts";
import { type Open, type Row, VACUUM_PAGES } from "./statements.ts";
import { sqliteFaultOf } from "../../storage_error.ts";

/** How often it looks for such work: in ms, or once about so many pages have been written. */
const LOOK_MS = 100;
const LOOK_PAGES = CHECKPOINT_PAGES / 4;
const PAGE_BYTES = 4096;
/** About how many pages a commit writes beside the payloads. */
const PAGES_A_COMMIT = 6;

/** A WAL this many pages long means that a reader elsewhere stops it from being reused: 256 MiB. */
const WAL_WARN_PAGES = 65_536;

/** How often pages are given back to the file system, in ms, and how many are kept for reuse (16 MiB). */
const VACUUM_EVERY_MS = 25;
const FREE_PAGES_KEPT = 4096;

/** Pages in use above which nothing is given back: 16 MiB. */
const VACUUM_USED_PAGES = 4096;

/** How often it tries to take a freed reserve again, in ms; with so many free pages (32 MiB) nothing waits for the reserve. */
const RESERVE_RETRY_MS = 500;
const REUSED_PAGES = 8192;

export class Upkeep {
  readonly #warn: (message: string, fields: Record<string, unknown>) => void;
  readonly #reserve: Reserve;
  readonly #now: () => number;
  /** Times here are by that clock. */
  #reserveAt = 0;
  #lookAt = 0;
  #pagesWritten = 0;
  #vacuumAt = 0;
  /** Whether pages have been given back, and perhaps more are to be. */
  #vacuumed = false;
  #walWarned = false;

  /**
   * @param path The queue's file.
   * @param warn Tells of what somebody else has to end.
   * @param now A clock in ms that never steps; for tests.
   */
  constructor(
    path: string,
    warn: (message: string, fields: Record<string, unknown>) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#warn = warn;
    this.#reserve = new Reserve(`${path}.reserve`);
  }

  takeReserve(): void {
    this.#reserve.take();
  }

  /** Frees the reserve, because the disk is full; false if there was none. It is not taken again at once. */
  giveReserve(): boolean {
    this.#reserveAt = this.#now() + RESERVE_RETRY_MS;
    return this.#reserve.give();
  }

  /**
   * Once the disk has been full, appends wait until the reserve could be put back, or until so much of the file is free
   * that they fit into it; settles do not wait.
   */
  roomForAppends(open: Open | undefined): boolean {
    if (this.#reserve.held) return true;
    const now = this.#now();
    if (now >= this.#reserveAt) {
      this.#reserveAt = now + RESERVE_RETRY_MS;
      if (this.#reserve.take()) return true;
    }
    return Number(open?.sql.freePages.get()?.freelist_count ?? 0) > REUSED_PAGES;
  }

  /** A transaction has been committed. */
  committed(appends: readonly AppendOp[]): void {
    this.#pagesWritten += appends.reduce((sum, { bytes }) => sum + Math.ceil(bytes / PAGE_BYTES), PAGES_A_COMMIT);
  }

  /**
   * Does some of it. Returns in how many ms there is more, if there is. A file that others have locked is left for later; any
   * other error is thrown.
   * @param salvage Moves some rows out of a damaged file, and returns whether there are more.
   */
  step(open: Open, salvage: (from: Salvage) => boolean): number | undefined {
    const now = this.#now();
    // The questions below cost as much as a small commit, and their answers change slowly.
    const wanted = open.salvage !== undefined || !this.#reserve.held || (this.#vacuumed && now >= this.#vacuumAt);
    if (!wanted && this.#pagesWritten < LOOK_PAGES && now < this.#lookAt) {
      return this.#pagesWritten === 0 ? undefined : this.#lookAt - now;
    }
    this.#pagesWritten = 0;
    this.#lookAt = now + LOOK_MS;
    try {
      this.#copyWal(open);
      if (open.salvage !== undefined) return salvage(open.salvage) ? 0 : undefined;
      return this.#vacuum(open);
    } catch (error) {
      if (sqliteFaultOf(error) === "busy") return VACUUM_EVERY_MS;
      throw error;
    }
  }

  #copyWal({ sql, watch }: Open): void {
    const wal = sql.walState.get() as Row;
    const pages = Number(wal.log) - Number(wal.checkpointed);
    if (pages >= CHECKPOINT_PAGES) {
      sql.checkpoint.get();
      watch.written();
    }
    const long = Number(wal.log) >= WAL_WARN_PAGES;
    if (long && !this.#walWarned) {
      this.#warn("The queue's WAL cannot be reused: another process keeps the file open for reading; end it", {
        walBytes: Number(wal.log) * PAGE_BYTES,
      });
    }
    this.#walWarned = long;
  }

  /** Only once little is queued: before, pages at the file's end would be moved that are about to be freed themselves. */
  #vacuum({ sql, watch }: Open): number | undefined {
    const free = Number(sql.freePages.get()?.freelist_count);
    const used = Number(sql.allPages.get()?.page_count) - free;
    const kept = this.#reserve.held ? FREE_PAGES_KEPT + VACUUM_PAGES : 0;
    if (free <= kept || used > VACUUM_USED_PAGES) {
      // The file gets shorter when the WAL is copied; the reserve has to fit beside both.
      if (this.#vacuumed) {
        (this.#reserve.held ? sql.checkpoint : sql.truncate).get();
        watch.written();
      }
      if (this.#vacuumed) this.#reserveAt = 0;
      this.#vacuumed = false;
      return undefined;
    }
    const now = this.#now();
    if (now >= this.#vacuumAt || !this.#reserve.held) {
      // `exec` would free one page: it does not step to the end.
      sql.vacuum.all();
      this.#vacuumed = true;
      this.#vacuumAt = now + VACUUM_EVERY_MS;
    }
    // While the disk is full, appends are refused: nobody waits, and the sooner there is room the better.
    return this.#reserve.held ? VACUUM_EVERY_MS : 0;
  }
}
