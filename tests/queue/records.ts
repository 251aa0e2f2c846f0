/** Records, limits and waiting, for the tests of queues. */
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import type {
  Delivery,
  Part,
  PartOutcome,
  PayloadEncoding,
  QueueRecord,
  SendingQueue,
  TakeLimit,
  TargetId,
} from "../../src/queue/queue.ts";
import type { SignalName } from "../../src/signal.ts";

export interface RecordShape {
  readonly signal?: SignalName;
  readonly encoding?: PayloadEncoding;
  readonly mergeable?: boolean;
  /** Where it goes; to the first target alone unless given. */
  readonly targets?: readonly TargetId[];
  /** Number of parts. */
  readonly parts?: number;
  /** Items of each part. */
  readonly items?: number;
  /** Bytes of each part. */
  readonly bytes?: number;
}

/** A record whose payload says its number, part by part. */
export function record(number: number, shape: RecordShape = {}): QueueRecord {
  const { signal = "traces", encoding = "gzip", mergeable = true, items = 3, bytes = 32 } = shape;
  const parts: Part[] = Array.from({ length: shape.parts ?? 1 }, (_, index) => ({
    sender: `sender-${index}`,
    items,
    bytes,
    inflatedBytes: bytes * 4,
  }));
  const payload = new Uint8Array(parts.length * bytes);
  parts.forEach((_, index) => payload.set(partBytes(number, index, bytes), index * bytes));
  return { signal, encoding, mergeable, parts, targets: shape.targets ?? [1], payload: new OwnedBytes(payload) };
}

/** The payload of one part: its record's number, its index, and filling. */
export function partBytes(number: number, index: number, bytes = 32): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(bytes).fill((number * 31 + index * 7) & 0xff);
  const view = new DataView(payload.buffer);
  if (bytes >= 8) view.setUint32(0, number);
  if (bytes >= 8) view.setUint32(4, index);
  return payload;
}

/** The number that {@link record} wrote. */
export function numberOf({ payload }: Delivery): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

export const LIMIT: TakeLimit = {
  signal: "traces",
  target: 1,
  bytesMax: 4 << 20,
  inflatedBytesMax: 16 << 20,
  recordsMax: 1000,
};

/** A signal that is never aborted. */
export const NEVER = new AbortController().signal;

/** Takes once. */
export function take(queue: SendingQueue, limit: Partial<TakeLimit> = {}) {
  return queue.take({ ...LIMIT, ...limit }, NEVER);
}

/** Takes exactly `count` records of a signal, as many takes as that needs. */
export async function takeAll(queue: SendingQueue, count: number, signal: SignalName = "traces"): Promise<Delivery[]> {
  const deliveries: Delivery[] = [];
  while (deliveries.length < count) deliveries.push(...await take(queue, { signal }));
  return deliveries;
}

/** The same outcome for every part. */
export function settleAll(deliveries: readonly Delivery[], outcome: PartOutcome = { kind: "delivered" }) {
  return Promise.all(deliveries.map((delivery) => delivery.settle(delivery.parts.map(() => outcome))));
}

/** The state of a queue, with the books of its first target at hand. */
export async function statsOf(queue: SendingQueue) {
  const stats = await queue.stats();
  return { ...stats, books: stats.targets[0]!.books };
}

/** Log lines, to look at. */
export interface LogLine {
  readonly level: "warn" | "error";
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

/** A log that remembers, and can be waited on. */
export class TestLog {
  readonly lines: LogLine[] = [];
  #waiting: (() => void)[] = [];

  warn(message: string, fields: Record<string, unknown> = {}): void {
    this.#add({ level: "warn", message, fields });
  }

  error(message: string, fields: Record<string, unknown> = {}): void {
    this.#add({ level: "error", message, fields });
  }

  /** The first line that matches, now or later. */
  async line(pattern: RegExp): Promise<LogLine> {
    for (;;) {
      const line = this.lines.find(({ message }) => pattern.test(message));
      if (line !== undefined) return line;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #add(line: LogLine): void {
    this.lines.push(line);
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** A clock that is moved and set by hand; ms since the Unix epoch. */
export class TestClock {
  #steadyMs = 5_000;
  #setBy = 1_700_000_000_000;

  get ms(): number {
    return this.#setBy + this.#steadyMs;
  }

  /** Time passes. */
  set ms(ms: number) {
    this.#steadyMs = ms - this.#setBy;
  }

  /** Somebody sets the clock: no time passes. */
  step(ms: number): void {
    this.#setBy += ms;
  }

  readonly now = () => this.ms;
  readonly steady = () => this.#steadyMs;
}
