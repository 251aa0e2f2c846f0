/**
 * What is done about requests that the Collector does not take because of what is in them: the guilty part is found, cut down to what
 * is wrong with it, and set aside, or left to wait alone. Nothing is condemned before the endpoint has shown that it takes data.
 * @module
 */
import { concatenate } from "../codec/bytes.ts";
import { gzipMember } from "../codec/gzip.ts";
import type { Fault } from "../diagnosis/faults.ts";
import { faultNamed } from "../diagnosis/faults.ts";
import { Walker } from "../otlp/wire.ts";
import type { Fragment, PartOutcome } from "../queue/queue.ts";
import type { SignalName } from "../signal.ts";
import { type Answer, causeOf } from "./client/client.ts";
import { halves } from "./cut.ts";
import type { Mark, Marks, Suspicion } from "./marks.ts";
import { contentOf, encodeContent, partOf, type Piece } from "./payload.ts";
import type { Recoder } from "./recode/recoder.ts";
import {
  type Failing,
  type Found,
  type Proof,
  type Refused,
  search,
  type SearchOptions,
  type SearchResult,
  type Verdict,
} from "./search.ts";
import type { Kept, Voyage } from "./shipment.ts";
import { type Cut, Suspects } from "./suspects.ts";
import { isRefusal, type Way } from "./way.ts";

/** What an inquest tells. */
export interface InquestEvents {
  /** Items that the Collector will never take were set aside. */
  deadLettered(signal: SignalName, items: number, sender: string, reason: string): void;
  /** The Collector fails on a sender's request by itself, and takes others: it waits alone, and nothing waits for it. */
  setApart(
    signal: SignalName,
    fault: Fault,
    detail: { items: number; sender: string; cause: string; failures: number; retryMs: number },
  ): void;
  /** The Collector refuses a sender's request by itself, and it is not known yet whether it takes others: it waits alone. */
  suspected(
    signal: SignalName,
    fault: Fault,
    detail: { items: number; sender: string; cause: string; refusals: number; retryMs: number },
  ): void;
  /** The search for what the Collector does not take lasts long, or has ended at its bound. */
  looking(signal: SignalName, detail: { requests: number; ms: number; bounded: boolean }): void;
}

/** Settings of an inquest. */
export interface InquestOptions {
  readonly way: Way;
  readonly marks: Marks;
  /** Whether the endpoint tells senders apart. */
  readonly bySender: boolean;
  /** Some of a sender's data was taken. */
  readonly took: (sender: string) => void;
  readonly recoder: Recoder;
  /** Searches under way at once. */
  readonly atOnceMax: number;
  /** How long a request that the Collector fails on waits alone, in ms: at first, and at most. */
  readonly apart: { readonly initialMs: number; readonly maxMs: number };
  /** The same for a request that it refuses, until it is known whether it takes others. */
  readonly suspected: { readonly initialMs: number; readonly maxMs: number };
  readonly events: InquestEvents;
  /** Sends pieces as one request; what is taken has its outcome then. */
  readonly post: (pieces: readonly Piece[], voyage: Voyage) => Promise<Verdict>;
  /** Opens the breaker. */
  readonly fail: (answer: Answer, voyage: Voyage) => Kept;
  /** A search has begun or ended. */
  readonly onChange: () => void;
}

/** Requests that finding the guilty parts of one batch may cost; what has not been cut down by then is looked at again later. */
const NARROWING_REQUESTS_MAX = 256;

/** Requests that cutting one part down may cost; what is left of it then is set aside whole. */
export const CUTTING_REQUESTS_MAX = 1_024;

/** The same while a sender waits for the answer. */
const CUTTING_NOW_REQUESTS_MAX = 64;

/** After how many ms pieces are taken again that no search had room for, or none finished; never later than after the longest backoff. */
const AGAIN_MS_MAX = 500;

/** How often a long search is reported, in ms. */
const TOLD_MS = 5_000;

/** Parts refused by themselves, with nothing taken since, after which a search ends: what is left is looked at again later. */
const UNPROVEN_MAX = 32;

