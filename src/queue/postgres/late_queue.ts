/**
 * The queue of a relay that started while its database was away. Until the database is there senders are refused, to come again, and
 * nobody takes anything; from then on it is the queue that could be opened. The numbers of targets are the database's to give, so that
 * this one calls them by numbers of its own, below zero.
 * @module
 */
import { messageOf, Refusal } from "../../errors.ts";
import { CONNECT_FAULTS, ConnectError } from "../../postgres/connect_error.ts";
import { bySignal, type SignalName } from "../../signal.ts";
import { whenAborted, within } from "../../within.ts";
import { Alarm } from "../alarm.ts";
import { deliveryOf } from "../delivery.ts";
import {
  type Accepted,
  DEFAULT_TARGETS,
  type Delivery,
  NO_BOOKS,
  type QueueRecord,
  type QueueStats,
  type SendingQueue,
  type TakeLimit,
  type TargetId,
} from "../queue.ts";
import type { SenderShares } from "../shares.ts";
import { PostgresFailure } from "./connections.ts";
import { openPostgresQueue } from "./queue.ts";
import type { PostgresQueueSettings } from "./settings.ts";

/** Between two attempts to open the queue, in ms. */
const PAUSE_MS = 1_000;
/** How long an append waits for such an attempt, in ms: senders wait 10 s. */
const WITHIN_MS = 8_000;
/** How long a stop waits for one, in ms. */
const CLOSE_MS = 1_000;

/**
 * Opens the queue. Where its database is away, the queue that there is meanwhile.
 * @param opened Told once it is open.
 * @throws {StorageError} {@link ConnectError} {@link ConfigError} {@link PostgresFailure} where waiting mends nothing: the database is there,
 * and refuses, has no tables, or does not keep the promise
 */
export async function openPostgresQueueWhenThere(
  settings: PostgresQueueSettings,
  opened: () => void = () => {},
): Promise<SendingQueue> {
  try {
    const queue = await openPostgresQueue(settings);
    opened();
    return queue;
  } catch (error) {
    if (!mayPass(error)) throw error;
    return new LateQueue(settings, { open: () => openPostgresQueue(settings), opened }, error);
  }
}

function mayPass(error: unknown): boolean {
  if (error instanceof ConnectError) return CONNECT_FAULTS[error.code].passes;
  return error instanceof PostgresFailure && error.passes;
}

export type LateQueueSettings = Pick<PostgresQueueSettings, "targets" | "bytesMax" | "log" | "background" | "steady">;

/** How it is opened. */
interface Opening {
  /** Rejects while it cannot be. */
  open(): Promise<SendingQueue>;
  opened(): void;
}

export class LateQueue implements SendingQueue {
  readonly capabilities = { durable: true, merges: true, shared: true };
  readonly shares: SenderShares = {
    bytesOf: (sender) => this.#queue?.shares.bytesOf(sender) ?? 0,
    secondsFor: (sender, bytes) => this.#queue?.shares.secondsFor(sender, bytes),
  };

  readonly #settings: LateQueueSettings;
  readonly #opening: Opening;
  readonly #alarm: Alarm;
  readonly #names: readonly string[];
  readonly #steady: () => number;
  readonly #there = Promise.withResolvers<void>();
  #queue: SendingQueue | undefined;
  #trouble: string;
  #trying: Promise<void> | undefined;
  #triedAt: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closing = false;

  /** @param error Why it could not be opened. */
  constructor(settings: LateQueueSettings, opening: Opening, error: unknown) {
    this.#settings = settings;
    this.#opening = opening;
    const steady = this.#steady = settings.steady ?? (() => performance.now());
    this.#triedAt = steady();
    this.#alarm = new Alarm(settings.log, steady);
    this.#names = (settings.targets ?? DEFAULT_TARGETS).map(({ name }) => name);
    this.#trouble = messageOf(error);
    this.#tell();
    this.#tryLater();
  }

  target(name: string): TargetId {
    const index = this.#names.indexOf(name);
    if (index < 0) throw new RangeError(`No target is called ${name}`);
    return -1 - index;
  }

