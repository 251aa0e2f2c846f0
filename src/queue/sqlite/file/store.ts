/**
 * The queue's file as one object: each method is one transaction, and blocks. Runs in the Worker.
 * @module
 */
import { messageOf } from "../../../errors.ts";
import type { TargetId } from "../../queue.ts";
import { deadLetterShareOf } from "../../targets.ts";
import { asideName, setAside } from "./asides.ts";
import { CommitPayloads } from "./commit_payloads.ts";
import { type FaultInjector, faultInjector, WorkerCrash } from "../injected_faults.ts";
import { MarkFile } from "./mark.ts";
import { closeOpen, Recovery, type StoreNews } from "./recovery.ts";
import type {
  AppendOp,
  ClockStep,
  Disowned,
  Remainder,
  Replies,
  Request,
  SettleOp,
  WorkerSettings,
} from "../protocol.ts";
import type { RecordHead } from "../../record_head.ts";
import type { Totals } from "../../totals.ts";
import { clockStepsOf, headOfRow, inTransaction, type Open, readTotals, type Row, setMeta } from "./statements.ts";
import { Transaction } from "./transaction.ts";
import { Upkeep } from "./upkeep.ts";
import { diskFull, sqliteFaultOf, storageErrorOf } from "../../storage_error.ts";

/** Rows of a shared route that one read looks at, most of which may be done for the target. */
const SCANNED_MAX = 4_096;

type ReadRow = Replies["read"]["rows"][number];

/** The layout of a WAL (https://www.sqlite.org/fileformat2.html#walformat), with pages of 4 KiB. */
const LOG_HEADER_BYTES = 32;
const LOG_FRAME_BYTES = 24 + 4096;

/** How often it checks that the files are still there, in ms, by a timer and before a commit. */
export const WATCH_MS = 250;

export class SqliteStore {
  readonly #settings: WorkerSettings;
  readonly #news: StoreNews;
  readonly #fault: FaultInjector;
  readonly #upkeep: Upkeep;
  readonly #recovery: Recovery;
  #open: Open | undefined;
  /** Why nothing is appended although the file is open: it is not at its path. */
  #absent: string | undefined;
  /** Whether somebody cut the WAL short: what is written behind the gap would be lost in a crash, so that nothing is written any more. */
  #logCut = false;
  /** Another file is to be opened: ids known until now will name nothing any more. */
  #resets = false;
  /** By `performance.now`. */
  #watchAt = 0;
  /** Whether maintenance that can wait has failed and has been reported. */
  #idleFailed = false;
  /** The next id of the connection that was closed last: the main side does not know the rows from there on. */
  #nextIdTold: number | undefined;
  /** The first id of the transaction last begun; 0 where it did not come to that. */
  #attemptedId = 0;

  /**
   * Opens, migrates, checks, and sets a damaged file aside.
   * @throws {StorageError} when the file cannot be used
   */
  constructor(settings: WorkerSettings, disowned: readonly Disowned[], news: StoreNews) {
    this.#settings = settings;
    this.#news = news;
    this.#fault = faultInjector(settings.faults);
    const { path } = settings;
    this.#upkeep = new Upkeep(path, (message, fields) => news.log("warn", message, { path, ...fields }));
    this.#recovery = new Recovery(settings, disowned, news, this.#fault, () => this.#upkeep.giveReserve());
    try {
      this.#ensureOpen();
    } catch (error) {
      throw storageErrorOf(this.#settings.path, error);
    }
    this.#upkeep.takeReserve();
  }

  /** Room for the dead letters of each target, in bytes. */
  get #deadLetterShare(): number {
    const { deadLetterBytesMax, targets } = this.#settings;
    return deadLetterShareOf(deadLetterBytesMax, targets.length);
  }

  get totals(): Totals {
    return this.#ensureOpen().totals;
  }

