/**
 * The `sqlite` engine: the durable queue, as the relay's thread sees it. All file access is in the Worker; here are what is
 * in memory, what waits for the next transaction, and who waits for a record.
 * @module
 */
import { messageOf, Refusal, type RefusalCode } from "../errors.ts";
import { discard } from "../otlp/bytes.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../otlp/signal.ts";
import { Alarm, type QueueLog } from "./alarm.ts";
import { DrainRate } from "./drain_rate.ts";
import type { Fault } from "./faults.ts";
import { type Entry, Lane } from "./lanes.ts";
import type {
  Accepted,
  Delivery,
  NewRecord,
  Part,
  PartOutcome,
  PayloadEncoding,
  QueueStats,
  SendingQueue,
  TakeLimit,
} from "./queue.ts";
import { makeFolder, makeQueueFile, takeLock } from "./sqlite_lock.ts";
import {
  type AppendOp,
  decodeParts,
  type Disowned,
  encodeParts,
  type PartSettlement,
  type Replies,
  type SettleOp,
  type Totals,
} from "./sqlite_protocol.ts";
import { Shares } from "./shares.ts";
import { type News, WorkerLink } from "./worker_link.ts";

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

/** Payloads up to this size, in bytes, are copied into one buffer a transaction: a transfer costs more than the copy then. */
const PACKED_BYTES_MAX = 8 * 1024;

/** Bounds of one transaction, so that none keeps the others waiting. */
const TRANSACTION_BYTES_MAX = 16 * 1024 * 1024;
const TRANSACTION_RECORDS_MAX = 4096;
const TRANSACTION_SETTLES_MAX = 256;

/** Payload bytes of known records that stay in memory, so that a take need not read what has just been written. */
const CACHE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Payload bytes of records that are taken and not settled: from here on no more are taken, so that 20 MiB at most come on top. A signal
 * of which nothing is taken may always take a small run, so that none waits for another's Collector.
 */
const TAKEN_BYTES_MAX = 16 * 1024 * 1024;
const SMALL_RUN_BYTES_MAX = 4 * 1024 * 1024;

/** What one read fetches at most, in bytes and rows. */
const READ_BYTES_MAX = 1024 * 1024;
const READ_RECORDS_MAX = 512;

/** How often a waiting taker looks for records that another process has inserted, in ms. */
const POLL_MS = 1000;

/** How long an outcome waits for a transaction that it can share, in ms: a crash in this time delivers again what it was of. */
const SETTLE_MS = 20;

/** When settles that could not be written, and a storage that failed, are tried again, in ms: doubled each time, up to the second. */
const RETRY_FIRST_MS = 50;
const RETRY_MS = 1000;

/** How often the senders' shares are counted anew at most, in ms: it reads every row's head. */
const RECOUNT_MS = 10_000;

/** How long a stop waits for what is under way, in ms. */
const CLOSE_MS = 5000;

interface PendingAppend {
  readonly record: NewRecord;
  readonly op: Omit<AppendOp, "payload" | "giveBack">;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: Refusal) => void;
}

interface PendingSettle {
  readonly op: SettleOp;
  readonly entry: Entry;
  readonly dueAt: number;
  /** Whether it is in flight; an expired one is not. */
  readonly taken: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

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
  readonly capabilities = { durable: true, deduplicates: false, itemStats: true, merges: true };
  readonly shares: Shares;

  readonly #settings: SqliteQueueSettings;
  readonly #now: () => number;
  readonly #lock: Disposable;
  readonly #alarm: Alarm;
  readonly #drain: DrainRate;
  #link: WorkerLink;
  #totals: Totals = { records: 0, bytes: 0, deadRecords: 0, deadBytes: 0, held: 0, lastId: 0, books: emptyBooks() };

