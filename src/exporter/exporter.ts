/**
 * The sending side of the queue: a way and a lane for each signal, drained and stopped together.
 * @module
 */
import { concernsTheEndpoint } from "../diagnosis/faults.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../signal.ts";
import type { SendingQueue, TargetId } from "../queue/queue.ts";
import { within } from "../within.ts";
import type { BreakerOptions } from "./breaker.ts";
import type { ExportClient } from "./client/client.ts";
import { Lane, type LaneEvents, MERGED_INFLATED_BYTES_MAX } from "./lane.ts";
import type { Compression } from "./recode/recode.ts";
import type { Recoder } from "./recode/recoder.ts";
import { type Failure, type SharedEndpoint, Way, type WayEvents } from "./way.ts";

/** What the exporter tells. */
export type ExporterEvents = WayEvents & LaneEvents;

/** Settings of an exporter. */
export interface ExporterOptions {
  readonly queue: SendingQueue;
  /** The target whose records are sent. */
  readonly target: TargetId;
  /** The way to the Collector, for each signal; often one for all. */
  readonly clients: Readonly<Record<SignalName, ExportClient>>;
  /** What other targets know of the same endpoint, by signal; absent where no other sends there. */
  readonly shared?: Readonly<Record<SignalName, SharedEndpoint>>;
  /** Requests of a signal are one sender's each, since a header names it; of none unless given. */
  readonly bySender?: Readonly<Record<SignalName, boolean>>;
  readonly compression: Readonly<Record<SignalName, Compression>>;
  readonly recoder: Recoder;
  /** Requests at once, for each signal. */
  readonly consumers: number;
  /** The same where each request is one sender's, who waits for its answer; `consumers` unless given. */
  readonly consumersAlone?: number;
  /** The most payload bytes of a request made of several; 0: none is. */
  readonly batchBytesMax: number;
  /** The most that it may have inflated, for each signal; see `LaneOptions`. */
  readonly inflatedBytesMax?: Readonly<Record<SignalName, number>>;
  /** How long queued records wait for more, and how many payload bytes wait no longer. */
  readonly linger?: { readonly bytesMin: number; readonly ms: number };
  readonly retry: BreakerOptions;
  readonly events: ExporterEvents;
}

/** What the Collector fails on by itself waits up to so many times the longest backoff of the endpoint. */
const APART_FACTOR = 10;

/** How long a stop waits for outcomes to be written, in ms: where storage has failed they may never be. */
const SETTLE_MS_MAX = 2_000;