  /** Every target that there has been. */
  get targets(): Replies["open"]["targets"] {
    return [...this.#ensureOpen().routes.targets];
  }

  /**
   * One transaction. A fault refuses the appends, of which nothing is kept, and closes the connection: what it has in
   * memory may be ahead of the disk. The settles, which must not be lost, are then tried by themselves: they free space.
   */
  commit(request: Request & { kind: "commit" }): Replies["commit"] {
    using payloads = new CommitPayloads(request);
    return this.#commit(request, payloads);
  }

  #commit(request: Request & { kind: "commit" }, payloads: CommitPayloads, again = false): Replies["commit"] {
    const { settles } = request;
    if (this.#open?.watch.logShorter === true) this.#watchAt = 0;
    this.watch();
    if (this.#absent !== undefined && this.#logCut) return failedWith(this.#absent);
    if (this.#absent !== undefined) return this.#settleOnly(request, this.#absent);
    if (!this.#upkeep.roomForAppends(this.#open)) return this.#settleOnly(request);
    const { appends } = request;
    try {
      return this.#transact(request.now, appends, settles, payloads);
    } catch (error) {
      const text = this.#afterFailure(error, appends);
      if (text === undefined && !again) return this.#commit(request, payloads, true);
      if (text === undefined) throw error;
      const reply = appends.length > 0 && settles.length > 0 ? this.#settleOnly(request) : failedWith(text);
      return { ...reply, appendFailure: { text } };
    }
  }

  #settleOnly(
    request: Request & { kind: "commit" },
    text = diskFull(this.#settings.path).message,
  ): Replies["commit"] {
    try {
      return { ...this.#transact(request.now, [], request.settles), appendFailure: { text } };
    } catch (error) {
      return failedWith(this.#afterFailure(error, []) ?? messageOf(error));
    }
  }

  /** Records of a lane in order of id, until one of the bounds is passed. */
  read(request: Request & { kind: "read" }): Replies["read"] {
    const { target, afterId, bytesMax, recordsMax } = request;
    return this.#guarded({ rows: [], exhausted: true, seenTo: afterId }, (open) => {
      // Mostly one: the target's own.
      const parts = open.routes.to(target).map((route) => this.#readRoute(open, route, request));
      // What lies behind the end of one part may come before what was read of another.
      const seenTo = Math.min(...parts.filter(({ exhausted }) => !exhausted).map((part) => part.seenTo));
      const sorted = parts.length === 1
        ? parts[0]!.rows
        : parts.flatMap(({ rows }) => rows).filter(({ id }) => id <= seenTo).sort((a, b) => a.id - b.id);
      const rows: ReadRow[] = [];
      let bytes = 0;
      for (const row of sorted) {
        if (rows.length >= recordsMax || (rows.length > 0 && bytes >= bytesMax)) {
          return { rows, exhausted: false, seenTo: rows.at(-1)!.id };
        }
        rows.push(row);
        bytes += row.bytes;
      }
      const exhausted = seenTo === Infinity;
      return { rows, exhausted, seenTo: exhausted ? rows.at(-1)?.id ?? afterId : seenTo };
    });
  }

  #readRoute(
    { sql }: Open,
    route: { readonly id: number; readonly targets: readonly TargetId[] },
    { target, signal, encoding, afterId, bytesMax, recordsMax }: Request & { kind: "read" },
  ): Replies["read"] {
    const shared = route.targets.length > 1;
    const rows: ReadRow[] = [];
    let bytes = 0;
    let seen = 0;
    // Payloads of a shared record are read where they are needed: it may be done for this target.
    for (const row of sql.read.iterate(shared ? -1 : bytesMax, signal, encoding, route.id, afterId)) {
      seen += 1;
      const id = Number(row.id);
      if (!shared || sql.isDone.get(id, target) === undefined) {
        const payload = shared ? undefined : (row.payload ?? undefined) as Uint8Array<ArrayBuffer> | undefined;
        const record = { ...headOfRow(row, route.targets), payload };
        rows.push(record);
        bytes += record.bytes;
      }
      if (rows.length >= recordsMax || bytes >= bytesMax || seen >= SCANNED_MAX) {
        return { rows, exhausted: false, seenTo: id };
      }
    }
    return { rows, exhausted: true, seenTo: Infinity };
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
      // What is held is one target's alone, whose room it waits for.
      for (const target of open.routes.targets.keys()) {
        const [route] = open.routes.to(target).filter(({ targets }) => targets.length === 1);
        let room = this.#deadLetterShare - Number(open.sql.deadBytesOf.get(target)?.bytes ?? 0);
        for (const row of route === undefined ? [] : open.sql.heldFitting.all(route.id, room)) {
          const head = headOfRow(row, [target]);
          if (head.bytes > room) break;
          room -= head.bytes;
          open.sql.release.run(head.id);
          heads.push(head);
        }
      }
      setMeta(open, meta, { held: Number(meta.held) - heads.length });
    });
    return { heads, totals: readTotals(open) };
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
      open.routes.load();
      return { foreign, totals: readTotals(open) };
    });
  }

