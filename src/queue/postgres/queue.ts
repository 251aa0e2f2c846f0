/**
 * The `postgres` engine: the durable queue that several relays share. A record comes in by the {@link Appender}, which makes this relay its
 * owner while there is room in memory; others, and what is nobody's, are taken by the {@link Reader}; it leaves by the {@link Settler}. What
 * a relay owns is its own for as long as its {@link Lease} lives.
 * @module
 */
import type { OwnedBytes } from "../../codec/owned_bytes.ts";
import { messageOf, Refusal } from "../../errors.ts";
import { bySignal, type SignalName } from "../../signal.ts";
import { within } from "../../within.ts";
import { Alarm } from "../alarm.ts";
import { RECORD_BYTES } from "../cost.ts";
import { DrainRate, noRoom } from "../drain_rate.ts";
import { LaneSet } from "../lane_set.ts";
import { type Lane, partsOf } from "../lanes.ts";
import {
  type Accepted,
  DEFAULT_TARGETS,
  type Delivery,
  type QueueRecord,
  type QueueStats,
  type SendingQueue,
  type TakeLimit,
  type TargetId,
} from "../queue.ts";
import { decodeParts, headOf } from "../record_head.ts";
import { type ConfiguredTarget, ConfiguredTargets, type Fullness } from "../configured_targets.ts";
import { Shares } from "../shares.ts";
import { takerKind, Takers } from "../takers.ts";
import { Takes } from "../takes.ts";
import { deadLetterShareOf, findTargets, targetsOfNew } from "../targets.ts";
import { doorBooksOf, type Totals } from "../totals.ts";
import { Appender, type PendingAppend } from "./appender.ts";
import { Floors, type Snapshot, snapshotOf } from "./books.ts";
import { Connections, endClient, failureOf, PostgresFailure } from "./connections.ts";
import { Lease } from "./lease.ts";
import { placeOf, Reader } from "./reader.ts";
import { Room } from "./room.ts";
import { checkRights, checkSchema, GRANT_REMEDY, INSUFFICIENT_PRIVILEGE } from "./schema.ts";
import type { PostgresQueueSettings } from "./settings.ts";
import type { PendingSettle, Settled } from "./pending_settle.ts";
import { Settler } from "./settler.ts";
import { rotate } from "./rotate.ts";
import { CANNOT_USE, StorageError } from "../storage_error.ts";
import { FOLD, FORGET_SENDERS, GIVE_BACK, RELEASE, SENDERS, STATS } from "./statements.ts";

/** How often a relay looks after the queue, in ms. */
const TICK_MS = 1_000;
/** How long one such piece of work may take, in ms. */
const WITHIN_MS = 8_000;
/** How long the state of the queue is waited for, in ms, before what was last known is told. */
const STATS_MS = 1_000;
/** How long a stop waits for what is under way, in ms. */
const CLOSE_MS = 5_000;
/** How long a count may stand that was made while something was being written, in ms. */
const INEXACT_MS = 5_000;
/** How often the ledgers are folded from their beginning, and partitions are looked after, in ms. */
const SWEEP_MS = 60_000;
const ROTATE_MS = 5_000;
/** How long nothing reaches a target, in ms, before what this relay owns for it is left to others. */
const STAND_BACK_MS = 5_000;
/** How long such a record is others' to take before this relay tries one again, in ms: they look each second. */
const REST_MS = 3_000;

/**
 * Opens the queue.
 * @throws {StorageError} where there are no tables, or those of another version, or the role may not use them
 * @throws {PostgresFailure} where the database cannot be reached, or is in trouble that may pass
 */
export async function openPostgresQueue(settings: PostgresQueueSettings): Promise<SendingQueue> {
  const client = await settings.connect();
  try {
    const checking = checkSchema(client).then(() => checkRights(client));
    if (!await within(checking, WITHIN_MS)) {
      throw new PostgresFailure("unreachable", `PostgreSQL has not answered for ${WITHIN_MS / 1000} s`);
    }
  } catch (error) {
    throw error instanceof StorageError ? error : stated(failureOf(error));
  } finally {
    await endClient(client);
  }
  try {
    return await PostgresQueue.open(settings);
  } catch (error) {
    throw error instanceof PostgresFailure ? stated(error) : error;
  }
}

