/**
 * The `sqlite` engine: the durable queue, as the relay's thread sees it. All file access is in the Worker ({@link Connection}). A
 * record comes in by {@link Commits}, waits in the {@link LaneSet} or in the file ({@link Reader}), goes to who waits among the
 * {@link Takers}, and leaves by {@link Commits} again.
 * @module
 */
import { messageOf, Refusal } from "../../errors.ts";
import { SIGNAL_NAMES, type SignalName } from "../../signal.ts";
import { within } from "../../within.ts";
import { Alarm, type QueueLog } from "../alarm.ts";
import { DrainRate, roomIn } from "../drain_rate.ts";
import type { Fault } from "./file/injected_faults.ts";
import { LaneSet } from "./lane_set.ts";
import { type Entry, giveUpPayload, oldestOf, partsOf } from "./lanes.ts";
import type { Accepted, Delivery, NewRecord, PartOutcome, QueueStats, SendingQueue, TakeLimit } from "../queue.ts";
import { Shares } from "../shares.ts";
import { Commits, type PendingAppend, type PendingSettle } from "./commits.ts";
import { Connection } from "./connection.ts";
import { makeFolder, makeQueueFile, takeLock } from "./file/lock.ts";
import { retryAfterMs, settleOpOf } from "./outcomes.ts";
import { packCommit, payloadAfter } from "./packing.ts";
import { decodeParts, type Replies, type Totals } from "./protocol.ts";
import { Reader } from "./reader.ts";
import { Recount } from "./recount.ts";
import { Takers } from "../takers.ts";
import type { News } from "./worker_link.ts";

/** What the engine needs to be told. */
export interface SqliteQueueSettings {
  /** The database's file. Beside it: `.lock`, `.mark`, `-wal`, `-shm`. */
  readonly path: string;
  /** Most payload bytes queued, those in flight included. */
  readonly bytesMax: number;
  /** Records older than this are dropped and counted as expired; undefined: none ever. */
  readonly maxAgeMs?: number;
  /** Most payload bytes among the dead letters. */
  readonly deadLetterBytesMax: number;
  readonly log: QueueLog;
  /** ms since the Unix epoch. */
  readonly now?: () => number;
  /** Payload bytes taken and not settled, from which on no more are taken; 16 MiB unless given. */
  readonly takenBytesMax?: number;
  /** Most bytes the file may have; undefined: as many as the disk has. */
  readonly fileBytesMax?: number;
  /** For tests. */
  readonly faults?: readonly Fault[];
}

/** How long a stop waits for what is under way, in ms. */
const CLOSE_MS = 5000;

/**
 * Opens the queue, making the file and its folder where they are missing.
 * @throws {StorageError} with a text for people, when the file cannot be used or another relay has it
 */
