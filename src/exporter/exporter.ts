/**
 * Takes from the queue, sends, and settles: each part meets exactly one outcome.
 * @module
 */
import { diagnose, type Fault } from "../diagnosis/faults.ts";
import { messageOf } from "../errors.ts";
import { gzipMember } from "../otlp/gzip.ts";
import { SIGNAL_NAMES, type SignalName } from "../otlp/signal.ts";
import { splitResources, Walker } from "../otlp/wire.ts";
import type { Delivery, PartOutcome, SendingQueue, TakeLimit } from "../queue/queue.ts";
import { Breaker } from "./breaker.ts";
import type { Answer, Answered, CollectorClient } from "./client.ts";
import { dispositionOf } from "./disposition.ts";
import {
  type Body,
  compose,
  type Compression,
  contentOf,
  encodeContent,
  join,
  type Piece,
  piecesOf,
} from "./payload.ts";

/** What the exporter tells. */
export interface ExporterEvents {
  /** One request was answered with a 2xx. */
  sent(signal: SignalName, sent: { items: number; requests: number; bytes: number; durationMs: number }): void;
  /** The Collector took a request and rejected items of it. */
  rejected(signal: SignalName, items: number, message: string): void;
  /** Records that the Collector will never take were set aside. */
  deadLettered(signal: SignalName, items: number, sender: string, reason: string): void;
  /** An attempt failed; what it carried is kept. `lasting`: time alone does not mend it, a person is needed. */
  failed(
    signal: SignalName,
    fault: Fault,
    detail: { cause: string; lasting: boolean; retryMs: number },
  ): void;
  /** The first success after failures. */
  recovered(signal: SignalName, failures: number): void;
  /** The endpoint reads the first gzip member only, so every request goes by itself. */
  unmergeable(signal: SignalName, url: string): void;
}

/** Settings of an exporter. */
export interface ExporterOptions {
  readonly queue: SendingQueue;
  /** The way to the Collector, for each signal; often one for all. */
  readonly clients: Readonly<Record<SignalName, CollectorClient>>;
  readonly compression: Readonly<Record<SignalName, Compression>>;
  /** Requests at once, for each signal. */
  readonly consumers: number;
  /** The most payload bytes of a request made of several. */
  readonly batchBytesMax: number;
  readonly retry: { readonly initialMs: number; readonly maxMs: number };
  readonly events: ExporterEvents;
}

/**
 * The most a merged request may have inflated, in bytes. The Collector's own limit is 20 MiB, above which it answers 400 and not
 * 413; what is between is room for what it counts otherwise.
 */
export const MERGED_INFLATED_BYTES_MAX = 16 * 1024 * 1024;

/** The most records taken for one request. */
const RECORDS_MAX = 1_000;