/** What does not pass is for a person. */
function stated(failure: PostgresFailure): StorageError | PostgresFailure {
  if (failure.passes) return failure;
  const remedy = failure.sqlState === INSUFFICIENT_PRIVILEGE ? GRANT_REMEDY : "see the database's log";
  return new StorageError("unusable", { what: CANNOT_USE, state: failure.message, remedy }, { cause: failure });
}

class PostgresQueue implements SendingQueue {
  readonly capabilities = { durable: true, merges: true, shared: true };
  readonly shares: Shares;

  readonly #settings: PostgresQueueSettings;
  readonly #targets = new ConfiguredTargets();
  readonly #now: () => number;
  readonly #steady: () => number;
  readonly #alarm: Alarm;
  readonly #drain: DrainRate;
  readonly #connections: Connections;
  readonly #room = new Room();
  readonly #lease: Lease;
  readonly #lanes: LaneSet;
  readonly #reader: Reader;
  readonly #appender: Appender;
  readonly #settler: Settler;
  readonly #takers: Takers;
  readonly #takes: Takes<number>;
  #totals: Totals = { records: 0, bytes: 0, deadRecords: 0, deadBytes: 0, held: 0, lastId: 0, targets: {} };
  #trouble: string | undefined;
  #closing = false;
  #disposal: Promise<void> | undefined;
  #tick: ReturnType<typeof setInterval> | undefined;
  #ticking: Promise<void> | undefined;
  #looking: Promise<Snapshot> | undefined;
  readonly #floors = new Floors();
  #lookedAt = -Infinity;
  #countedAt = -Infinity;
  /** The totals of all dead letters, at the last maintenance of the queue. */
  #deadBytes = 0;
  #sweptAt = -Infinity;
  #rotatedAt = -Infinity;
  /** Since when nothing of a signal reaches a target, by their kind. */
  readonly #unreached = new Map<string, Unreached>();
  /** Whether another relay lives that sends; asked while something is not reached. */
  #othersSend = false;

