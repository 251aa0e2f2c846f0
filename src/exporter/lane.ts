/**
 * One signal's way to the Collector: takes what is queued, merges it, sends it, finds the guilty part of what is refused, and
 * settles each part once.
 * @module
 */
import type { Fault } from "../diagnosis/faults.ts";
import { messageOf, Refusal } from "../errors.ts";
import { concatenate, discard } from "../codec/bytes.ts";
import { gzipMember } from "../codec/gzip.ts";
import type { SignalName } from "../signal.ts";
import { splitResources, Walker } from "../otlp/wire.ts";
import type { Delivery, PartOutcome, SendingQueue, TakeLimit } from "../queue/queue.ts";
import { Breaker, type BreakerOptions, type Permit } from "./breaker.ts";
import type { Answer, Answered, CollectorClient } from "./client.ts";
import { dispositionOf } from "./disposition.ts";
import { type Members, MembersProof } from "./members.ts";
import {
  type Body,
  compose,
  type Compression,
  contentOf,
  encodeContent,
  itemsOf,
  partOf,
  type Piece,
  piecesOf,
} from "./payload.ts";

/** What the exporter tells. */
export interface ExporterEvents {
  /** One request was answered with a 2xx. `requests`: how many senders' requests it was merged from. */
  sent(signal: SignalName, sent: { items: number; requests: number; bytes: number; durationMs: number }): void;
  /** The Collector took a request and rejected items of it. */
  rejected(signal: SignalName, items: number, message: string): void;
  /** Records that the Collector will never take were set aside. */
  deadLettered(signal: SignalName, items: number, sender: string, reason: string): void;
  /** An attempt failed; what it carried is kept. `failures`: how many in a row. */
  failed(signal: SignalName, fault: Fault, detail: { cause: string; failures: number; retryMs: number }): void;
  /** The first success after failures. */
  recovered(signal: SignalName, failures: number): void;
  /** Whether the endpoint reads all gzip members of a body; where it reads the first only, every request goes by itself. */
  members(signal: SignalName, members: Members, url: string): void;
}

/** Settings of one lane. */
export interface LaneOptions {
  readonly queue: SendingQueue;
  readonly client: CollectorClient;
  readonly compression: Compression;
  /** Requests at once. */
  readonly consumers: number;
  /** The most payload bytes of a request made of several. */
  readonly batchBytesMax: number;
  /** How long what is queued waits for more, and how many payload bytes do not. */
  readonly linger?: { readonly bytesMin: number; readonly ms: number };
  readonly retry: BreakerOptions;
  readonly events: ExporterEvents;
}

/**
 * The most a merged request may have inflated, in bytes. The Collector's own limit is 20 MiB, above which it answers 400 and not
 * 413; what is between is room for what it counts otherwise.
 */
export const MERGED_INFLATED_BYTES_MAX = 16 * 1024 * 1024;

/** The most records taken for one request. */
const RECORDS_MAX = 1_000;

/** Why something will never be taken. */
interface Verdict {
  readonly reason: string;
  readonly status?: number;
}

/** Something that is sent as one request, and halved when it is refused, until the guilty units are found. */
interface Job<Unit> {
  /** @throws when the units cannot be put into a body: the storage has damaged one. */
  readonly body: (units: readonly Unit[]) => Body;
  readonly items: (units: readonly Unit[]) => number;
  /** How many senders' requests they are. */
  readonly requests: number | undefined;
  readonly delivered: (units: readonly Unit[], answer: Answered) => void;
  /** One unit was refused by itself. Returns the answer that stops the job, if there was one. */
  readonly guilty: (unit: Unit, verdict: Verdict) => Promise<Answer | undefined>;
}

/** A request to the Collector that failed. */
export interface Failure {
  /** ms since the Unix epoch. */
  readonly at: number;
  readonly fault: Fault;
  /** In the words of what failed. */
  readonly cause: string;
  /** When it is tried again, in ms since the Unix epoch. */
  readonly retryAt: number;
}

/** Deliveries under way: what each piece has met so far, and the leave to send them. */
interface Shipment {
  readonly pieces: readonly Piece[];
  readonly outcomes: Map<Piece, PartOutcome>;
  readonly permit: Permit;
  /** How often the identity had been replaced when it was sent off. */
  readonly identity: number;
}

