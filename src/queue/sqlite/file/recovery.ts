/**
 * How the queue's file comes to be open, whatever has happened to it: made or migrated, set aside when it is damaged, copied out of
 * the open connection when it was deleted under the relay, and what stands aside moved back row by row. Runs in the Worker.
 * @module
 */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../../errors.ts";
import { syncFolderSync } from "../../../files/sync_folder.ts";
import { SIGNAL_NAMES, type SignalName } from "../../../signal.ts";
import type { Disowned, WorkerSettings } from "../protocol.ts";
import { doorBooksOf, type Totals } from "../../totals.ts";
import { asideName, finishSetAside, markSalvaged, pendingAsides, setAside } from "./asides.ts";
import type { FaultInjector } from "../injected_faults.ts";
import { makeFolder, makeQueueFile } from "./lock.ts";
import { type Mark, MarkFile } from "./mark.ts";
import { FileWatch } from "./presence.ts";
import { addBook, OVERLAP, Routes } from "./routes.ts";
import { lastIdOf, type Progress, Salvage, type SalvageStep } from "./salvage.ts";
import { openDatabase } from "./schema.ts";
import {
  addBooks,
  emptyDelta,
  inTransaction,
  type Open,
  prepareStatements,
  readTotals,
  type Row,
  setMeta,
} from "./statements.ts";
import { sqliteFaultOf } from "../../storage_error.ts";
import { Transaction } from "./transaction.ts";

/** Up to this size, in bytes, the file is checked through at start; a larger one is checked as it is read (see `checkAtStart`). */
const CHECKED_AT_START_BYTES = 64 * 1024 * 1024;

/** What one step of a salvage may move, in bytes and in ms. */
const SALVAGE_STEP_BYTES = 4 * 1024 * 1024;
const SALVAGE_STEP_MS = 20;

/** How often a file that stands aside and cannot be opened is tried again, in ms. */
const SALVAGE_RETRY_MS = 1_000;

/** What the Worker tells without being asked. */
export interface StoreNews {
  log(level: "warn" | "error", message: string, fields: Record<string, unknown>): void;
  /** Rows have come that nobody appended. `reset`: ids known until now name nothing any more. */
  rows(reset: boolean, totals: Totals): void;
  /** Why nothing can be appended, although no transaction has failed; undefined when that is over. */
  trouble(text: string | undefined): void;
}

export class Recovery {
  readonly #settings: WorkerSettings;
  readonly #news: StoreNews;
  readonly #fault: FaultInjector;
  readonly #giveReserve: () => boolean;
  /** No id below is given out again, whichever file is opened next: what is in flight names its record by it. */
  #nextIdMin = 1;
  /** When files that stand aside and could not be opened are tried again, by `performance.now`; undefined where there are none. */
  #retryAt: number | undefined;
  /** Those that have been reported. */
  readonly #unopened = new Set<string>();
  /** Records refused after a commit that failed: looked for, and removed, whenever the file is opened. */
  #disowned: Disowned[];

  /** @param giveReserve Frees the disk space that is kept back; false where there was none. */
  constructor(
    settings: WorkerSettings,
    disowned: readonly Disowned[],
    news: StoreNews,
    fault: FaultInjector,
    giveReserve: () => boolean,
  ) {
    this.#settings = settings;
    this.#news = news;
    this.#fault = fault;
    this.#giveReserve = giveReserve;
    this.#disowned = [...disowned];
  }

  /** Records that were refused in a transaction whose end nobody knows. */
  disown(records: readonly Disowned[]): void {
    this.#disowned.push(...records);
  }

  /** Opens the file; a damaged one is set aside first. */
  open(): Open {
    try {
      return this.#withReserve(() => this.#tryOpen());
    } catch (error) {
      if (sqliteFaultOf(error) !== "corrupt") throw error;
      return this.replaceDamaged(messageOf(error));
    }
  }

