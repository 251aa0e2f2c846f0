/**
 * One target's lane of one signal: takes what is queued, merges it, sends it by a way, has what is not taken looked into, and settles each
 * part once.
 * @module
 */
import type { Delivery, SendingQueue, TakeLimit, TargetId } from "../queue/queue.ts";
import type { SignalName } from "../signal.ts";
import type { Fault } from "../diagnosis/faults.ts";
import type { Permit } from "./breaker.ts";
import { type Answer, causeOf } from "./client/client.ts";
import { Inquest, type InquestEvents } from "./inquest.ts";
import { Marks } from "./marks.ts";
import { compose, itemsOf, partOf, type Piece, RequestBody } from "./payload.ts";
import { type Compression, DamagedError } from "./recode/recode.ts";
import type { Recoder } from "./recode/recoder.ts";
import { SEAL, SEAL_INFLATED_BYTES } from "./seal.ts";
import type { Verdict } from "./search.ts";
import { SenderStandings, type SenderWait } from "./sender_standings.ts";
import { type Alone, type Kept, type Refused, Shipment, type Voyage } from "./shipment.ts";
import type { Post, Way } from "./way.ts";
import { within } from "../within.ts";

/** What a lane tells. */
export interface LaneEvents extends InquestEvents {
  /** The endpoint does not take what one sender has sent, and takes others': that sender's data waits alone. `refusals`: how often in a row. */
  senderRefused(
    signal: SignalName,
    fault: Fault,
    detail: { sender: string; cause: string; refusals: number; retryMs: number },
  ): void;
}

/** Settings of one lane. */
export interface LaneOptions {
  readonly queue: SendingQueue;
  /** The target whose records are sent. */
  readonly target: TargetId;
  readonly compression: Compression;
  readonly recoder: Recoder;
  /** Each request is of one sender alone, since a header names it: how long one waits that is refused. Absent: no header does. */
  readonly bySender?: SenderWait | undefined;
  /** Requests at once. */
  readonly consumers: number;
  /** The same where each request is one sender's, who waits for its answer. */
  readonly consumersAlone?: number;
  /** The most payload bytes of a request made of several; 0: none is. */
  readonly batchBytesMax: number;
  /** The most that it may have inflated; {@link MERGED_INFLATED_BYTES_MAX} unless given. */
  readonly inflatedBytesMax?: number;
  /** How long queued records wait for more, and how many payload bytes wait no longer. */
  readonly linger?: { readonly bytesMin: number; readonly ms: number };
  /** How long a request that the Collector fails on waits alone, in ms: at first, and at most. */
  readonly apart: { readonly initialMs: number; readonly maxMs: number };
  /** The same for a request that it refuses, until it is known whether it takes others. */
  readonly suspected: { readonly initialMs: number; readonly maxMs: number };
  readonly events: LaneEvents;
}

/**
 * The most a merged request may have inflated, in bytes. The Collector's own limit is 20 MiB, above which it answers 400 and not
 * 413; what is between is room for what it counts otherwise.
 */
export const MERGED_INFLATED_BYTES_MAX = 16 * 1024 * 1024;

/** The same over gRPC: what a server of any library takes of a message unless told otherwise, the Collector's `max_recv_msg_size_mib` too. */
export const GRPC_MERGED_BYTES_MAX = 4 * 1024 * 1024;

/** The most records taken for one request. */
const RECORDS_MAX = 1_000;

/**
 * Requests of what is never merged that may be under way for each consumer, and how many bytes of them from which on there are no more
 * than consumers: each carries one record, so that the round trip is all that bounds them.
 */
const UNMERGED_FACTOR = 8;
const UNMERGED_AT_ONCE_MAX = 64;
const UNMERGED_BYTES_MAX = 4 * 1024 * 1024;

/** What waits alone is no probe where there is another: it is looked at again after so many ms, or after its longest wait if that is less. */
const APART_AGAIN_MS_MAX = 1_000;

