/**
 * The `sqlite` engine: the durable queue, as the relay's thread sees it. All file access is in the Worker ({@link Connection}). A
 * record comes in by the {@link Committer}, waits in the {@link LaneSet} or in the file ({@link Reader}), goes to who waits among the
 * {@link Takers}, and leaves by the committer again.
 * @module
 */
import { messageOf, Refusal } from "../../errors.ts";
import { bySignal, type SignalName } from "../../signal.ts";
import { within } from "../../within.ts";
import { Alarm, type QueueLog } from "../alarm.ts";
import { costOf, RECORD_BYTES } from "../cost.ts";
import { DrainRate, noRoom } from "../drain_rate.ts";
import type { Fault } from "./injected_faults.ts";
import { LaneSet } from "../lane_set.ts";
import { ClockSteps } from "./clock_steps.ts";
import { Entry, partsOf } from "../lanes.ts";
import {
  type Accepted,
  DEFAULT_TARGETS,
  type Delivery,
  type QueueRecord,
  type QueueStats,
  type SendingQueue,
  type TakeLimit,
  type TargetId,
  type TargetSettings,
} from "../queue.ts";
import { type ConfiguredTarget, ConfiguredTargets, type Fullness } from "../configured_targets.ts";
import { Shares } from "../shares.ts";
import { deadLetterShareOf, findTargets, targetsOfNew } from "../targets.ts";
import type { Batch, PendingSettle } from "./commits.ts";
import { Committer } from "./committer.ts";
import { Connection, TICK_MS } from "./connection.ts";
import { makeFolder, makeQueueFile, type QueueLock, realPathOf, refuseOtherNames, takeLock } from "./file/lock.ts";
import { type Append, rowOf } from "./packing.ts";
import { decodeParts } from "../record_head.ts";
import { doorBooksOf, type Totals } from "../totals.ts";
import type { Replies } from "./protocol.ts";
import { Reader } from "./reader.ts";
import { Recount } from "./recount.ts";
import { takerKind, Takers } from "../takers.ts";
import { Takes } from "../takes.ts";
import type { News } from "./worker_link.ts";

/** What the engine needs to be told. */
export interface SqliteQueueSettings {
  /** The database's file. Beside it: `.lock`, `.mark`, `-wal`, `-shm`. */
  readonly path: string;
  /** Most bytes queued, those in flight included, as `cost.ts` counts them. */
  readonly bytesMax: number;
  /** Records older than this are dropped and counted as expired; undefined: none ever. */
  readonly maxAgeMs?: number;
  /** Most payload bytes among the dead letters. */
  readonly deadLetterBytesMax: number;
  /** Where records go; {@link DEFAULT_TARGETS} unless given. */
  readonly targets?: readonly TargetSettings[];
  readonly log: QueueLog;
  /** ms since the Unix epoch. */
  readonly now?: () => number;
  /** ms of a clock that never steps: waits and retries are by it, and it tells when the other was set. */
  readonly steady?: () => number;
  /** Payload bytes taken and not settled, from which on no more are taken; 16 MiB unless given. */
  readonly takenBytesMax?: number;
  /** Most bytes the file may have; undefined: as many as the disk has. */
  readonly fileBytesMax?: number;
  /** For tests. */
  readonly faults?: readonly Fault[];
  /** For tests, which share threads: starts the one that has the file. */
  readonly startThread?: () => Worker;
}

/** How long a stop waits for what is under way, in ms. */
const CLOSE_MS = 5000;

/** How long the state of the queue is waited for, in ms, before what was last known is told. */
const STATS_MS = 1000;

/**
 * Opens the queue, making the file and its folder where they are missing.
 * @throws {StorageError} with a text for people, when the file cannot be used or another relay has it
 */
