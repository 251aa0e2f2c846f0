/**
 * The queue's file as one object: each method is one transaction, and blocks. Runs in the Worker.
 * @module
 */
import { statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../../errors.ts";
import { SIGNAL_NAMES, type SignalName } from "../../../signal.ts";
import { faultInjector, WorkerCrash } from "./injected_faults.ts";
import { type Mark, MarkFile } from "./mark.ts";
import { Salvage, setAside } from "./salvage.ts";
import { openDatabase } from "./schema.ts";
import type {
  AppendOp,
  Disowned,
  RecordHead,
  Remainder,
  Replies,
  Request,
  SettleOp,
  Totals,
  WorkerSettings,
} from "../protocol.ts";
import {
  addBooks,
  emptyDelta,
  headOf,
  inTransaction,
  type Open,
  prepareStatements,
  type Row,
  setMeta,
} from "./statements.ts";
import { Transaction } from "./transaction.ts";
import { Upkeep } from "./upkeep.ts";
import { diskFull, sqliteFaultOf, storageErrorOf } from "./storage_error.ts";

/** Up to this size, in bytes, the file is checked through at start; a larger one is checked as it is read (see `#checkAtStart`). */
const CHECKED_AT_START_BYTES = 64 * 1024 * 1024;

/** What one step of a salvage may move, in bytes and in ms. */
const SALVAGE_STEP_BYTES = 4 * 1024 * 1024;
const SALVAGE_STEP_MS = 20;

/** What the store tells without being asked. */
export interface StoreNews {
  log(level: "warn" | "error", message: string, fields: Record<string, unknown>): void;
  rows(reset: boolean, totals: Totals): void;
}

export class SqliteStore {
  readonly #settings: WorkerSettings;
  readonly #news: StoreNews;
  readonly #fault: ReturnType<typeof faultInjector>;
  readonly #upkeep: Upkeep;
  #open: Open | undefined;
  /** Records refused after a commit that failed: looked for, and removed, before the next commit. */
  #disowned: Disowned[];
  /** The first id of the transaction last begun. */
  #attemptedId = 0;

  /**
   * Opens, migrates, checks, and sets a damaged file aside.
   * @throws {StorageError} when the file cannot be used
   */
  constructor(settings: WorkerSettings, disowned: readonly Disowned[], news: StoreNews) {
    this.#settings = settings;
    this.#news = news;
    this.#fault = faultInjector(settings.faults);
    this.#disowned = [...disowned];
    const { path } = settings;
    this.#upkeep = new Upkeep(path, (message, fields) => news.log("warn", message, { path, ...fields }));
    try {
      this.#ensureOpen();
    } catch (error) {
      throw storageErrorOf(this.#settings.path, error);
    }
    this.#upkeep.takeReserve();
  }

  get totals(): Totals {
    return this.#ensureOpen().totals;
  }

  /**
   * One transaction. A fault refuses the appends, of which nothing is kept, and closes the connection: what it has in
   * memory may be ahead of the disk. The settles, which must not be lost, are then tried by themselves: they free space.
   */
  commit(request: Request & { kind: "commit" }, again = false): Replies["commit"] {
    const { settles } = request;
    if (!this.#upkeep.roomForAppends(this.#open)) return this.#settleOnly(request);
    const { appends } = request;
    try {
      return this.#transact(request, appends, settles);
    } catch (error) {
      const text = this.#afterFailure(error, appends, request.now);
      if (text === undefined && !again) return this.commit(request, true);
      if (text === undefined) throw error;
      const reply = appends.length > 0 && settles.length > 0 ? this.#settleOnly(request) : failedWith(text);
      return { ...reply, appendFailure: { text } };
    }
  }

  #settleOnly(request: Request & { kind: "commit" }): Replies["commit"] {
    try {
      return {
        ...this.#transact(request, [], request.settles),
        appendFailure: { text: diskFull(this.#settings.path).message },
      };
    } catch (error) {
      return failedWith(this.#afterFailure(error, [], request.now) ?? messageOf(error));
    }
  }

  /** Records of a lane in order of id, until one of the bounds is passed. */
  read(request: Request & { kind: "read" }): Replies["read"] {
    return this.#guarded({ rows: [], exhausted: true }, ({ sql }) => {
      const rows: Replies["read"]["rows"][number][] = [];
      let bytes = 0;
      for (const row of sql.read.iterate(request.bytesMax, request.signal, request.encoding, request.afterId)) {
        const payload = (row.payload ?? undefined) as Uint8Array<ArrayBuffer> | undefined;
        const record = { ...headOf(row), payload };
        rows.push(record);
        bytes += record.bytes;
        if (rows.length >= request.recordsMax || bytes >= request.bytesMax) return { rows, exhausted: false };
      }
      return { rows, exhausted: true };
    });
  }

  /** Payloads by id; undefined for a record that is gone. */
  load(ids: readonly number[]): Replies["load"] {
    return this.#guarded({ payloads: ids.map(() => undefined) }, ({ sql }) => ({
      payloads: ids.map((id) => sql.payload.get(id)?.payload as Uint8Array<ArrayBuffer> | undefined),
    }));
  }

  /** Frees held records for which the dead letters now have room. */
  release(): Replies["release"] {
    const open = this.#ensureOpen();
    const heads: RecordHead[] = [];
    inTransaction(open, () => {
      const meta = open.sql.meta.get() as Row;
      let room = this.#settings.deadLetterBytesMax - Number(meta.dead_bytes);
      for (const row of open.sql.heldFitting.all(room)) {
        const head = headOf(row);
        if (head.bytes > room) break;
        room -= head.bytes;
        open.sql.release.run(head.id);
        heads.push(head);
      }
      setMeta(open, meta, { held: Number(meta.held) - heads.length });
    });
    return { heads, totals: this.#readTotals(open) };
  }

  /** Whether another process has written since the last look. */
  poll(): Replies["poll"] {
    return this.#guarded({ foreign: false, totals: undefined }, (open) => {
      const dataVersion = Number(open.sql.dataVersion.get()?.data_version);
      if (dataVersion === open.dataVersion) return { foreign: false, totals: undefined };
      open.dataVersion = dataVersion;
      const nextId = Number(open.sql.meta.get()?.next_id);
      const foreign = nextId !== open.nextId;
      open.nextId = nextId;
      return { foreign, totals: this.#readTotals(open) };
    });
  }

  stats(): Replies["stats"] {
    const open = this.#ensureOpen();
    return this.#guarded({ totals: open.totals, oldestAt: undefined }, (open) => {
      const oldestAt = open.sql.oldest.get()?.enqueued_at;
      return { totals: this.#readTotals(open), oldestAt: oldestAt === undefined ? undefined : Number(oldestAt) };
    });
  }

  /** What each sender has queued, counted in the rows. */
  senders(): Replies["senders"] {
    return this.#guarded<Replies["senders"]>({ senders: undefined }, ({ sql }) => ({
      senders: sql.senders.all().map(({ sender, bytes }) => ({ sender: String(sender), bytes: Number(bytes) })),
    }));
  }

  /** Work that can wait until the answers have been sent; see {@link Upkeep}. Returns in how many ms there is more, if there is. */
  idle(): number | undefined {
    const open = this.#open;
    if (open === undefined) return undefined;
    try {
      return this.#upkeep.step(open, (salvage) => this.#salvageStep(open, salvage));
    } catch (error) {
      this.#afterFailure(error, [], Date.now());
      return undefined;
    }
  }

  /** Empties the WAL into the database, where no reader elsewhere stops it, and closes. */
  close(): void {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    try {
      open.db.exec("PRAGMA busy_timeout = 500");
      open.sql.truncate.get();
    } catch (error) {
      // Everything answered is in the WAL, which the next start reads.
      this.#news.log("warn", `Could not empty the queue's WAL while closing: ${messageOf(error)}`, {
        path: this.#settings.path,
      });
    }
    open.salvage?.close();
    open.mark.close();
    open.db.close();
  }

  // --- transactions

  #transact(
    request: Request & { kind: "commit" },
    appends: readonly AppendOp[],
    settles: readonly SettleOp[],
  ): Replies["commit"] {
    const open = this.#ensureOpen();
    const size = { appends: appends.length, settles: settles.length };
    const remainders: Remainder[] = [];
    let firstId = 0;
    let foreign = false;
    let transaction: Transaction | undefined;
    inTransaction(open, () => {
      this.#fault("begun", size);
      const meta = open.sql.meta.get() as Row;
      firstId = this.#attemptedId = Number(meta.next_id);
      foreign = firstId !== open.nextId;
      transaction = new Transaction(open, meta, request.now, this.#settings.deadLetterBytesMax);
      for (const append of appends) transaction.append(append, payloadOf(append, request.packed));
      for (const settle of settles) {
        const remainder = transaction.settle(settle);
        if (remainder !== undefined) remainders.push(remainder);
      }
      transaction.finish();
      this.#fault("written", size);
    }, () => this.#fault("committed", size));
    // Reading the books again costs as much as writing them; only another process makes them other than what is known here.
    const totals = foreign ? this.#readTotals(open) : open.totals = transaction!.totalsAfter(open.totals);
    open.nextId = totals.lastId + 1;
    this.#writeMark(open, totals);
    this.#fault("marked", size);
    this.#upkeep.committed(appends);
    return {
      totals,
      firstId,
      appendFailure: undefined,
      settleFailure: undefined,
      foreign,
      remainders,
      returned: appends.filter(({ giveBack }) => giveBack).map((append) => payloadOf(append, request.packed)),
    };
  }

  /**
   * Puts things in order after a transaction that failed. Returns undefined where it may be tried again at once (a damaged
   * file was set aside), and otherwise what to tell the senders.
   */
  #afterFailure(error: unknown, appends: readonly AppendOp[], now: number): string | undefined {
    if (error instanceof WorkerCrash) throw error;
    const fault = sqliteFaultOf(error);
    const path = this.#settings.path;
    if (fault === "busy") return `The queue ${path} is locked by another process; end its transaction`;
    if (fault === "full") this.#upkeep.giveReserve();
    if (fault === "corrupt") {
      try {
        this.#replaceDamaged(messageOf(error), now);
        return undefined;
      } catch (error) {
        this.#closeAfterFailure();
        return storageErrorOf(this.#settings.path, error).message;
      }
    }
    this.#closeAfterFailure();
    // A commit whose fsync failed may be found in the WAL all the same when it is read again.
    const firstId = this.#attemptedId;
    appends.forEach(({ enqueuedAt, bytes }, index) => this.#disowned.push({ id: firstId + index, enqueuedAt, bytes }));
    try {
      this.#ensureOpen();
    } catch {
      // The next transaction tries again; this one's error is the one to tell.
    }
    return storageErrorOf(this.#settings.path, error).message;
  }

  #closeAfterFailure(): void {
    const open = this.#open;
    this.#open = undefined;
    try {
      open?.salvage?.close();
      open?.mark.close();
      open?.db.close();
    } catch (error) {
      this.#news.log("warn", `Closing the queue after a failure failed too: ${messageOf(error)}`, {
        path: this.#settings.path,
      });
    }
  }

  /** A read; on damage the file is replaced and the fallback returned. */
  #guarded<T>(fallback: T, read: (open: Open) => T): T {
    try {
      return read(this.#ensureOpen());
    } catch (error) {
      if (sqliteFaultOf(error) !== "corrupt") throw storageErrorOf(this.#settings.path, error);
      this.#replaceDamaged(messageOf(error), Date.now());
      return fallback;
    }
  }

  #readTotals(open: Open): Totals {
    const meta = open.sql.meta.get() as Row;
    open.nextId = Number(meta.next_id);
    let records = 0;
    let bytes = 0;
    const books = {} as Record<SignalName, Totals["books"][SignalName]>;
    for (const row of open.sql.books.all()) {
      records += Number(row.records);
      bytes += Number(row.bytes);
      books[row.signal as SignalName] = {
        accepted: Number(row.accepted),
        delivered: Number(row.delivered),
        rejectedByCollector: Number(row.rejected),
        deadLettered: Number(row.dead),
        expired: Number(row.expired),
        queued: Number(row.queued),
      };
    }
    open.totals = {
      records,
      bytes,
      deadRecords: Number(meta.dead_records),
      deadBytes: Number(meta.dead_bytes),
      held: Number(meta.held),
      lastId: open.nextId - 1,
      books,
    };
    return open.totals;
  }

  #writeMark(open: Open, totals: Totals): void {
    try {
      open.mark.write({
        identity: open.identity,
        lastId: open.nextId - 1,
        accepted: SIGNAL_NAMES.map((name) => totals.books[name].accepted),
        records: totals.records,
      });
    } catch (error) {
      // The records are safe without it: it only serves to notice a disk that lied.
      this.#news.log("warn", `Cannot write the queue's mark: ${messageOf(error)}`, {
        path: `${this.#settings.path}.mark`,
      });
    }
  }

  // --- opening

  #ensureOpen(): Open {
    if (this.#open !== undefined) return this.#open;
    try {
      this.#open = this.#tryOpen();
    } catch (error) {
      const fault = sqliteFaultOf(error);
      if (fault === "corrupt") this.#replaceDamaged(messageOf(error), Date.now());
      else if (fault === "full" && this.#upkeep.giveReserve()) this.#open = this.#tryOpen();
      else throw error;
    }
    return this.#open!;
  }

  #tryOpen(): Open {
    const { path } = this.#settings;
    const db = openDatabase(path);
    let mark: MarkFile | undefined;
    try {
      if (this.#settings.fileBytesMax !== undefined) {
        db.exec(`PRAGMA max_page_count = ${Math.floor(this.#settings.fileBytesMax / 4096)}`);
      }
      this.#checkAtStart(db);
      mark = new MarkFile(`${path}.mark`);
      const sql = prepareStatements(db);
      const open: Open = {
        db,
        sql,
        mark,
        identity: Number(sql.meta.get()?.identity),
        nextId: 1,
        dataVersion: Number(sql.dataVersion.get()?.data_version),
        totals: {
          records: 0,
          bytes: 0,
          deadRecords: 0,
          deadBytes: 0,
          held: 0,
          lastId: 0,
          books: {} as Totals["books"],
        },
        salvage: undefined,
      };
      this.#settle(open);
      return open;
    } catch (error) {
      mark?.close();
      db.close();
      throw error;
    }
  }

  /** What a start changes: bounds, held records, ids that must not be given out again, records to disown. */
  #settle(open: Open): void {
    const { sql } = open;
    const mark = open.mark.read();
    let lost: { records: number; items: Record<string, number> } | undefined;
    inTransaction(open, () => {
      const meta = sql.meta.get() as Row;
      sql.setBounds.run(this.#settings.bytesMax, this.#settings.deadLetterBytesMax);
      if (Number(meta.held) > 0) sql.releaseAll.run();
      let nextId = Number(meta.next_id);
      if (mark !== undefined && mark.identity === open.identity && mark.lastId >= nextId) {
        lost = { records: mark.lastId - nextId + 1, items: this.#itemsMissing(open, mark) };
        nextId = mark.lastId + 1;
      }
      setMeta(open, meta, { next_id: nextId, held: 0 });
      this.#removeDisowned(open);
    });
    const totals = this.#readTotals(open);
    if (lost !== undefined) {
      // The lost transactions took their part of the books with them, so that these still balance.
      this.#news.log(
        "error",
        `The end of the queue's log is damaged: ${lost.records} records that had been accepted are lost; check the disk`,
        { path: this.#settings.path, records: lost.records, ...lost.items },
      );
    }
    if (mark !== undefined && mark.identity !== open.identity && mark.records > 0) {
      this.#news.log(
        "error",
        `The queue's file is not the one of the last run, in which ${mark.records} records were queued; if it was moved, stop ` +
          "the relay and put it back",
        { path: this.#settings.path, records: mark.records },
      );
    }
    this.#writeMark(open, totals);
    const meta = sql.meta.get() as Row;
    if (meta.salvage_path !== null) {
      open.salvage = new Salvage(String(meta.salvage_path), Number(meta.salvage_after), Number(meta.salvage_records));
    }
  }

  #itemsMissing(open: Open, mark: Mark): Record<string, number> {
    const items: Record<string, number> = {};
    for (const row of open.sql.books.all()) {
      const index = SIGNAL_NAMES.indexOf(row.signal as SignalName);
      const missing = (mark.accepted[index] ?? 0) - Number(row.accepted);
      if (missing > 0) items[String(row.signal)] = missing;
    }
    return items;
  }

  #removeDisowned(open: Open): void {
    const disowned = this.#disowned;
    if (disowned.length === 0) return;
    for (const { id, enqueuedAt, bytes } of disowned) {
      const row = open.sql.row.get(id);
      if (row === undefined || Number(row.enqueued_at) !== enqueuedAt || Number(row.bytes) !== bytes) continue;
      open.sql.remove.get(id);
      const delta = emptyDelta();
      delta.accepted = delta.queued = -Number(row.items);
      delta.records = -1;
      delta.bytes = -bytes;
      addBooks(open, row.signal as SignalName, delta);
    }
    this.#disowned = [];
  }

  /**
   * A small file is checked through. A large one is not: a full check reads all of it, which at 1 GiB keeps senders waiting
   * for seconds, and kill -9 does not damage an SQLite file. Its damage is found where it matters, when a page is read or
   * written, and handled there in the same way. A file cut short is noticed by SQLite itself, from the header's page count.
   */
  #checkAtStart(db: DatabaseSync): void {
    if (statSync(this.#settings.path).size > CHECKED_AT_START_BYTES) return;
    const verdict = String(Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})[0]);
    if (verdict !== "ok") throw Object.assign(new Error(verdict), { errcode: 11 });
  }

  // --- damage

  /** Sets the damaged file aside, starts a new one, and prepares the salvage. */
  #replaceDamaged(why: string, now: number): void {
    const { path } = this.#settings;
    this.#closeAfterFailure();
    const aside = setAside(path, now);
    this.#news.log(
      "error",
      `The queue's file is damaged (${why}); it was set aside and what can be read is being moved`,
      {
        path,
        aside,
      },
    );
    const open = this.#tryOpen();
    this.#open = open;
    const salvage = new Salvage(aside, 0, 0);
    const books = salvage.books();
    inTransaction(open, () => {
      const meta = open.sql.meta.get() as Row;
      open.sql.setSalvage.run(aside, 0, 0);
      // Ids go on from where they were, so that none ever names two records.
      setMeta(open, meta, { next_id: salvage.lastId() + 1 });
      for (const { signal, delivered, rejected, expired } of books) {
        // What is moved below is entered as it arrives; what is not is lost, and stays out of the books.
        addBooks(open, signal, {
          ...emptyDelta(),
          accepted: delivered + rejected + expired,
          delivered,
          rejected,
          expired,
        });
      }
    });
    open.salvage = salvage;
    const totals = this.#readTotals(open);
    this.#writeMark(open, totals);
    this.#news.rows(true, totals);
  }

  /** Moves some rows from the damaged file. Returns whether there are more. */
  #salvageStep(open: Open, salvage: Salvage): boolean {
    const step = salvage.next(SALVAGE_STEP_BYTES, SALVAGE_STEP_MS);
    inTransaction(open, () => {
      const meta = open.sql.meta.get() as Row;
      const transaction = new Transaction(open, meta, Date.now(), this.#settings.deadLetterBytesMax);
      for (const row of step.records) transaction.append(row, row.payload);
      for (const letter of step.deadLetters) transaction.keepDeadLetter(letter);
      transaction.finish();
      open.sql.setSalvage.run(step.done ? null : salvage.path, salvage.after, salvage.moved);
    });
    const totals = this.#readTotals(open);
    this.#writeMark(open, totals);
    if (step.records.length > 0) this.#news.rows(false, totals);
    if (step.done) {
      const { expected, moved } = salvage;
      const missing = expected === undefined ? undefined : Math.max(0, expected - moved);
      this.#news.log(
        missing === 0 ? "warn" : "error",
        missing === undefined
          ? `Salvage of the damaged queue ended: ${moved} records moved, how many there were cannot be read`
          : `Salvage of the damaged queue ended: ${moved} records moved, ${missing} lost`,
        {
          path: this.#settings.path,
          aside: salvage.path,
          records: moved,
          ...(missing === undefined ? {} : { lost: missing }),
        },
      );
      salvage.close();
      open.salvage = undefined;
      return false;
    }
    return true;
  }
}

function failedWith(text: string): Replies["commit"] {
  return {
    totals: undefined,
    firstId: 0,
    appendFailure: { text },
    settleFailure: { text },
    foreign: false,
    remainders: [],
    returned: [],
  };
}

function payloadOf(append: AppendOp, packed: ArrayBuffer): Uint8Array<ArrayBuffer> {
  if (append.payload instanceof Uint8Array) return append.payload;
  return new Uint8Array(packed, append.payload.offset, append.bytes);
}
