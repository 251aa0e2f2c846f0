/**
 * The waist: the contract between what is still the sender's to retry (left of it) and what is ours (right of it).
 * `receiver` and `exporter` know this file and never each other; only `open.ts` names an engine.
 * @module
 */
import type { OwnedBytes } from "../codec/owned_bytes.ts";
import type { Refusal } from "../errors.ts";
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

/**
 * A target, as the queue knows it: what a route names, an exporter or a group of exporters. The number is stable: it is stored, and a
 * target that is no longer configured keeps it with what it has.
 */
export type TargetId = number;

/** A target that is configured. */
export interface TargetSettings {
  /** As routes and people call it. */
  readonly name: string;
  /** Whether a sender is refused when the target's bound is reached. One that is not required is skipped then, and its items are counted. */
  readonly required: boolean;
  /** How much of the queue may wait for it, from 0 to 1; unless given all of it where it is the only one, and half where there are several. */
  readonly share?: number;
}

/** The only target where no other is configured. */
export const DEFAULT_TARGETS: readonly TargetSettings[] = [{ name: "default", required: true }];

/** One or more parts of one signal and one encoding. */
export interface QueueRecord {
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  /** False for a request with top-level fields beside field 1: it has one part, and is never merged, spliced or bisected. */
  readonly mergeable: boolean;
  readonly parts: readonly Part[];
  /** Where it goes, the same for all its parts: at least one, none twice. */
  readonly targets: readonly TargetId[];
  /** The record's own until `append`, which takes it over, whatever becomes of the record. */
  readonly payload: OwnedBytes;
}

/** What `append` resolves with. */
export interface Accepted {
  /** Only from an engine that knows the Collector's answer already (`none`): what it rejected, in items, and its words. */
  readonly partialSuccess?: { readonly rejected: number; readonly message: string };
}

/** A piece of a part, as a request of its own in the record's encoding. */
export interface Fragment {
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly items: number;
  /** As protobuf, uncompressed, in bytes. */
  readonly inflatedBytes: number;
}

/**
 * What remains of a part: `rest` is to be sent again, and the Collector will never take `dead`. Everything else has been delivered;
 * `partial_success` refused `rejected` items of it.
 */
export interface Remains {
  readonly rest: Fragment;
  readonly dead?: Fragment & { readonly reason: string; readonly status?: number };
  readonly rejected?: number;
}

/**
 * What became of one part.
 * - `delivered`: a 2xx; `partial_success` refused `rejected` items of it (0 with a message is its warning form). `shared`: the request
 *   was merged from several senders, so that nobody knows whose items they were.
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

/** A record for one target, in the exporter's hands: `parts` are those that still wait for this target, `payload` is theirs. */
export interface Delivery extends Omit<QueueRecord, "targets" | "payload"> {
  /** The queue's, lent until `settle` is called. @throws {ReferenceError} afterwards */
  readonly payload: Uint8Array;
  readonly target: TargetId;
  /** The record's: ascending, in the order of arrival. */
  readonly id: number;
  /** When the record was appended, in ms since the Unix epoch. */
  readonly enqueuedAt: number;
  /** How long its sender waits for the answer, by `performance.now()`; only from an engine that is not `durable`. */
  readonly until?: number;
  /**
   * Says what became of each part, in order; called exactly once, and throws RangeError when the number of outcomes is
   * not that of the parts, Error on a second call. Resolves when the outcome would survive a crash (`durable` engines).
   * Parts to be retried, or what remains of them, stay in the queue, in their place and order; a part whose dead-letter room is full does too, and is skipped.
   */
  settle(outcomes: readonly PartOutcome[]): Promise<void>;
}

/**
 * The accounts of one signal for one target, in items:
 * `accepted = delivered + rejectedByCollector + deadLettered + expired + abandoned + queued`.
 */
export interface Books {
  readonly accepted: number;
  readonly delivered: number;
  readonly rejectedByCollector: number;
  readonly deadLettered: number;
  readonly expired: number;
  /** Given up by `queue drop`. */
  readonly abandoned: number;
  readonly queued: number;
}

/** The books of a target that has had no records yet. */
export const NO_BOOKS: Books = {
  accepted: 0,
  delivered: 0,
  rejectedByCollector: 0,
  deadLettered: 0,
  expired: 0,
  abandoned: 0,
  queued: 0,
};

