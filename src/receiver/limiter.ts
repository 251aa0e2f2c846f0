/**
 * Limits for each sender, so that no sender takes what the others need: rates as token buckets, requests under way, the size of a
 * body, and a share of the queue. Counted by the sender's id, so that a rotated token does not double them.
 * @module
 */
import { kindOfSender, type ProofKind } from "../config/sender_id.ts";
import { Refusal } from "../errors.ts";
import { noRoom } from "../queue/drain_rate.ts";
import type { SenderShares } from "../queue/shares.ts";
import type { Sender, SenderLimits } from "./senders/sender.ts";

/** What a limiter needs to be told. */
export interface LimiterOptions {
  /** Limits where a sender's own set nothing. */
  readonly defaults: SenderLimits;
  /** The bound of the queue, in bytes. */
  readonly queueBytesMax: number;
  /** What each sender has in the queue. */
  readonly shares: SenderShares;
  /** ms that only rise. */
  readonly now?: () => number;
}

/** How long an answer is held back when its sender comes again before the time it was told, in ms. */
const HOLD_MS = 250;
/** The most answers held back at a time, for all senders; further ones are given at once. */
const HELD_MAX = 512;

/** The most senders of a kind remembered; the oldest that is idle is forgotten first. */
const SENDERS_MAX = 10_000;

/**
 * A token bucket that holds one second's worth and may go into debt: a request is let in while a whole token is there, however
 * much it then takes. So a batch larger than the bucket is possible, and the rate holds over time.
 */
class Bucket {
  #level: number;
  #at: number;

  constructor(rate: number, now: number) {
    this.#level = Math.max(1, rate);
    this.#at = now;
  }

  /** Seconds until a request may enter; 0 when it may now. */
  waitS(rate: number, now: number): number {
    this.#level = Math.min(Math.max(1, rate), this.#level + Math.max(0, now - this.#at) / 1000 * rate);
    this.#at = now;
    // What rounding leaves short of a whole token is a token.
    return this.#level >= 1 - 1e-9 ? 0 : (1 - this.#level) / rate;
  }

  take(amount: number): void {
    this.#level -= amount;
  }
}

interface State {
  requests: Bucket | undefined;
  items: Bucket | undefined;
  bytes: Bucket | undefined;
  concurrent: number;
  /** Payload bytes handed to the queue and not yet among its own. */
  appending: number;
  /** When the sender may come again, by its last answer. */
  notBefore: number;
}

/** The limits of all senders. */
export class Limiter {
  readonly #options: LimiterOptions;
  readonly #now: () => number;
  /** By the kind of proof, so that ever new names of one kind do not push out senders of another. */
  readonly #states = new Map<ProofKind, Map<string, State>>();
  readonly #limits = new WeakMap<Sender, SenderLimits>();
  /** Ends the wait of each answer that is held back. */
  readonly #held = new Set<() => void>();
  #closed = false;

