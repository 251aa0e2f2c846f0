/**
 * The `none` engine, for hosts without a disk that lasts: a sender waits until the Collector has answered for its record.
 * Nothing is stored, so nothing is promised before that answer.
 * @module
 */
import { OwnedBytes } from "../codec/owned_bytes.ts";
import { Refusal } from "../errors.ts";
import { PassingMap } from "../passing.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../signal.ts";
import { deliveryOf } from "./delivery.ts";
import { AWAY_RETRY_S, DrainRate, noRoom } from "./drain_rate.ts";
import {
  type Accepted,
  type Books,
  DEFAULT_TARGETS,
  type Delivery,
  type DoorBooks,
  type PartOutcome,
  type QueueRecord,
  type QueueStats,
  type SendingQueue,
  type TakeLimit,
  type TargetId,
  type TargetSettings,
} from "./queue.ts";
import { Shares } from "./shares.ts";
import { Takers } from "./takers.ts";
import { findTargets, targetsOfNew } from "./targets.ts";

/** What the engine needs to be told. */
export interface DirectQueueSettings {
  /** Most payload bytes waiting, those in flight included. */
  readonly bytesMax: number;
  /** Most records waiting, those in flight included. */
  readonly recordsMax?: number;
  /** Where records go. One target of each record is required: its answer is the sender's. */
  readonly targets?: readonly TargetSettings[];
  /** How long a sender waits in all, in ms. Senders give up after 10 s. */
  readonly waitMs?: number;
  /** ms since the Unix epoch. */
  readonly now?: () => number;
  /** ms of a clock that nobody sets. */
  readonly elapsed?: () => number;
}

const RECORDS_MAX = 1024;
const WAIT_MS = 8000;

/** How long a sender whose time ran out is asked to wait, in seconds: of its own 10 s there are 2 left for one more try. */
const TIMED_OUT_RETRY_S = 1;

/** A record that waits for one target, and its sender. */
interface Entry {
  readonly record: Omit<Delivery, "settle" | "payload">;
  /** Length of the payload. */
  readonly bytes: number;
  /** Released when the record is settled or withdrawn. */
  readonly payload: OwnedBytes;
  state: "waiting" | "taken" | "done";
  readonly timer: ReturnType<typeof setTimeout>;
  /** Whether a sender waits for it: not for a target that is not required. */
  readonly awaited: boolean;
  /** Answers the sender, the first time that it is called. */
  readonly answer: (outcome: Accepted | Refusal) => void;
}

/** What the engine knows of a target. */
interface Target extends TargetSettings {
  readonly id: TargetId;
  skipped: number;
  readonly books: Record<SignalName, { accepted: number; delivered: number; rejectedByCollector: number }>;
}

/** Opens the engine; it has nothing that could fail to open. */
export function openDirectQueue(settings: DirectQueueSettings): SendingQueue {
  return new DirectQueue(settings);
}

class DirectQueue implements SendingQueue {
  readonly capabilities = { durable: false, merges: false, shared: false };
  readonly shares: Shares;

  readonly #bytesMax: number;
  readonly #recordsMax: number;
  readonly #waitMs: number;
  readonly #now: () => number;
  readonly #elapsed: () => number;
  readonly #drain: DrainRate;
  readonly #waiting = new PassingMap<Entry>();
  readonly #taken = new PassingMap<Entry>();
  readonly #takers: Takers;
  readonly #targets: readonly Target[];
  readonly #books = bySignal(() => 0);
  #bytes = 0;
  #lastId = 0;
  #closed = false;