/** The part of the time of senders that wait that a question takes: whether their requests may share one, whether zstd is read. */
const ASKING_SHARE = 1 / 8;

/** After a failure that may be the data's, other data is tried first: what failed waits so much longer than the breaker, in ms. */
const OTHERS_FIRST_MS = 50;

export class Lane {
  readonly signal: SignalName;
  readonly #options: LaneOptions;
  readonly #way: Way;
  readonly #marks = new Marks();
  readonly #inquest: Inquest;
  /** Where a header names the sender. */
  readonly #standings: SenderStandings | undefined;
  #underWay = 0;
  /** How many of the requests under way are never merged, and their bytes. */
  #unmerged = 0;
  #unmergedBytes = 0;
  /** Parts in the next request after a failure, at most; undefined: as many as there are. */
  #probeParts: number | undefined;
  #settled = Promise.withResolvers<void>();
  #slot = Promise.withResolvers<void>();

  constructor(way: Way, options: LaneOptions) {
    this.signal = way.signal;
    this.#way = way;
    this.#options = options;
    const { bySender, recoder, consumers, apart, suspected, events } = options;
    // What may take as long as an attempt may never has the last consumer; the only one has another beside it meanwhile.
    const besideMax = Math.max(1, consumers - 1);
    const standings = this.#standings = bySender === undefined ? undefined : new SenderStandings(bySender, besideMax);
    this.#inquest = new Inquest({
      way,
      marks: this.#marks,
      bySender: standings !== undefined,
      took: (sender) => standings?.taken(sender),
      recoder,
      atOnceMax: besideMax,
      apart,
      suspected,
      events,
      post: (pieces, voyage) => this.#post(pieces, voyage),
      fail: (answer, voyage) => this.#fail(answer, voyage),
      onChange: () => this.#wake(),
    });
  }

  /** What was in the way of senders may be gone. */
  hasten(): void {
    this.#standings?.hasten();
  }

  /** Parts that the Collector fails on by themselves, or refused, and that wait alone. */
  get apart(): number {
    return this.#marks.apart;
  }

  /** Whether no request is under way. */
  get idle(): boolean {
    return this.#underWay === 0;
  }

  /** Resolves at the next settle. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /**
   * One taker, up to `consumers` requests under way; resolves when `stopping` is aborted and all are settled. Rejects when the
   * queue does not take an outcome, which is a defect.
   */
  async run(stopping: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    const { durable } = queue.capabilities;
    const { breaker } = this.#way;
    const sending = new Set<Promise<void>>();
    const defects: unknown[] = [];
    const broken = new AbortController();
    const ended = AbortSignal.any([stopping, broken.signal]);
    while (!ended.aborted) {
      // Leave before the take: what waits for the breaker is nobody's. Senders that wait for this answer are held up by no breaker.
      const admitted = durable ? await breaker.admit(ended) : undefined;
      if (durable && admitted === undefined) break;
      const deliveries = await queue.take(this.#limit(sending.size), ended);
      const permit = admitted ?? breaker.pass();
      const stands = deliveries.length > 0 && (!durable || breaker.holds(permit));
      if (!stands) breaker.release(permit);
      if (deliveries.length === 0) continue;
      const [first] = deliveries;
      const unmerged = first?.mergeable === false ? 1 : 0;
      const bytes = unmerged * (first?.payload.length ?? 0);
      const count = (by: 1 | -1) => {
        this.#underWay += by;
        this.#unmerged += by * unmerged;
        this.#unmergedBytes += by * bytes;
      };
      count(1);
      const sent = (stands ? this.#send(deliveries, permit) : giveBack(deliveries))
        .catch((error: unknown) => {
          defects.push(error);
          broken.abort();
        })
        .finally(() => {
          count(-1);
          sending.delete(sent);
          this.#settled.resolve();
          this.#settled = Promise.withResolvers<void>();
          this.#wake();
        });
      sending.add(sent);
      while (!this.#hasRoom() && !broken.signal.aborted) await this.#slot.promise;
    }
    await Promise.all(sending);
    if (defects.length > 0) throw defects[0];
  }

  /** A consumer is free, or there is one more. */
  #wake(): void {
    this.#slot.resolve();
    this.#slot = Promise.withResolvers<void>();
  }

  /** Whether one request more may be under way. */
  #hasRoom(): boolean {
    const atOnce = this.#atOnce();
    if (this.#underWay < atOnce) return true;
    const { queue, consumers } = this.#options;
    // A single consumer is asked for by who wants one after the other.
    if (!queue.capabilities.durable || consumers === 1 || this.#underWay - this.#unmerged >= atOnce) return false;
    const unmergedMax = Math.max(consumers, Math.min(UNMERGED_AT_ONCE_MAX, consumers * UNMERGED_FACTOR));
    return this.#unmerged < unmergedMax && this.#unmergedBytes < UNMERGED_BYTES_MAX;
  }

  #atOnce(): number {
    const { queue, consumers, consumersAlone = consumers } = this.#options;
    if (!queue.capabilities.durable && !this.#merges()) return Math.max(consumers, consumersAlone);
    return consumers === 1 ? 1 + this.#inquest.atOnce + (this.#standings?.trying ?? 0) : consumers;
  }

  /** Whether requests of several senders may share one, as far as is known. */
  #merges(): boolean {
    return this.#options.batchBytesMax > 0 && this.#way.merges;
  }

  /** Where senders wait for the answer each goes alone while there are consumers enough, and the last one takes all that wait. */
  #limit(underWay: number): TakeLimit {
    const { queue, target, batchBytesMax, inflatedBytesMax = MERGED_INFLATED_BYTES_MAX, linger } = this.#options;
    const alone = !queue.capabilities.durable && (!this.#merges() || this.#atOnce() - underWay > 1);
    return {
      signal: this.signal,
      target,
      bytesMax: batchBytesMax === 0 ? 0 : Math.max(1, batchBytesMax - SEAL.length),
      inflatedBytesMax: inflatedBytesMax - SEAL_INFLATED_BYTES,
      recordsMax: alone ? 1 : RECORDS_MAX,
      ...(linger === undefined ? {} : { linger }),
    };
  }

  async #send(deliveries: readonly Delivery[], permit: Permit): Promise<void> {
    const shipment = new Shipment(deliveries, (delivery, outcomes) => this.#marks.settle(delivery, outcomes));
    const voyage: Voyage = { shipment, permit, identity: this.#way.identity };
    try {
      const kept = this.#options.queue.capabilities.durable
        ? await this.#deliver(voyage)
        : this.#standings === undefined
        ? await this.#deliverNow(shipment.pieces, voyage)
        : await this.#eachSender(this.#bySender(shipment.pieces), voyage, (own, each) => this.#deliverNow(own, each));
      if (kept !== undefined) shipment.setRest({ kind: "retry", ...kept });
    } catch (error) {
      shipment.setRest({ kind: "retry", ...this.#way.failInside(error, permit) });
    }
    this.#way.breaker.release(permit);
    await shipment.settled();
  }

  /** Returns why what has no outcome then is kept, if something is. */
  async #deliver(voyage: Voyage): Promise<Kept | undefined> {
    const batches = this.#batches(voyage);
    if (this.#standings !== undefined) {
      const each = batches.flatMap((batch) => this.#bySender(batch));
      return await this.#eachSender(each, voyage, (pieces, own) => this.#sendBatch(pieces, own));
    }
    for (const pieces of batches) {
      const kept = await this.#sendBatch(pieces, voyage);
      if (kept !== undefined) return kept;
    }
    return undefined;
  }

  /**
   * Sends what each sender has. Where the endpoint answered and refused one, the others follow; where it did not answer, nobody does. Where
   * it takes nobody's, the endpoint is at fault, and the breaker opens.
   */
  async #eachSender(
    batches: readonly (readonly Piece[])[],
    voyage: Voyage,
    send: (pieces: readonly Piece[], voyage: Voyage) => Promise<Kept | undefined>,
  ): Promise<Kept | undefined> {
    const standings = this.#standings!;
    const { shipment } = voyage;
    const takenBefore = this.#way.taken;
    const refused: Refused[] = [];
    const keep = (pieces: readonly Piece[], why: Kept) => {
      for (const piece of pieces) if (!shipment.has(piece)) shipment.set(piece, { kind: "retry", ...why });
    };
    const { durable } = this.#options.queue.capabilities;
    let stopped: Kept | undefined;
    for (const pieces of batches) {
      const { sender } = partOf(pieces[0]!);
      // Each sender that waits for the answer is tried by itself.
      const leftMs = durable ? standings.leftMs(sender) : 0;
      if (leftMs > 0) {
        keep(pieces, { afterMs: leftMs, cause: SENDER_REFUSED });
        continue;
      }
      const alone: Alone = { sender, answered: false };
      // What one is answered who is refused says nothing of how the endpoint reads others' data.
      if (standings.refusalsOf(sender) === 0) this.#way.speakFor(sender);
      const ended = standings.tries(sender);
      if (standings.trying > 0) this.#wake();
      let kept: Kept | undefined;
      try {
        kept = await send(pieces, { ...voyage, alone });
      } finally {
        ended();
      }
      if (alone.refusal !== undefined) refused.push(alone.refusal);
      // At once: another request of one that was refused may be answered while what follows here is still under way.
      if (this.#way.taken > takenBefore) { for (const { sender } of refused) standings.condemn(sender); }
      if (kept === undefined) continue;
      if (alone.refusal === undefined && (durable || !alone.answered)) {
        stopped = kept;
        break;
      }
      keep(pieces, kept);
      // One or a few are refused beside others; where many are in a row, the others had better wait, too.
      const fresh = refused.filter((each) => !standings.isGuilty(each.sender)).length;
      if (fresh < REFUSED_SENDERS_MAX || this.#way.taken > takenBefore) continue;
      stopped = { cause: SENDER_REFUSED };
      break;
    }
    const opened = this.#judge(refused, voyage);
    return stopped === undefined ? undefined : opened ?? stopped;
  }

  /** Senders were refused: by the endpoint as it would refuse anybody, or for what they are. */
  #judge(all: readonly Refused[], voyage: Voyage): Kept | undefined {
    const standings = this.#standings!;
    // What has been taken of one since, by a request beside this one, has the last word.
    const refused = all.filter(({ sender }) => standings.refusalsOf(sender) > 0);
    const first = refused.find(({ sender }) => !standings.isGuilty(sender));
    for (const { sender, answer, kept } of refused) {
      if (!standings.isGuilty(sender)) continue;
      this.#options.events.senderRefused(this.signal, this.#way.faultOf(answer), {
        sender,
        cause: causeOf(answer),
        refusals: standings.refusalsOf(sender),
        retryMs: Math.round(kept.afterMs ?? standings.leftMs(sender)),
      });
    }
    if (first === undefined) return undefined;
    const fresh = refused.filter(({ sender }) => !standings.isGuilty(sender)).length;
    return this.#open(first.answer, voyage, { fewSenders: fresh < REFUSED_SENDERS_MAX });
  }

  /** The requests to make: pieces that have failed before never go with others. After a failure a small request goes first. */
  #batches({ shipment, permit }: Voyage): (readonly Piece[])[] {
    const probeParts = this.#way.breaker.probes(permit) ? this.#probeParts : undefined;
    if (this.#marks.none && probeParts === undefined) return [shipment.pieces];
    const clean: Piece[] = [];
    const doubted: Failed[] = [];
    const refused: Failed[] = [];
    const apart: Piece[][] = [];
    const now = performance.now();
    for (const piece of shipment.pieces) {
      const mark = this.#marks.of(piece);
      if (mark?.kind === "apart" || mark?.kind === "suspected") {
        const leftMs = (mark.dueAt ?? 0) - now;
        if (leftMs <= 0) apart.push([piece]);
        else shipment.set(piece, { kind: "retry", afterMs: leftMs, cause: APART });
      } else if (mark === undefined) clean.push(piece);
      else (mark.kind === "doubted" ? doubted : refused).push({ piece, failures: mark.failures });
    }
    const together = [clean, ...smaller(doubted), ...smaller(refused)].filter(({ length }) => length > 0);
    const [first, ...others] = together;
    if (first === undefined || !this.#way.breaker.probes(permit)) return [...together, ...apart];
    // What the Collector fails on is no probe where there is another.
    const afterMs = Math.min(APART_AGAIN_MS_MAX, this.#options.apart.maxMs);
    for (const [piece] of apart) shipment.set(piece!, { kind: "retry", afterMs, cause: APART });
    if (probeParts === undefined || first.length <= probeParts) return together;
    return [first.slice(0, probeParts), first.slice(probeParts), ...others];
  }

  /** In requests of one sender each, where a header names it. */
  #bySender(pieces: readonly Piece[]): (readonly Piece[])[] {
    if (this.#standings === undefined) return [pieces];
    const own = Map.groupBy(pieces, (piece) => partOf(piece).sender);
    return this.#standings.inOrder([...own.keys()]).map((sender) => own.get(sender)!);
  }

  async #sendBatch(pieces: readonly Piece[], voyage: Voyage): Promise<Kept | undefined> {
    const merged = await this.#mayMerge(pieces);
    if (typeof merged !== "boolean") return this.#fail(merged, voyage);
    for (const group of merged ? [pieces] : pieces.map((piece) => [piece])) {
      const kept = await this.#sendGroup(group, voyage);
      if (kept !== undefined) return kept;
    }
    return undefined;
  }

  /** Whether pieces may share one request, or the answer that leaves it open. */
  async #mayMerge(pieces: readonly Piece[]): Promise<boolean | Answer> {
    const severalMembers = pieces.length > 1 && this.#options.compression === "passthrough" &&
      pieces[0]!.delivery.encoding === "gzip";
    return severalMembers ? await this.#way.mayShareMembers() : true;
  }

  async #sendGroup(pieces: readonly Piece[], voyage: Voyage): Promise<Kept | undefined> {
    // What the Collector fails on by itself may take as long as an attempt may: never the last consumer.
    const apart = this.#marks.none ? undefined : this.#marks.of(pieces[0]!);
    if (apart?.kind === "apart" || apart?.kind === "suspected") {
      return await this.#inquest.again(pieces[0]!, apart, voyage);
    }
    const verdict = await this.#post(pieces, voyage);
    switch (verdict.kind) {
      case "taken":
        this.#probeParts = undefined;
        return undefined;
      case "refused":
        return await this.#inquest.open({ unit: pieces, verdict }, voyage);
      case "failing":
        // It has failed before, and others have been taken since: it is not the endpoint.
        if (this.#inquest.proven(pieces)) return await this.#inquest.open({ unit: pieces, verdict }, voyage);
        this.#inquest.doubt(pieces);
        this.#probeParts = Math.ceil(pieces.length / 2);
        return this.#fail(verdict.answer, voyage, OTHERS_FIRST_MS);
      case "stopped":
        return this.#fail(verdict.answer, voyage);
    }
  }

  /** Sends pieces as one request; what is taken has its outcome then. */
  async #post(pieces: readonly Piece[], { shipment, permit }: Voyage, timeoutMs?: number): Promise<Verdict> {
    const asking = Promise.resolve(this.#way.compression());
    const inTime = timeoutMs === undefined || await within(asking, timeoutMs * ASKING_SHARE);
    // What everybody reads.
    const compression = inTime ? await asking : "gzip";
    if (typeof compression === "object") return { kind: "stopped", answer: compression };
    const composed = await this.#compose(pieces, compression);
    if (!(composed instanceof RequestBody)) return composed;
    using body = composed;
    const post = await this.#way.post(body, {
      items: itemsOf(pieces),
      requests: pieces.length,
      sender: partOf(pieces[0]!).sender,
      permit,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    if (post.kind === "taken") {
      if (post.empty !== true) this.#standings?.taken(partOf(pieces[0]!).sender);
      settleTaken(pieces, post, shipment);
    }
    return post;
  }

  async #compose(pieces: readonly Piece[], compression: Compression): Promise<RequestBody | Verdict> {
    try {
      return await compose(pieces, compression, this.#options.recoder);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      return { kind: "refused", reason: `Damaged in the queue: ${error.message}` };
    }
  }

  /** Keeps what has no outcome, and opens the breaker, unless it may be the sender alone that is refused. */
  #fail(answer: Answer, voyage: Voyage, laterMs = 0): Kept {
    return this.#holdBack(answer, voyage) ?? this.#open(answer, voyage, { laterMs });
  }

  /** Undefined where the endpoint is at fault, as far as can be told. */
  #holdBack(answer: Answer, { alone, identity }: Voyage): Kept | undefined {
    const standings = this.#standings;
    if (standings === undefined || alone === undefined) return undefined;
    if (answer.kind === "none" && !this.#way.mayConcernTheData(answer)) return undefined;
    const { sender } = alone;
    if (answer.kind === "answer") alone.answered = true;
    // Sent with an identity that has been replaced since: that tells nothing of the one in use.
    if (identity !== this.#way.identity) return undefined;
    // A 5xx, or no answer, speaks of the endpoint, until others have been taken beside it.
    const own = standings.failed(sender, this.#way.taken);
    if (!own && (answer.kind === "none" || answer.status >= 500)) return undefined;
    const askedMs = answer.kind === "answer" ? answer.retryAfterMs : undefined;
    const waitMs = standings.refused(sender, askedMs);
    const ownMs = this.#options.queue.capabilities.durable ? waitMs : askedMs;
    const cause = `${this.#way.faultOf(answer).what} (${causeOf(answer)})`;
    const kept = ownMs === undefined ? { cause } : { afterMs: ownMs, cause };
    alone.refusal = { sender, answer, kept };
    return kept;
  }

  #open(
    answer: Answer,
    { permit, identity }: Voyage,
    { laterMs = 0, fewSenders = false }: { readonly laterMs?: number; readonly fewSenders?: boolean } = {},
  ): Kept {
    const { cause, afterMs, askedMs } = this.#way.fail(answer, permit, identity, fewSenders);
    // Where a sender waits for the answer, no backoff of ours does: it hears of the Collector's own wish alone.
    const ownMs = this.#options.queue.capabilities.durable ? afterMs : askedMs;
    return ownMs === undefined ? { cause } : { cause, afterMs: ownMs + Math.min(laterMs, ownMs) };
  }

  // --- without a disk: senders wait for the answer

  /**
   * Senders that share a request have each an answer of their own: what is refused is halved to the guilty; after a failure that may be
   * one's fault each goes by itself, once. The first of them to stop waiting ends it for all.
   */
  async #deliverNow(pieces: readonly Piece[], voyage: Voyage): Promise<Kept | undefined> {
    const asking = this.#mayMerge(pieces);
    // The question has a part of their time alone: an endpoint that is silent would have it all, where another could take the data.
    const leftMs = voyage.shipment.until(pieces) - performance.now();
    const merged = await within(asking, Math.max(1, leftMs * ASKING_SHARE)) ? await asking : false;
    if (typeof merged !== "boolean") return this.#fail(merged, voyage);
    let kept: Kept | undefined;
    for (const group of merged ? [pieces] : pieces.map((piece) => [piece])) {
      const verdict = await this.#postInTime(group, voyage);
      if (verdict === undefined) return OUT_OF_TIME;
      if (verdict.kind === "refused") {
        kept = await this.#inquest.openNow(
          { unit: group, verdict },
          voyage,
          (units) => this.#postInTime(units, voyage),
        );
      } else if (verdict.kind === "failing" && group.length > 1) {
        this.#fail(verdict.answer, voyage);
        for (const piece of group) {
          const own = await this.#deliverNow([piece], voyage);
          if (own !== undefined && !voyage.shipment.has(piece)) voyage.shipment.set(piece, { kind: "retry", ...own });
        }
      } else if (verdict.kind !== "taken") {
        kept = this.#fail(verdict.answer, voyage);
      }
      if (kept !== undefined && merged) return kept;
      // Each by itself: what became of one says nothing of the next.
      if (kept !== undefined) { for (const piece of group) voyage.shipment.set(piece, { kind: "retry", ...kept }); }
      kept = undefined;
    }
    return undefined;
  }

  /** Undefined when there is no time left. */
  async #postInTime(pieces: readonly Piece[], voyage: Voyage): Promise<Verdict | undefined> {
    const leftMs = voyage.shipment.until(pieces) - performance.now();
    if (leftMs <= 0) return undefined;
    return await this.#post(pieces, voyage, leftMs);
  }
}