  constructor(options: LimiterOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** The bound on a body of this sender, in bytes. */
  bodyBytesMax(sender: Sender, bytesMax: number): number {
    return Math.min(bytesMax, this.#limitsOf(sender).bodyBytesMax ?? bytesMax);
  }

  /**
   * Lets a request in, before its body is read. The visit is to be ended by `leave`, once.
   * @throws {Refusal} `throttled`, with the time until the bucket has a token; `queue_full`.
   */
  enter(sender: Sender): Visit {
    const limits = this.#limitsOf(sender);
    const state = this.#stateOf(sender.id);
    const visit = new Visit(this.#options, this.#now, sender, limits, state);
    visit.enter();
    return visit;
  }

  /**
   * A sender gets 429. A sender that comes again and again before the time it was told, as no OTLP exporter does, would make the
   * relay refuse as fast as it can and slow down the others. So its answer is held back.
   * @param toldS What it is told to wait now, in seconds.
   * @returns what to wait for before the answer; undefined where it is given at once.
   */
  holdBack(sender: Sender, toldS: number): Promise<void> | undefined {
    const state = this.#stateOf(sender.id);
    const now = this.#now();
    const early = now < state.notBefore;
    state.notBefore = Math.max(state.notBefore, now + toldS * 1000);
    if (!early || this.#closed || this.#held.size >= HELD_MAX) return undefined;
    return new Promise((resolve) => {
      const release = () => {
        clearTimeout(timer);
        this.#held.delete(release);
        resolve();
      };
      const timer = setTimeout(release, HOLD_MS);
      this.#held.add(release);
    });
  }

  /** Gives every answer that is held back, and holds back none from now on. */
  close(): void {
    this.#closed = true;
    for (const release of [...this.#held]) release();
  }

  #limitsOf(sender: Sender): SenderLimits {
    if (sender.limits === undefined) return this.#options.defaults;
    let limits = this.#limits.get(sender);
    if (limits === undefined) {
      limits = { ...this.#options.defaults, ...sender.limits };
      this.#limits.set(sender, limits);
    }
    return limits;
  }

  #stateOf(id: string): State {
    const kind = kindOfSender(id);
    let states = this.#states.get(kind);
    if (states === undefined) this.#states.set(kind, states = new Map());
    let state = states.get(id);
    if (state !== undefined) return state;
    if (states.size >= SENDERS_MAX) forgetOne(states);
    state = {
      requests: undefined,
      items: undefined,
      bytes: undefined,
      concurrent: 0,
      appending: 0,
      notBefore: -Infinity,
    };
    states.set(id, state);
    return state;
  }
}

function forgetOne(states: Map<string, State>): void {
  for (const [id, { concurrent }] of states) {
    if (concurrent > 0) continue;
    states.delete(id);
    return;
  }
}

/** One request of a sender, from the door to its answer. */
export class Visit {
  readonly #options: LimiterOptions;
  readonly #now: () => number;
  readonly #sender: Sender;
  readonly #limits: SenderLimits;
  readonly #state: State;
  #appending = 0;
  #items = 0;

  /** @internal */
  constructor(options: LimiterOptions, now: () => number, sender: Sender, limits: SenderLimits, state: State) {
    this.#options = options;
    this.#now = now;
    this.#sender = sender;
    this.#limits = limits;
    this.#state = state;
  }

  /** @internal */
  enter(): void {
    const { requestsPerSecond, itemsPerSecond, bytesPerSecond, concurrentRequests } = this.#limits;
    const state = this.#state;
    if (concurrentRequests !== undefined && state.concurrent >= concurrentRequests) {
      throw new Refusal(
        "throttled",
        `Sender ${this.#sender.id} has ${state.concurrent} requests under way, which is its limit`,
        { remedy: "retry" },
      );
    }
    this.#checkShare(0);
    // All three are checked before any is charged: a refused request costs its sender nothing.
    if (bytesPerSecond !== undefined) this.#check("bytes", bytesPerSecond);
    if (itemsPerSecond !== undefined) this.#check("items", itemsPerSecond);
    if (requestsPerSecond !== undefined) this.#check("requests", requestsPerSecond).take(1);
    state.concurrent += 1;
  }

  /** Charges the body's bytes, as received. @throws {Refusal} when others of the same sender have used them up meanwhile. */
  bytes(bytes: number): void {
    const { bytesPerSecond } = this.#limits;
    if (bytesPerSecond !== undefined) this.#check("bytes", bytesPerSecond).take(bytes);
  }

  /**
   * Charges what is about to be appended.
   * @throws {Refusal} `throttled`; `queue_full` when the sender's share of the queue has no room for it.
   */
  append(items: number, payloadBytes: number): void {
    const { itemsPerSecond } = this.#limits;
    this.#checkShare(payloadBytes);
    if (itemsPerSecond !== undefined) {
      this.#check("items", itemsPerSecond).take(items);
      this.#items = items;
    }
    this.#appending = payloadBytes;
    this.#state.appending += payloadBytes;
  }

  /** The request is answered. Items that were not kept are given back: the sender will send them again. */
  leave(kept: boolean): void {
    this.#state.concurrent -= 1;
    this.#state.appending -= this.#appending;
    if (!kept && this.#items > 0) this.#state.items?.take(-this.#items);
  }

  #check(what: "requests" | "items" | "bytes", rate: number): Bucket {
    const now = this.#now();
    const bucket = this.#state[what] ??= new Bucket(rate, now);
    const waitS = bucket.waitS(rate, now);
    if (waitS === 0) return bucket;
    const refusal = new Refusal(
      "throttled",
      `Sender ${this.#sender.id} is over its limit of ${rate} ${what} a second`,
      { remedy: `retry after ${Math.ceil(waitS)} s`, retryAfterS: waitS },
    );
    throw refusal;
  }

  #checkShare(bytes: number): void {
    const { queueShare } = this.#limits;
    if (queueShare === undefined || queueShare >= 1) return;
    const { shares, queueBytesMax } = this.#options;
    const queued = shares.bytesOf(this.#sender.id) + this.#state.appending;
    const room = Math.floor(queueShare * queueBytesMax);
    // A request alone is always let in: whether it fits at all is for the queue to say.
    if (queued === 0 || (bytes === 0 ? queued < room : queued + bytes <= room)) return;
    throw noRoom(
      `Sender ${this.#sender.id} fills its share of the queue: ${queued} of ${room} bytes`,
      shares.secondsFor(this.#sender.id, Math.max(queued + bytes - room, room / 100)),
    );
  }
}
