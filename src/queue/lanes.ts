/**
 * The part of a queue that is in memory: it says which record is taken next. A lane holds records that may be merged, one signal in one
 * encoding. No I/O here.
 * @module
 */
import type { OwnedBytes } from "../codec/owned_bytes.ts";
import type { SignalName } from "../signal.ts";
import type { Part, PayloadEncoding, TakeLimit, TargetId } from "./queue.ts";
import { partsOfRow, type RecordHead } from "./record_head.ts";

/** What an entry is made of. */
export interface NewEntry {
  readonly target: TargetId;
  readonly head: RecordHead;
  readonly parts?: readonly Part[] | undefined;
  /** Taken over. */
  readonly payload: OwnedBytes | undefined;
  readonly dueAt?: number;
  readonly knownAt: number;
}

/** A record in memory, as one target has it. It owns its payload, where that is in memory: {@link LaneSet} says when it is given up. */
export class Entry {
  readonly target: TargetId;
  head: RecordHead;
  /** What `head.parts` says; undefined until it has been read. */
  parts: readonly Part[] | undefined;
  /** Not to be taken before, in ms of a clock that never steps. */
  dueAt: number;
  /** When it came into memory, by the same clock. */
  readonly knownAt: number;
  #payload: OwnedBytes | undefined;

  constructor({ target, head, parts, payload, dueAt = 0, knownAt }: NewEntry) {
    this.target = target;
    this.head = head;
    this.parts = parts;
    this.dueAt = dueAt;
    this.knownAt = knownAt;
    this.#payload = payload?.move();
  }

  /** Whether the payload is in memory. Where that was short it is read again before the record is taken. */
  get loaded(): boolean {
    return this.#payload !== undefined;
  }

  /** How much of the payload is in memory, in bytes. */
  get payloadBytes(): number {
    return this.#payload?.length ?? 0;
  }

  /** To be read while it is in memory. @throws {ReferenceError} where it is not */
  get payload(): Uint8Array {
    if (this.#payload === undefined) throw new ReferenceError(`The payload of record ${this.head.id} is not in memory`);
    return this.#payload.bytes;
  }

  /** Takes over the payload that was read again. */
  load(payload: OwnedBytes): void {
    this.#payload?.[Symbol.dispose]();
    this.#payload = payload.move();
  }

  /** Gives the payload's memory back at once; it can be read again from where it is stored. */
  giveUpPayload(): void {
    this.#payload?.[Symbol.dispose]();
    this.#payload = undefined;
  }
}

/** The parts of a record; already in memory if the record came in by this process. */
export function partsOf(entry: Entry): readonly Part[] {
  return entry.parts ??= partsOfRow(entry.head);
}

/** The lane whose first record is the oldest. */
export function oldestOf(lanes: readonly Lane[]): Lane | undefined {
  let oldest: Lane | undefined;
  for (const lane of lanes) {
    if (lane.firstId !== undefined && lane.firstId < (oldest?.firstId ?? Infinity)) oldest = lane;
  }
  return oldest;
}

/** Records that one lane may have waiting for their time; beyond it, it reads no further. */
const WAITING_MAX = 8_192;

/** One signal in one encoding for one target. In order of id: records that came back and are due, then those not taken yet. */
export class Lane {
  readonly target: TargetId;
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  /** Rows with a higher id than `cursor` may exist that are not in memory. */
  behind = true;
  /** The highest id that has been in memory. */
  cursor = 0;
  readonly #fresh: Entry[] = [];
  #freshFrom = 0;
  #due: Entry[] = [];
  #waiting: Entry[] = [];
  #nextDueAt = Infinity;

  constructor(target: TargetId, signal: SignalName, encoding: PayloadEncoding) {
    this.target = target;
    this.signal = signal;
    this.encoding = encoding;
  }

  /** When the first record that waits for its time is due, in ms of a clock that never steps; Infinity without one. */
  get nextDueAt(): number {
    return this.#nextDueAt;
  }

  /** The lowest id that can be taken now, undefined without one in memory. */
  get firstId(): number | undefined {
    return this.#first?.head.id;
  }

  /** Payload bytes of the record that is taken next, 0 without one in memory. */
  get firstBytes(): number {
    return this.#first?.head.bytes ?? 0;
  }

  get #first(): Entry | undefined {
    const [due, fresh] = [this.#due[0], this.#fresh[this.#freshFrom]];
    return due === undefined || (fresh !== undefined && fresh.head.id < due.head.id) ? fresh : due;
  }