  /** Sets the damaged file aside and starts a new one, into which what can be read will be moved. It must not be open any more. */
  replaceDamaged(why: string): Open {
    const { path } = this.#settings;
    const aside = asideName(path, "damaged", Date.now());
    setAside(path, aside);
    this.#fault("aside", { appends: 0, settles: 0 });
    this.#news.log(
      "error",
      `The queue's file is damaged (${why}); it was set aside and what can be read is being moved`,
      { path, aside },
    );
    return this.#withReserve(() => this.#tryOpen());
  }

  /**
   * The file was deleted or replaced while it was open: all that it holds is copied to a file of its own, from which a new queue
   * is filled. What has taken its place is set aside: its rows are salvaged too, unless it is an older state of the same queue.
   * @throws where there is no room for the copy; the file is still open then
   */
  rescue(open: Open, now: number): Open {
    const { path } = this.#settings;
    makeFolder(path);
    const copy = asideName(path, "rescued", now);
    this.#withReserve(() => copyInto(open.db, copy));
    this.#fault("aside", { appends: 0, settles: 0 });
    const foreign = existsSync(path) && !open.watch.isOwn("");
    const theirs = asideName(path, "replaced", now);
    // Before the connection is closed, which deletes the WAL at its path, whoever's it is.
    if (foreign) setAside(path, theirs, (suffix) => !open.watch.isOwn(suffix));
    const { identity } = open;
    closeOpen(open);
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
    let pending = false;
    if (foreign && existsSync(theirs)) {
      pending = isAnotherQueue(theirs, identity);
      if (pending) setAside(theirs, asideName(path, "damaged", now));
    }
    this.#news.log(
      "error",
      foreign
        ? "The queue's file was replaced while the relay ran; what the relay had is being moved into a new one" +
          (pending ? ", and what the other file holds too" : "; the other file was set aside")
        : "The queue's file was deleted while the relay ran; what it held is being moved into a new one",
      { path, ...(foreign && !pending ? { aside: theirs } : {}) },
    );
    return this.#withReserve(() => this.#tryOpen());
  }

  /** Tries files that stand aside again that could not be opened; to be called at any time, does so seldom. */
  retrySalvage(open: Open): void {
    if (this.#retryAt === undefined || open.salvage !== undefined || performance.now() < this.#retryAt) return;
    open.salvage = this.#nextSalvage(open);
  }

  /** Moves some rows from a file that stands aside. Returns whether there are more, in this file or in another. */
  salvageStep(open: Open, salvage: Salvage): boolean {
    const back = salvage.bookmark();
    let step: SalvageStep;
    let came: boolean;
    try {
      step = salvage.next(SALVAGE_STEP_BYTES, SALVAGE_STEP_MS);
      came = this.#keepSalvaged(open, salvage, step);
    } catch (error) {
      // Another process has the file locked, perhaps: what was read and not kept must not be passed over.
      back();
      throw error;
    }
    const totals = readTotals(open);
    this.writeMark(open, totals);
    if (came) this.#news.rows(false, totals);
    if (!step.done) return true;
    salvage.close();
    open.salvage = undefined;
    this.#tellSalvaged(open, salvage);
    open.salvage = this.#nextSalvage(open);
    return open.salvage !== undefined;
  }

  /** Returns whether rows have come, of the salvage or of another process. */
  #keepSalvaged(open: Open, salvage: Salvage, step: SalvageStep): boolean {
    const before = open.nextId;
    let nextId = before;
    inTransaction(open, () => {
      const meta = open.sql.meta.get() as Row;
      if (Number(meta.next_id) !== before) open.routes.load();
      const transaction = new Transaction(open, meta, Date.now(), this.#settings.deadLetterBytesMax);
      const number = (name: string) => open.routes.targetOf(name);
      for (const row of step.records) transaction.append({ ...row, targets: row.targets.map(number) }, row.payload);
      for (const letter of step.deadLetters) transaction.keepDeadLetter({ ...letter, target: number(letter.target) });
      transaction.finish();
      open.sql.setSalvage.run(salvage.after, salvage.moved, step.done ? 1 : 0, basename(salvage.path));
      nextId = Number(open.sql.meta.get()?.next_id);
    });
    open.nextId = nextId;
    return nextId !== before;
  }

  /** Notes the last transaction, so that a disk that lied is noticed. */
  writeMark(open: Open, totals: Totals): void {
    this.#nextIdMin = Math.max(this.#nextIdMin, open.nextId);
    try {
      open.mark.write({
        identity: open.identity,
        lastId: open.nextId - 1,
        accepted: SIGNAL_NAMES.map((name) => doorBooksOf(totals, name).accepted),
        records: totals.records,
      });
    } catch (error) {
      // The records are safe without it: it only serves to notice a disk that lied.
      this.#news.log("warn", `Cannot write the queue's mark: ${messageOf(error)}`, {
        path: `${this.#settings.path}.mark`,
      });
    }
  }

  /** Whether somebody else's writing has damaged the file: a small one is read through, by a connection that has nothing of it yet. */
  writtenByOthers(open: Open): "sound" | "damaged" {
    const { path } = this.#settings;
    const cut = open.watch.cutShort;
    open.watch.written();
    if (statSync(path).size > CHECKED_AT_START_BYTES) return cut ? "damaged" : "sound";
    try {
      const db = new DatabaseSync(path, { readOnly: true, timeout: 1000 });
      try {
        checkThrough(db);
        const row = db.prepare("SELECT identity, next_id FROM meta").get();
        return Number(row?.identity) === open.identity && Number(row?.next_id) >= open.nextId ? "sound" : "damaged";
      } finally {
        db.close();
      }
    } catch (error) {
      return sqliteFaultOf(error) === "busy" ? "sound" : "damaged";
    }
  }

  // --- opening

  #withReserve<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      // Where shared memory finds no room SQLite speaks of an I/O error, or of a file that cannot be opened.
      const fault = sqliteFaultOf(error);
      if ((fault === "full" || fault === "io" || fault === "cannot_open") && this.#giveReserve()) return work();
      throw error;
    }
  }

  #tryOpen(): Open {
    const { path } = this.#settings;
    const orphan = finishSetAside(path, Date.now());
    if (orphan !== undefined) {
      this.#news.log("error", "The queue's file is gone and its WAL is left; the WAL was set aside", { path, orphan });
    }
    // Closing a file of a database would drop the locks that this process has on it: only a new one is made here.
    if (!existsSync(path)) makeQueueFile(path);
    const db = openDatabase(path);
    let mark: MarkFile | undefined;
    let watch: FileWatch | undefined;
    try {
      if (this.#settings.fileBytesMax !== undefined) {
        db.exec(`PRAGMA max_page_count = ${Math.floor(this.#settings.fileBytesMax / 4096)}`);
      }
      checkAtStart(db, path);
      mark = new MarkFile(`${path}.mark`);
      const sql = prepareStatements(db);
      const identity = Number(sql.meta.get()?.identity);
      const lastMark = mark.read();
      const routes = new Routes(db);
      const lost = this.#putInOrder({ db, sql, identity, routes }, lastMark);
      watch = new FileWatch(path);
      const open: Open = {
        db,
        sql,
        mark,
        watch,
        routes,
        identity,
        nextId: 1,
        dataVersion: Number(sql.dataVersion.get()?.data_version),
        totals: emptyTotals(),
        salvage: undefined,
      };
      this.#tellLost(open, lastMark, lost);
      open.salvage = this.#nextSalvage(open);
      open.nextId = readTotals(open).lastId + 1;
      this.writeMark(open, open.totals);
      return open;
    } catch (error) {
      mark?.close();
      db.close();
      watch?.close();
      throw error;
    }
  }

  /** Where ids go on: above all that this relay has given out, and above those of the files whose rows are still to be moved. */
  #firstFreeId(): number {
    return Math.max(this.#nextIdMin, ...pendingAsides(this.#settings.path).map((aside) => lastIdOf(aside) + 1));
  }

  /** What a start changes: bounds, held records, ids that must not be given out again, records to disown. */
  #putInOrder(open: Pick<Open, "db" | "sql" | "identity" | "routes">, mark: Mark | undefined): Lost | undefined {
    const { sql } = open;
    let lost: Lost | undefined;
    const firstFreeId = this.#firstFreeId();
    inTransaction(open, () => {
      const meta = sql.meta.get() as Row;
      sql.setBounds.run(this.#settings.bytesMax, this.#settings.deadLetterBytesMax);
      for (const name of this.#settings.targets) open.routes.targetOf(name);
      if (Number(meta.held) > 0) sql.releaseAll.run();
      let nextId = Number(meta.next_id);
      if (mark !== undefined && mark.identity === open.identity && mark.lastId >= nextId) {
        lost = { records: mark.lastId - nextId + 1, items: itemsMissing(open, mark) };
        nextId = mark.lastId + 1;
      }
      setMeta(open, meta, { next_id: Math.max(nextId, firstFreeId), held: 0 });
      this.#removeDisowned(open);
    });
    return lost;
  }

  #tellLost(open: Open, mark: Mark | undefined, lost: Lost | undefined): void {
    const { path } = this.#settings;
    if (lost !== undefined) {
      // The lost transactions took their part of the books with them, so that these still balance.
      this.#news.log(
        "error",
        `The end of the queue's log is damaged: ${lost.records} records that had been accepted are lost; check the disk`,
        { path, records: lost.records, ...lost.items },
      );
    }
    if (mark !== undefined && mark.identity !== open.identity && mark.records > 0) {
      this.#news.log(
        "error",
        `The queue's file is not the one of the last run, in which ${mark.records} records were queued; if it was moved, stop ` +
          "the relay and put it back",
        { path, records: mark.records },
      );
    }
  }

  #removeDisowned(open: Pick<Open, "sql" | "routes">): void {
    const disowned = this.#disowned;
    if (disowned.length === 0) return;
    for (const { id, enqueuedAt, bytes } of disowned) {
      const row = open.sql.row.get(id);
      if (row === undefined || Number(row.enqueued_at) !== enqueuedAt || Number(row.bytes) !== bytes) continue;
      const targets = open.routes.targetsOf(Number(open.sql.routeOf.get(id)?.route));
      open.sql.remove.get(id);
      const signal = row.signal as SignalName;
      const [items, cost] = [Number(row.items), Number(row.cost)];
      // It had just been appended: every target waited for all of it.
      const delta = { ...emptyDelta(), accepted: -items, queued: -items, records: -1, bytes: -cost };
      for (const target of targets) addBooks(open, target, signal, delta);
      const overlap = targets.length - 1;
      if (overlap > 0) {
        addBooks(open, OVERLAP, signal, {
          ...emptyDelta(),
          accepted: overlap * items,
          queued: overlap * items,
          records: overlap,
          bytes: overlap * cost,
        });
      }
    }
    this.#disowned = [];
  }

  // --- what stands aside

  /** The next file of which rows are to be moved; new ones are entered, those that are done are named so. */
  #nextSalvage(open: Open): Salvage | undefined {
    const { path } = this.#settings;
    const known = new Map(open.sql.salvages.all().map((row) => [String(row.name), row]));
    const pending = pendingAsides(path);
    if (known.has("")) this.#passOld(open, pending.filter((aside) => !known.has(basename(aside))));
    this.#retryAt = undefined;
    for (const aside of pending) {
      const row = known.get(basename(aside));
      if (row?.done === 1) {
        this.#named(open, aside, false);
        continue;
      }
      if (row === undefined && known.has("")) continue;
      const earlier = row === undefined ? this.#progressOf(aside, pending) : undefined;
      const salvage = this.#openAside(
        aside,
        earlier?.after ?? Number(row?.after ?? 0),
        earlier?.moved ?? Number(row?.records ?? 0),
      );
      if (salvage === undefined) continue;
      if (row === undefined) this.#beginSalvage(open, salvage, earlier);
      if (earlier?.done !== true) return salvage;
      salvage.close();
      this.#named(open, aside, false);
    }
    // Files that are gone need no row.
    for (const name of known.keys()) {
      if (name !== "" && !existsSync(join(dirname(path), name))) open.sql.removeSalvage.run(name);
    }
    return undefined;
  }

  /**
   * How far a file had been moved into one that was then deleted itself: what came of it is in that one's copy, and must not come twice.
   * Nobody knows what is left of a damaged file: there it begins anew.
   */
  #progressOf(aside: string, pending: readonly string[]): Progress | undefined {
    for (const copy of pending.toReversed()) {
      if (copy === aside) return undefined;
      if (!copy.startsWith(`${this.#settings.path}.rescued-`)) continue;
      const progress = this.#openAside(copy, 0, 0);
      const found = progress?.progress().get(basename(aside));
      progress?.close();
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Undefined for a file that cannot be opened at the moment: it stays pending, and is tried again. */
  #openAside(aside: string, after: number, moved: number): Salvage | undefined {
    try {
      const salvage = new Salvage(aside, after, moved);
      this.#unopened.delete(aside);
      return salvage;
    } catch (error) {
      this.#retryAt = performance.now() + SALVAGE_RETRY_MS;
      if (!this.#unopened.has(aside)) {
        this.#news.log(
          "error",
          `Cannot open a file whose records are to be moved (${
            messageOf(error)
          }); it is tried again: check its owner and mode, ` +
            "and what stands beside it",
          { path: this.#settings.path, aside },
        );
      }
      this.#unopened.add(aside);
      return undefined;
    }
  }

  /**
   * Enters the file and its closed books in one transaction, so that neither is done twice.
   * @param earlier How far it had been moved before: its books are in those of the copy that has what was moved.
   */
  #beginSalvage(open: Open, salvage: Salvage, earlier: Progress | undefined): void {
    const aside = salvage.path;
    try {
      inTransaction(open, () => {
        const meta = open.sql.meta.get() as Row;
        open.sql.addSalvage.run(basename(aside), salvage.after, salvage.moved, earlier?.done === true ? 1 : 0);
        // Ids go on from where they were, so that none ever names two records.
        setMeta(open, meta, { next_id: Math.max(Number(meta.next_id), salvage.lastId() + 1) });
        for (const { target, signal, abandoned, ...closed } of earlier === undefined ? salvage.books() : []) {
          // What is moved below is entered as it arrives; what is not is lost, and stays out of the books.
          const number = target === undefined ? OVERLAP : open.routes.targetOf(target);
          addBook(open.db, number, signal);
          const { accepted } = closed;
          addBooks(open, number, signal, { ...emptyDelta(), ...closed, accepted: accepted - abandoned });
          if (abandoned > 0) open.sql.addAbandoned.run(abandoned, number, signal);
        }
      });
    } catch (error) {
      salvage.close();
      throw error;
    }
  }

  /** An older version set these aside. It moved their rows, unless it died or the disk was full: nobody can tell any more. */
  #passOld(open: Open, asides: readonly string[]): void {
    inTransaction(open, () => {
      for (const aside of asides) open.sql.addSalvage.run(basename(aside), 0, 0, 1);
      open.sql.removeSalvage.run("");
    });
    for (const aside of asides) {
      const name = this.#named(open, aside, false);
      this.#news.log(
        "warn",
        "An older version set this file aside; if its records never came back, stop the relay and give it its old name again",
        { aside: name, oldName: aside },
      );
    }
  }

  #tellSalvaged(open: Open, { path: aside, expected, moved }: Salvage): void {
    const missing = expected === undefined ? undefined : Math.max(0, expected - moved);
    const name = this.#named(open, aside, missing === 0);
    this.#news.log(
      missing === 0 ? "warn" : "error",
      missing === undefined
        ? `Salvage of the damaged queue ended: ${moved} records moved, how many there were cannot be read`
        : `Salvage of the damaged queue ended: ${moved} records moved, ${missing} lost`,
      {
        path: this.#settings.path,
        ...(name === undefined ? {} : { aside: name }),
        records: moved,
        ...(missing === undefined ? {} : { lost: missing }),
      },
    );
  }

  /** Gives a file that is done the name that says so. Its row goes last: a death in between is made good at the next start. */
  #named(open: Open, aside: string, complete: boolean): string | undefined {
    try {
      const name = markSalvaged(this.#settings.path, aside, complete, Date.now());
      open.sql.removeSalvage.run(basename(aside));
      return name;
    } catch (error) {
      this.#news.log("warn", `Cannot rename a file whose records have been moved: ${messageOf(error)}`, { aside });
      return aside;
    }
  }
}