/** One signal's lane. */
export class Lane {
  readonly signal: SignalName;
  readonly #options: LaneOptions;
  readonly #breaker: Breaker;
  readonly #members: MembersProof;
  readonly #giveUp = new AbortController();
  readonly #walker = new Walker();
  #underWay = 0;
  #lastFailure: Failure | undefined;
  #settled = Promise.withResolvers<void>();

  constructor(signal: SignalName, options: LaneOptions) {
    const { client, events, retry } = options;
    this.signal = signal;
    this.#options = options;
    this.#breaker = new Breaker(retry);
    this.#members = new MembersProof({
      ask: (body) => client.send(signal, body, "gzip", { abort: this.#giveUp.signal }),
      connections: () => client.renewed,
      onChange: (members) => events.members(signal, members, client.target(signal).url),
      ...(retry.now === undefined ? {} : { now: retry.now }),
    });
    client.whenReplaced(() => this.#hasten());
  }

  /** Another identity is shown: what waits because of the old one is tried now, and not when its backoff ends. */
  #hasten(): void {
    this.#breaker.hasten();
    this.#options.queue.hasten(this.signal);
  }

  /** Failures in a row; 0 is healthy. */
  get failures(): number {
    return this.#breaker.failures;
  }

  /** The last request that failed, also when it has been made good. */
  get lastFailure(): Failure | undefined {
    return this.#lastFailure;
  }

  /** Whether the wait after the last failure is still on. */
  get waits(): boolean {
    return this.#breaker.waits;
  }

  /** Whether no request is under way. */
  get idle(): boolean {
    return this.#underWay === 0;
  }

  /** Resolves at the next settle. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Breaks off every attempt under way; what it carried stays in the queue. */
  giveUp(): void {
    this.#giveUp.abort();
  }