  stats(): Replies["stats"] {
    const open = this.#ensureOpen();
    return this.#guarded<Replies["stats"]>({ totals: open.totals, oldest: undefined }, (open) => {
      const row = open.sql.oldest.get();
      const oldest = row === undefined ? undefined : { id: Number(row.id), enqueuedAt: Number(row.enqueued_at) };
      return { totals: readTotals(open), oldest };
    });
  }

  /** By how much the clock was set since the records were appended that are left. */
  get clockSteps(): readonly ClockStep[] {
    return clockStepsOf(this.#ensureOpen());
  }

  /** Remembers that the clock was set. */
  clock({ afterId, ms }: ClockStep): Replies["clock"] {
    const open = this.#ensureOpen();
    inTransaction(open, () => open.sql.addClockStep.run(afterId, Math.round(ms)));
    return { clockSteps: clockStepsOf(open) };
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
    if (open === undefined || this.#logCut) return undefined;
    try {
      this.#recovery.retrySalvage(open);
      const againMs = this.#upkeep.step(open, (salvage) => this.#recovery.salvageStep(open, salvage));
      this.#idleFailed = false;
      return againMs;
    } catch (error) {
      const text = this.#afterFailure(error, []);
      if (text !== undefined && !this.#idleFailed) {
        this.#news.log("warn", `Work on the queue's file failed and is tried again: ${text}`, {
          path: this.#settings.path,
        });
      }
      this.#idleFailed = text !== undefined;
      return undefined;
    }
  }

  // --- the files

  /** Looks whether the files at the path are still the open ones, and puts right what can be. Never throws but for a fault on purpose. */
  watch(): void {
    const now = performance.now();
    if ((this.#open === undefined && !this.#resets) || now < this.#watchAt) return;
    this.#watchAt = now + WATCH_MS;
    const { path } = this.#settings;
    try {
      this.#setAbsent(this.#putRight(this.#ensureOpen()));
    } catch (error) {
      if (error instanceof WorkerCrash) throw error;
      this.#setAbsent(`The queue's file ${path} is not where it was, and cannot be put right: ${messageOf(error)}`);
    }
  }

  /** Returns why nothing may be appended, if it may not. */
  #putRight(open: Open): string | undefined {
    const { path } = this.#settings;
    if (this.#logCut) return this.#absent;
    switch (open.watch.look()) {
      case "whole":
        return undefined;
      case "moved":
        return `The queue's file ${path} was moved away while the relay ran; put it back, or restart the relay to begin a new one`;
      case "deleted":
      case "replaced":
        this.#rescue(open);
        return undefined;
      case "log_lost":
        this.#remakeLog(open);
        return undefined;
      case "mark_lost":
        open.mark.close();
        open.mark = new MarkFile(`${path}.mark`);
        open.watch.remember(".mark");
        this.#recovery.writeMark(open, open.totals);
        this.#news.log("warn", "The queue's mark was deleted while the relay ran; it was made again", { path });
        return undefined;
      case "log_shorter":
        return this.#lookAtLog(open);
      case "written":
        if (this.#recovery.writtenByOthers(open) === "damaged") this.#replaceDamaged("another program wrote it");
        return undefined;
    }
  }

  #rescue(open: Open): void {
    try {
      this.#open = this.#recovery.rescue(open, Date.now());
    } catch (error) {
      if (!open.db.isOpen) {
        // The copy is made, and a new file could not be opened: that is tried again.
        this.#open = undefined;
        this.#resets = true;
      }
      throw error;
    }
    this.#news.rows(true, this.#open.totals);
  }

  /** The WAL that is open has no name any more: what it holds is copied into the database, and another is begun. */
  #remakeLog(open: Open): void {
    const { path } = this.#settings;
    const checkpoint = open.sql.truncate.get() as Row;
    if (Number(checkpoint.busy) !== 0) {
      // Somebody reads an older state: the database cannot have it all, a copy can.
      this.#rescue(open);
      return;
    }
    // It may belong to another database, and must not be applied to this one.
    const foreign = asideName(path, "replaced", Date.now());
    setAside(path, foreign, (suffix) => (suffix === "-wal" || suffix === "-shm") && !open.watch.isOwn(suffix));
    this.#closeAfterFailure();
    this.#ensureOpen();
    this.#news.log(
      "error",
      "The queue's WAL was deleted or replaced while the relay ran; what it held is in the queue's file, and another was begun",
      { path },
    );
  }

  /** SQLite knows how many frames the WAL must have; it does not look whether they are there until it reads one. */
  #lookAtLog({ sql, watch }: Open): string | undefined {
    const frames = Number((sql.walState.get() as Row).log);
    // All of it may have been copied, and the file made empty: then not even its header is there.
    if (frames === 0 || watch.logBytes >= LOG_HEADER_BYTES + frames * LOG_FRAME_BYTES) {
      watch.logWritten();
      return undefined;
    }
    this.#logCut = true;
    return `The WAL of the queue's file ${this.#settings.path} was cut short while the relay ran; what is in memory is still sent: ` +
      "restart the relay then, and look for what cut it";
  }

  #setAbsent(text: string | undefined): void {
    if (text === this.#absent) return;
    this.#absent = text;
    this.#news.trouble(text);
  }

  /** Empties the WAL into the database, where no reader elsewhere stops it, and closes. */
  close(): void {
    // What was deleted since the last look is gone with the connection, unless it is copied now.
    this.#watchAt = 0;
    this.watch();
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    if (this.#logCut) {
      // A close would copy what there is of the WAL into the database, with gaps: the next start reads it up to the first.
      this.#news.log("error", `The relay stops: ${this.#absent}`, { path: this.#settings.path });
      return;
    }
    if (this.#absent !== undefined) {
      this.#news.log(
        "error",
        `The relay stops while the queue's file is not at its path; put it back before the next start: ${this.#absent}`,
        { path: this.#settings.path },
      );
    }
    try {
      open.db.exec("PRAGMA busy_timeout = 500");
      open.sql.truncate.get();
    } catch (error) {
      // Everything answered is in the WAL, which the next start reads.
      this.#news.log("warn", `Could not empty the queue's WAL while closing: ${messageOf(error)}`, {
        path: this.#settings.path,
      });
    }
    closeOpen(open);
  }

  // --- transactions

  /** @param payloads Of the appends. */
  #transact(
    now: number,
    appends: readonly AppendOp[],
    settles: readonly SettleOp[],
    payloads?: CommitPayloads,
  ): Replies["commit"] {
    // Ids of an earlier transaction name records that have been answered.
    this.#attemptedId = 0;
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
      // With its rows another process may have brought routes, which a read would not look at.
      if (foreign) open.routes.load();
      transaction = new Transaction(open, meta, now, this.#deadLetterShare);
      for (const [index, append] of appends.entries()) {
        transaction.append(append, payloads!.of(index));
        for (const target of append.skipped) transaction.skip(target, append.signal, append.items);
      }
      for (const settle of settles) {
        const remainder = transaction.settle(settle);
        if (remainder !== undefined) remainders.push(remainder);
      }
      transaction.finish();
      this.#fault("written", size);
    }, () => this.#fault("committed", size));
    // Reading the books again costs as much as writing them; only another process makes them other than what is known here.
    const after = transaction!.totalsAfter(open.totals);
    const totals = foreign ? readTotals(open) : open.totals = after;
    open.nextId = after.lastId + 1;
    this.#recovery.writeMark(open, totals);
    open.watch.logWritten();
    this.#fault("marked", size);
    this.#upkeep.committed(appends);
    return {
      totals,
      firstId,
      appendFailure: undefined,
      settleFailure: undefined,
      foreign,
      remainders,
      returned: payloads?.takeReturned() ?? [],
    };
  }

  /**
   * Puts things in order after a transaction that failed. Returns undefined where it may be tried again at once (a damaged
   * file was set aside), and otherwise what to tell the senders.
   */
  #afterFailure(error: unknown, appends: readonly AppendOp[]): string | undefined {
    if (error instanceof WorkerCrash) throw error;
    const fault = sqliteFaultOf(error);
    const path = this.#settings.path;
    if (fault === "busy") return `The queue ${path} is locked by another process; end its transaction`;
    if (fault === "full") this.#upkeep.giveReserve();
    try {
      if (fault === "corrupt") {
        this.#replaceDamaged(messageOf(error));
        return undefined;
      }
      // A commit whose fsync failed may be found in the WAL all the same when it is read again.
      const firstId = this.#attemptedId;
      if (firstId > 0) {
        this.#recovery.disown(
          appends.map(({ enqueuedAt, bytes }, index) => ({ id: firstId + index, enqueuedAt, bytes })),
        );
      }
      // What is nowhere but in this connection would be gone with it.
      this.#watchAt = 0;
      this.watch();
      if (this.#absent === undefined) {
        this.#closeAfterFailure();
        this.#ensureOpen();
      }
    } catch (next) {
      if (next instanceof WorkerCrash) throw next;
      // The next transaction tries again; the first error is the one to tell, unless it was damage.
      if (fault === "corrupt") return storageErrorOf(path, next).message;
    }
    return storageErrorOf(path, error).message;
  }

  #replaceDamaged(why: string): void {
    this.#closeAfterFailure();
    this.#resets = true;
    this.#open = this.#recovery.replaceDamaged(why);
    this.#resets = false;
    this.#news.rows(true, this.#open.totals);
  }

  #closeAfterFailure(): void {
    const open = this.#open;
    this.#open = undefined;
    if (open !== undefined) this.#nextIdTold = open.nextId;
    try {
      if (open !== undefined) closeOpen(open);
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
      this.#replaceDamaged(messageOf(error));
      return fallback;
    }
  }

  #ensureOpen(): Open {
    if (this.#open !== undefined) return this.#open;
    const open = this.#open = this.#recovery.open();
    if (this.#resets) {
      this.#resets = false;
      this.#news.rows(true, open.totals);
      return open;
    }
    // The rows are another process's, or those of a commit that failed and is in the file all the same.
    if (this.#nextIdTold !== undefined && open.nextId !== this.#nextIdTold) this.#news.rows(false, open.totals);
    return open;
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