  admits(targets: readonly TargetId[], bytes: number): Refusal | undefined {
    if (this.#queue !== undefined) return this.#queue.admits(this.#idsOf(targets), bytes);
    // Without background work the append itself tries.
    return this.#settings.background === false ? undefined : this.#refusal();
  }

  async append(record: QueueRecord): Promise<Accepted> {
    // Released at the end only where the queue has not taken it over.
    using payload = record.payload.move();
    if (this.#queue === undefined && this.#settings.background === false) await within(this.#try(), WITHIN_MS);
    if (this.#queue === undefined) throw this.#refusal();
    return await this.#queue.append({ ...record, payload, targets: this.#idsOf(record.targets) });
  }

  async take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    if (this.#queue === undefined) await this.#opened(signal);
    if (signal.aborted) return [];
    if (this.#queue === undefined) throw new Refusal("shutting_down", "The queue is closed");
    const deliveries = await this.#queue.take({ ...limit, target: this.#idOf(limit.target) }, signal);
    return deliveries.map((delivery) =>
      deliveryOf({ ...delivery, target: limit.target }, {
        payload: () => delivery.payload,
        settle: (outcomes) => delivery.settle(outcomes),
      })
    );
  }

  hasten(signal: SignalName, target: TargetId): void {
    this.#queue?.hasten(signal, this.#idOf(target));
  }

  reaches(signal: SignalName, target: TargetId, whether: boolean): void {
    this.#queue?.reaches(signal, this.#idOf(target), whether);
  }

  async stats(): Promise<QueueStats> {
    if (this.#queue === undefined) return this.#nothing();
    const stats = await this.#queue.stats();
    return {
      ...stats,
      targets: stats.targets.map((target) =>
        this.#names.includes(target.name) ? { ...target, id: this.target(target.name) } : target
      ),
    };
  }

  readiness(): { readonly ready: boolean; readonly reason?: string } {
    if (this.#queue !== undefined) return this.#queue.readiness();
    return { ready: false, reason: this.#closing ? "The queue is closed" : this.#text };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#timer);
    this.#there.resolve();
    if (this.#trying !== undefined) await within(this.#trying, CLOSE_MS);
    await this.#queue?.[Symbol.asyncDispose]();
  }

  get #text(): string {
    return `The queue has not been opened yet, and it is tried again: ${this.#trouble}`;
  }

  #tell(): void {
    this.#alarm.raise(
      "late",
      "The queue cannot be opened yet, and is tried again; until then nothing is taken and nothing is sent",
      {
        cause: this.#trouble,
      },
    );
  }

  #refusal(): Refusal {
    if (this.#closing) return new Refusal("shutting_down", "The relay is shutting down");
    return new Refusal("storage_failed", "The queue's database cannot be used yet", { remedy: "retry" });
  }

  #tryLater(): void {
    if (this.#settings.background === false || this.#closing || this.#queue !== undefined) return;
    this.#timer = setTimeout(() => void this.#try().then(() => this.#tryLater()), PAUSE_MS);
  }

  /** Opens it, unless that has failed a moment ago. Those who try at one time share it. Never rejects. */
  #try(): Promise<void> {
    if (this.#trying !== undefined) return this.#trying;
    const early = this.#settings.background === false && this.#steady() - this.#triedAt < PAUSE_MS;
    if (early || this.#closing) return Promise.resolve();
    return this.#trying = this.#tryNow().finally(() => this.#trying = undefined);
  }

  async #tryNow(): Promise<void> {
    try {
      const queue = await this.#opening.open();
      if (this.#closing) return await queue[Symbol.asyncDispose]();
      this.#queue = queue;
      this.#there.resolve();
      this.#opening.opened();
    } catch (error) {
      this.#trouble = messageOf(error);
      if (!this.#closing) this.#tell();
    } finally {
      this.#triedAt = this.#steady();
    }
  }

  /** Resolves when it is open, the relay ends, or `signal` aborts. */
  async #opened(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const goOn = whenAborted(signal, aborted.resolve);
    await Promise.race([this.#there.promise, aborted.promise]);
    goOn();
  }

  /** As the database has it. */
  #idOf(target: TargetId): TargetId {
    const name = this.#names[-1 - target];
    if (name === undefined || this.#queue === undefined) {
      throw new RangeError(`No configured target has the number ${target}`);
    }
    return this.#queue.target(name);
  }

  #idsOf(targets: readonly TargetId[]): readonly TargetId[] {
    return targets.map((target) => this.#idOf(target));
  }

  /** What can be told before the database has been seen. */
  #nothing(): QueueStats {
    const nothing = { records: 0, bytes: 0 };
    return {
      ...nothing,
      bytesMax: this.#settings.bytesMax,
      drainS: undefined,
      oldestAt: undefined,
      inFlight: 0,
      storageWaitMs: 0,
      deadLetters: nothing,
      books: bySignal(() => ({ accepted: 0, finished: 0, queued: 0 })),
      targets: this.#names.map((name) => ({
        id: this.target(name),
        name,
        configured: true,
        ...nothing,
        bytesMax: this.#settings.bytesMax,
        oldestAt: undefined,
        inFlight: 0,
        skipped: 0,
        deadLetters: nothing,
        books: bySignal(() => NO_BOOKS),
      })),
    };
  }
}