/** The accounts of one signal over all targets, in items: `accepted = finished + queued`. Finished: no target waits for it any more. */
export interface DoorBooks {
  readonly accepted: number;
  readonly finished: number;
  readonly queued: number;
}

/** What a queue holds for one target. */
export interface TargetStats {
  readonly id: TargetId;
  readonly name: string;
  /** False if the configuration does not name it any more: its records stay, and nobody takes them. */
  readonly configured: boolean;
  /** Records that wait for it, those in flight included. */
  readonly records: number;
  /** What they cost, in bytes. */
  readonly bytes: number;
  /** The bound on `bytes`. */
  readonly bytesMax: number;
  /** When the oldest of them was appended, in ms since the Unix epoch; undefined without one, or where it is not known yet. */
  readonly oldestAt: number | undefined;
  readonly inFlight: number;
  /** Items that it did not get because its bound was reached; only if it is not required. They are in no account. */
  readonly skipped: number;
  readonly deadLetters: { readonly records: number; readonly bytes: number };
  readonly books: Readonly<Record<SignalName, Books>>;
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
  /** How long storage has not answered, in ms; 0 when no answer is due, and without storage. */
  readonly storageWaitMs: number;
  readonly deadLetters: { readonly records: number; readonly bytes: number };
  readonly books: Readonly<Record<SignalName, DoorBooks>>;
  /** In the order of their numbers: those configured, and others that have something. */
  readonly targets: readonly TargetStats[];
}

/** What an engine claims. The suite in `tests/queue/contract.ts` holds it to each claim. */
export interface QueueCapabilities {
  /** Append resolves only when the record would survive `kill -9` and a power cut. */
  readonly durable: boolean;
  /** Requests of several senders may share a record; false where each of them waits for an answer of its own. */
  readonly merges: boolean;
  /**
   * Several may have it open at once. Takes are disjoint; what a killed opener had taken comes back, its late settle is void and resolves;
   * books sum.
   */
  readonly shared: boolean;
}

/** Which records one `take` is for, and its bounds. The first record is returned even if it is larger than them. */
export interface TakeLimit {
  /** Each signal has its own takers, as in the Collector, so that one that the Collector refuses holds up no other. */
  readonly signal: SignalName;
  /** Each target has its own takers: one that is down holds up no other. */
  readonly target: TargetId;
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
  /** What each sender has in it: a part counts until the last target is done with it. */
  readonly shares: SenderShares;
  /** The number of a target that is configured. @throws {RangeError} of any other */
  target(name: string): TargetId;
  /**
   * The refusal that a record of so many payload bytes for these targets would get now, because there is no room or storage fails;
   * undefined if it would be tried. The refusal names the target that is full.
   */
  admits(targets: readonly TargetId[], bytes: number): Refusal | undefined;
  /**
   * Resolves when the 200 may be sent: from then on the record would survive a crash (`durable`), or the Collector has it.
   * Concurrent calls made in one turn of the event loop share one transaction.
   * A target that is full and not required is left out; the record goes to the others.
   * @throws {Refusal} `queue_full`, `storage_failed`, `shutting_down`, `upstream_unavailable` or `rejected_upstream`; nothing
   * of the record has been kept then, unless the refusal is `unknown`.
   */
  append(record: QueueRecord): Promise<Accepted>;
  /**
   * The oldest takeable records of the signal for the target, all of one encoding, a record that is not mergeable by itself; waits for
   * the first only, unless {@link TakeLimit.linger} says otherwise. Several takes may wait at once; each record goes to one of them. An abort resolves with none taken and strands nothing. Rejects once the queue is disposed.
   */
  take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]>;
  /** Records of one signal for one target that wait for their next try may be taken now. */
  hasten(signal: SignalName, target: TargetId): void;
  /**
   * Whether what this process sends of the signal to the target gets there; told at each failure, and at the first success after one. While
   * it does not, an engine that is `shared` leaves to other processes what this one would hold on to.
   */
  reaches(signal: SignalName, target: TargetId, whether: boolean): void;
  stats(): Promise<QueueStats>;
  /** Whether an append would be tried now: room left and storage in order. The reason is for `/readyz` and for people. */
  readiness(): { readonly ready: boolean; readonly reason?: string };
}