  /** Whether a read is wanted before a take within `limit`. */
  wantsRead(limit: TakeLimit): boolean {
    if (!this.behind || this.#due.length > 0 || this.#waiting.length >= WAITING_MAX) return false;
    return !this.#fills(limit, limit.bytesMax);
  }

  /**
   * Until when the records that could be taken wait for more; 0 when they do not wait.
   * @param now ms of a clock that never steps, as what is returned.
   */
  lingersUntil(limit: TakeLimit, now: number): number {
    const first = this.#fresh[this.#freshFrom];
    if (limit.linger === undefined || this.behind || this.#due.length > 0 || first === undefined) return 0;
    const leftMs = first.knownAt + limit.linger.ms - now;
    if (leftMs <= 0) return 0;
    return this.#fills(limit, limit.linger.bytesMin) ? 0 : now + leftMs;
  }

  /** Whether the fresh records have `bytesEnough` bytes, or end a run within the limit otherwise. */
  #fills(limit: TakeLimit, bytesEnough: number): boolean {
    let bytes = 0;
    let inflatedBytes = 0;
    for (let index = this.#freshFrom; index < this.#fresh.length; index++) {
      const { head } = this.#fresh[index]!;
      bytes += head.bytes;
      inflatedBytes += head.inflatedBytes;
      const full = bytes >= bytesEnough || inflatedBytes >= limit.inflatedBytesMax ||
        index - this.#freshFrom + 1 >= limit.recordsMax;
      if (full || !head.mergeable) return true;
    }
    return false;
  }

  /** Adds a record behind all others. */
  push(entry: Entry): void {
    this.#fresh.push(entry);
    this.cursor = entry.head.id;
  }

  /** When the oldest record was appended that is in memory and not taken; undefined without one. */
  get oldestAt(): number | undefined {
    const entries = [this.#due[0], this.#fresh[this.#freshFrom], ...this.#waiting].filter((entry) =>
      entry !== undefined
    );
    return entries.length === 0 ? undefined : Math.min(...entries.map(({ head }) => head.enqueuedAt));
  }

  /** All that is in memory and not taken, in no order. */
  get entries(): readonly Entry[] {
    return [...this.#due, ...this.#waiting, ...this.#fresh.slice(this.#freshFrom)];
  }

  /** Gives a record back, to be taken from `dueAt` on. */
  giveBack(entry: Entry): void {
    this.#waiting.push(entry);
    this.#nextDueAt = Math.min(this.#nextDueAt, entry.dueAt);
  }

  /** Makes all waiting records due. */
  hasten(): void {
    if (this.#waiting.length === 0) return;
    for (const entry of this.#waiting) entry.dueAt = 0;
    this.#nextDueAt = 0;
  }

  /** Moves records that are due by now to those that can be taken. */
  wake(now: number): void {
    if (now < this.#nextDueAt) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#nextDueAt = Infinity;
    for (const entry of waiting) {
      if (entry.dueAt <= now) this.#due.push(entry);
      else this.giveBack(entry);
    }
    this.#due.sort((a, b) => a.head.id - b.head.id);
  }

  /** Takes out the oldest run within the limit: at least one record, and a record that is not mergeable by itself. */
  takeRun(limit: TakeLimit): Entry[] {
    const run: Entry[] = [];
    let bytes = 0;
    let inflatedBytes = 0;
    const fits = ({ head }: Entry): boolean => {
      bytes += head.bytes;
      inflatedBytes += head.inflatedBytes;
      if (run.length === 0) return true;
      return head.mergeable && run[0]!.head.mergeable && run.length < limit.recordsMax && bytes <= limit.bytesMax &&
        inflatedBytes <= limit.inflatedBytesMax;
    };
    let taken = 0;
    for (;;) {
      const due = this.#due[taken];
      const fresh = this.#fresh[this.#freshFrom];
      const next = due === undefined || (fresh !== undefined && fresh.head.id < due.head.id) ? fresh : due;
      if (next === undefined || !fits(next)) break;
      run.push(next);
      if (next === due) taken += 1;
      else this.#freshFrom += 1;
    }
    if (taken > 0) this.#due.splice(0, taken);
    if (this.#freshFrom > 1024 && this.#freshFrom * 2 > this.#fresh.length) {
      this.#fresh.splice(0, this.#freshFrom);
      this.#freshFrom = 0;
    } else if (this.#freshFrom === this.#fresh.length) {
      this.#fresh.length = this.#freshFrom = 0;
    }
    return run;
  }

  /** Forgets everything, and gives the payloads up. */
  reset(): void {
    for (const entry of this.entries) entry.giveUpPayload();
    this.#fresh.length =
      this.#freshFrom =
      this.#due.length =
      this.#waiting.length =
        0;
    this.#nextDueAt = Infinity;
    this.cursor = 0;
    this.behind = true;
  }
}