  /**
   * One taker, up to `consumers` requests under way; resolves when `stopping` is aborted and all are settled. Rejects when the
   * queue does not take an outcome, which is a defect.
   */
  async run(stopping: AbortSignal): Promise<void> {
    const { queue, batchBytesMax, consumers, linger } = this.#options;
    const limit: TakeLimit = {
      signal: this.signal,
      bytesMax: batchBytesMax,
      inflatedBytesMax: MERGED_INFLATED_BYTES_MAX,
      recordsMax: RECORDS_MAX,
      ...(linger === undefined ? {} : { linger }),
    };
    const sending = new Set<Promise<void>>();
    const defects: unknown[] = [];
    const broken = new AbortController();
    const ended = AbortSignal.any([stopping, broken.signal]);
    while (!ended.aborted) {
      const deliveries = await queue.take(limit, ended);
      if (deliveries.length === 0) continue;
      // An engine without a disk has its senders waiting for this answer: no breaker may hold them up.
      const permit = queue.capabilities.durable ? await this.#breaker.admit(ended) : this.#breaker.pass();
      this.#underWay++;
      const sent = (permit === undefined ? keep(deliveries) : this.#send(deliveries, permit))
        .catch((error: unknown) => {
          defects.push(error);
          broken.abort();
        })
        .finally(() => {
          this.#underWay--;
          sending.delete(sent);
          this.#settled.resolve();
          this.#settled = Promise.withResolvers<void>();
        });
      sending.add(sent);
      if (sending.size >= consumers) await Promise.race(sending);
    }
    await Promise.all(sending);
    if (defects.length > 0) throw defects[0];
  }

  async #send(deliveries: readonly Delivery[], permit: Permit): Promise<void> {
    const pieces = deliveries.flatMap(({ record }) => piecesOf(record));
    const shipment: Shipment = { pieces, outcomes: new Map(), permit, identity: this.#options.client.replaced };
    try {
      const stopped = await this.#deliver(shipment);
      if (stopped !== undefined) this.#keepRest(shipment, this.#failed(stopped, shipment));
    } catch (error) {
      // A defect of ours is no reason to lose a record: all that has no outcome is kept.
      this.#keepRest(shipment, this.#defect(error, permit));
    }
    this.#breaker.release(permit);
    const byRecord = Map.groupBy(pieces, (piece) => piece.record);
    await settleAll(deliveries, ({ record }) => byRecord.get(record)!.map((piece) => shipment.outcomes.get(piece)!));
  }

  /** Returns the answer that stopped it, if one did: what has no outcome then is kept. */
  async #deliver(shipment: Shipment): Promise<Answer | undefined> {
    const { pieces } = shipment;
    const job: Job<Piece> = {
      body: (units) => compose(units, this.#options.compression),
      items: itemsOf,
      requests: undefined,
      delivered: (units, answer) => settleDelivered(units, answer, shipment.outcomes),
      guilty: (piece, verdict) => this.#condemn(piece, verdict, shipment),
    };
    const severalMembers = pieces.length > 1 && this.#options.compression === "passthrough" &&
      pieces[0]!.record.encoding === "gzip";
    if (severalMembers) {
      const members = await this.#members.prove();
      if (typeof members === "object") return members;
      if (members !== "all") {
        for (const piece of pieces) {
          const stopped = await this.#attempt([piece], job, shipment.permit);
          if (stopped !== undefined) return stopped;
        }
        return undefined;
      }
    }
    return await this.#attempt(pieces, job, shipment.permit);
  }

  /** Sends units as one request; when the answer is about what they hold, halves them until the guilty ones are found. */
  async #attempt<Unit>(units: readonly Unit[], job: Job<Unit>, permit: Permit): Promise<Answer | undefined> {
    let body: Body;
    try {
      body = job.body(units);
    } catch (error) {
      return await this.#narrow(units, job, permit, { reason: `Damaged in the queue: ${messageOf(error)}` });
    }
    const { client, events } = this.#options;
    const bytes = body.bytes.length;
    const answer = await client.send(this.signal, body.bytes, body.encoding, { abort: this.#giveUp.signal });
    if (body.own) discard(body.bytes);
    if (answer.kind === "none") return answer;
    const disposition = dispositionOf(answer);
    if (disposition !== "delivered" && disposition !== "inspect") return answer;
    const failures = this.#breaker.succeeded(permit);
    if (failures > 0) events.recovered(this.signal, failures);
    if (disposition === "inspect") {
      const reason = answer.message || `The Collector answered ${answer.status}`;
      return await this.#narrow(units, job, permit, { reason, status: answer.status });
    }
    events.sent(this.signal, {
      items: job.items(units),
      requests: job.requests ?? units.length,
      bytes,
      durationMs: answer.durationMs,
    });
    const { partialSuccess } = answer;
    if (partialSuccess !== undefined) events.rejected(this.signal, partialSuccess.rejected, partialSuccess.message);
    job.delivered(units, answer);
    return undefined;
  }

  /** One of the units is guilty. */
  async #narrow<Unit>(
    units: readonly Unit[],
    job: Job<Unit>,
    permit: Permit,
    verdict: Verdict,
  ): Promise<Answer | undefined> {
    if (units.length === 1) return await job.guilty(units[0]!, verdict);
    const middle = Math.ceil(units.length / 2);
    return await this.#attempt(units.slice(0, middle), job, permit) ??
      await this.#attempt(units.slice(middle), job, permit);
  }

  /** A piece was refused by itself. It is cut at its resources, so that the guilty ones alone are set aside. */
  async #condemn(piece: Piece, verdict: Verdict, { outcomes, permit }: Shipment): Promise<Answer | undefined> {
    const resources = this.#resourcesOf(piece);
    if (resources.length < 2) {
      this.#bury(piece, verdict, outcomes);
      return undefined;
    }
    const guilty: { resource: Uint8Array; verdict: Verdict }[] = [];
    let rejected = 0;
    let message: string | undefined;
    const job: Job<Uint8Array> = {
      body: (units) => encodeContent(concatenate(units), this.#options.compression),
      items: (units) => this.#walker.walk(this.signal, concatenate(units)).items,
      requests: 1,
      delivered: (_units, { partialSuccess }) => {
        rejected += partialSuccess?.rejected ?? 0;
        message ??= partialSuccess?.message;
      },
      guilty: (resource, found) => {
        guilty.push({ resource, verdict: found });
        return Promise.resolve(undefined);
      },
    };
    const stopped = await this.#narrow(resources, job, permit, verdict);
    // Some were sent and some could not be: the piece is tried again whole, and what was sent arrives twice.
    if (stopped !== undefined) return stopped;
    if (guilty.length === 0) {
      outcomes.set(piece, { kind: "delivered", ...(message === undefined ? {} : { rejected, message }) });
      return undefined;
    }
    const own = guilty[0]!.verdict;
    if (guilty.length === resources.length) {
      this.#bury(piece, own, outcomes);
      return undefined;
    }
    const content = concatenate(guilty.map(({ resource }) => resource));
    const payload = piece.record.encoding === "gzip" ? gzipMember(content) : content;
    this.#bury(piece, own, outcomes, { payload, items: this.#walker.walk(this.signal, content).items, rejected });
    return undefined;
  }

  /** The resources of a piece, or none where it cannot be cut. */
  #resourcesOf(piece: Piece): Uint8Array[] {
    if (!piece.record.mergeable) return [];
    try {
      const content = contentOf([piece]);
      // Walked at the door already: this fails only where the storage has damaged it since.
      this.#walker.walk(this.signal, content);
      return splitResources(content);
    } catch {
      return [];
    }
  }

