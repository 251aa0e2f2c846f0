/**
 * All lanes of a queue, and the memory that their payloads take: those kept for the next take, and those taken and not settled. What
 * leaves a lane and does not come back gives its payload up here.
 * No I/O here.
 * @module
 */
import type { OwnedBytes } from "../codec/owned_bytes.ts";
import { bySignal, type SignalName } from "../signal.ts";
import { Entry, Lane } from "./lanes.ts";
import type { Part, PayloadEncoding, TakeLimit, TargetId } from "./queue.ts";
import { memoryOf } from "./cost.ts";
import type { RecordHead } from "./record_head.ts";

/** The most memory for records that wait, in bytes, so that a take need not read what has just been written. */
const CACHE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * The payload bytes taken and not settled from which on no more records are taken; at most 20 MiB come on top. A signal with nothing
 * taken may always take a small run, so that no signal waits for another one's Collector.
 */
const TAKEN_BYTES_MAX = 16 * 1024 * 1024;
const SMALL_RUN_BYTES_MAX = 4 * 1024 * 1024;

/** The lanes of one target, and what of them is taken and not settled, in bytes. */
interface Lanes {
  readonly lanes: Readonly<Record<SignalName, readonly Lane[]>>;
  readonly takenBytes: Record<SignalName, number>;
}

/** Which lane a record is of. */
interface Place {
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
}

/** Rows of a lane that were read behind its cursor. A large payload stays where it is stored until the record is taken. */
export interface LaneRead {
  readonly rows: readonly { readonly head: RecordHead; readonly payload: OwnedBytes | undefined }[];
  readonly exhausted: boolean;
  /** The last id up to which nothing is left out. */
  readonly seenTo: number;
}

/** The memory of an entry, in bytes. */
function memoryOfEntry({ head, payloadBytes }: Entry): number {
  return memoryOf(payloadBytes, head.parts.length);
}

export class LaneSet {
  readonly #takenBytesMax: number;
  readonly #targets = new Map<TargetId, Lanes>();
  /** The memory of the records that wait to be taken, in bytes. */
  #cachedBytes = 0;
  /** What is taken and not settled, in bytes. */
  #takenBytes = 0;

  readonly #now: () => number;

  /**
   * @param takenBytesMax The bytes taken and not settled from which on no more records are taken.
   * @param now ms of a clock that never steps
   */
  constructor(takenBytesMax = TAKEN_BYTES_MAX, now: () => number = () => performance.now()) {
    this.#takenBytesMax = takenBytesMax;
    this.#now = now;
  }

  of(target: TargetId, signal: SignalName): readonly Lane[] {
    return this.#of(target).lanes[signal];
  }

  laneOf(target: TargetId, { signal, encoding }: Place): Lane {
    return this.#of(target).lanes[signal].find((lane) => lane.encoding === encoding)!;
  }