export async function openSqliteQueue(settings: SqliteQueueSettings): Promise<SendingQueue> {
  makeFolder(settings.path);
  const path = realPathOf(settings.path);
  makeFolder(path);
  const lock = takeLock(path);
  try {
    makeQueueFile(path);
    refuseOtherNames(path);
    return await SqliteQueue.open({ ...settings, path }, lock);
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

class SqliteQueue implements SendingQueue {
  readonly capabilities = { durable: true, merges: true, shared: false };
  readonly shares: Shares;

  readonly #settings: SqliteQueueSettings;
  readonly #targets = new ConfiguredTargets();
  /** What is being appended for each, in bytes; kept only where there are several. */
  readonly #appendBytes = new Map<TargetId, number>();
  readonly #now: () => number;
  readonly #steady: () => number;
  readonly #clock: ClockSteps;
  readonly #lock: QueueLock;
  readonly #alarm: Alarm;
  readonly #drain: DrainRate;
  readonly #connection: Connection;
  readonly #committer: Committer;
  readonly #lanes: LaneSet;
  readonly #reader: Reader;
  readonly #takers: Takers;
  readonly #takes: Takes<true>;
  readonly #recount: Recount;
  #totals: Totals = { records: 0, bytes: 0, deadRecords: 0, deadBytes: 0, held: 0, lastId: 0, targets: {} };
  /** Why another relay may have the file: the lock was lost. */
  #lockLost: string | undefined;
  readonly #tick: ReturnType<typeof setInterval>;
  #releasing = false;
  #disposal: Promise<void> | undefined;

  private constructor(settings: SqliteQueueSettings, lock: QueueLock) {
    const { path, bytesMax, deadLetterBytesMax, fileBytesMax, now = Date.now } = settings;
    const configured = settings.targets ?? DEFAULT_TARGETS;
    const steady = settings.steady ?? (() => performance.now());
    this.#settings = settings;
    this.#now = now;
    this.#steady = steady;
    this.#clock = new ClockSteps(now, steady);
    this.#lock = lock;
    this.#alarm = new Alarm(settings.log, steady);
    this.#drain = new DrainRate(steady);
    this.shares = new Shares(steady);
    const connection = new Connection(
      {
        path,
        bytesMax,
        deadLetterBytesMax,
        fileBytesMax,
        targets: configured.map(({ name }) => name),
      },
      this.#alarm,
      {
        opened: (targets, totals, clockSteps) => {
          this.#setTargets(configured, targets);
          this.#setTotals(totals);
          this.#clock.restore(clockSteps);
        },
        news: (message) => this.#onNews(message),
        retry: () => this.#committer.flush(true),
        replaced: () => {
          this.#lanes.fallBehind();
          this.#committer.flush();
          this.#takers.wake();
        },
      },
      settings.startThread,
    );
    this.#connection = connection;
    this.#committer = new Committer(connection, {
      keeps: (op, besideBytes) => this.#lanes.keeps(op, besideBytes),
      crashed: (appends) => {
        const firstId = this.#totals.lastId + 1;
        connection.disown(
          appends.map(({ op: { enqueuedAt, bytes } }, index) => ({ id: firstId + index, enqueuedAt, bytes })),
        );
      },
      replied: ({ totals, foreign }) => {
        if (totals !== undefined) this.#setTotals(totals);
        if (foreign) this.#rowsCame();
      },
      kept: ({ op, parts }, id, payload) => {
        this.#lanes.append(id, op, parts, payload);
        this.shares.add(parts);
      },
      settled: (settles, remainders) => this.#settled(settles, remainders),
      done: (batch, reply, failed) => this.#committed(batch, reply, failed),
    }, now);
    this.#lanes = new LaneSet(settings.takenBytesMax, steady);
    this.#reader = new Reader(connection, this.#lanes, steady);
    this.#takers = new Takers({ now: steady, poll: () => this.#poll() });
    this.#takes = new Takes<true>({
      lanes: this.#lanes,
      takers: this.#takers,
      targets: this.#targets,
      alarm: this.#alarm,
      maxAgeMs: settings.maxAgeMs,
      steady,
      reader: this.#reader,
      closing: () => connection.closing,
      // The file has one relay: what it takes is its own.
      claim: () => true,
      holds: () => true,
      ages: () => {
        this.#lookAtClock();
        const at = now();
        return ({ id, enqueuedAt }) => at - this.#clock.appendedAt(id, enqueuedAt);
      },
      appendedAt: ({ enqueuedAt }) => enqueuedAt,
      settle: ({ settlement, ...settle }) => {
        const { target, head: { id, targets } } = settle.entry;
        this.#committer.settle({ ...settle, op: { ...settlement, id, target, targets } });
      },
      hurry: () => this.#committer.hurry(),
    });
    this.#recount = new Recount(connection, this.shares, steady);
    // Whether storage answers, whether the lock is held and whether the clock was set.
    this.#tick = setInterval(() => this.#onTick(), TICK_MS);
  }

  static async open(settings: SqliteQueueSettings, lock: QueueLock): Promise<SqliteQueue> {
    const queue = new SqliteQueue(settings, lock);
    try {
      await queue.#connection.open(settings.faults ?? []);
      await queue.#recount.count();
      queue.#targets.tellForgotten(queue.#totals, settings.log, { path: settings.path });
    } catch (error) {
      clearInterval(queue.#tick);
      queue.#connection.close();
      queue.#connection.end();
      throw error;
    }
    return queue;
  }

  // --- targets

  #setTargets(configured: readonly TargetSettings[], known: Replies["open"]["targets"]): void {
    this.#targets.names = new Map(known);
    // A new Worker has the same file: what is counted here goes on.
    if (this.#targets.size === 0) this.#targets.configure(configured, this.#settings.bytesMax);
  }

  target(name: string): TargetId {
    return this.#targets.idOf(name);
  }

  admits(ids: readonly TargetId[], bytes: number): Refusal | undefined {
    const cost = costOf(bytes, 0);
    // Asked for each request: with one target there is nothing to look up.
    const [first] = ids;
    if (this.#targets.size === 1 && ids.length === 1 && first !== undefined && this.#targets.has(first)) {
      return this.#refusalOf(cost);
    }
    const targets = findTargets(ids, (id) => this.#targets.of(id));
    return this.#refusalOf(cost) ?? this.#fullFor(targets, cost).refusal;
  }

  #fullFor(targets: readonly ConfiguredTarget[], cost: number): Fullness {
    return this.#targets.fullFor(
      targets,
      cost,
      (id) => (this.#totals.targets[id]?.bytes ?? 0) + (this.#appendBytes.get(id) ?? 0),
      this.#drain,
    );
  }

  // --- append

  append(record: QueueRecord): Promise<Accepted> {
    let targets: ConfiguredTarget[];
    let op: Append["op"];
    let skipped: readonly TargetId[];
    try {
      targets = targetsOfNew(record, (id) => this.#targets.of(id));
      op = rowOf(record, this.#now());
      const fullness = this.#fullFor(targets, op.cost);
      const refusal = this.#refusalOf(op.cost) ?? fullness.refusal;
      if (refusal !== undefined) throw refusal;
      skipped = fullness.skipped;
    } catch (error) {
      record.payload[Symbol.dispose]();
      return Promise.reject(error);
    }
    if (skipped.length > 0) {
      op = rowOf(record, op.enqueuedAt, skipped);
      targets = targets.filter(({ id }) => !skipped.includes(id));
      const names = skipped.map((id) => this.#targets.names.get(id)).join(", ");
      this.#alarm.warn(`full ${names}`, `The queue is full for ${names}, which is not required: it is left out`, {
        target: names,
      });
    }
    const append = { parts: record.parts, payload: record.payload.move(), op };
    if (this.#targets.size === 1) return this.#committer.append(append);
    const count = (cost: number) => {
      for (const { id } of targets) this.#appendBytes.set(id, (this.#appendBytes.get(id) ?? 0) + cost);
    };
    count(op.cost);
    return this.#committer.append(append).finally(() => count(-op.cost));
  }

  /** Why a record of such a cost, in bytes, is not even tried. */
  #refusalOf(cost: number): Refusal | undefined {
    const { closing, hung, ended, trouble } = this.#connection;
    if (closing) return new Refusal("shutting_down", "The relay is shutting down");
    const unusable = this.#lockLost ?? hung;
    if (unusable !== undefined) return new Refusal("storage_failed", unusable);
    const { bytesMax } = this.#settings;
    const over = this.#totals.bytes + this.#committer.appendBytes + cost - bytesMax;
    if (over > 0) {
      // Room for one record is gone at once; a hundredth of the queue lets the next ones in too.
      return noRoom(`The queue is full: ${bytesMax} bytes`, this.#drain.secondsFor(Math.max(over, bytesMax / 100)));
    }
    return ended ? new Refusal("storage_failed", trouble ?? "The queue's storage is not open") : undefined;
  }

  #committed({ appends, settles }: Batch, { foreign, remainders }: Replies["commit"], failed: boolean): void {
    this.#recount.ifWanted();
    // What has been appended concerns the takers of its signal, anything else all of them.
    const room = settles.length > 0 && this.#takes.madeRoom();
    if (foreign || remainders.length > 0 || failed || room) this.#takers.wake();
    else this.#wakeFor(appends);
  }

  #wakeFor(appends: Batch["appends"]): void {
    const kinds = new Set<string>();
    for (const { op } of appends) for (const target of op.targets) kinds.add(takerKind(target, op.signal));
    for (const kind of kinds) this.#takers.wake(kind);
  }

  // --- take

  take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    return this.#takes.take(limit, signal);
  }

  /** There is nobody else. */
  reaches(): void {}

  hasten(signal: SignalName, target: TargetId): void {
    this.#takes.hasten(signal, target);
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

  #settled(settles: readonly PendingSettle[], remainders: Replies["commit"]["remainders"]): void {
    const left = new Map(remainders.map((remainder) => [`${remainder.id} ${remainder.target}`, remainder]));
    for (const { entry, dueAt, taken, resolve } of settles) {
      const { head } = entry;
      const remainder = left.size === 0 ? undefined : left.get(`${head.id} ${entry.target}`);
      this.#takes.written({ entry, taken });
      // A sender's share counts until the last target is done.
      if (remainder?.stays !== true) {
        this.#drain.note(head.cost - (remainder?.head?.cost ?? 0));
        this.shares.remove(partsOf(entry));
      }
      if (remainder?.split === true) {
        this.#lanes.laneOf(entry.target, head).behind = true;
        this.#recount.want();
      }
      if (remainder?.head !== undefined) this.shares.add(decodeParts(remainder.head.parts));
      if (remainder !== undefined && remainder.heldRecords > 0) {
        this.#recount.want();
        const { path, deadLetterBytesMax } = this.#settings;
        this.#takes.tellHeld(entry, deadLetterShareOf(deadLetterBytesMax, this.#targets.size), { path });
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
        const knownAt = this.#steady();
        for (const head of heads) {
          for (const target of head.targets) {
            this.#lanes.giveBack(new Entry({ target, head, payload: undefined, knownAt }), 0);
          }
        }
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
      const asked = this.#connection.hung === undefined ? this.#connection.ask("stats", {}) : undefined;
      if (asked !== undefined && await within(asked, STATS_MS)) {
        const reply = await asked;
        totals = reply.totals;
        this.#setTotals(totals);
        this.#lookAtClock();
        if (reply.oldest !== undefined) oldestAt = this.#clock.appendedAt(reply.oldest.id, reply.oldest.enqueuedAt);
      }
      asked?.catch(() => {});
    } catch {
      // Storage is in trouble or closed, which `readiness` tells; what was last known is the best answer here.
    }
    return {
      records: totals.records,
      bytes: totals.bytes,
      bytesMax: this.#settings.bytesMax,
      drainS: this.#drain.secondsFor(totals.bytes),
      oldestAt,
      inFlight: this.#targets.inFlight,
      storageWaitMs: this.#connection.waitMs,
      deadLetters: { records: totals.deadRecords, bytes: totals.deadBytes },
      books: bySignal((signal) => doorBooksOf(totals, signal)),
      targets: this.#targets.stats(totals, (id) => this.#lanes.oldestAt(id)),
    };
  }

  readiness(): { readonly ready: boolean; readonly reason?: string } {
    const { closing, hung, trouble } = this.#connection;
    if (closing) return { ready: false, reason: "The queue is closed" };
    const reason = this.#lockLost ?? hung ?? trouble;
    if (reason !== undefined) return { ready: false, reason };
    if (this.#totals.bytes + this.#committer.appendBytes + RECORD_BYTES >= this.#settings.bytesMax) {
      return { ready: false, reason: `The queue is full: ${this.#settings.bytesMax} bytes` };
    }
    return { ready: true };
  }

  #onTick(): void {
    const { path } = this.#settings;
    this.#connection.tick();
    const { hung } = this.#connection;
    if (hung !== undefined) {
      this.#alarm.raise("hung", hung, { path });
      this.#committer.giveUpAppends(hung);
    }
    this.#lookAtClock();
    try {
      this.#lock.keep();
      this.#lockLost = undefined;
    } catch (error) {
      this.#lockLost = `The queue's lock was deleted while the relay ran, and cannot be taken again: ${
        messageOf(error)
      }`;
      this.#alarm.raise("lock", this.#lockLost, { path });
    }
  }

  /** Ages survive when the clock is set: by how much is remembered, in the file too. */
  #lookAtClock(): void {
    const step = this.#clock.look(this.#totals.lastId);
    if (step === undefined) return;
    this.#settings.log.warn("The clock was set while the relay ran; waits go on, and ages are counted on", {
      bySeconds: Math.round(step.ms / 1000),
    });
    if (this.#connection.closing || this.#connection.ended) return;
    this.#connection.ask("clock", { step }).then(
      ({ clockSteps }) => this.#clock.restore(clockSteps),
      (error) => this.#connection.questionFailed(error),
    );
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
    if (message.kind === "trouble") {
      // That it is over shows in the next transaction, which is tried every second.
      if (message.text !== undefined) this.#connection.failed(message.text);
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
    const { hung } = this.#connection;
    clearInterval(this.#tick);
    this.#connection.close();
    this.#takers.close();
    const closed = this.#finish().catch((error) => log.warn(`Closing the queue failed: ${messageOf(error)}`, { path }));
    if (!await within(closed, hung === undefined ? CLOSE_MS : 0)) {
      log.warn("The queue did not close in time; what was answered is safe in its file", {
        path,
        ...(hung === undefined ? { waitedMs: CLOSE_MS } : { cause: hung }),
      });
    }
    this.#connection.end();
    this.#lock[Symbol.dispose]();
    this.#committer.abandon();
    this.#lanes.reset();
  }

  /** Commits what is pending, unless storage fails, and closes the file. */
  async #finish(): Promise<void> {
    await this.#committer.drain();
    await this.#connection.ask("close", {});
  }
}