export class Inquest {
  readonly #options: InquestOptions;
  readonly #suspects: Suspects;
  readonly #againMs: number;
  readonly #walker = new Walker();
  #atOnce = 0;

  constructor(options: InquestOptions) {
    this.#options = options;
    const { marks, way: { evidence }, suspected: wait, bySender } = options;
    this.#suspects = new Suspects({ marks, evidence, wait, bySender });
    this.#againMs = Math.min(AGAIN_MS_MAX, wait.maxMs);
  }

  /** Searches under way. */
  get atOnce(): number {
    return this.#atOnce;
  }

  /** Whether all of these have failed before, and the endpoint has taken something since. */
  proven(pieces: readonly Piece[]): boolean {
    const { marks, way: { evidence } } = this.#options;
    if (marks.none) return false;
    return pieces.every((piece) => {
      const mark = marks.of(piece);
      return mark !== undefined && evidence.takenSince({ sentBefore: mark.sentBefore }, partOf(piece).sender);
    });
  }

  /** They were in a request that failed: the endpoint is down, or one of them is guilty. */
  doubt(pieces: readonly Piece[]): void {
    for (const piece of pieces) this.#mark(piece, "doubted");
  }

  #mark(piece: Piece, kind: "doubted" | "refused"): void {
    const { marks, way: { evidence } } = this.#options;
    const failures = (marks.of(piece)?.failures ?? 0) + 1;
    marks.set(piece, { kind, sentBefore: evidence.sent, failures });
  }

  /** Pieces were not taken as one request. Returns why pieces without an outcome are kept, if there are any. */
  open(found: Found<readonly Piece[]>, voyage: Voyage): Promise<Kept | undefined> {
    return this.#inTurn(found, voyage, async () => {
      const { way } = this.#options;
      const [first] = found.unit;
      // It is known already that nothing is taken: one that stands alone tells no more.
      const unprovenMax = this.#suspects.everything(first!) ? 1 : UNPROVEN_MAX;
      // It failed before, and others were taken between.
      const known = { ...found, confirmed: found.verdict.kind === "failing" && this.proven(found.unit) };
      const result = await this.#narrow(
        known,
        NARROWING_REQUESTS_MAX,
        (unit) => this.#options.post(unit, voyage),
        this.#proofOf(first!, unprovenMax),
      );
      for (const { unit, verdict } of result.uncut) {
        for (const piece of unit) this.#mark(piece, verdict.kind === "refused" ? "refused" : "doubted");
      }
      this.doubt(result.unsent.flat());
      if (result.stopped !== undefined) {
        for (const { unit: [piece], verdict } of result.guilty) {
          this.#mark(piece!, verdict.kind === "refused" ? "refused" : "doubted");
        }
        for (const { unit: [piece], verdict } of result.unproven) {
          // One by itself learns no more by being sent as it was: where it is broken off each time it waits alone, too.
          const alone = result.refusesEmpty || found.unit.length === 1;
          if (alone) voyage.shipment.set(piece!, this.#suspect(piece!, verdict).outcome);
          else this.#mark(piece!, "refused");
        }
        return this.#options.fail(result.stopped, voyage);
      }
      for (const { unit } of result.uncut) {
        for (const piece of unit) voyage.shipment.set(piece, { kind: "retry", afterMs: this.#againMs, cause: LATER });
      }
      let held: Kept | undefined;
      for (const { unit: [piece], verdict } of result.unproven) {
        if (held === undefined) held = await this.#judgeDoubtful(piece!, verdict, voyage);
        else voyage.shipment.set(piece!, this.#suspect(piece!, verdict).outcome);
      }
      if (held === undefined) way.answers(voyage.permit);
      for (const { unit: [piece], verdict } of result.guilty) {
        const kept = await this.#judge(piece!, verdict, result.anyTaken, voyage);
        if (kept !== undefined) return kept;
      }
      return held;
    });
  }

  /** A piece that waits alone has waited long enough. */
  again(piece: Piece, mark: Mark, voyage: Voyage): Promise<Kept | undefined> {
    const { marks, post, fail, way } = this.#options;
    const room = () => voyage.shipment.set(piece, { kind: "retry", afterMs: this.#againMs, cause: LATER });
    return this.#withRoom(room, async () => {
      const { suspicion } = mark;
      // An endpoint that breaks off after each so many requests would never answer for what comes behind the whole.
      if (suspicion !== undefined && mark.interrupted === true) {
        const proven = this.#suspects.proven(piece, suspicion);
        if (proven || Math.random() < 0.5) return await this.#goOn(piece, suspicion, proven, voyage);
      }
      const verdict = await post([piece], voyage);
      if (verdict.kind === "taken") {
        const contradicts = suspicion !== undefined && suspicion.by === verdict.by && mark.changed !== true;
        if (contradicts) way.evidence.contradicted();
        return undefined;
      }
      if (verdict.kind === "refused") {
        if (suspicion !== undefined) return await this.#refusedAgain(piece, suspicion, verdict, voyage);
        way.answers(voyage.permit);
        marks.set(piece, { ...mark, kind: "refused" });
        voyage.shipment.set(piece, { kind: "retry", afterMs: this.#againMs, cause: LATER });
        return undefined;
      }
      if (verdict.kind === "stopped") return fail(verdict.answer, voyage);
      // It takes nothing else either, as far as is known.
      if (mark.kind === "suspected" && !this.proven([piece])) return fail(verdict.answer, voyage);
      // Whether or not others have been taken since: they tell whether the endpoint is down.
      this.#setApart(piece, verdict, voyage);
      return undefined;
    });
  }

  /**
   * The same while the senders wait for their answers. The Collector's refusal is the sender's answer, as if nothing stood between them: no
   * empty request is sent first.
   * @param post Undefined when there is no time left.
   */
  async openNow(
    found: Found<readonly Piece[]>,
    voyage: Voyage,
    post: (pieces: readonly Piece[]) => Promise<Verdict | undefined>,
  ): Promise<Kept | undefined> {
    const inTime = async (pieces: readonly Piece[]): Promise<Verdict> => await post(pieces) ?? NO_TIME;
    const known = { ...found, confirmed: true };
    // It answers, and what it says is the sender's to judge.
    this.#options.way.answers(voyage.permit);
    const result = await this.#narrow(known, NARROWING_REQUESTS_MAX, inTime, undefined);
    const { guilty, uncut, unsent, stopped, anyTaken } = result;
    let kept: Kept | undefined;
    for (const { unit: [piece], verdict } of guilty) {
      if (verdict.kind === "refused" && kept === undefined) {
        kept = await this.#judge(piece!, verdict, anyTaken, voyage, { requestsMax: CUTTING_NOW_REQUESTS_MAX });
      }
    }
    if (kept !== undefined) return kept;
    if (stopped !== undefined && stopped !== NO_TIME.answer) return this.#options.fail(stopped, voyage);
    const left = uncut.length > 0 || unsent.length > 0 || guilty.some(({ verdict }) => verdict.kind === "failing");
    return left ? { cause: NO_TIME.answer.cause } : undefined;
  }

  /** Finds room for a search, or leaves its pieces to be taken again. */
  #inTurn(
    { unit, verdict }: Found<readonly Piece[]>,
    voyage: Voyage,
    work: () => Promise<Kept | undefined>,
  ): Promise<Kept | undefined> {
    return this.#withRoom(() => {
      for (const piece of unit) {
        // What has failed and is proven guilty stays so.
        if (verdict.kind === "refused") this.#options.marks.set(piece, this.#waiting(piece));
        voyage.shipment.set(piece, { kind: "retry", afterMs: this.#againMs, cause: LATER });
      }
    }, work);
  }

  #waiting(piece: Piece): Mark {
    const { marks, way: { evidence } } = this.#options;
    const known = marks.of(piece);
    // What is known of it stays true of what is left.
    if (known?.suspicion !== undefined) return { ...known, dueAt: performance.now() + this.#againMs };
    return { failures: 0, sentBefore: evidence.sent, ...known, kind: "refused" };
  }

  /** What proves that a refusal is about the data, and not the endpoint. */
  #proofOf(piece: Piece, unprovenMax: number): Proof {
    const { way } = this.#options;
    const { sender } = partOf(piece);
    return {
      takenSince: ({ occasion }) => occasion !== undefined && way.evidence.takenSince(occasion, sender),
      fickle: () => way.evidence.fickle,
      contradicted: () => way.evidence.contradicted(),
      takesEmpty: () => way.refusesEmpty(sender),
      unprovenMax,
    };
  }

  /** A piece that waited alone, since it was refused by itself, was refused once more. */
  async #refusedAgain(
    piece: Piece,
    suspicion: Suspicion,
    verdict: Refused,
    voyage: Voyage,
  ): Promise<Kept | undefined> {
    const { way, fail } = this.#options;
    const guilty = this.#suspects.proven(piece, suspicion);
    if (!guilty) {
      const answer = await this.#refusesEmpty(piece, suspicion);
      if (answer !== undefined) {
        voyage.shipment.set(piece, this.#suspect(piece, verdict).outcome);
        if (!isRefusal(answer)) this.#interrupted(piece);
        return fail(answer, voyage);
      }
    }
    // Nobody sends anything else that could tell more: it is taken for guilty after all.
    if (guilty || this.#suspects.waited(piece, suspicion)) {
      way.answers(voyage.permit);
      return await this.#cut(piece, verdict, voyage, { final: !guilty || suspicion.vain });
    }
    const held = await this.#judgeDoubtful(piece, verdict, voyage);
    if (held === undefined) way.answers(voyage.permit);
    return held;
  }

  /** Where it has taken data since, an empty request tells nothing: some refuse those alone. */
  async #refusesEmpty(piece: Piece, suspicion: Suspicion): Promise<Answer | undefined> {
    const { way } = this.#options;
    const { sender } = partOf(piece);
    if (way.evidence.takenSince(suspicion, sender) || way.takenEmptySince(suspicion.sentBefore)) return undefined;
    return await way.refusesEmpty(sender);
  }

  #interrupted(piece: Piece): void {
    const { marks } = this.#options;
    const mark = marks.of(piece);
    if (mark !== undefined) marks.set(piece, { ...mark, interrupted: true });
  }

  /** The last look at a piece was broken off: this one begins in its middle. */
  async #goOn(piece: Piece, suspicion: Suspicion, guilty: boolean, voyage: Voyage): Promise<Kept | undefined> {
    const { fail } = this.#options;
    if (!guilty) {
      const answer = await this.#refusesEmpty(piece, suspicion);
      if (answer !== undefined) return fail(answer, voyage);
    }
    const waited = !guilty && this.#suspects.waited(piece, suspicion);
    const cutting = { proven: guilty || waited, final: guilty ? suspicion.vain : waited };
    return await this.#cut(piece, undefined, voyage, cutting);
  }

  /**
   * A piece was refused by itself, and it is not known whether others are taken. Where some of it is, that is known, and it is cut down;
   * otherwise it waits alone. Also where nothing seems to be taken at all: there may be something wrong with all that is sent, and something
   * good in each.
   */
  #judgeDoubtful(piece: Piece, verdict: Refused | Failing, voyage: Voyage): Promise<Kept | undefined> {
    return this.#cut(piece, verdict, voyage, { proven: false });
  }

  /**
   * A piece was refused by itself: it waits alone until it is known whether the endpoint takes others.
   * @param cut What came of cutting it down, where something did.
   * @param rest What is left of it.
   * @returns with `everything`, what an endpoint answered that takes nothing, as far as can be told.
   */
  #suspect(
    piece: Piece,
    verdict: Refused | Failing,
    cut?: Cut,
    rest?: readonly Uint8Array[],
  ): { readonly outcome: PartOutcome & { kind: "retry" }; readonly everything: Answer | undefined } {
    const { way, events } = this.#options;
    const refusal = verdict.kind === "refused" ? verdict : undefined;
    const occasion = refusal?.occasion ?? { sentBefore: way.evidence.sent };
    const { waitMs, refusals } = this.#suspects.refused(piece, occasion, cut);
    const fault = faultNamed("refusal_unproven");
    const cause = verdict.kind === "refused" ? verdict.reason : causeOf(verdict.answer);
    const outcome = { kind: "retry", afterMs: waitMs, cause: `${fault.what} (${cause})` } as const;
    const everything = this.#suspects.everything(piece) ? refusal?.answer : undefined;
    if (everything === undefined) {
      const { sender } = partOf(piece);
      const items = rest === undefined ? partOf(piece).items : this.#itemsOf(rest);
      events.suspected(way.signal, fault, { items, sender, cause, refusals, retryMs: Math.round(waitMs) });
    }
    return { outcome, everything };
  }

  #itemsOf(units: readonly Uint8Array[]): number {
    return this.#walker.walk(this.#options.way.signal, concatenate(units)).items;
  }

  async #withRoom(noRoom: () => void, work: () => Promise<Kept | undefined>): Promise<Kept | undefined> {
    const { atOnceMax, onChange } = this.#options;
    if (this.#atOnce >= atOnceMax) {
      noRoom();
      return undefined;
    }
    this.#atOnce++;
    onChange();
    try {
      return await work();
    } finally {
      this.#atOnce--;
      onChange();
    }
  }

  /** Halves pieces down to those that are not taken by themselves. */
  async #narrow(
    found: Found<readonly Piece[]>,
    requestsMax: number,
    post: (pieces: readonly Piece[]) => Promise<Verdict>,
    proof: Proof | undefined,
  ): Promise<SearchResult<readonly Piece[]>> {
    return await this.#search(found, {
      requestsMax,
      proof,
      split: (unit) => {
        const middle = Math.ceil(unit.length / 2);
        return unit.length < 2 ? undefined : [unit.slice(0, middle), unit.slice(middle)];
      },
      post,
    });
  }

  /** A search that is reported when it takes long. */
  async #search<Unit>(
    found: Found<Unit>,
    options: SearchOptions<Unit>,
  ): Promise<SearchResult<Unit>> {
    const { events, way } = this.#options;
    const started = performance.now();
    let told = started;
    let requests = 0;
    const tell = (bounded: boolean) => {
      told = performance.now();
      events.looking(way.signal, { requests, ms: Math.round(told - started), bounded });
    };
    const result = await search(found, {
      ...options,
      post: async (unit) => {
        const verdict = await options.post(unit);
        requests++;
        if (performance.now() - told >= TOLD_MS) tell(false);
        return verdict;
      },
    });
    if (result.requests >= options.requestsMax && result.stopped === undefined) tell(true);
    return result;
  }

  /** One piece was not taken by itself, and is guilty where it was refused. */
  async #judge(
    piece: Piece,
    verdict: Refused | Failing,
    othersTaken: boolean,
    voyage: Voyage,
    cutting: Cutting = {},
  ): Promise<Kept | undefined> {
    const { fail } = this.#options;
    if (verdict.kind === "failing") {
      if (othersTaken || this.proven([piece])) return await this.#cut(piece, verdict, voyage, cutting);
      this.doubt([piece]);
      return fail(verdict.answer, voyage);
    }
    // What cannot be sent cannot be cut either.
    if (verdict.status !== undefined) return await this.#cut(piece, verdict, voyage, cutting);
    this.#bury(piece, verdict, voyage);
    return undefined;
  }

  /**
   * A piece is guilty, or may be. It is cut down to what of it is, so that the rest is delivered.
   * @param verdict Of the whole; undefined where it begins with some of it.
   */
  async #cut(
    piece: Piece,
    verdict: Refused | Failing | undefined,
    voyage: Voyage,
    { requestsMax = CUTTING_REQUESTS_MAX, proven = true, final = false }: Cutting,
  ): Promise<Kept | undefined> {
    const { way, recoder, took } = this.#options;
    const { sender } = partOf(piece);
    // A sender that waits for the answer has the Collector's word.
    const waits = voyage.shipment.until([piece]) !== Infinity;
    let content: Uint8Array;
    try {
      content = contentOf([piece]);
    } catch {
      // Without its content it cannot be cut.
      content = new Uint8Array(0);
    }
    let rejected = 0;
    let message: string | undefined;
    // Where it may be the endpoint, one that is refused by itself tells enough. An empty request was sent before.
    const proof = proven && verdict !== undefined
      ? this.#proofOf(piece, Infinity)
      : { ...this.#proofOf(piece, 1), takesEmpty: () => Promise.resolve(undefined) };
    const split = (unit: Uint8Array) => piece.delivery.mergeable ? halves(way.signal, unit) : undefined;
    const options: SearchOptions<Uint8Array> = {
      requestsMax,
      // It may end early: at the first that is refused by itself, or at an answer to wait, which may come after each so many requests.
      // Each time by another way, so that what is good in it is found in the end.
      secondFirst: () => Math.random() < 0.5,
      proof: waits ? undefined : proof,
      split,
      post: async (unit) => {
        const leftMs = voyage.shipment.until([piece]) - performance.now();
        if (leftMs <= 0) return NO_TIME;
        const compression = await way.compression();
        if (typeof compression === "object") return { kind: "stopped", answer: compression };
        using body = await encodeContent(unit, compression, recoder);
        const { items } = this.#walker.walk(way.signal, unit);
        const timeoutMs = leftMs === Infinity ? {} : { timeoutMs: leftMs };
        const post = await way.post(body, {
          items,
          requests: 1,
          sender,
          permit: voyage.permit,
          ...timeoutMs,
        });
        if (post.kind === "taken") {
          if (post.empty !== true) took(sender);
          rejected += post.rejected;
          message ??= post.message;
        }
        return post;
      },
    };
    const known = { proven, certain: waits || final };
    if (verdict !== undefined) {
      const result = await this.#search({ unit: content, verdict, confirmed: proven }, options);
      return this.#conclude(piece, verdict, result, { rejected, message, ...known }, voyage);
    }
    const { unit, beside } = somewhereIn(content, split);
    const own = await options.post(unit);
    if (own.kind === "stopped" || own.kind === "failing") {
      if (own.kind === "failing" && this.proven([piece])) {
        this.#setApart(piece, own, voyage);
        return undefined;
      }
      return this.#options.fail(own.answer, voyage);
    }
    if (own.kind === "taken") {
      const result = { ...NOTHING_FOUND, unsent: beside, anyTaken: own.empty !== true };
      return this.#conclude(piece, undefined, result, { rejected, message, ...known }, voyage);
    }
    // Nothing of it stands alone yet: what stands for the whole is no proof of a part.
    const result = await this.#search({ unit, verdict: own, confirmed: proven && beside.length === 0 }, options);
    const all = { ...result, unsent: [...result.unsent, ...beside] };
    return this.#conclude(piece, own, all, { rejected, message, ...known }, voyage);
  }

  #conclude(
    piece: Piece,
    verdict: Refused | Failing | undefined,
    result: SearchResult<Uint8Array>,
    { rejected, message, proven, certain }: {
      readonly rejected: number;
      readonly message: string | undefined;
      /** It was known to be guilty before it was cut down. */
      readonly proven: boolean;
      /** What was refused is guilty without another proof. */
      readonly certain: boolean;
    },
    voyage: Voyage,
  ): Kept | undefined {
    const { way } = this.#options;
    const { guilty, unproven, uncut, spent, unsent, stopped, anyTaken } = result;
    // It fails as a whole and in each of its pieces: that is no news of the endpoint.
    if (verdict?.kind === "failing" && result.down && !anyTaken) {
      this.#setApart(piece, verdict, voyage);
      return undefined;
    }
    let kept = stopped === undefined || stopped === NO_TIME.answer ? undefined : this.#options.fail(stopped, voyage);
    const whole = stopped === undefined;
    const found = [...guilty, ...(whole || certain ? unproven : []), ...(whole ? uncut : [])];
    const refused = found.filter(({ verdict }) => verdict.kind === "refused");
    const dead = refused.filter((each) => each.confirmed === true || certain && (spent || !uncut.includes(each)));
    const doubtful = refused.filter((each) => !dead.includes(each));
    const failing = found.filter(({ verdict }) => verdict.kind === "failing");
    const rest = [
      ...[...failing, ...doubtful].map(({ unit }) => unit),
      ...(whole ? [] : [...(certain ? [] : unproven), ...uncut].map(({ unit }) => unit)),
      ...unsent,
    ];
    if (rest.length === 0) {
      if (dead.length === 0) {
        voyage.shipment.set(piece, { kind: "delivered", ...(message === undefined ? {} : { rejected, message }) });
      } else {
        const own = dead[0]!.verdict as Refused;
        this.#bury(piece, own, voyage, anyTaken ? { ...this.#fragment(piece, dead), rejected } : undefined);
      }
      return kept;
    }
    const some = anyTaken || dead.length > 0;
    const { outcome, everything } = this.#goesOn(piece, verdict, {
      refused: doubtful[0]?.verdict ?? (kept === undefined || certain ? undefined : unproven[0]?.verdict),
      failing: failing[0]?.verdict,
      some,
      proven,
      stopped: !whole,
      kept,
      rest,
    });
    if (everything !== undefined) kept = this.#options.fail(everything, voyage);
    if (some) {
      this.#changed(piece);
      const own = dead[0]?.verdict as Refused | undefined;
      const buried = own === undefined ? undefined : { ...this.#fragment(piece, dead), ...causeOfDeath(own) };
      if (buried !== undefined) {
        this.#options.events.deadLettered(way.signal, buried.items, partOf(piece).sender, buried.reason);
      }
      const remains = {
        rest: this.#fragment(piece, rest.map((unit) => ({ unit }))),
        ...(buried === undefined ? {} : { dead: buried }),
        rejected,
      };
      voyage.shipment.set(piece, { ...outcome, remains });
    } else {
      voyage.shipment.set(piece, outcome);
    }
    return kept;
  }

  /** Something is left of a piece that was looked into: when it is looked at again, and what is known of it then. */
  #goesOn(
    piece: Piece,
    verdict: Refused | Failing | undefined,
    { refused, failing, some, proven, stopped, kept, rest }: {
      /** Of some of it that was refused by itself. */
      readonly refused: Refused | Failing | undefined;
      readonly failing: Refused | Failing | undefined;
      /** Something of it was taken, or is dead. */
      readonly some: boolean;
      readonly proven: boolean;
      /** It was broken off; with why, unless a sender's time was over. */
      readonly stopped: boolean;
      readonly kept: Kept | undefined;
      readonly rest: readonly Uint8Array[];
    },
  ): { readonly outcome: PartOutcome & { kind: "retry" }; readonly everything?: Answer | undefined } {
    const { marks } = this.#options;
    const fails = failing ?? (verdict?.kind === "failing" && refused === undefined ? verdict : undefined);
    const wasRefused = verdict?.kind === "refused";
    if (!stopped && fails !== undefined && (some && refused === undefined || !wasRefused)) {
      return { outcome: this.#waitAlone(piece, fails as Failing, some ? rest : undefined) };
    }
    // What has been found stays so, however an endpoint that breaks off each time ends the look.
    if (refused !== undefined && !(stopped && some)) {
      const cut = some ? "some" : proven ? "nothing" : undefined;
      const { outcome, everything } = this.#suspect(piece, refused, cut, rest);
      return { outcome, everything: stopped ? undefined : everything };
    }
    const vain = wasRefused && !some && (stopped ? kept !== undefined : fails !== undefined);
    // It was refused once more, at least.
    const registered = vain && !proven ? this.#suspect(piece, verdict, undefined, rest).outcome : undefined;
    const goesOn = stopped || fails === undefined;
    if (registered === undefined && goesOn) marks.set(piece, this.#waiting(piece));
    const outcome = registered ??
      (goesOn
        ? { kind: "retry", afterMs: this.#againMs, cause: LATER, ...kept } as const
        : this.#waitAlone(piece, fails as Failing));
    if (vain) this.#interrupted(piece);
    return { outcome };
  }

  #changed(piece: Piece): void {
    const { marks } = this.#options;
    const mark = marks.of(piece);
    if (mark !== undefined) marks.set(piece, { ...mark, changed: true });
  }

  /** Some of a piece, as a request in the encoding of its record. */
  #fragment(piece: Piece, found: readonly { readonly unit: Uint8Array }[]): Fragment {
    const content = concatenate(found.map(({ unit }) => unit));
    return {
      payload: piece.delivery.encoding === "gzip" ? gzipMember(content) : content,
      items: this.#walker.walk(this.#options.way.signal, content).items,
      inflatedBytes: content.length,
    };
  }

  #setApart(piece: Piece, verdict: Failing, voyage: Voyage): void {
    voyage.shipment.set(piece, this.#waitAlone(piece, verdict));
  }

  /** The Collector fails on it by itself: it waits alone, longer each time. */
  #waitAlone(piece: Piece, { answer }: Failing, rest?: readonly Uint8Array[]): PartOutcome & { kind: "retry" } {
    const { marks, way, apart: { initialMs, maxMs }, events } = this.#options;
    const failures = (marks.of(piece)?.failures ?? 0) + 1;
    const backoffMs = Math.min(maxMs, initialMs * 2 ** Math.min(failures, 30));
    const retryMs = backoffMs / 2 + backoffMs / 2 * Math.random();
    const { suspicion, changed, interrupted } = marks.of(piece) ?? {};
    marks.set(piece, {
      kind: "apart",
      sentBefore: way.evidence.sent,
      failures,
      dueAt: performance.now() + retryMs,
      ...(suspicion === undefined ? {} : { suspicion }),
      ...(changed === undefined ? {} : { changed }),
      ...(interrupted === undefined ? {} : { interrupted }),
    });
    const fault = faultNamed("record_fails");
    const { sender } = partOf(piece);
    const items = rest === undefined ? partOf(piece).items : this.#itemsOf(rest);
    const cause = causeOf(answer);
    events.setApart(way.signal, fault, { items, sender, cause, failures, retryMs: Math.round(retryMs) });
    return { kind: "retry", afterMs: retryMs, cause: `${fault.what} (${cause})` };
  }

  #bury(
    piece: Piece,
    verdict: Refused,
    { shipment }: Voyage,
    guilty?: Fragment & { readonly rejected: number },
  ): void {
    const { sender, items } = partOf(piece);
    const some = guilty === undefined
      ? {}
      : { payload: guilty.payload, items: guilty.items, rejected: guilty.rejected };
    shipment.set(piece, { kind: "dead", ...causeOfDeath(verdict), ...some });
    this.#options.events.deadLettered(
      this.#options.way.signal,
      guilty?.items ?? items,
      sender,
      verdict.reason,
    );
  }
}