interface Lost {
  readonly records: number;
  readonly items: Readonly<Record<string, number>>;
}

function itemsMissing({ sql }: Pick<Open, "sql">, mark: Mark): Record<string, number> {
  const items: Record<string, number> = {};
  const rows = sql.books.all();
  SIGNAL_NAMES.forEach((name, index) => {
    const own = rows.filter(({ signal }) => signal === name);
    const missing = (mark.accepted[index] ?? 0) - own.reduce((sum, { accepted }) => sum + Number(accepted), 0);
    if (missing > 0) items[name] = missing;
  });
  return items;
}

/** Whether a file is a queue, and not an older state of the one of this identity. One that cannot be opened now may be. */
function isAnotherQueue(path: string, identity: number): boolean {
  let salvage: Salvage | undefined;
  try {
    salvage = new Salvage(path, 0, 0);
    const theirs = salvage.identity();
    return theirs !== undefined && theirs !== identity;
  } catch {
    return true;
  } finally {
    salvage?.close();
  }
}

/** Closes all that belongs to the open file: SQLite's connection before the descriptor that watches it (see {@link FileWatch}). */
export function closeOpen({ db, mark, watch, salvage }: Open): void {
  try {
    salvage?.close();
    mark.close();
    db.close();
  } finally {
    watch.close();
  }
}

