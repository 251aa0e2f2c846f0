/**
 * Group commit: a request that finds the queue idle is committed at once; those that arrive while a commit is under way share
 * the next one. Under load the next one waits a little, so that more share it: as PostgreSQL's `commit_delay` does behind its
 * `commit_siblings`.
 * @module
 */
import { OwnedBytes } from "../codec/owned_bytes.ts";
import type { SignalName } from "../signal.ts";
import type { Accepted, Part, PayloadEncoding, QueueRecord, SendingQueue, TargetId } from "./queue.ts";

/** One sender's request, ready to be kept. */
export interface Submission {
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  readonly mergeable: boolean;
  /** Id of the authenticated sender. */
  readonly sender: string;
  /** Spans, data points or log records. */
  readonly items: number;
  /** Length as protobuf, uncompressed, in bytes. */
  readonly inflatedBytes: number;
  /** Where it goes. */
  readonly targets: readonly TargetId[];
  /** The sender's own until `append`, which takes it over, whatever becomes of the request. */
  readonly payload: OwnedBytes;
}

/** Bounds of one record. */
export interface BatchLimits {
  /** The most payload bytes of a record; a request that is larger makes a record by itself. */
  readonly bytesMax: number;
  /** The most uncompressed bytes of a record. */
  readonly inflatedBytesMax: number;
}

/** The most requests in one record: bounds what one settle has to name. */
const PARTS_MAX = 1_000;

/** A commit of so many requests shows load. The next one then waits for as many, since a commit costs nearly the same at any size. */
const SIBLINGS_MIN = 8;
/** How long that commit waits, in ms: less than a commit takes on most disks. */
const DELAY_MS = 2;
/** A request that comes within this time after a commit, in ms, belongs to the same load: senders have had their answers and send again. */
const LOAD_MS = 5;

/** A submission whose payload is the batcher's. */
interface Held {
  readonly submission: Submission;
  readonly payload: OwnedBytes;
}

/** One whose sender waits for the answer. */
interface PendingSubmission extends Held {
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: unknown) => void;
}

/** Stands before a queue and turns requests into records. */
export class Batcher {
  readonly #queue: SendingQueue;
  readonly #limits: BatchLimits;
  readonly #onAppended: (signal: SignalName, durationMs: number) => void;
  readonly #delay: (ms: number) => Promise<void>;
  #waiting: PendingSubmission[] = [];
  /** When the first of them came. */
  #waitingSince = 0;
  #committing: Promise<void> | undefined;
  /** How many requests the last commit was of, and when it ended. */
  #siblings = 0;
  #committedAt = 0;

  /**
   * @param onAppended Hears for each record how long the first of its requests waited until it was kept.
   * @param delay Resolves after so many ms.
   */
  constructor(
    queue: SendingQueue,
    limits: BatchLimits,
    onAppended: (signal: SignalName, durationMs: number) => void = () => {},
    delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms)),
  ) {
    this.#queue = queue;
    this.#limits = limits;
    this.#onAppended = onAppended;
    this.#delay = delay;
  }

  /**
   * Keeps one request. Resolves when its 200 may be sent: see {@link SendingQueue.append}, whose promise this is.
   * @throws {Refusal} as `append` does; nothing of the request has been kept then.
   */
  append(submission: Submission): Promise<Accepted> {
    const payload = submission.payload.move();
    if (!this.#queue.capabilities.merges) return this.#append([{ submission, payload }], performance.now());
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) this.#waitingSince = performance.now();
      this.#waiting.push({ submission, payload, resolve, reject });
      this.#committing ??= this.#commitAll();
    });
  }

  /** Resolves when nothing waits for a commit. */
  async idle(): Promise<void> {
    while (this.#committing !== undefined) await this.#committing;
  }

  async #commitAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      if (this.#siblings >= SIBLINGS_MIN && this.#waitingSince - this.#committedAt < LOAD_MS) {
        await this.#delay(DELAY_MS);
      }
      const waiting = this.#waiting;
      this.#siblings = waiting.length;
      this.#waiting = [];
      const since = this.#waitingSince;
      // Appends of one turn share one transaction (the queue's contract), whatever number of records they are.
      await Promise.all(this.#groups(waiting).map((group) => this.#commit(group, since)));
      this.#committedAt = performance.now();
    }
    this.#committing = undefined;
  }

  async #commit(group: readonly PendingSubmission[], since: number): Promise<void> {
    try {
      const accepted = await this.#append(group, since);
      for (const { resolve } of group) resolve(accepted);
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }

  async #append(group: readonly Held[], since: number): Promise<Accepted> {
    const record = recordOf(group);
    const accepted = await this.#queue.append(record);
    this.#onAppended(record.signal, performance.now() - since);
    return accepted;
  }

  /** Runs of one signal, one encoding and the same targets within the limits, in order of arrival. */
  #groups(waiting: readonly PendingSubmission[]): PendingSubmission[][] {
    const groups: PendingSubmission[][] = [];
    const open = new Map<string, { group: PendingSubmission[]; bytes: number; inflatedBytes: number }>();
    for (const entry of waiting) {
      const { signal, encoding, mergeable, targets, inflatedBytes } = entry.submission;
      const { length } = entry.payload;
      if (!mergeable) {
        groups.push([entry]);
        continue;
      }
      const key = `${signal} ${encoding} ${targets.join()}`;
      const current = open.get(key);
      const fits = current !== undefined && current.group.length < PARTS_MAX &&
        current.bytes + length <= this.#limits.bytesMax &&
        current.inflatedBytes + inflatedBytes <= this.#limits.inflatedBytesMax;
      if (fits) {
        current.group.push(entry);
        current.bytes += length;
        current.inflatedBytes += inflatedBytes;
      } else {
        const group = [entry];
        groups.push(group);
        open.set(key, { group, bytes: length, inflatedBytes });
      }
    }
    return groups;
  }
}

function recordOf(group: readonly Held[]): QueueRecord {
  const first = group[0]!;
  const parts: Part[] = group.map(({ submission: { sender, items, inflatedBytes }, payload }) => ({
    sender,
    items,
    bytes: payload.length,
    inflatedBytes,
  }));
  const { signal, encoding, mergeable, targets } = first.submission;
  return { signal, encoding, mergeable, parts, targets, payload: group.length === 1 ? first.payload : joined(group) };
}

/** The payloads one behind the other, in a buffer of their own. */
function joined(group: readonly Held[]): OwnedBytes {
  const whole = new Uint8Array(group.reduce((sum, { payload }) => sum + payload.length, 0));
  let offset = 0;
  for (const { payload } of group) {
    whole.set(payload.bytes, offset);
    offset += payload.length;
    payload[Symbol.dispose]();
  }
  return new OwnedBytes(whole);
}
