/**
 * The waist: the contract between what is still the sender's to retry (left of it) and what is ours (right of it).
 * `receiver` and `exporter` know this file and never each other; only `open.ts` names an engine.
 * @module
 */
import type { SignalName } from "../signal.ts";
import type { SenderShares } from "./shares.ts";

/** How a record's payload is encoded. `gzip`: one member a part, concatenated. `identity`: encoded requests, concatenated. */
export type PayloadEncoding = "gzip" | "identity";

/** One sender's request inside a record. Parts follow each other in the payload in this order. */
export interface Part {
  /** Id of the authenticated sender. */
  readonly sender: string;
  /** Spans, data points or log records. */
  readonly items: number;
  /** Length of this part in the record's payload, in bytes. */
  readonly bytes: number;
  /** Length of this part as protobuf, uncompressed, in bytes. */
  readonly inflatedBytes: number;
}

/** What is appended: one or more parts of one signal and one encoding. The payload's buffer is the queue's from then on. */
export interface NewRecord {
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  /** False for a request with top-level fields beside field 1: it has one part, and is never merged, spliced or bisected. */
  readonly mergeable: boolean;
  readonly parts: readonly Part[];
  /** A whole buffer of its own (offset 0, full length): an engine may transfer it to a Worker. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** A record as the queue holds it. */
export interface QueueRecord extends NewRecord {
  /** Ascending, in the order of arrival. */
  readonly id: number;
  /** When it was appended, in ms since the Unix epoch. */
  readonly enqueuedAt: number;
}

/** What `append` resolves with. */
export interface Accepted {
  /** Only from an engine that knows the Collector's answer already (`none`): what it rejected, in items, and its words. */
  readonly partialSuccess?: { readonly rejected: number; readonly message: string };
}

/** Some of a part, as a request of its own in the record's encoding. */
export interface Fragment {
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly items: number;
  /** As protobuf, uncompressed, in bytes. */
  readonly inflatedBytes: number;
}

/**
 * What is left of a part, the rest of which has met its end: `rest` is to be sent again; `dead` the Collector will never take. All else
 * has been delivered, `rejected` items of it refused by `partial_success`.
 */
export interface Remains {
  readonly rest: Fragment;
  readonly dead?: Fragment & { readonly reason: string; readonly status?: number };
  readonly rejected?: number;
}

/**
 * What became of one part.
 * - `delivered`: a 2xx; `rejected` items of it were refused by `partial_success` (0 with a message is its warning form). `shared`: by that
 *   of a request which was merged of several senders', so that whose items they were is not known.
 * - `retry`: still ours, whole or what `remains`; not to be taken again before `afterMs` ms have passed.
 * - `dead`: the Collector will never take it. `payload` and `items`, where given, are the guilty resources alone, in the
 *   record's encoding; the rest of the part has been delivered, `rejected` items of it refused by `partial_success`.
 */
export type PartOutcome =
  | { readonly kind: "delivered"; readonly rejected?: number; readonly message?: string; readonly shared?: true }
  | { readonly kind: "retry"; readonly afterMs?: number; readonly cause: string; readonly remains?: Remains }
  | {
    readonly kind: "dead";
    readonly reason: string;
    readonly status?: number;
    readonly payload?: Uint8Array<ArrayBuffer>;
    readonly items?: number;
    readonly rejected?: number;
  };

/** A record in the exporter's hands. */
export interface Delivery {
  readonly record: QueueRecord;
  /** Until when its sender waits for the answer, by `performance.now()`; only from an engine that is not `durable`. */
  readonly until?: number;
  /**
   * Says what became of each part, in order; called exactly once, and throws RangeError when the number of outcomes is
   * not that of the parts, Error on a second call. Resolves when the outcome would survive a crash (`durable` engines).
   * Parts to be retried, or what remains of them, stay in the queue, in their place and order; a part whose dead-letter room is full does too, and is skipped.
   */
  settle(outcomes: readonly PartOutcome[]): Promise<void>;
}

/** One signal's accounts, in items: `accepted = delivered + rejectedByCollector + deadLettered + expired + queued`. */
export interface Books {
  readonly accepted: number;
  readonly delivered: number;
  readonly rejectedByCollector: number;
  readonly deadLettered: number;
  readonly expired: number;
  readonly queued: number;
}

/** The state of a queue at one moment. */
export interface QueueStats {
  /** Records queued, those in flight included. */
  readonly records: number;
  /** What is queued, in bytes, those in flight included, as the bound counts it: payloads and what a record costs beside. */
  readonly bytes: number;
  /** The bound on `bytes`. */
  readonly bytesMax: number;
  /** In how many seconds `bytes` will have drained at the present rate; undefined while nothing drains. */
  readonly drainS: number | undefined;
  /** When the oldest queued record was appended, in ms since the Unix epoch. */
  readonly oldestAt: number | undefined;
  /** Records taken and not yet settled. */
  readonly inFlight: number;
  /** How long storage has owed an answer, in ms; 0 when it owes none, and without storage. */
  readonly storageWaitMs: number;
  readonly deadLetters: { readonly records: number; readonly bytes: number };
  readonly books: Readonly<Record<SignalName, Books>>;
}

/** What an engine claims. The suite in `tests/queue/contract.ts` holds it to each claim. */
export interface QueueCapabilities {
  /** Append resolves only when the record would survive `kill -9` and a power cut. */
  readonly durable: boolean;
  /** Requests of several senders may share a record; false where each of them waits for an answer of its own. */
  readonly merges: boolean;
}

/** Which records one `take` is for, and its bounds. The first record is returned even if it is larger than them. */
export interface TakeLimit {
  /** Each signal has its own takers, as in the Collector, so that one that the Collector refuses holds up no other. */
  readonly signal: SignalName;
  /** Sum of payload lengths, in bytes. */
  readonly bytesMax: number;
  /** Sum of the parts' uncompressed lengths, in bytes. */
  readonly inflatedBytesMax: number;
  readonly recordsMax: number;
  /**
   * Where less than `bytesMin` payload bytes can be taken, they wait for more, until the oldest record has been queued for `ms`.
   * What has been tried before never waits. Absent: nothing waits.
   */
  readonly linger?: { readonly bytesMin: number; readonly ms: number };
}

/** A sending queue, as the Collector's exporter helper calls it. */
export interface SendingQueue extends AsyncDisposable {
  readonly capabilities: QueueCapabilities;
  /** What each sender has in it. */
  readonly shares: SenderShares;
  /**
   * Resolves when the 200 may be sent: from then on the record would survive a crash (`durable`), or the Collector has it.
   * Concurrent calls made in one turn of the event loop share one transaction.
   * @throws {Refusal} `queue_full`, `storage_failed`, `shutting_down`, `upstream_unavailable` or `rejected_upstream`; nothing
   * of the record has been kept then.
   */
  append(record: NewRecord): Promise<Accepted>;
  /**
   * The oldest takeable records of the signal, all of one encoding, a record that is not mergeable by itself; waits for
   * the first only, unless {@link TakeLimit.linger} says otherwise. Several takes may wait at once; each record goes to one of them. An abort resolves with none taken and strands nothing. Rejects once the queue is disposed.
   */
  take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]>;
  /** What waits until it may be tried again, of one signal, may be taken now. */
  hasten(signal: SignalName): void;
  stats(): Promise<QueueStats>;
  /** Whether an append would be tried now: room left and storage in order. The reason is for `/readyz` and for people. */
  readiness(): { readonly ready: boolean; readonly reason?: string };
}