/** A whole copy of what the connection sees, durable under its name once that is there. For the owner alone. */
function copyInto(db: DatabaseSync, copy: string): void {
  const part = `${copy}.part`;
  try {
    closeSync(openSync(part, "wx", 0o600));
    db.prepare("VACUUM INTO ?").run(part);
    const fd = openSync(part, "r+");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(part, copy);
    syncFolderSync(dirname(copy));
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

/**
 * A small file is checked through. A large one is not: a full check reads all of it, which at 1 GiB keeps senders waiting
 * for seconds, and kill -9 does not damage an SQLite file. Its damage is found where it matters, when a page is read or
 * written, and handled there in the same way. A file cut short is noticed by SQLite itself, from the header's page count.
 */
function checkAtStart(db: DatabaseSync, path: string): void {
  if (statSync(path).size <= CHECKED_AT_START_BYTES) checkThrough(db);
}

function checkThrough(db: DatabaseSync): void {
  const verdict = String(Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})[0]);
  if (verdict !== "ok") throw Object.assign(new Error(verdict), { errcode: 11 });
}

function emptyTotals(): Totals {
  return {
    records: 0,
    bytes: 0,
    deadRecords: 0,
    deadBytes: 0,
    held: 0,
    lastId: 0,
    targets: {},
  };
}