  private constructor(settings: PostgresQueueSettings) {
    const { now = Date.now, steady = () => performance.now(), databaseNow, role = "both", name } = settings;
    this.#settings = settings;
    this.#now = now;
    this.#steady = steady;
    this.#alarm = new Alarm(settings.log, steady);
    this.#drain = new DrainRate(steady);
    this.shares = new Shares(steady);
    const connections = new Connections({
      connect: () => settings.connect(),
      max: settings.connectionsMax ?? 4,
      prepare: settings.prepare ?? settings.background !== false,
    });
    this.#connections = connections;
    this.#lease = new Lease(connections, { name, role }, () => this.#leaseLost());
    this.#lanes = new LaneSet(settings.takenBytesMax, steady);
    this.#reader = new Reader({
      connections,
      lanes: this.#lanes,
      steady,
      databaseNow,
      lease: () => this.#lease.id,
      failed: (text) => this.#failed(text),
      doubtful: (lease) => this.#takeInDoubt(lease),
      bare: (lease, lane, ids) => this.#bare(lease, lane, ids),
    });
    this.#appender = new Appender({
      connections,
      room: this.#room,
      bytesMax: settings.bytesMax,
      bytesMaxOf: (target) => this.#targets.of(target),
      databaseNow,
      lease: () => role === "both" ? this.#lease.id : undefined,
      keeps: (head, besideBytes) =>
        head.targets.every((target) =>
          !this.#lanes.laneOf(target, head).behind && this.#standsBack(target, head.signal) === undefined
        ) &&
        this.#lanes.keeps(head, besideBytes),
      kept: (append, id, lease) => this.#kept(append, id, lease),
      strange: (lease, appends, ids) => this.#giveBack(lease, appends, ids),
      tooLarge: (append) => this.#again(append),
      done: (failed) => this.#done(failed),
    });
    this.#settler = new Settler({
      connections,
      room: this.#room,
      deadLetterBytesMax: this.#deadRoom,
      settled: (settle, result) => this.#settled(settle, result),
      done: (failed) => {
        this.#done(failed);
        if (this.#takes.madeRoom()) this.#takers.wake();
      },
    });
    this.#takers = new Takers({ now: steady });
    this.#takes = new Takes<number>({
      lanes: this.#lanes,
      takers: this.#takers,
      targets: this.#targets,
      alarm: this.#alarm,
      maxAgeMs: settings.maxAgeMs,
      steady,
      reader: this.#reader,
      closing: () => this.#closing,
      boundsOf: (limit, now) => {
        const standsBack = this.#standsBack(limit.target, limit.signal);
        if (standsBack === undefined) return limit;
        // One record shows whether the way is open again; the rest is there for others.
        return now < standsBack.restsUntil ? standsBack.restsUntil : { ...limit, recordsMax: 1 };
      },
      // Under a lease that was lost meanwhile it is others'.
      claim: () => this.#lease.id,
      holds: (lease) => lease === this.#lease.id,
      ages: () => {
        const at = steady();
        return ({ enqueuedAt }) => at - enqueuedAt;
      },
      appendedAt: ({ enqueuedAt }) => this.#atOf(enqueuedAt),
      settle: (settle) => this.#settler.settle(settle),
      hurry: () => this.#settler.hurry(),
    });
  }

  static async open(settings: PostgresQueueSettings): Promise<PostgresQueue> {
    const queue = new PostgresQueue(settings);
    try {
      await queue.#open();
    } catch (error) {
      await queue.#connections.close();
      throw error;
    }
    return queue;
  }

  async #open(): Promise<void> {
    const { bytesMax, deadLetterBytesMax, role = "both", background = true } = this.#settings;
    const configured = this.#settings.targets ?? DEFAULT_TARGETS;
    await this.#connections.run({
      text: `WITH bounds AS (
          UPDATE edgeferry.meta SET bytes_max = $2, dead_letter_bytes_max = $3
            WHERE bytes_max <> $2 OR dead_letter_bytes_max <> $3
        )
        INSERT INTO edgeferry.targets (name) SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS wanted(name, place)
          WHERE name NOT IN (SELECT name FROM edgeferry.targets) ORDER BY place ON CONFLICT DO NOTHING`,
      values: [configured.map(({ name }) => name), bytesMax, deadLetterBytesMax],
    }, WITHIN_MS);
    const { totals } = await this.#look();
    this.#targets.configure(configured, bytesMax);
    await this.#countSenders();
    this.#targets.tellForgotten(totals, this.#settings.log);
    // What had no room among the dead letters is tried again.
    if (role !== "receiver" && totals.held > 0) {
      await this.#connections.run({ text: RELEASE, values: [null] }, WITHIN_MS);
    }
    if (background) await this.#lease.keep();
    if (background) this.#tick = setInterval(() => this.#onTick(), TICK_MS);
  }

  // --- targets

  target(name: string): TargetId {
    return this.#targets.idOf(name);
  }

  admits(ids: readonly TargetId[], bytes: number): Refusal | undefined {
    const targets = findTargets(ids, (id) => this.#targets.of(id));
    const cost = bytes + RECORD_BYTES;
    return this.#refusalOf(cost) ?? this.#fullFor(targets, cost).refusal;
  }

  #fullFor(targets: readonly ConfiguredTarget[], cost: number): Fullness {
    return this.#targets.fullFor(targets, cost, (id) => this.#room.of(id) + this.#appender.bytesOf(id), this.#drain);
  }

  // --- append

  append(record: QueueRecord): Promise<Accepted> {
    let targets: ConfiguredTarget[];
    try {
      targets = targetsOfNew(record, (id) => this.#targets.of(id));
    } catch (error) {
      record.payload[Symbol.dispose]();
      return Promise.reject(error);
    }
    const payload = record.payload.move();
    return new Promise((resolve, reject) => this.#append({ record, payload, targets, tries: 0, resolve, reject }));
  }

  #append(wanted: Wanted): void {
    const { record, payload, targets, resolve, tries } = wanted;
    const reject = (error: unknown) => {
      payload[Symbol.dispose]();
      wanted.reject(error);
    };
    const whole = headOf(record, this.#steady());
    const { skipped, refusal: full } = this.#fullFor(targets, whole.cost);
    const refusal = this.#refusalOf(whole.cost) ?? full;
    if (refusal !== undefined) {
      // Others may have made room since the last look.
      if (refusal.code !== "queue_full" || tries > 0) return reject(refusal);
      this.#look().then(() => this.#append({ ...wanted, tries: 1 }), () => reject(refusal));
      return;
    }
    const head = skipped.length === 0 ? whole : headOf(record, whole.enqueuedAt, skipped);
    if (skipped.length > 0) {
      const names = skipped.map((id) => this.#targets.names.get(id)).join(", ");
      this.#alarm.warn(`full ${names}`, `The queue is full for ${names}, which is not required: it is left out`, {
        target: names,
      });
    }
    this.#appender.append({ record, payload, head, skipped, tries, resolve, reject: wanted.reject });
    if (this.#tick === undefined && this.#steady() - this.#lookedAt > TICK_MS) this.#look().catch(() => {});
  }

  /** The database has seen more than was known here. */
  #again({ record, payload, tries, resolve, reject }: PendingAppend): void {
    if (tries < 2) {
      const targets = record.targets.map((id) => this.#targets.of(id));
      this.#append({ record, payload, targets, tries: tries + 1, resolve, reject });
    } else {
      payload[Symbol.dispose]();
      reject(noRoom(`The queue is full: ${this.#settings.bytesMax} bytes`, undefined));
    }
  }

  /** Why a record of such a cost, in bytes, is not even tried. */
  #refusalOf(cost: number): Refusal | undefined {
    if (this.#closing) return new Refusal("shutting_down", "The relay is shutting down");
    const { bytesMax } = this.#settings;
    const over = this.#room.bytes + this.#appender.bytes + cost - bytesMax;
    if (over <= 0) return undefined;
    // Room for one record is gone at once; a hundredth of the queue lets the next ones in too.
    return noRoom(`The queue is full: ${bytesMax} bytes`, this.#drain.secondsFor(Math.max(over, bytesMax / 100)));
  }

  #kept({ record, payload, head }: PendingAppend, id: number, lease: number | undefined): void {
    this.shares.add(record.parts);
    if (lease !== undefined && lease === this.#lease.id) {
      this.#lanes.own(id, head, record.parts, payload);
    } else {
      payload[Symbol.dispose]();
      for (const target of head.targets) this.#reader.feed(this.#lanes.laneOf(target, head));
    }
    for (const target of head.targets) this.#takers.wake(takerKind(target, head.signal));
  }

  /** Room for the dead letters of each target, in bytes. */
  get #deadRoom(): number {
    const { targets = DEFAULT_TARGETS, deadLetterBytesMax } = this.#settings;
    return deadLetterShareOf(deadLetterBytesMax, targets.length);
  }

  /** Records that this relay owns by its lease and does not know are anybody's again. */
  #giveBack(lease: number, appends: readonly PendingAppend[], ids: readonly number[]): void {
    const places = appends.flatMap(({ head }, index) =>
      head.targets.map((target) => ({ ...placeOf({ ...head, target }), record: ids[index] }))
    );
    const lanes = appends.flatMap(({ head }) => head.targets.map((target) => this.#lanes.laneOf(target, head)));
    void this.#release(lease, places).then(() => {
      for (const lane of lanes) this.#reader.feed(lane);
      this.#takers.wake();
    });
  }

  /** Gives records back that are not in memory any more. Never rejects. */
  async #release(lease: number, places: readonly unknown[]): Promise<void> {
    try {
      await this.#connections.run({ text: GIVE_BACK, values: [lease, JSON.stringify(places)] }, WITHIN_MS);
    } catch (error) {
      this.#failed(messageOf(error));
      // They come back with the end of the lease.
      await this.#lease.end().catch(() => {});
      this.#leaseLost();
    }
  }

  /** A take was not answered: what it may own nobody here knows, so that its lease is to run out. What is known and not sent is given back. */
  #takeInDoubt(lease: number): void {
    if (this.#closing || lease !== this.#lease.id) return;
    const places = this.#lanes.entries.map(({ target, head }) => ({
      ...placeOf({ ...head, target }),
      record: head.id,
    }));
    this.#lease.giveUp();
    this.#lanes.reset();
    this.#alarm.warn(
      "take",
      "The database did not answer a take: what it took is sent when its lease has run out, and what is on its way may arrive twice",
      {},
    );
    if (places.length > 0) {
      this.#connections.run({ text: GIVE_BACK, values: [lease, JSON.stringify(places)] }, WITHIN_MS).catch(
        // They come back with the lease's end, too.
        (error) => this.#failed(messageOf(error)),
      );
    }
  }

  /** Payloads that were written while a take looked are there for the next; one that is not there at all is named each time. */
  #bare(lease: number, lane: Lane, ids: readonly number[]): void {
    this.#failed(`The payload of record ${ids[0]} is not to be found`);
    const places = ids.map((record) => ({ ...placeOf(lane), record }));
    this.#connections.run({ text: GIVE_BACK, values: [lease, JSON.stringify(places)] }, WITHIN_MS).catch(
      () => this.#takeInDoubt(lease),
    );
  }

  // --- take

  take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    return this.#takes.take(limit, signal);
  }

  /** In ms since the Unix epoch, by the clock as it is set now: records know by the other when they came. */
  #atOf(steadyMs: number): number {
    return Math.round(this.#now() - (this.#steady() - steadyMs));
  }

  hasten(signal: SignalName, target: TargetId): void {
    this.#takes.hasten(signal, target);
  }

  reaches(signal: SignalName, target: TargetId, whether: boolean): void {
    const kind = takerKind(target, signal);
    if (!whether && !this.#unreached.has(kind)) {
      this.#unreached.set(kind, { signal, target, since: this.#steady(), restsUntil: 0 });
    }
    if (whether && this.#unreached.delete(kind)) this.#takers.wake(kind);
  }

  /** Where this relay cannot send to the target what another may be able to. */
  #standsBack(target: TargetId, signal: SignalName): Unreached | undefined {
    if (!this.#othersSend || this.#unreached.size === 0) return undefined;
    const unreached = this.#unreached.get(takerKind(target, signal));
    return unreached !== undefined && this.#steady() - unreached.since >= STAND_BACK_MS ? unreached : undefined;
  }

  /**
   * Leaves to others what this relay owns and cannot send: its own network or certificate may be at fault. What is on its way stays until its
   * outcome is known. @throws {PostgresFailure}
   */
  async #standBack(): Promise<void> {
    this.#othersSend = this.#unreached.size > 0 && await this.#lease.othersSend();
    const lease = this.#lease.id;
    if (lease === undefined) return;
    for (const unreached of this.#unreached.values()) {
      const { target, signal } = unreached;
      if (this.#standsBack(target, signal) === undefined) continue;
      const left = this.#lanes.withdraw(target, signal);
      if (left.length === 0) continue;
      unreached.restsUntil = this.#steady() + REST_MS;
      this.#alarm.warn(
        `stand back ${target} ${signal}`,
        "Nothing that this relay sends arrives, and others live: what it holds is theirs to send, too",
        { signal, target: this.#targets.names.get(target), records: left.length },
      );
      await this.#release(lease, left.map(({ head }) => ({ ...placeOf({ ...head, target }), record: head.id })));
    }
  }

  // --- settle

  #settled({ entry, claim: lease, dueAt, taken, resolve }: PendingSettle, result: Settled): void {
    const { head } = entry;
    const { effective, finished, outcome } = result;
    this.#takes.written({ entry, taken });
    if (effective) {
      const left = outcome === undefined ? [] : [outcome.retried, outcome.held].filter(({ empty }) => !empty);
      const heads = left.map((remnant) => remnant.head(head));
      if (finished) {
        this.#drain.note(head.cost - heads.reduce((sum, { cost }) => sum + cost, 0));
        this.shares.remove(partsOf(entry));
      }
      for (const { parts } of heads) this.shares.add(decodeParts(parts));
      if (outcome?.held.empty === false) this.#takes.tellHeld(entry, this.#deadRoom);
    }
    if (result.split === true) this.#reader.feed(this.#lanes.laneOf(entry.target, head));
    if (result.head !== undefined && lease === this.#lease.id) {
      entry.head = { ...result.head, enqueuedAt: head.enqueuedAt };
      entry.parts = undefined;
      this.#lanes.giveBack(entry, dueAt);
      this.#takers.wake();
    } else if (result.split === true) {
      this.#takers.wake();
    }
    resolve();
  }

  // --- state

  /** Looks at the totals; calls at one time share a look. @throws {PostgresFailure} */
  #look(): Promise<Snapshot> {
    return this.#looking ??= this.#lookNow().finally(() => this.#looking = undefined);
  }

  async #lookNow(): Promise<Snapshot> {
    let snapshot: Snapshot | undefined;
    await this.#room.look(async () => {
      const [row] = await this.#connections.run({
        text: STATS,
        values: [this.#settings.databaseNow?.() ?? null, this.#floors.parameter(performance.now())],
      }, WITHIN_MS);
      snapshot = snapshotOf(row!);
      return snapshot.totals;
    });
    this.#lookedAt = this.#steady();
    this.#floors.learn(snapshot!.firsts);
    this.#totals = snapshot!.totals;
    this.#targets.names = snapshot!.names;
    return snapshot!;
  }

  /** Takes what stands in the database in place of what was counted here. */
  async #countSenders(): Promise<void> {
    const mark = this.#room.mark;
    const rows = await this.#connections.run({ text: SENDERS }, WITHIN_MS);
    const now = performance.now();
    if ((!this.#room.quiet || mark !== this.#room.mark) && now - this.#countedAt < INEXACT_MS) return;
    this.#countedAt = now;
    this.shares.replace(rows.map(({ sender, bytes }) => ({ sender: String(sender), bytes: Number(bytes) })));
  }

  async stats(): Promise<QueueStats> {
    let oldestAt: number | undefined;
    if (!this.#closing) {
      // What is asked now is of now: a look that began before may not have what was just kept.
      const asked = this.#lookNow();
      asked.catch(() => {});
      try {
        if (await within(asked, STATS_MS)) {
          const { oldestMs } = await asked;
          oldestAt = oldestMs === undefined ? undefined : Math.round(this.#now() - oldestMs);
        }
      } catch (error) {
        // `readiness` tells of it; what was last known is the best answer here.
        this.#failed(messageOf(error));
      }
    }
    const totals = this.#totals;
    return {
      records: totals.records,
      bytes: totals.bytes,
      bytesMax: this.#settings.bytesMax,
      drainS: this.#drain.secondsFor(totals.bytes),
      oldestAt,
      inFlight: this.#targets.inFlight,
      storageWaitMs: this.#appender.waitMs,
      deadLetters: { records: totals.deadRecords, bytes: totals.deadBytes },
      books: bySignal((signal) => doorBooksOf(totals, signal)),
      targets: this.#targets.stats(totals, (id) => {
        const oldest = this.#lanes.oldestAt(id);
        return oldest === undefined ? undefined : this.#atOf(oldest);
      }),
    };
  }

  readiness(): { readonly ready: boolean; readonly reason?: string } {
    if (this.#closing) return { ready: false, reason: "The queue is closed" };
    if (this.#trouble !== undefined) return { ready: false, reason: this.#trouble };
    if (this.#room.bytes + this.#appender.bytes + RECORD_BYTES >= this.#settings.bytesMax) {
      return { ready: false, reason: `The queue is full: ${this.#settings.bytesMax} bytes` };
    }
    return { ready: true };
  }

  #done(failed: string | undefined): void {
    if (failed === undefined) this.#trouble = undefined;
    else this.#failed(failed);
  }

  #failed(text: string): void {
    if (this.#closing) return;
    this.#trouble = `The queue's storage failed: ${text}`;
    this.#alarm.raise("storage", this.#trouble, { abandoned: this.#connections.abandoned });
  }

  // --- upkeep

  #onTick(): void {
    this.#ticking ??= this.#upkeep()
      .then(() => this.#trouble = undefined, (error) => this.#failed(messageOf(error)))
      .finally(() => this.#ticking = undefined);
  }

  /** What is to be done each second. @throws {PostgresFailure} */
  async #upkeep(): Promise<void> {
    const receiver = this.#settings.role === "receiver";
    const held = this.#lease.id;
    // A receiver owns nothing by its own: it says that it lives, and of which version it is.
    await this.#lease.keep();
    if (!receiver) {
      if (held === undefined) this.#fallBehind();
      await this.#standBack();
      const lanes = this.#targets.ids.flatMap((target) => this.#lanesOf(target));
      for (const { target, signal } of await this.#reader.look(lanes)) this.#takers.wake(takerKind(target, signal));
    }
    await this.#fold();
    const { totals } = await this.#look();
    await this.#countSenders();
    const room = totals.deadBytes < this.#deadBytes;
    this.#deadBytes = totals.deadBytes;
    if (!receiver && totals.held > 0 && room) {
      await this.#connections.run({ text: RELEASE, values: [this.#deadRoom] }, WITHIN_MS);
    }
    await this.#appender.disown();
  }

  async #fold(): Promise<void> {
    const now = performance.now();
    const sweep = now - this.#sweptAt > SWEEP_MS;
    const [row] = await this.#connections.run({ text: FOLD, values: [sweep] }, WITHIN_MS);
    if (row?.folded === true && sweep) {
      this.#sweptAt = now;
      await this.#connections.run({ text: FORGET_SENDERS }, WITHIN_MS);
    }
    if (now - this.#rotatedAt < ROTATE_MS) return;
    this.#rotatedAt = now;
    await rotate(this.#connections, WITHIN_MS);
  }

  #lanesOf(target: TargetId): Lane[] {
    return Object.values(bySignal((signal) => this.#lanes.of(target, signal))).flat();
  }

  /** What was owned and not sent is others' to take, and what is on its way may arrive twice. */
  #leaseLost(): void {
    if (this.#closing || this.#settings.role === "receiver") return;
    this.#lanes.reset();
    this.#alarm.warn(
      "lease",
      "This relay could not prolong its lease in time: what it had taken is others' to send, and may arrive twice",
      { inFlight: this.#targets.inFlight },
    );
  }

  #fallBehind(): void {
    for (const target of this.#targets.ids) for (const lane of this.#lanesOf(target)) this.#reader.feed(lane);
    this.#takers.wake();
  }

  // --- the end

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposal ??= this.#close();
  }

  async #close(): Promise<void> {
    const { log } = this.#settings;
    clearInterval(this.#tick);
    this.#closing = true;
    this.#takers.close();
    const closed = this.#finish().catch((error) => log.warn(`Closing the queue failed: ${messageOf(error)}`, {}));
    if (!await within(closed, CLOSE_MS)) {
      log.warn("The queue did not close in time; what was answered is safe in the database", { waitedMs: CLOSE_MS });
    }
    this.#appender.abandon();
    this.#settler.abandon();
    this.#lanes.reset();
    await this.#connections.close();
  }

  /** Writes what is pending, unless storage fails, and lets go of what was taken. */
  async #finish(): Promise<void> {
    await Promise.all([this.#appender.drain(), this.#settler.drain(), this.#ticking]);
    await this.#lease.end();
  }
}

/** What nothing of this relay's reaches. */
interface Unreached {
  readonly signal: SignalName;
  readonly target: TargetId;
  /** ms of a clock that never steps. */
  readonly since: number;
  /** Until when nothing is taken, by the same clock. */
  restsUntil: number;
}

/** A record that is to be appended, as far as there is room. */
interface Wanted {
  readonly record: Omit<QueueRecord, "payload">;
  readonly payload: OwnedBytes;
  readonly targets: readonly ConfiguredTarget[];
  readonly tries: number;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: unknown) => void;
}