  constructor(settings: DirectQueueSettings) {
    this.#bytesMax = settings.bytesMax;
    this.#recordsMax = settings.recordsMax ?? RECORDS_MAX;
    this.#waitMs = settings.waitMs ?? WAIT_MS;
    this.#now = settings.now ?? Date.now;
    this.#elapsed = settings.elapsed ?? (() => performance.now());
    this.#drain = new DrainRate(this.#elapsed);
    this.#takers = new Takers({ now: this.#now });
    this.shares = new Shares(this.#now);
    this.#targets = (settings.targets ?? DEFAULT_TARGETS).map((target, index) => ({
      ...target,
      id: index + 1,
      skipped: 0,
      books: bySignal(() => ({ accepted: 0, delivered: 0, rejectedByCollector: 0 })),
    }));
  }

  target(name: string): TargetId {
    const found = this.#targets.find((target) => target.name === name);
    if (found === undefined) throw new RangeError(`No target is called ${name}`);
    return found.id;
  }

  /** @throws {RangeError} */
  #targetOf(id: TargetId): Target {
    const target = this.#targets[id - 1];
    if (target === undefined) throw new RangeError(`No target has the number ${id}`);
    return target;
  }

  admits(targets: readonly TargetId[], bytes: number): Refusal | undefined {
    findTargets(targets, (id) => this.#targetOf(id));
    if (this.#closed) return new Refusal("shutting_down", "The relay is shutting down");
    const records = this.#waiting.size + this.#taken.size;
    if (records < this.#recordsMax && this.#bytes + bytes <= this.#bytesMax) return undefined;
    const seconds = this.#drain.secondsFor(Math.max(bytes, this.#bytesMax / 100));
    return noRoom(`${records} requests wait for the Collector already`, seconds);
  }

  append(record: QueueRecord): Promise<Accepted> {
    let targets: Target[];
    let bytes: number;
    try {
      targets = targetsOfNew(record, (id) => this.#targetOf(id));
      bytes = record.payload.length;
      const refusal = this.admits(record.targets, bytes);
      if (refusal !== undefined) throw refusal;
    } catch (error) {
      record.payload[Symbol.dispose]();
      return Promise.reject(error);
    }
    const payload = record.payload.move();
    // The sender waits for one of them: the one that is required. The others have it as well, where there is room.
    const awaited = targets.find(({ required }) => required) ?? targets[0]!;
    const answer = new Promise<Accepted>((resolve, reject) =>
      this.#enqueue(record, payload, awaited, true, (outcome) => {
        if (outcome instanceof Refusal) reject(outcome);
        else resolve(outcome);
      })
    );
    for (const target of targets) {
      if (target === awaited) continue;
      if (this.admits([target.id], bytes) === undefined) {
        // A buffer of its own: whoever is done first gives his up.
        this.#enqueue(record, new OwnedBytes(new Uint8Array(payload.bytes)), target, false, () => {});
      } else {
        target.skipped += itemsOf(record);
      }
    }
    return answer;
  }

  #enqueue(
    { signal, encoding, mergeable, parts }: QueueRecord,
    payload: OwnedBytes,
    { id: target }: Target,
    awaited: boolean,
    answer: (outcome: Accepted | Refusal) => void,
  ): void {
    const entry: Entry = {
      record: {
        signal,
        encoding,
        mergeable,
        parts,
        target,
        id: ++this.#lastId,
        enqueuedAt: this.#now(),
        until: this.#elapsed() + this.#waitMs,
      },
      bytes: payload.length,
      payload,
      state: "waiting",
      awaited,
      timer: setTimeout(() => this.#timeOut(entry), this.#waitMs),
      answer: (outcome) => {
        clearTimeout(entry.timer);
        answer(outcome);
      },
    };
    this.#bytes += entry.bytes;
    if (awaited) this.shares.add(parts);
    this.#waiting.set(entry.record.id, entry);
    this.#takers.wake(signal);
  }

  /** A record that nobody has taken yet is withdrawn; one that is on its way may still arrive, which makes a duplicate. */
  #timeOut(entry: Entry): void {
    if (entry.state === "waiting") this.#remove(entry);
    if (!entry.awaited) this.#targetOf(entry.record.target).skipped += itemsOf(entry.record);
    entry.answer(
      new Refusal("upstream_unavailable", `The Collector did not answer within ${this.#waitMs} ms`, {
        retryAfterS: TIMED_OUT_RETRY_S,
        spread: false,
      }),
    );
  }

  async take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    for (;;) {
      if (this.#closed) throw new Refusal("shutting_down", "The queue is closed");
      if (signal.aborted) return [];
      const run = this.#runWithin(limit);
      if (run.length > 0) return run.map((entry) => this.#deliver(entry));
      await this.#takers.wait(limit.signal, signal);
    }
  }

  /** The oldest of the signal, and those behind it that may share its request. */
  #runWithin(limit: TakeLimit): Entry[] {
    const run: Entry[] = [];
    let bytes = 0;
    let inflatedBytes = 0;
    for (const entry of this.#waiting.values()) {
      const { record } = entry;
      const first = run[0]?.record ?? record;
      if (record.signal !== limit.signal || record.target !== limit.target) continue;
      if (record.encoding !== first.encoding) continue;
      bytes += entry.bytes;
      inflatedBytes += record.parts.reduce((sum, part) => sum + part.inflatedBytes, 0);
      const fits = run.length === 0 ||
        (first.mergeable && record.mergeable && run.length < limit.recordsMax && bytes <= limit.bytesMax &&
          inflatedBytes <= limit.inflatedBytesMax);
      if (!fits) break;
      run.push(entry);
    }
    return run;
  }

  #deliver(entry: Entry): Delivery {
    this.#waiting.delete(entry.record.id);
    this.#taken.set(entry.record.id, entry);
    entry.state = "taken";
    return deliveryOf(entry.record, {
      payload: () => entry.payload.bytes,
      settle: (outcomes) => {
        this.#settle(entry, outcomes);
        return Promise.resolve();
      },
    });
  }

  #settle(entry: Entry, outcomes: readonly PartOutcome[]): void {
    // The exporter is done with it, whatever has become of its sender.
    entry.payload[Symbol.dispose]();
    if (entry.state !== "taken") return;
    this.#remove(entry);
    const { record } = entry;
    this.#drain.note(entry.bytes);
    const verdict = verdictOf(record, outcomes);
    if (!(verdict instanceof Refusal)) {
      const items = itemsOf(record);
      const rejected = outcomes.reduce(
        (sum, outcome, index) => sum + rejectedOf(outcome, record.parts[index]!.items),
        0,
      );
      if (entry.awaited) this.#books[record.signal] += items;
      const books = this.#targetOf(record.target).books[record.signal];
      books.accepted += items;
      books.delivered += items - rejected;
      books.rejectedByCollector += rejected;
    }
    entry.answer(verdict);
  }

  /** What is taken keeps its payload until it is settled. */
  #remove(entry: Entry): void {
    if (entry.state === "waiting") entry.payload[Symbol.dispose]();
    entry.state = "done";
    this.#waiting.delete(entry.record.id);
    this.#taken.delete(entry.record.id);
    this.#bytes -= entry.bytes;
    if (entry.awaited) this.shares.remove(entry.record.parts);
  }

  /** There is nobody else. */
  reaches(): void {}

  hasten(): void {
    // Nothing waits here between two tries: who was refused has been answered, and tries again by itself.
  }

  stats(): Promise<QueueStats> {
    let oldestAt: number | undefined;
    for (const { record } of [...this.#waiting.values(), ...this.#taken.values()]) {
      oldestAt = Math.min(oldestAt ?? Infinity, record.enqueuedAt);
    }
    const books = {} as Record<SignalName, DoorBooks>;
    for (const name of SIGNAL_NAMES) {
      // What waits is still the sender's, and what is refused stays with it: neither has been accepted.
      books[name] = { accepted: this.#books[name], finished: this.#books[name], queued: 0 };
    }
    return Promise.resolve({
      records: this.#waiting.size + this.#taken.size,
      bytes: this.#bytes,
      bytesMax: this.#bytesMax,
      drainS: this.#drain.secondsFor(this.#bytes),
      oldestAt,
      inFlight: this.#taken.size,
      storageWaitMs: 0,
      deadLetters: { records: 0, bytes: 0 },
      books,
      targets: this.#targets.map(({ id, name, skipped, books }) => {
        const own = [...this.#waiting.values(), ...this.#taken.values()].filter(({ record }) => record.target === id);
        return {
          id,
          name,
          configured: true,
          records: own.length,
          bytes: own.reduce((sum, each) => sum + each.bytes, 0),
          bytesMax: this.#bytesMax,
          oldestAt: own.length === 0 ? undefined : Math.min(...own.map(({ record }) => record.enqueuedAt)),
          inFlight: own.filter(({ state }) => state === "taken").length,
          skipped,
          deadLetters: { records: 0, bytes: 0 },
          books: bySignal((signal): Books => ({
            ...books[signal],
            deadLettered: 0,
            expired: 0,
            abandoned: 0,
            queued: 0,
          })),
        };
      }),
    });
  }

  readiness(): { readonly ready: boolean; readonly reason?: string } {
    if (this.#closed) return { ready: false, reason: "The queue is closed" };
    const full = this.#bytes >= this.#bytesMax || this.#waiting.size + this.#taken.size >= this.#recordsMax;
    return full ? { ready: false, reason: "Too many requests wait for the Collector" } : { ready: true };
  }

  /** What waits is refused: its senders still have it. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const entry of [...this.#waiting.values(), ...this.#taken.values()]) {
      this.#remove(entry);
      entry.answer(new Refusal("shutting_down", "The relay is shutting down"));
    }
    this.#takers.close();
    return Promise.resolve();
  }
}

function itemsOf({ parts }: Pick<QueueRecord, "parts">): number {
  return parts.reduce((sum, part) => sum + part.items, 0);
}

/** Items of a part that the Collector did not take. */
function rejectedOf(outcome: PartOutcome, items: number): number {
  if (outcome.kind === "delivered") return Math.min(outcome.rejected ?? 0, items);
  if (outcome.kind === "retry") return 0;
  const guilty = Math.min(outcome.items ?? items, items);
  return guilty + Math.min(outcome.rejected ?? 0, items - guilty);
}

/**
 * The sender's answer. Any part to be retried makes the sender retry the whole. A part that the Collector will never take
 * is told by `partial_success` where others were delivered: a retry would send those twice.
 */
function verdictOf(record: Pick<QueueRecord, "parts">, outcomes: readonly PartOutcome[]): Accepted | Refusal {
  let rejected = 0;
  let told = false;
  let reached = false;
  let askedMs: number | undefined;
  let cause: string | undefined;
  const messages: string[] = [];
  for (const [index, outcome] of outcomes.entries()) {
    const items = record.parts[index]!.items;
    if (outcome.kind === "retry") {
      cause ??= outcome.cause;
      if (outcome.afterMs !== undefined) askedMs = Math.max(askedMs ?? 0, outcome.afterMs);
    } else if (outcome.kind === "delivered") {
      reached = true;
      // If several senders shared the request, nobody knows whose items were rejected: each is warned.
      if (outcome.shared !== true) rejected += Math.min(outcome.rejected ?? 0, items);
      told ||= outcome.rejected !== undefined && outcome.rejected > 0 || outcome.message !== undefined;
      if (outcome.message !== undefined) messages.push(outcome.message);
    } else {
      const guilty = Math.min(outcome.items ?? items, items);
      reached ||= guilty < items;
      rejected += guilty + Math.min(outcome.rejected ?? 0, items - guilty);
      told = true;
      messages.push(outcome.reason);
    }
  }
  if (cause !== undefined) {
    const asked = askedMs === undefined ? "" : `; it asks for ${Math.ceil(askedMs / 1000)} s`;
    return new Refusal("upstream_unavailable", cause + asked, {
      retryAfterS: askedMs === undefined ? AWAY_RETRY_S : askedMs / 1000,
    });
  }
  const message = messages.join("; ");
  if (!reached) return new Refusal("rejected_upstream", message);
  return told ? { partialSuccess: { rejected, message } } : {};
}