/** How one part is cut down. */
interface Cutting {
  readonly requestsMax?: number;
  /** It is known to be guilty; true unless given. */
  readonly proven?: boolean;
  /** Nothing more can be proven: what is refused is set aside. */
  readonly final?: boolean;
}

/** Nothing was looked into but what was taken. */
const NOTHING_FOUND = {
  guilty: [],
  unproven: [],
  uncut: [],
  spent: false,
  stopped: undefined,
  down: false,
  refusesEmpty: false,
  requests: 1,
} as const;

/** Some of a request, however small, and what stands beside it: another each time, so that none is never sent. */
function somewhereIn(
  content: Uint8Array,
  split: (unit: Uint8Array) => readonly [Uint8Array, Uint8Array] | undefined,
): { readonly unit: Uint8Array; readonly beside: readonly Uint8Array[] } {
  const beside: Uint8Array[] = [];
  let unit = content;
  for (let halves = split(unit); halves !== undefined; halves = split(unit)) {
    const [first, second] = halves;
    const takesFirst = Math.random() < 0.5;
    unit = takesFirst ? first : second;
    beside.push(takesFirst ? second : first);
    if (Math.random() < 0.3) break;
  }
  return { unit, beside };
}

const LATER = "What the Collector does not take of it is still to be found";

/** There is no time left for another request. */
const NO_TIME = {
  kind: "stopped",
  answer: {
    kind: "none",
    cause: "The Collector did not answer in time",
    timedOut: true,
    aborted: false,
    durationMs: 0,
  },
} as const;

function causeOfDeath({ reason, status }: Refused): { readonly reason: string; readonly status?: number } {
  return { reason, ...(status === undefined ? {} : { status }) };
}