export async function openSqliteQueue(settings: SqliteQueueSettings): Promise<SendingQueue> {
  makeFolder(settings.path);
  const lock = takeLock(settings.path);
  try {
    makeQueueFile(settings.path);
    return await SqliteQueue.open(settings, lock);
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

class SqliteQueue implements SendingQueue {
  readonly capabilities = { durable: true, merges: true };
  readonly shares: Shares;

  readonly #settings: SqliteQueueSettings;
  readonly #now: () => number;
  readonly #lock: Disposable;
  readonly #alarm: Alarm;
  readonly #drain: DrainRate;
  readonly #connection: Connection;
  readonly #commits: Commits;
  readonly #lanes: LaneSet;
  readonly #reader: Reader;
  readonly #takers: Takers;
  readonly #recount: Recount;
  #totals: Totals = { records: 0, bytes: 0, deadRecords: 0, deadBytes: 0, held: 0, lastId: 0, books: emptyBooks() };
  #inFlight = 0;
  /** Whether a taker waits for what is taken to become less. */
  #heldUp = false;
  #releasing = false;
  #disposal: Promise<void> | undefined;

  private constructor(settings: SqliteQueueSettings, lock: Disposable) {
    const { path, bytesMax, deadLetterBytesMax, fileBytesMax, now = Date.now } = settings;
    this.#settings = settings;
    this.#now = now;
    this.#lock = lock;
    this.#alarm = new Alarm(settings.log, now);
    this.#drain = new DrainRate(now);
    this.shares = new Shares(now);
    const connection = new Connection({ path, bytesMax, deadLetterBytesMax, fileBytesMax }, this.#alarm, {
      opened: (totals) => this.#setTotals(totals),
      news: (message) => this.#onNews(message),
      retry: () => this.#commits.flush(true),
      replaced: () => {
        this.#lanes.fallBehind();
        this.#commits.flush();
        this.#takers.wake();
      },
    });
    this.#connection = connection;
    this.#commits = new Commits({
      get ended() {
        return connection.ended;
      },
      get trouble() {
        return connection.trouble;
      },
      commit: (appends, settles) => this.#commit(appends, settles),
    });
    this.#lanes = new LaneSet(settings.takenBytesMax);
    this.#reader = new Reader(connection, this.#lanes, now);
    this.#takers = new Takers({ now, poll: () => this.#poll() });
    this.#recount = new Recount(connection, this.shares, now);
  }

  static async open(settings: SqliteQueueSettings, lock: Disposable): Promise<SqliteQueue> {
    const queue = new SqliteQueue(settings, lock);
    try {
      await queue.#connection.open(settings.faults ?? []);
      await queue.#recount.count();
    } catch (error) {
      queue.#connection.end();
      throw error;
    }
    return queue;
  }

  // --- append

  append(record: NewRecord): Promise<Accepted> {
    const bytes = record.payload.length;
    if (record.parts.length === 0 || record.parts.reduce((sum, part) => sum + part.bytes, 0) !== bytes) {
      return Promise.reject(new RangeError("A record's parts must add up to its payload"));
    }
    const { closing, ended, trouble } = this.#connection;
    if (closing) return Promise.reject(new Refusal("shutting_down", "The relay is shutting down"));
    const { bytesMax } = this.#settings;
    const over = this.#totals.bytes + this.#commits.appendBytes + bytes - bytesMax;
    if (over > 0) {
      // Room for one record is gone at once; a hundredth of the queue lets the next ones in too.
      const { text, retryAfterS } = roomIn(this.#drain.secondsFor(Math.max(over, bytesMax / 100)));
      return Promise.reject(
        new Refusal("queue_full", `The queue is full: ${bytesMax} bytes; ${text}`, { retryAfterS }),
      );
    }
    if (ended) return Promise.reject(new Refusal("storage_failed", trouble ?? "The queue's storage is not open"));
    return this.#commits.append(record, this.#now());
  }

  async #commit(appends: readonly PendingAppend[], settles: readonly PendingSettle[]): Promise<void> {
    const { message, transfer } = packCommit(
      appends,
      settles.map(({ op }) => op),
      (op, besideBytes) => this.#lanes.keeps(op, besideBytes),
      this.#now(),
    );
    let reply: Replies["commit"];
    try {
      reply = await this.#connection.ask("commit", message, transfer);
    } catch (error) {
      // The Worker is gone, or could not even say what failed.
      const text = messageOf(error);
      const firstId = this.#totals.lastId + 1;
      this.#connection.disown(
        appends.map(({ op: { enqueuedAt, bytes } }, index) => ({ id: firstId + index, enqueuedAt, bytes })),
      );
      this.#commits.refuse(appends, text);
      this.#commits.putBack(settles);
      this.#connection.failed(text);
      return;
    }
    if (reply.totals !== undefined) this.#setTotals(reply.totals);
    if (reply.foreign) this.#rowsCame();
    if (reply.appendFailure === undefined) {
      const returned = reply.returned.values();
      appends.forEach((append, index) => {
        const payload = payloadAfter(append, message.appends[index]!, returned);
        this.#lanes.append(reply.firstId + index, append.op, append.record.parts, payload);
        this.shares.add(append.record.parts);
        this.#commits.accept(append);
      });
    } else {
      this.#commits.refuse(appends, reply.appendFailure.text);
    }
    if (reply.settleFailure === undefined) this.#settled(settles, reply.remainders);
    else this.#commits.putBack(settles);
    const failure = reply.appendFailure ?? reply.settleFailure;
    this.#recount.ifWanted();
    if (failure === undefined) this.#connection.wellAgain();
    else this.#connection.failed(failure.text);
    // What has been appended concerns the takers of its signal, anything else all of them.
    const room = this.#heldUp && settles.length > 0;
    if (room) this.#heldUp = false;
    if (reply.foreign || reply.remainders.length > 0 || failure !== undefined || room) this.#takers.wake();
    else for (const signal of new Set(appends.map(({ op }) => op.signal))) this.#takers.wake(signal);
  }

  // --- take

  async take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    const lanes = this.#lanes.of(limit.signal);
    for (;;) {
      if (this.#connection.closing) throw new Refusal("shutting_down", "The queue is closed");
      if (signal.aborted) return [];
      const now = this.#now();
      for (const lane of lanes) lane.wake(now);
      const read = this.#reader.readFor(lanes, limit);
      if (read !== undefined) {
        await read;
        continue;
      }
      const lane = oldestOf(lanes);
      const waitsUntil = lane?.lingersUntil(limit, now) ?? Infinity;
      if (lane === undefined || waitsUntil > 0) {
        await this.#takers.wait(limit.signal, signal, Math.min(waitsUntil, ...lanes.map(({ nextDueAt }) => nextDueAt)));
        continue;
      }
      if (!this.#lanes.mayTake(lane)) {
        this.#heldUp = true;
        await this.#takers.wait(limit.signal, signal);
        continue;
      }
      const run = await this.#reader.withPayloads(this.#unexpired(this.#lanes.take(lane, limit), now));
      if (run.length === 0) continue;
      if (signal.aborted || this.#connection.closing) {
        for (const entry of run) this.#lanes.leave(entry, 0);
        this.#takers.wake();
        continue;
      }
      this.#inFlight += run.length;
      return run.map((entry) => this.#deliveryOf(entry));
    }
  }

  /** Without those past their age, which leave the queue. */
  #unexpired(run: Entry[], now: number): Entry[] {
    const { maxAgeMs } = this.#settings;
    if (maxAgeMs === undefined) return run;
    return run.filter((entry) => {
      const { head } = entry;
      if (now - head.enqueuedAt <= maxAgeMs) return true;
      this.#lanes.release(entry);
      this.#commits.settle({
        op: { kind: "expired", id: head.id },
        entry,
        dueAt: 0,
        taken: false,
        resolve: () => {},
        reject: () => {},
      });
      this.#alarm.raise(
        `expired ${head.signal}`,
        `Dropped ${head.signal} that had been queued longer than sending_queue.max_age`,
        { signal: head.signal, maxAgeMs },
        head.items,
      );
      return false;
    });
  }

  #deliveryOf(entry: Entry): Delivery {
    const { id, signal, encoding, mergeable, enqueuedAt } = entry.head;
    const parts = partsOf(entry);
    const payload = entry.payload!;
    let settled = false;
    return {
      record: { id, signal, encoding, mergeable, parts, payload, enqueuedAt },
      settle: (outcomes) => {
        if (outcomes.length !== parts.length) {
          return Promise.reject(new RangeError(`Record ${id} has ${parts.length} parts, not ${outcomes.length}`));
        }
        if (settled) return Promise.reject(new Error(`Record ${id} has been settled before`));
        settled = true;
        return this.#settle(entry, outcomes);
      },
    };
  }

  hasten(signal: SignalName): void {
    this.#lanes.hasten(signal);
    this.#takers.wake(signal);
  }

  /** Looks for what another process has done to the file. */
  async #poll(): Promise<void> {
    if (this.#connection.ended) return;
    try {
      const { foreign, totals } = await this.#connection.ask("poll", {});
      if (totals !== undefined) this.#setTotals(totals);
      if (foreign) this.#rowsCame();
      this.#recount.ifWanted();
    } catch (error) {
      this.#connection.questionFailed(error);
    }
  }

  /** Another process has inserted rows. */
  #rowsCame(): void {
    this.#lanes.fallBehind();
    this.#recount.want();
  }

  // --- settle

  #settle(entry: Entry, outcomes: readonly PartOutcome[]): Promise<void> {
    const { id } = entry.head;
    const dueAt = this.#now() + retryAfterMs(outcomes);
    const op = settleOpOf(id, partsOf(entry), outcomes);
    if (op === undefined) {
      this.#inFlight -= 1;
      this.#lanes.leave(entry, dueAt);
      this.#takers.wake();
      return Promise.resolve();
    }
    if (this.#connection.closing) {
      return Promise.reject(
        new Refusal("shutting_down", `The queue is closed: record ${id} stays in it and will be sent again`),
      );
    }
    // Whatever becomes of the transaction, what has arrived is not sent again by this process.
    if (op.kind === "done") giveUpPayload(entry);
    return new Promise((resolve, reject) => {
      this.#commits.settle({ op, entry, dueAt, taken: true, resolve, reject });
    });
  }

  #settled(settles: readonly PendingSettle[], remainders: Replies["commit"]["remainders"]): void {
    const left = new Map(remainders.map((remainder) => [remainder.id, remainder]));
    for (const { entry, dueAt, taken, resolve } of settles) {
      const { head } = entry;
      const remainder = left.get(head.id);
      giveUpPayload(entry);
      if (taken) {
        this.#inFlight -= 1;
        this.#lanes.release(entry);
      }
      this.#drain.note(head.bytes - (remainder?.head?.bytes ?? 0));
      this.shares.remove(partsOf(entry));
      if (remainder?.head !== undefined) this.shares.add(decodeParts(remainder.head.parts));
      if (remainder !== undefined && remainder.heldRecords > 0) {
        this.#recount.want();
        this.#alarm.raise(
          "dead letters",
          `The dead letters are full (${this.#settings.deadLetterBytesMax} bytes): what the Collector refuses for good stays ` +
            "queued and is skipped; look at them with `queue dead-letters` and replay them, or raise the bound",
          { path: this.#settings.path, signal: head.signal },
        );
      }
      if (remainder?.head !== undefined) {
        entry.head = remainder.head;
        entry.parts = undefined;
        this.#lanes.giveBack(entry, dueAt);
      }
      resolve();
    }
  }

  /** Held records are tried again when the dead letters have room. */
  async #release(): Promise<void> {
    this.#releasing = true;
    try {
      let more = true;
      while (more && !this.#connection.closing) {
        const { heads, totals } = await this.#connection.ask("release", {});
        this.#setTotals(totals);
        for (const head of heads) this.#lanes.giveBack({ head, payload: undefined, dueAt: 0 }, 0);
        more = heads.length > 0;
        this.#takers.wake();
      }
    } catch (error) {
      this.#connection.questionFailed(error);
    } finally {
      this.#releasing = false;
    }
  }

  // --- state

  async stats(): Promise<QueueStats> {
    let totals = this.#totals;
    let oldestAt: number | undefined;
    try {
      ({ totals, oldestAt } = await this.#connection.ask("stats", {}));
      this.#setTotals(totals);
    } catch {
      // Storage is in trouble or closed, which `readiness` tells; what was last known is the best answer here.
    }
    return {
      records: totals.records,
      bytes: totals.bytes,
      bytesMax: this.#settings.bytesMax,
      drainS: this.#drain.secondsFor(totals.bytes),
      oldestAt,
      inFlight: this.#inFlight,
      deadLetters: { records: totals.deadRecords, bytes: totals.deadBytes },
      books: totals.books,
    };
  }

  readiness(): { readonly ready: boolean; readonly reason?: string } {
    const { closing, trouble } = this.#connection;
    if (closing) return { ready: false, reason: "The queue is closed" };
    if (trouble !== undefined) return { ready: false, reason: trouble };
    if (this.#totals.bytes + this.#commits.appendBytes >= this.#settings.bytesMax) {
      return { ready: false, reason: `The queue is full: ${this.#settings.bytesMax} bytes` };
    }
    return { ready: true };
  }

  #setTotals(totals: Totals): void {
    const room = totals.deadBytes < this.#totals.deadBytes;
    this.#totals = totals;
    if (room && totals.held > 0 && !this.#releasing) void this.#release();
  }

  #onNews(message: News): void {
    if (message.kind === "log") {
      this.#settings.log[message.level](message.message, message.fields);
      return;
    }
    this.#setTotals(message.totals);
    this.#recount.want();
    if (message.reset) this.#lanes.reset();
    else this.#lanes.fallBehind();
    this.#takers.wake();
  }

  // --- the end

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposal ??= this.#close();
  }

  async #close(): Promise<void> {
    const { path, log } = this.#settings;
    this.#connection.close();
    this.#takers.close();
    const closed = this.#finish().catch((error) => log.warn(`Closing the queue failed: ${messageOf(error)}`, { path }));
    if (!await within(closed, CLOSE_MS)) {
      log.warn(`The queue did not close within ${CLOSE_MS} ms; what was answered is safe in its file`, { path });
    }
    this.#connection.end();
    this.#lock[Symbol.dispose]();
    this.#commits.abandon();
  }

  /** Commits what is pending, unless storage fails, and closes the file. */
  async #finish(): Promise<void> {
    await this.#commits.drain();
    await this.#connection.ask("close", {});
  }
}

function emptyBooks(): Totals["books"] {
  const books = {} as Totals["books"];
  for (const name of SIGNAL_NAMES) {
    books[name] = { accepted: 0, delivered: 0, rejectedByCollector: 0, deadLettered: 0, expired: 0, queued: 0 };
  }
  return books;
}