  #bury(
    piece: Piece,
    verdict: Verdict,
    outcomes: Map<Piece, PartOutcome>,
    guilty?: { readonly payload: Uint8Array<ArrayBuffer>; readonly items: number; readonly rejected: number },
  ): void {
    const { sender, items } = partOf(piece);
    outcomes.set(piece, { kind: "dead", ...verdict, ...guilty });
    this.#options.events.deadLettered(this.signal, guilty?.items ?? items, sender, verdict.reason);
  }

  #keepRest({ pieces, outcomes }: Shipment, kept: PartOutcome): void {
    for (const piece of pieces) {
      if (!outcomes.has(piece)) outcomes.set(piece, kept);
    }
  }

  #failed(answer: Answer, { permit, identity }: Shipment): PartOutcome {
    if (answer.kind === "none") {
      if (answer.aborted) return STOPPING;
      this.#members.lost();
    }
    // Sent with an identity that has been replaced since: that tells nothing of the one in use.
    if (identity !== this.#options.client.replaced) return REPLACED;
    const fault = this.#options.client.diagnose(answer);
    const askedMs = answer.kind === "answer" ? answer.retryAfterMs : undefined;
    const cause = answer.kind === "none" ? answer.cause : `${answer.status} ${answer.message}`.trim();
    return this.#open(fault, cause, permit, askedMs);
  }

  #defect(error: unknown, permit: Permit): PartOutcome {
    return this.#open(
      {
        code: "internal",
        what: "The relay failed on its own; what it was sending is kept",
        remedy: "report this with the log",
        lasting: true,
      },
      messageOf(error),
      permit,
    );
  }

  #open(fault: Fault, cause: string, permit: Permit, askedMs?: number): PartOutcome {
    const retryMs = this.#breaker.failed(permit, askedMs, fault.lasting);
    const at = Date.now();
    this.#lastFailure = { at, fault, cause, retryAt: at + retryMs };
    this.#options.events.failed(this.signal, fault, { cause, failures: this.#breaker.failures, retryMs });
    // Where a sender waits for the answer, no backoff of ours does: it hears of the Collector's own wish alone.
    const afterMs = this.#options.queue.capabilities.durable ? retryMs : askedMs;
    return { kind: "retry", cause: `${fault.what} (${cause})`, ...(afterMs === undefined ? {} : { afterMs }) };
  }
}

const REPLACED: PartOutcome = { kind: "retry", cause: "The identity was replaced meanwhile" };
const STOPPING: PartOutcome = { kind: "retry", cause: "The relay is stopping" };

/** Which of several requests the rejected items came from is not said; the sum per signal is what can be right. */
function settleDelivered(
  pieces: readonly Piece[],
  { partialSuccess }: Answered,
  outcomes: Map<Piece, PartOutcome>,
): void {
  let rejected = partialSuccess?.rejected ?? 0;
  for (const piece of pieces) {
    const own = Math.min(rejected, partOf(piece).items);
    rejected -= own;
    outcomes.set(piece, {
      kind: "delivered",
      ...(own > 0 ? { rejected: own } : {}),
      ...(partialSuccess === undefined ? {} : { message: partialSuccess.message }),
    });
  }
}

function keep(deliveries: readonly Delivery[]): Promise<void> {
  return settleAll(deliveries, ({ record }) => record.parts.map(() => STOPPING));
}

/**
 * A queue that is closed refuses: the record stays in it and is sent again.
 * @throws when it refuses for another reason, which is a defect.
 */
async function settleAll(
  deliveries: readonly Delivery[],
  outcomes: (delivery: Delivery) => readonly PartOutcome[],
): Promise<void> {
  const results = await Promise.allSettled(deliveries.map((delivery) => delivery.settle(outcomes(delivery))));
  for (const result of results) {
    if (result.status === "rejected" && !(result.reason instanceof Refusal)) throw result.reason;
  }
}