const APART = "The Collector did not take it by itself: it waits alone";
const SENDER_REFUSED = "The Collector does not take what this sender has sent, which waits alone";

/** So many senders that are refused, and none that is taken: the endpoint is not asked about more of them now. */
const REFUSED_SENDERS_MAX = 8;

/** A piece that was in so many requests which were not taken. */
interface Failed {
  readonly piece: Piece;
  readonly failures: number;
}

/** Parts that may share a request once one of them was in so many that were not taken, least first: where many are guilty, smaller ones find them. */
const PARTS_MAX: readonly number[] = [1_000, 1_000, 1_000, 32, 16, 8, 4, 2, 1];

/** Those that were in fewer requests that were not taken are likelier to pass, and go first. */
function smaller(failed: Failed[]): Piece[][] {
  const batches: Piece[][] = [];
  for (const { piece, failures } of failed.sort((a, b) => a.failures - b.failures)) {
    const partsMax = PARTS_MAX[Math.min(failures, PARTS_MAX.length - 1)]!;
    const last = batches.at(-1);
    if (last !== undefined && last.length < partsMax) last.push(piece);
    else batches.push([piece]);
  }
  return batches;
}

const OUT_OF_TIME: Kept = { cause: "The Collector did not answer in time" };

/** What a sender is told that shared a request of which the Collector rejected something: its own words may quote another's data. */
const SHARED_WARNING =
  "The Collector rejected items, or warned, of a request that was merged of several; which is in the relay's log";

/** Which of several requests the rejected items came from is not said; the sum per signal is what can be right. */
function settleTaken(
  pieces: readonly Piece[],
  { rejected, message }: Post & { readonly kind: "taken" },
  shipment: Shipment,
): void {
  const shared = pieces.length > 1;
  let left = rejected;
  for (const piece of pieces) {
    const own = left === 0 ? 0 : Math.min(left, partOf(piece).items);
    left -= own;
    shipment.set(piece, {
      kind: "delivered",
      ...(own > 0 ? { rejected: own } : {}),
      ...(message === undefined ? {} : { message: shared ? SHARED_WARNING : message }),
      ...(message === undefined || !shared ? {} : { shared: true }),
    });
  }
}

async function giveBack(deliveries: readonly Delivery[]): Promise<void> {
  const shipment = new Shipment(deliveries);
  shipment.setRest({ kind: "retry", cause: "The relay is stopping, or the Collector's side has failed" });
  await shipment.settled();
}