/** Sends every signal, each on a lane of its own. */
export class Exporter {
  readonly #options: ExporterOptions;
  readonly #lanes: readonly Lane[];
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: ExporterOptions) {
    this.#options = options;
    this.#lanes = SIGNAL_NAMES.map((signal) => new Lane(signal, options));
    this.#running = Promise.all(this.#lanes.map((lane) => lane.run(this.#stopping.signal))).then(() => {});
  }

  /** Rejects when a lane has failed: a defect of ours, after which nothing is sent any more. */
  get running(): Promise<void> {
    return this.#running;
  }

  /** Failures in a row of a signal's way to the Collector; 0 is healthy. */
  failures(signal: SignalName): number {
    return this.#lanes.find((lane) => lane.signal === signal)!.failures;
  }

  /** Sends what is queued until it is empty, the Collector does not take it, or the time is over. */
  async drain(graceMs: number): Promise<void> {
    const deadline = Date.now() + graceMs;
    for (;;) {
      // Asked for before the count, so that a settle between the two is not slept through.
      const settled = Promise.race(this.#lanes.map((lane) => lane.settled));
      const { records } = await this.#options.queue.stats();
      const remainingMs = deadline - Date.now();
      // While a breaker is open nothing of that signal moves; what is durable keeps, so waiting would only cost time.
      const stuck = this.#lanes.every((lane) => lane.failures > 0 || lane.idle) &&
        this.#lanes.some((lane) => lane.failures > 0);
      if (records === 0 || remainingMs <= 0 || stuck) return;
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([settled, new Promise<void>((resolve) => timer = setTimeout(resolve, remainingMs))]);
      clearTimeout(timer);
    }
  }

  /** Stops taking, gives up attempts under way after `graceMs`, and leaves what is not settled in the queue. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    const timer = setTimeout(() => this.#lanes.forEach((lane) => lane.giveUp()), graceMs);
    try {
      await this.#running;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What became of a piece. */
type Outcomes = Map<Piece, PartOutcome>;

/** Whether an endpoint reads all members of a gzip body: asked with a probe, and again after each lost connection. */
type MembersProof = "unknown" | "all" | "first_only";

class Lane {
  readonly signal: SignalName;
  readonly #options: ExporterOptions;
  readonly #breaker: Breaker;
  readonly #compression: Compression;
  readonly #client: CollectorClient;
  readonly #giveUp = new AbortController();
  readonly #walker = new Walker();
  #members: MembersProof = "unknown";
  #underWay = 0;
  #settled = Promise.withResolvers<void>();

  constructor(signal: SignalName, options: ExporterOptions) {
    this.signal = signal;
    this.#options = options;
    this.#compression = options.compression[signal];
    this.#client = options.clients[signal];
    this.#breaker = new Breaker(options.retry);
  }

  get failures(): number {
    return this.#breaker.failures;
  }

  get idle(): boolean {
    return this.#underWay === 0;
  }

  /** Resolves at the next settle. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  giveUp(): void {
    this.#giveUp.abort();
  }

  /** One taker, up to `consumers` requests under way. */
  async run(stopping: AbortSignal): Promise<void> {
    const limit: TakeLimit = {
      signal: this.signal,
      bytesMax: this.#options.batchBytesMax,
      inflatedBytesMax: MERGED_INFLATED_BYTES_MAX,
      recordsMax: RECORDS_MAX,
    };
    const sending = new Set<Promise<void>>();
    // An engine without a disk has its senders waiting for this answer: no breaker may hold them up.
    const guarded = this.#options.queue.capabilities.durable;
    while (!stopping.aborted) {
      const deliveries = await this.#options.queue.take(limit, stopping);
      if (deliveries.length === 0) continue;
      if (guarded && !await this.#breaker.admit(stopping)) {
        await settleAll(deliveries, () => ({ kind: "retry", cause: "the relay is stopping" }));
        break;
      }
      this.#underWay++;
      const sent = this.#send(deliveries).finally(() => {
        this.#underWay--;
        sending.delete(sent);
        this.#settled.resolve();
        this.#settled = Promise.withResolvers<void>();
      });
      sending.add(sent);
      if (sending.size >= this.#options.consumers) await Promise.race(sending);
    }
    await Promise.all(sending);
  }

  async #send(deliveries: readonly Delivery[]): Promise<void> {
    const pieces = deliveries.flatMap(({ record }) => piecesOf(record));
    const outcomes: Outcomes = new Map();
    try {
      await this.#deliver(pieces, outcomes);
    } catch (error) {
      // A defect of ours is no reason to lose a record: all that has no outcome is kept.
      this.#failed(
        { kind: "none", cause: `internal: ${messageOf(error)}`, timedOut: false, durationMs: 0 },
        pieces,
        outcomes,
      );
    }
    const byRecord = Map.groupBy(pieces, (piece) => piece.record);
    await Promise.all(deliveries.map((delivery) =>
      delivery.settle(
        byRecord.get(delivery.record)!.map((piece) =>
          outcomes.get(piece) ?? { kind: "retry", cause: "the relay is stopping" }
        ),
      )
    ));
  }

  async #deliver(pieces: readonly Piece[], outcomes: Outcomes): Promise<void> {
    if (pieces.length === 1 || this.#compression !== "passthrough") {
      await this.#deliverMerged(pieces, outcomes);
      return;
    }
    if (pieces[0]!.record.encoding === "gzip" && this.#members !== "all") {
      const answer = this.#members === "unknown" ? await this.#proveMembers() : undefined;
      if (answer !== undefined) {
        this.#failed(answer, pieces, outcomes);
        return;
      }
    }
    if (this.#members === "all" || pieces[0]!.record.encoding !== "gzip") {
      await this.#deliverMerged(pieces, outcomes);
      return;
    }
    for (const piece of pieces) {
      await this.#deliverMerged([piece], outcomes);
      // One that fails speaks for the rest: they would fail the same way, one after the other.
      if (outcomes.get(piece)?.kind === "retry") {
        for (const rest of pieces) {
          if (!outcomes.has(rest)) outcomes.set(rest, outcomes.get(piece)!);
        }
        return;
      }
    }
  }

  /**
   * Asks whether the endpoint reads every member: the first is an empty request, the second is malformed. 400 says that it read
   * the second; 2xx that it did not, and would have lost it behind a success.
   * @returns the answer when it says neither.
   */
  async #proveMembers(): Promise<Answer | undefined> {
    const probe = join([gzipMember(new Uint8Array(0)), gzipMember(MALFORMED)]);
    const answer = await this.#client.send(this.signal, probe, "gzip", this.#giveUp.signal);
    if (answer.kind === "none") return answer;
    switch (dispositionOf(answer.status)) {
      case "inspect":
        this.#members = "all";
        return undefined;
      case "delivered":
        this.#members = "first_only";
        this.#options.events.unmergeable(this.signal, this.#client.target(this.signal).url);
        return undefined;
      default:
        return answer;
    }
  }

  /** Sends pieces as one request; when the answer is about its records, halves it until the guilty one is found. */
  async #deliverMerged(pieces: readonly Piece[], outcomes: Outcomes): Promise<void> {
    const answer = await this.#post(compose(pieces, this.#compression), pieces);
    if (answer.kind === "answer") {
      const disposition = dispositionOf(answer.status);
      if (disposition === "delivered") {
        this.#delivered(answer, pieces, outcomes);
        return;
      }
      if (disposition === "inspect") {
        this.#succeeded();
        if (pieces.length === 1) {
          outcomes.set(pieces[0]!, await this.#condemn(pieces[0]!, answer));
          return;
        }
        const middle = Math.ceil(pieces.length / 2);
        await this.#deliverMerged(pieces.slice(0, middle), outcomes);
        await this.#deliverMerged(pieces.slice(middle), outcomes);
        return;
      }
    }
    this.#failed(answer, pieces, outcomes);
  }

  async #post(body: Body, pieces: readonly Piece[]): Promise<Answer> {
    const answer = await this.#client.send(this.signal, body.bytes, body.encoding, this.#giveUp.signal);
    if (answer.kind === "answer" && dispositionOf(answer.status) === "delivered") {
      this.#options.events.sent(this.signal, {
        items: itemsOf(pieces),
        requests: pieces.length,
        bytes: body.bytes.length,
        durationMs: answer.durationMs,
      });
    }
    return answer;
  }

  #delivered(answer: Answered, pieces: readonly Piece[], outcomes: Outcomes): void {
    this.#succeeded();
    const { partialSuccess } = answer;
    if (partialSuccess !== undefined) {
      this.#options.events.rejected(this.signal, partialSuccess.rejected, partialSuccess.message);
    }
    // Which of several requests the rejected items came from is not said; the sum per signal is what can be right.
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

  /** The answer was about this piece alone. An oversized or half-good one is cut at its resources, the guilty ones set aside. */
  async #condemn(piece: Piece, answer: Answered): Promise<PartOutcome> {
    const { record } = piece;
    const part = partOf(piece);
    const reason = answer.message || `the Collector answered ${answer.status}`;
    const whole: PartOutcome = { kind: "dead", reason, status: answer.status };
    const resources = record.mergeable ? splitResources(contentOf(record.encoding, piece.bytes)) : [];
    if (resources.length < 2) {
      this.#options.events.deadLettered(this.signal, part.items, part.sender, reason);
      return whole;
    }
    const guilty: Uint8Array[] = [];
    const unanswered = await this.#sift(resources, guilty);
    // Some were sent, some could not be: the part is tried again whole, and what was sent arrives twice.
    if (unanswered !== undefined) return this.#retry(unanswered);
    if (guilty.length === 0) return { kind: "delivered" };
    const content = join(guilty);
    const { items } = this.#walker.walk(this.signal, content);
    this.#options.events.deadLettered(this.signal, items, part.sender, reason);
    if (guilty.length === resources.length) return whole;
    return {
      ...whole,
      items,
      payload: record.encoding === "gzip" ? gzipMember(content) : content,
    };
  }

  /** Halves a run of resources until each is delivered or guilty. Returns the answer that stopped it, if one did. */
  async #sift(resources: readonly Uint8Array[], guilty: Uint8Array[]): Promise<Answer | undefined> {
    const middle = Math.ceil(resources.length / 2);
    for (const half of [resources.slice(0, middle), resources.slice(middle)]) {
      if (half.length === 0) continue;
      const body = encodeContent(join(half), this.#compression);
      const answer = await this.#client.send(this.signal, body.bytes, body.encoding, this.#giveUp.signal);
      if (answer.kind === "none") return answer;
      const disposition = dispositionOf(answer.status);
      if (disposition === "delivered") continue;
      if (disposition !== "inspect") return answer;
      if (half.length === 1) guilty.push(half[0]!);
      else {
        const unanswered = await this.#sift(half, guilty);
        if (unanswered !== undefined) return unanswered;
      }
    }
    return undefined;
  }

  #succeeded(): void {
    const { failures } = this.#breaker;
    this.#breaker.succeeded();
    if (failures > 0) this.#options.events.recovered(this.signal, failures);
  }

  #failed(answer: Answer, pieces: readonly Piece[], outcomes: Outcomes): void {
    const outcome = this.#retry(answer);
    for (const piece of pieces) {
      if (!outcomes.has(piece)) outcomes.set(piece, outcome);
    }
  }

  #retry(answer: Answer): PartOutcome {
    if (answer.kind === "none") this.#members = "unknown";
    const lasting = answer.kind === "answer" && dispositionOf(answer.status) === "hold";
    const fault = diagnose(
      answer.kind === "none"
        ? { text: answer.cause, timedOut: answer.timedOut }
        : { status: answer.status, text: answer.message },
    );
    const askedMs = answer.kind === "answer" ? answer.retryAfterMs : undefined;
    const retryMs = this.#breaker.failed(askedMs, lasting);
    const cause = answer.kind === "none" ? answer.cause : `${answer.status} ${answer.message}`.trim();
    this.#options.events.failed(this.signal, fault, { cause, lasting, retryMs });
    return { kind: "retry", afterMs: retryMs, cause: `${fault.what} (${cause})` };
  }
}

/** A request of one resource whose length overruns the body: no decoder takes it. */
const MALFORMED = new Uint8Array([0x0a, 0x7f]);

function partOf({ record, index }: Piece): QueuePart {
  return record.parts[index]!;
}
type QueuePart = Piece["record"]["parts"][number];

function itemsOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + partOf(piece).items, 0);
}

async function settleAll(deliveries: readonly Delivery[], outcome: () => PartOutcome): Promise<void> {
  await Promise.all(deliveries.map((delivery) => delivery.settle(delivery.record.parts.map(outcome))));
}