  readonly #lanes: readonly Lane[] = SIGNAL_NAMES.flatMap((signal) =>
    (["gzip", "identity"] satisfies PayloadEncoding[]).map((encoding) => new Lane(signal, encoding))
  );
  readonly #reads = new Map<Lane, Promise<void>>();
  #cachedBytes = 0;
  #inFlight = 0;
  /** Payload bytes taken and not settled, of each signal. */
  readonly #takenBytes = bySignal(() => 0);
  /** Whether a taker waits for what is taken to become less. */
  #heldUp = false;

  #appends: PendingAppend[] = [];
  #appendBytes = 0;
  #settles: PendingSettle[] = [];
  #committing: Promise<void> | undefined;
  #flushScheduled = false;
  #settleTimer: ReturnType<typeof setTimeout> | undefined;

  readonly #takers = new Set<{ readonly signal: SignalName; readonly wake: () => void }>();
  #takerTimer: ReturnType<typeof setTimeout> | undefined;
  #polledAt = 0;
  #takerTimerAt = 0;
  #readRetryAt = 0;
  /** Records of the transaction in which the Worker ended. */
  #disowned: Disowned[] = [];
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_FIRST_MS;
  #releasing = false;
  /** Whether rows have come or gone that `shares` has not been told of. */
  #recountWanted = false;
  #recountedAt = -Infinity;

  /** Why appends are not tried now; undefined when all is well. */
  #trouble: string | undefined;
  #closed = false;
  #disposal: Promise<void> | undefined;

  private constructor(settings: SqliteQueueSettings, lock: Disposable) {
    this.#settings = settings;
    this.#now = settings.now ?? Date.now;
    this.#lock = lock;
    this.#alarm = new Alarm(settings.log, this.#now);
    this.#drain = new DrainRate(this.#now);
    this.shares = new Shares(this.#now);
    this.#link = this.#newLink();
  }

  static async open(settings: SqliteQueueSettings, lock: Disposable): Promise<SqliteQueue> {
    const queue = new SqliteQueue(settings, lock);
    try {
      await queue.#open(settings.faults ?? []);
      await queue.#recount();
    } catch (error) {
      queue.#link.end();
      throw error;
    }
    return queue;
  }

  #newLink(): WorkerLink {
    return new WorkerLink({
      news: (message) => this.#onNews(message),
      crashed: (message) => {
        if (!this.#closed) this.#troubled(message);
      },
    });
  }

  async #open(faults: readonly Fault[]): Promise<void> {
    const { path, bytesMax, deadLetterBytesMax, fileBytesMax } = this.#settings;
    const { totals } = await this.#link.ask("open", {
      settings: { path, bytesMax, deadLetterBytesMax, faults, fileBytesMax },
      disowned: this.#disowned,
    });
    this.#disowned = [];
    this.#setTotals(totals);
  }

  // --- append

  append(record: NewRecord): Promise<Accepted> {
    const bytes = record.payload.length;
    if (record.parts.length === 0 || record.parts.reduce((sum, part) => sum + part.bytes, 0) !== bytes) {
      return Promise.reject(new RangeError("A record's parts must add up to its payload"));
    }
    if (this.#closed) return Promise.reject(new Refusal("shutting_down", "The relay is shutting down"));
    const { bytesMax } = this.#settings;
    const over = this.#totals.bytes + this.#appendBytes + bytes - bytesMax;
    if (over > 0) {
      // Room for one record is gone at once; a hundredth of the queue lets the next ones in too.
      const retryAfterS = this.#drain.retryAfterS(Math.max(over, bytesMax / 100));
      return Promise.reject(new Refusal("queue_full", `The queue is full: ${bytesMax} bytes`, { retryAfterS }));
    }
    if (this.#link.ended) {
      return Promise.reject(new Refusal("storage_failed", this.#trouble ?? "The queue's storage is not open"));
    }
    const { signal, encoding, mergeable, parts } = record;
    const op = {
      signal,
      encoding,
      mergeable,
      items: parts.reduce((sum, part) => sum + part.items, 0),
      bytes,
      inflatedBytes: parts.reduce((sum, part) => sum + part.inflatedBytes, 0),
      enqueuedAt: this.#now(),
      parts: encodeParts(parts),
    };
    this.#appendBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#appends.push({ record, op, resolve, reject });
      this.#schedule();
    });
  }

  /** One transaction at a time; what comes in this turn, and while one is under way, shares the next. */
  #schedule(): void {
    if (this.#flushScheduled || this.#committing !== undefined) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  /** Outcomes wait a little for a transaction that they can share: no sender waits for them. */
  #scheduleSettles(): void {
    if (this.#settles.length >= TRANSACTION_SETTLES_MAX || this.#closed) return this.#schedule();
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = undefined;
      this.#schedule();
    }, SETTLE_MS);
  }

  #flush(probe = false): void {
    if (this.#committing !== undefined || this.#link.ended) return;
    if (!probe && this.#appends.length === 0 && this.#settles.length === 0) return;
    this.#committing = this.#commit().finally(() => {
      this.#committing = undefined;
      if (this.#appends.length > 0) this.#flush();
      else if (this.#settles.length > 0 && this.#trouble === undefined) this.#scheduleSettles();
    });
  }

  async #commit(): Promise<void> {
    const appends = this.#nextAppends();
    const settles = this.#settles.splice(0, TRANSACTION_SETTLES_MAX);
    const { message, transfer } = this.#messageOf(appends, settles);
    let reply: Replies["commit"];
    try {
      reply = await this.#link.ask("commit", message, transfer);
    } catch (error) {
      // The Worker is gone, or could not even say what failed. Should the rows be there all the same, they are not to stay.
      const text = messageOf(error);
      appends.forEach(({ op: { enqueuedAt, bytes } }, index) => {
        this.#disowned.push({ id: this.#totals.lastId + 1 + index, enqueuedAt, bytes });
      });
      this.#refuse(appends, text);
      this.#settles.unshift(...settles);
      this.#troubled(text);
      return;
    }
    if (reply.totals !== undefined) this.#setTotals(reply.totals);
    if (reply.foreign) {
      for (const lane of this.#lanes) lane.behind = true;
      this.#recountWanted = true;
    }
    if (reply.appendFailure === undefined) this.#accepted(appends, reply, message.appends);
    else this.#refuse(appends, reply.appendFailure.text);
    if (reply.settleFailure === undefined) this.#settled(settles, reply.remainders);
    else this.#settles.unshift(...settles);
    const failure = reply.appendFailure ?? reply.settleFailure;
    this.#recountIfWanted();
    if (failure === undefined) this.#wellAgain();
    else this.#troubled(failure.text);
    // What has been appended concerns the takers of its signal, anything else all of them.
    const room = this.#heldUp && settles.length > 0;
    if (room) this.#heldUp = false;
    if (reply.foreign || reply.remainders.length > 0 || failure !== undefined || room) this.#wakeTakers();
    else for (const signal of new Set(appends.map(({ op }) => op.signal))) this.#wakeTakers(signal);
  }

  #nextAppends(): PendingAppend[] {
    let count = 0;
    let bytes = 0;
    for (const { op } of this.#appends) {
      if (count > 0 && (count >= TRANSACTION_RECORDS_MAX || bytes + op.bytes > TRANSACTION_BYTES_MAX)) break;
      count += 1;
      bytes += op.bytes;
    }
    return this.#appends.splice(0, count);
  }

  #messageOf(appends: readonly PendingAppend[], settles: readonly PendingSettle[]) {
    const small = appends.filter(({ op }) => op.bytes <= PACKED_BYTES_MAX);
    const packed = new Uint8Array(small.reduce((sum, { op }) => sum + op.bytes, 0));
    const transfer: Transferable[] = [packed.buffer];
    let cachedBytes = this.#cachedBytes;
    let offset = 0;
    const ops = appends.map(({ op, record: { payload } }): AppendOp => {
      if (op.bytes <= PACKED_BYTES_MAX) {
        packed.set(payload, offset);
        offset += op.bytes;
        return { ...op, payload: { offset: offset - op.bytes }, giveBack: false };
      }
      transfer.push(payload.buffer);
      const giveBack = !this.#laneOf(op).behind && cachedBytes + op.bytes <= CACHE_BYTES_MAX;
      if (giveBack) cachedBytes += op.bytes;
      return { ...op, payload, giveBack };
    });
    const message = { appends: ops, settles: settles.map(({ op }) => op), packed: packed.buffer, now: this.#now() };
    return { message, transfer };
  }

  /** Answers the senders, and keeps what can be taken without a read. */
  #accepted(appends: readonly PendingAppend[], reply: Replies["commit"], ops: readonly AppendOp[]): void {
    const returned = reply.returned.values();
    appends.forEach(({ op, record, resolve }, index) => {
      const large = op.bytes > PACKED_BYTES_MAX;
      const payload = !large ? record.payload : ops[index]!.giveBack ? returned.next().value : undefined;
      const lane = this.#laneOf(op);
      if (!lane.behind && payload !== undefined && this.#cachedBytes + op.bytes <= CACHE_BYTES_MAX) {
        this.#cachedBytes += op.bytes;
        lane.push({ head: { ...op, id: reply.firstId + index }, parts: record.parts, payload, attempts: 0, dueAt: 0 });
      } else {
        lane.behind = true;
      }
      this.#appendBytes -= op.bytes;
      this.shares.add(record.parts);
      resolve({});
    });
  }

  #refuse(appends: readonly PendingAppend[], text: string, code: RefusalCode = "storage_failed"): void {
    for (const { op, reject } of appends) {
      this.#appendBytes -= op.bytes;
      reject(new Refusal(code, text));
    }
  }

  /** Storage failed: told at most twice a minute, and tried again until it works, with a transaction of its own if need be. */
  #troubled(text: string): void {
    this.#trouble = text;
    this.#alarm.raise("storage", `The queue's storage failed: ${text}`, { path: this.#settings.path });
    this.#retryLater();
  }

  #wellAgain(): void {
    this.#trouble = undefined;
    this.#retryMs = RETRY_FIRST_MS;
  }

  #retryLater(): void {
    if (this.#closed) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      if (this.#link.ended) this.#restart();
      else this.#flush(true);
    }, this.#retryMs);
    this.#retryMs = Math.min(RETRY_MS, this.#retryMs * 2);
  }

  // --- take

  async take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    for (;;) {
      if (this.#closed) throw new Refusal("shutting_down", "The queue is closed");
      if (signal.aborted) return [];
      const now = this.#now();
      const lanes = this.#lanes.filter((lane) => lane.signal === limit.signal);
      for (const lane of lanes) lane.wake(now);
      const wanting = performance.now() < this.#readRetryAt || this.#link.ended
        ? []
        : lanes.filter((lane) => lane.wantsRead(limit));
      if (wanting.length > 0) {
        await Promise.all(wanting.map((lane) => this.#read(lane, limit)));
        continue;
      }
      const lane = oldestOf(lanes);
      const waitsUntil = lane?.lingersUntil(limit, now) ?? Infinity;
      if (lane === undefined || waitsUntil > 0) {
        await this.#wait(limit.signal, signal, Math.min(waitsUntil, ...lanes.map(({ nextDueAt }) => nextDueAt)));
        continue;
      }
      if (!this.#mayTake(lane)) {
        this.#heldUp = true;
        await this.#wait(limit.signal, signal, Infinity);
        continue;
      }
      const run = this.#unexpired(lane.takeRun(limit), now);
      for (const { payload } of run) this.#cachedBytes -= payload?.length ?? 0;
      const runBytes = bytesOf(run);
      this.#takenBytes[limit.signal] += runBytes;
      const complete = await this.#withPayloads(lane, run);
      this.#takenBytes[limit.signal] += bytesOf(complete) - runBytes;
      if (complete.length === 0) continue;
      if (signal.aborted || this.#closed) {
        for (const entry of complete) this.#leave(lane, entry, 0);
        this.#wakeTakers();
        continue;
      }
      this.#inFlight += complete.length;
      return complete.map((entry) => this.#deliveryOf(lane, entry));
    }
  }

  /** Whether there is room in memory for what the lane would give next. */
  #mayTake({ signal, firstBytes }: Lane): boolean {
    const taken = Object.values(this.#takenBytes).reduce((sum, bytes) => sum + bytes, 0);
    return taken < (this.#settings.takenBytesMax ?? TAKEN_BYTES_MAX) ||
      (this.#takenBytes[signal] === 0 && firstBytes <= SMALL_RUN_BYTES_MAX);
  }

  async #read(lane: Lane, limit: TakeLimit): Promise<void> {
    let read = this.#reads.get(lane);
    if (read === undefined) {
      read = this.#readNext(lane, limit).finally(() => this.#reads.delete(lane));
      this.#reads.set(lane, read);
    }
    await read;
  }

  async #readNext(lane: Lane, limit: TakeLimit): Promise<void> {
    const { signal, encoding, cursor } = lane;
    let reply: Replies["read"];
    try {
      reply = await this.#link.ask("read", {
        signal,
        encoding,
        afterId: cursor,
        bytesMax: Math.min(limit.bytesMax, READ_BYTES_MAX),
        recordsMax: Math.min(limit.recordsMax, READ_RECORDS_MAX),
      });
    } catch (error) {
      this.#readFailed(error);
      return;
    }
    // The file was replaced meanwhile: its rows start anew.
    if (lane.cursor !== cursor) return;
    for (const { payload, ...head } of reply.rows) {
      this.#cachedBytes += payload?.length ?? 0;
      lane.push({ head, payload, attempts: 0, dueAt: 0 });
    }
    // Answers come in order: an append that the read has not seen is announced after it, and finds the lane caught up.
    lane.behind = !reply.exhausted;
  }

  #readFailed(error: unknown): void {
    this.#readRetryAt = performance.now() + RETRY_MS;
    if (!this.#closed) this.#troubled(messageOf(error));
  }

  /** The entries whose payload is at hand or could be read; one whose row is gone is dropped. */
  async #withPayloads(lane: Lane, run: readonly Entry[]): Promise<Entry[]> {
    const missing = run.filter(({ payload }) => payload === undefined);
    if (missing.length === 0) return [...run];
    try {
      const { payloads } = await this.#link.ask("load", { ids: missing.map(({ head }) => head.id) });
      missing.forEach((entry, index) => entry.payload = payloads[index]);
    } catch (error) {
      this.#readFailed(error);
      for (const entry of run) this.#giveBack(lane, entry, this.#now() + RETRY_MS);
      return [];
    }
    return run.filter(({ payload }) => payload !== undefined);
  }

  /** Without those past their age, which leave the queue. */
  #unexpired(run: readonly Entry[], now: number): Entry[] {
    const { maxAgeMs } = this.#settings;
    if (maxAgeMs === undefined) return [...run];
    const expired = run.filter(({ head }) => now - head.enqueuedAt > maxAgeMs);
    for (const entry of expired) {
      this.#settles.push({
        op: { kind: "expired", id: entry.head.id },
        entry,
        dueAt: 0,
        taken: false,
        resolve: () => {},
        reject: () => {},
      });
      this.#alarm.raise(
        `expired ${entry.head.signal}`,
        `Dropped ${entry.head.signal} that had been queued longer than sending_queue.max_age`,
        { signal: entry.head.signal, maxAgeMs },
        entry.head.items,
      );
    }
    if (expired.length > 0) this.#scheduleSettles();
    return run.filter((entry) => !expired.includes(entry));
  }

  #deliveryOf(lane: Lane, entry: Entry): Delivery {
    const { id, signal, encoding, mergeable, enqueuedAt } = entry.head;
    const parts = partsOf(entry);
    const payload = entry.payload!;
    entry.attempts += 1;
    let settled = false;
    return {
      record: { id, signal, encoding, mergeable, parts, payload, enqueuedAt },
      attempt: entry.attempts,
      settle: (outcomes) => {
        if (outcomes.length !== parts.length) {
          return Promise.reject(new RangeError(`Record ${id} has ${parts.length} parts, not ${outcomes.length}`));
        }
        if (settled) return Promise.reject(new Error(`Record ${id} has been settled before`));
        settled = true;
        return this.#settle(lane, entry, parts.map((part) => part.items), outcomes);
      },
    };
  }

  /** Until a taker has something new to look at: a record, one that is due, another process's, an abort, the end. */
  #wait(of: SignalName, signal: AbortSignal, dueAt: number): Promise<void> {
    return new Promise((resolve) => {
      const taker = {
        signal: of,
        wake: () => {
          signal.removeEventListener("abort", taker.wake);
          this.#takers.delete(taker);
          resolve();
        },
      };
      signal.addEventListener("abort", taker.wake);
      this.#takers.add(taker);
      // A timer that goes off sooner than needed stays: setting another at each commit costs more than an idle look.
      const ms = Math.max(1, Math.min(POLL_MS, dueAt - this.#now()));
      if (this.#takerTimer === undefined || performance.now() + ms < this.#takerTimerAt) {
        this.#disarm();
        this.#takerTimerAt = performance.now() + ms;
        this.#takerTimer = setTimeout(() => this.#tick(), ms);
      }
    });
  }

  #disarm(): void {
    clearTimeout(this.#takerTimer);
    this.#takerTimer = undefined;
  }

  async #tick(): Promise<void> {
    this.#takerTimer = undefined;
    if (this.#takers.size === 0) return;
    const now = performance.now();
    if (now - this.#polledAt >= POLL_MS && !this.#link.ended) {
      this.#polledAt = now;
      try {
        const { foreign, totals } = await this.#link.ask("poll", {});
        if (totals !== undefined) this.#setTotals(totals);
        if (foreign) {
          this.#fallBehind();
          this.#recountWanted = true;
        }
        this.#recountIfWanted();
      } catch (error) {
        if (!this.#closed) this.#troubled(messageOf(error));
      }
    }
    this.#wakeTakers();
  }

  hasten(signal: SignalName): void {
    for (const lane of this.#lanes) if (lane.signal === signal) lane.hasten();
    this.#wakeTakers(signal);
  }

  /** Wakes those of one signal, or all. */
  #wakeTakers(of?: SignalName): void {
    for (const { signal, wake } of [...this.#takers]) if (of === undefined || of === signal) wake();
  }

  #fallBehind(): void {
    for (const lane of this.#lanes) lane.behind = true;
  }

  // --- settle

  #settle(lane: Lane, entry: Entry, items: readonly number[], outcomes: readonly PartOutcome[]): Promise<void> {
    let afterMs = 0;
    let rejected = 0;
    let delivered = 0;
    let retried = 0;
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.kind === "retry") {
        retried += 1;
        afterMs = Math.max(afterMs, outcome.afterMs ?? 0);
      } else if (outcome.kind === "delivered") {
        delivered += 1;
        rejected += Math.min(outcome.rejected ?? 0, items[index]!);
      }
    }
    const dueAt = this.#now() + afterMs;
    if (retried === outcomes.length) {
      // The row is as it should be.
      this.#inFlight -= 1;
      this.#leave(lane, entry, dueAt);
      this.#wakeTakers();
      return Promise.resolve();
    }
    if (this.#closed) {
      return Promise.reject(
        new Refusal("shutting_down", `The queue is closed: record ${entry.head.id} stays in it and will be sent again`),
      );
    }
    const { id } = entry.head;
    // Whatever becomes of the transaction, what has arrived is not sent again by this process.
    if (delivered === outcomes.length) giveUpPayload(entry);
    const op: SettleOp = delivered === outcomes.length
      ? { kind: "done", id, rejected }
      : { kind: "parts", id, outcomes: outcomes.map(settlementOf) };
    return new Promise((resolve, reject) => {
      this.#settles.push({ op, entry, dueAt, taken: true, resolve, reject });
      this.#scheduleSettles();
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
        this.#takenBytes[head.signal] -= head.bytes;
      }
      this.#drain.note(head.bytes - (remainder?.head?.bytes ?? 0));
      this.shares.remove(partsOf(entry));
      if (remainder?.head !== undefined) this.shares.add(decodeParts(remainder.head.parts));
      if (remainder !== undefined && remainder.heldRecords > 0) {
        this.#recountWanted = true;
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
        this.#giveBack(this.#laneOf(head), entry, dueAt);
      }
      resolve();
    }
  }

  #recountIfWanted(): void {
    if (this.#recountWanted && this.#now() - this.#recountedAt >= RECOUNT_MS && !this.#closed) void this.#recount();
  }

  /** Answers come in order, so that what the rows say then is what `shares` should have. */
  async #recount(): Promise<void> {
    this.#recountWanted = false;
    this.#recountedAt = this.#now();
    try {
      const { senders } = await this.#link.ask("senders", {});
      if (senders !== undefined) this.shares.replace(senders);
      else this.#recountWanted = true;
    } catch (error) {
      this.#recountWanted = true;
      if (!this.#closed) this.#troubled(messageOf(error));
    }
  }

  /** Gives a record back that had been taken. */
  #leave(lane: Lane, entry: Entry, dueAt: number): void {
    this.#takenBytes[entry.head.signal] -= entry.head.bytes;
    this.#giveBack(lane, entry, dueAt);
  }

  #giveBack(lane: Lane, entry: Entry, dueAt: number): void {
    const bytes = entry.payload?.length ?? 0;
    if (this.#cachedBytes + bytes <= CACHE_BYTES_MAX) this.#cachedBytes += bytes;
    else giveUpPayload(entry);
    entry.dueAt = dueAt;
    lane.giveBack(entry);
  }

  /** Held records are tried again when the dead letters have room. */
  async #release(): Promise<void> {
    this.#releasing = true;
    try {
      let more = true;
      while (more && !this.#closed) {
        const { heads, totals } = await this.#link.ask("release", {});
        this.#setTotals(totals);
        for (const head of heads) {
          this.#giveBack(this.#laneOf(head), { head, payload: undefined, attempts: 0, dueAt: 0 }, 0);
        }
        more = heads.length > 0;
        this.#wakeTakers();
      }
    } catch (error) {
      if (!this.#closed) this.#troubled(messageOf(error));
    } finally {
      this.#releasing = false;
    }
  }

  // --- state

  async stats(): Promise<QueueStats> {
    let totals = this.#totals;
    let oldestAt: number | undefined;
    try {
      ({ totals, oldestAt } = await this.#link.ask("stats", {}));
      this.#setTotals(totals);
    } catch {
      // Storage is in trouble or closed, which `readiness` tells; what was last known is the best answer here.
    }
    return {
      records: totals.records,
      bytes: totals.bytes,
      bytesMax: this.#settings.bytesMax,
      oldestAt,
      inFlight: this.#inFlight,
      deadLetters: { records: totals.deadRecords, bytes: totals.deadBytes },
      books: totals.books,
    };
  }

  readiness(): { readonly ready: boolean; readonly reason?: string } {
    if (this.#closed) return { ready: false, reason: "The queue is closed" };
    if (this.#trouble !== undefined) return { ready: false, reason: this.#trouble };
    if (this.#totals.bytes + this.#appendBytes >= this.#settings.bytesMax) {
      return { ready: false, reason: `The queue is full: ${this.#settings.bytesMax} bytes` };
    }
    return { ready: true };
  }

  #setTotals(totals: Totals): void {
    const room = totals.deadBytes < this.#totals.deadBytes;
    this.#totals = totals;
    if (room && totals.held > 0 && !this.#releasing) this.#release();
  }

  #laneOf({ signal, encoding }: { signal: SignalName; encoding: PayloadEncoding }): Lane {
    return this.#lanes.find((lane) => lane.signal === signal && lane.encoding === encoding)!;
  }

  #onNews(message: News): void {
    if (message.kind === "log") {
      this.#settings.log[message.level](message.message, message.fields);
      return;
    }
    this.#setTotals(message.totals);
    this.#recountWanted = true;
    if (message.reset) {
      for (const lane of this.#lanes) lane.reset();
      this.#cachedBytes = 0;
    } else {
      this.#fallBehind();
    }
    this.#wakeTakers();
  }

  /** A new Worker opens the file; of the transaction that was under way nothing may be kept. */
  async #restart(): Promise<void> {
    this.#link = this.#newLink();
    try {
      await this.#open([]);
      this.#trouble = undefined;
      this.#fallBehind();
      this.#flush();
      this.#wakeTakers();
    } catch (error) {
      this.#link.end();
      this.#troubled(messageOf(error));
    }
  }

  // --- the end

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposal ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#settleTimer);
    this.#disarm();
    this.#wakeTakers();
    const closed = this.#finish().catch((error) => {
      this.#settings.log.warn(`Closing the queue failed: ${messageOf(error)}`, { path: this.#settings.path });
    });
    if (!await within(CLOSE_MS, closed)) {
      this.#settings.log.warn(`The queue did not close within ${CLOSE_MS} ms; what was answered is safe in its file`, {
        path: this.#settings.path,
      });
    }
    this.#link.end();
    this.#lock[Symbol.dispose]();
    this.#refuse(this.#appends.splice(0), "The relay is shutting down", "shutting_down");
    for (const { entry, reject } of this.#settles.splice(0)) {
      reject(new Refusal("shutting_down", `Record ${entry.head.id} stays in the queue and will be sent again`));
    }
  }

  /** Commits what is pending, unless storage fails, and closes the file. */
  async #finish(): Promise<void> {
    do {
      this.#flush();
      await this.#committing;
    } while (this.#trouble === undefined && this.#appends.length + this.#settles.length > 0);
    await this.#link.ask("close", {});
  }
}