/** Sends every signal, each on a lane of its own, so that one that the Collector refuses holds up no other. */
export class Exporter {
  readonly #queue: SendingQueue;
  readonly #target: ExporterOptions["target"];
  readonly #clients: ExporterOptions["clients"];
  readonly #ways: Readonly<Record<SignalName, Way>>;
  readonly #lanes: readonly Lane[];
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: ExporterOptions) {
    this.#queue = options.queue;
    this.#target = options.target;
    this.#clients = options.clients;
    const { clients, compression, retry } = options;
    const events: ExporterEvents = {
      ...options.events,
      failed: (signal, fault, detail) => {
        options.events.failed(signal, fault, detail);
        // One that was under way when another succeeded says nothing of now.
        if (detail.failures > 0) options.queue.reaches(signal, options.target, false);
      },
      recovered: (signal, failures) => {
        options.events.recovered(signal, failures);
        options.queue.reaches(signal, options.target, true);
        this.#wakeOthers(signal);
      },
    };
    const shared = (signal: SignalName) => options.shared === undefined ? {} : { shared: options.shared[signal] };
    this.#ways = bySignal((signal) =>
      new Way(signal, {
        client: clients[signal],
        compression: compression[signal],
        retry,
        bySender: options.bySender?.[signal] === true,
        events,
        ...shared(signal),
      })
    );
    const wait = { initialMs: retry.initialMs, maxMs: retry.maxMs };
    const apart = { initialMs: retry.initialMs, maxMs: retry.maxMs * APART_FACTOR };
    this.#lanes = SIGNAL_NAMES.map((signal) =>
      new Lane(this.#ways[signal], {
        ...options,
        events,
        compression: compression[signal],
        inflatedBytesMax: options.inflatedBytesMax?.[signal] ?? MERGED_INFLATED_BYTES_MAX,
        bySender: options.bySender?.[signal] === true ? wait : undefined,
        apart,
        suspected: wait,
      })
    );
    // Another identity is shown: what waits because of the old one is tried now, and not when its backoff ends.
    for (const signal of SIGNAL_NAMES) {
      const hasten = () => {
        this.#laneOf(signal).hasten();
        options.queue.hasten(signal, options.target);
      };
      clients[signal].whenReplaced(hasten);
      options.shared?.[signal].health.whenChanged((answer) => {
        if (answer === undefined) hasten();
      });
    }
    this.#running = Promise.all(this.#lanes.map((lane) => lane.run(this.#stopping.signal))).then(() => {});
    // `running` reports it to those who ask for it; nobody has to.
    this.#running.catch(() => {});
  }

  /**
   * What one signal no longer suffers from at an endpoint, others are free of too: they are tried now, and not after their backoff. Only
   * where no answer has asked to wait.
   */
  #wakeOthers(signal: SignalName): void {
    const faultOf = (each: SignalName) => this.#ways[each].lastFailure?.fault.code;
    if (!concernsTheEndpoint(faultOf(signal) ?? "unknown")) return;
    const originOf = (each: SignalName) => new URL(this.#clients[each].target(each).url).origin;
    for (const other of SIGNAL_NAMES) {
      if (other === signal || this.failures(other) === 0) continue;
      if (originOf(other) !== originOf(signal) || faultOf(other) !== faultOf(signal)) continue;
      this.#ways[other].breaker.hasten();
      this.#queue.hasten(other, this.#target);
    }
  }

  /** Rejects when a lane has failed: a defect of ours, after which its signal is not sent any more. */
  get running(): Promise<void> {
    return this.#running;
  }

  /** Failures in a row of a signal's way to the Collector; 0 is healthy. */
  failures(signal: SignalName): number {
    return this.#ways[signal].breaker.failures;
  }

  /** Whether a signal's wait after its last failure is still on. */
  waits(signal: SignalName): boolean {
    return this.#ways[signal].breaker.waits;
  }

  /** The last request of a signal that failed, also when it has been made good. */
  lastFailure(signal: SignalName): Failure | undefined {
    return this.#ways[signal].lastFailure;
  }

  /** Where a signal goes, without what a URL may carry beside its path. */
  urlOf(signal: SignalName): string {
    const { origin, pathname } = new URL(this.#clients[signal].target(signal).url);
    return origin + pathname;
  }

  /** Parts of a signal that the Collector fails on by themselves, or refused, and that wait alone. */
  apart(signal: SignalName): number {
    return this.#laneOf(signal).apart;
  }

  #laneOf(signal: SignalName): Lane {
    return this.#lanes.find((lane) => lane.signal === signal)!;
  }

  /** Sends what is queued until it is empty, the Collector does not take what is left, or the time is over. */
  async drain(graceMs: number): Promise<void> {
    const deadline = performance.now() + graceMs;
    for (;;) {
      // Asked for before the count, so that a settle between the two is not slept through.
      const settled = Promise.race(this.#lanes.map((lane) => lane.settled));
      const { targets } = await this.#queue.stats();
      const own = targets.find(({ id }) => id === this.#target);
      const remainingMs = deadline - performance.now();
      // While a breaker is open nothing of that signal moves; what is durable keeps, so waiting would only cost time.
      const failing = (lane: Lane) => this.failures(lane.signal) > 0 || (lane.idle && lane.apart > 0);
      const stuck = this.#lanes.some(failing) &&
        this.#lanes.every((lane) => failing(lane) || (lane.idle && (own?.books[lane.signal].queued ?? 0) === 0));
      if ((own?.records ?? 0) === 0 || remainingMs <= 0 || stuck) return;
      await within(settled, remainingMs);
    }
  }

  /** Stops taking, gives up attempts under way after `graceMs`, and leaves what is not settled in the queue. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    const stopped = this.#running.catch(() => {});
    await within(stopped, graceMs);
    for (const way of Object.values(this.#ways)) way.giveUp();
    await within(stopped, SETTLE_MS_MAX);
  }
}