  #of(target: TargetId): Lanes {
    let of = this.#targets.get(target);
    if (of === undefined) {
      const lanes = bySignal((signal): readonly Lane[] => [
        new Lane(target, signal, "gzip"),
        new Lane(target, signal, "identity"),
      ]);
      this.#targets.set(target, of = { lanes, takenBytes: bySignal(() => 0) });
    }
    return of;
  }

  get #all(): Lane[] {
    return [...this.#targets.values()].flatMap(({ lanes }) => Object.values(lanes).flat());
  }

  /** Whether a new record's payload would stay in memory, `besideBytes` being about to. */
  keeps(
    record: Place & { readonly bytes: number; readonly parts: string; readonly targets: readonly TargetId[] },
    besideBytes: number,
  ): boolean {
    const bytes = memoryOf(record.bytes, record.parts.length);
    return !this.laneOf(record.targets[0]!, record).behind &&
      this.#cachedBytes + besideBytes + bytes <= CACHE_BYTES_MAX;
  }

  /**
   * A record that has just been written. It is kept if its lane knows all records before it and there is room; otherwise it is read
   * later. The first of several targets gets the payload; the others read it again, so that each can give up its own.
   * @param payload Taken over.
   */
  append(id: number, op: Omit<RecordHead, "id">, parts: readonly Part[], payload: OwnedBytes | undefined): void {
    const head = { ...op, id };
    for (const target of op.targets) {
      const lane = this.laneOf(target, op);
      const own = target === op.targets[0];
      const entry = new Entry({ target, head, parts, payload: own ? payload : undefined, knownAt: this.#now() });
      const fits = !lane.behind && this.#cachedBytes + memoryOfEntry(entry) <= CACHE_BYTES_MAX;
      if (!fits || (own && !entry.loaded)) {
        entry.giveUpPayload();
        lane.behind = true;
        continue;
      }
      this.#cachedBytes += memoryOfEntry(entry);
      lane.push(entry);
    }
  }

  /** A record that has just been written, and is this process's own: kept in any case. Its first target has the payload, which is taken over. */
  own(id: number, op: Omit<RecordHead, "id">, parts: readonly Part[], payload: OwnedBytes | undefined): void {
    const head = { ...op, id };
    for (const target of op.targets) {
      const mine = target === op.targets[0] ? payload : undefined;
      const entry = new Entry({ target, head, parts, payload: mine, knownAt: this.#now() });
      const lane = this.laneOf(target, op);
      if (id > lane.cursor) {
        this.#cachedBytes += memoryOfEntry(entry);
        lane.push(entry);
      } else {
        this.giveBack(entry, 0);
      }
    }
  }

  /** Rows that were read behind the lane's cursor. */
  fill(lane: Lane, { rows, exhausted, seenTo }: LaneRead): void {
    const knownAt = this.#now();
    for (const { head, payload } of rows) {
      const entry = new Entry({ target: lane.target, head, payload, knownAt });
      this.#cachedBytes += memoryOfEntry(entry);
      lane.push(entry);
    }
    lane.cursor = Math.max(lane.cursor, seenTo);
    lane.behind = !exhausted;
  }

  /** Whether there is room in memory for what the lane would give next. */
  mayTake({ target, signal, firstBytes }: Lane): boolean {
    return this.#takenBytes < this.#takenBytesMax ||
      (this.#of(target).takenBytes[signal] === 0 && firstBytes <= SMALL_RUN_BYTES_MAX);
  }

  /** When the oldest record was appended that is in memory for a target and not taken; undefined without one. */
  oldestAt(target: TargetId): number | undefined {
    const times = Object.values(this.#of(target).lanes).flat().flatMap(({ oldestAt }) => oldestAt ?? []);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Takes out the lane's next run. Each record must be given back ({@link leave}) or let go ({@link release}). */
  take(lane: Lane, limit: TakeLimit): Entry[] {
    const run = lane.takeRun(limit);
    for (const entry of run) {
      this.#cachedBytes -= memoryOfEntry(entry);
      this.#count(entry, memoryOf(entry.head.bytes, entry.head.parts.length));
    }
    return run;
  }

  /** A record that had been taken leaves memory, and its payload with it. */
  release(entry: Entry): void {
    this.#count(entry, -memoryOf(entry.head.bytes, entry.head.parts.length));
    entry.giveUpPayload();
  }

  #count({ target, head }: Entry, bytes: number): void {
    this.#takenBytes += bytes;
    this.#of(target).takenBytes[head.signal] += bytes;
  }

  /** Gives a record back that had been taken, to be taken again from `dueAt` on. */
  leave(entry: Entry, dueAt: number): void {
    this.#count(entry, -memoryOf(entry.head.bytes, entry.head.parts.length));
    this.giveBack(entry, dueAt);
  }

  /** A record, or what is left of it, that is to be taken from `dueAt` on, in ms of a clock that never steps. */
  giveBack(entry: Entry, dueAt: number): void {
    if (this.#cachedBytes + memoryOfEntry(entry) > CACHE_BYTES_MAX) entry.giveUpPayload();
    this.#cachedBytes += memoryOfEntry(entry);
    entry.dueAt = dueAt;
    this.laneOf(entry.target, entry.head).giveBack(entry);
  }

  /** Makes due what waits for its time. */
  hasten(target: TargetId, signal: SignalName): void {
    for (const lane of this.of(target, signal)) lane.hasten();
  }

  /** All that is in memory and not taken, in no order. */
  get entries(): readonly Entry[] {
    return this.#all.flatMap(({ entries }) => entries);
  }

  /** Takes all that waits of one signal for a target out of memory: rows may exist then that its lanes do not know. */
  withdraw(target: TargetId, signal: SignalName): readonly Entry[] {
    const lanes = this.of(target, signal);
    const entries = lanes.flatMap(({ entries }) => entries);
    for (const entry of entries) this.#cachedBytes -= memoryOfEntry(entry);
    for (const lane of lanes) lane.reset();
    return entries;
  }

  /** Rows may exist that no lane knows. */
  fallBehind(): void {
    for (const lane of this.#all) lane.behind = true;
  }

  /** Forgets all records that nobody has taken, and gives their payloads up: the file has been replaced, or the queue is closed. */
  reset(): void {
    for (const lane of this.#all) lane.reset();
    this.#cachedBytes = 0;
  }
}