/** Gives the memory of a payload back at once; who wants it again reads it from the file. */
function giveUpPayload(entry: Entry): void {
  if (entry.payload !== undefined) discard(entry.payload);
  entry.payload = undefined;
}

/** The parts of a record; in memory already where it came in by this process. */
function partsOf(entry: Entry): readonly Part[] {
  return entry.parts ??= decodeParts(entry.head.parts);
}

function bytesOf(entries: readonly Entry[]): number {
  return entries.reduce((sum, { head }) => sum + head.bytes, 0);
}

/** The lane whose first record is the oldest. */
function oldestOf(lanes: readonly Lane[]): Lane | undefined {
  let oldest: Lane | undefined;
  for (const lane of lanes) {
    if (lane.firstId !== undefined && lane.firstId < (oldest?.firstId ?? Infinity)) oldest = lane;
  }
  return oldest;
}

function settlementOf(outcome: PartOutcome): PartSettlement {
  if (outcome.kind === "retry") return { kind: "retry" };
  if (outcome.kind === "delivered") return { kind: "delivered", rejected: outcome.rejected ?? 0 };
  return outcome;
}

/** Whether the promise settles in time. */
async function within(ms: number, promise: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), ms));
  try {
    return await Promise.race([promise.then(() => true), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function emptyBooks(): Totals["books"] {
  const books = {} as Totals["books"];
  for (const name of SIGNAL_NAMES) {
    books[name] = { accepted: 0, delivered: 0, rejectedByCollector: 0, deadLettered: 0, expired: 0, queued: 0 };
  }
  return books;
}
