/**
 * Looking for what the Collector does not take: what was not taken as a whole is halved, both halves are sent, and the smallest that was not
 * taken is halved next, until the guilty units stand alone, the requests that it may cost are spent, or the endpoint takes nothing at all.
 * So the first guilty one is found soon, and whenever it ends, all that is left has been sent and not been taken.
 *
 * A refusal alone makes nobody guilty: the endpoint may refuse everything for a while. A unit is guilty once the endpoint took something
 * that was sent after its refusal, and then refuses it again; or where all that stood beside it in a request that was refused is taken. Where
 * the endpoint takes what it had refused, neither proves anything.
 * @module
 */
import type { Answer } from "./client/client.ts";
import type { Occasion } from "./evidence.ts";

/** The Collector took it. */
export interface Taken {
  readonly kind: "taken";
  /** Which of several endpoints did; undefined where there is one. */
  readonly by?: string;
  /** It kept no item of it, for there was none in it or all were rejected. A Collector does so without asking its back end: that proves nothing. */
  readonly empty?: boolean;
}

/** The Collector will never take it, if it is right: 400, 413, 422; or bytes that cannot be sent, which has no status. */
export interface Refused {
  readonly kind: "refused";
  readonly reason: string;
  readonly status?: number;
  /** What it answered, and when. */
  readonly answer?: Answer;
  readonly occasion?: Occasion;
}

/** No success, which may be because of what was sent: 5xx, a cut connection, no answer in time. Or the endpoint is down. */
export interface Failing {
  readonly kind: "failing";
  readonly answer: Answer;
}

/** What came of sending one unit. `stopped`: it says nothing of what was sent, and nothing more is to be sent now. */
export type Verdict =
  | Taken
  | Refused
  | Failing
  | { readonly kind: "stopped"; readonly answer: Answer };

/** Something that was not taken. */
export interface Found<Unit> {
  readonly unit: Unit;
  readonly verdict: Refused | Failing;
  /** It was not taken twice, and the endpoint took something between: it is guilty, and not the endpoint. */
  readonly confirmed?: boolean;
}

/** What is searched, and how. */
export interface SearchOptions<Unit> {
  /** Two units in place of one; undefined for one that cannot be cut. */
  readonly split: (unit: Unit) => readonly [Unit, Unit] | undefined;
  readonly post: (unit: Unit) => Promise<Verdict>;
  readonly requestsMax: number;
  /** Whether the second half is searched first, where neither was taken; never unless given. */
  readonly secondFirst?: () => boolean;
  /** Absent: whoever waits for the answer has the endpoint's word, and what is refused twice is guilty. */
  readonly proof?: Proof | undefined;
}

/** What proves that a refusal is about what was refused. */
export interface Proof {
  /** Whether the endpoint has taken data that was sent after a refusal. */
  readonly takenSince: (refused: Refused) => boolean;
  /** Whether the endpoint has taken what it had refused, so that it may refuse by chance. */
  readonly fickle: () => boolean;
  /** It has just done so. */
  readonly contradicted: () => void;
  /** Whether the endpoint takes an empty request; the answer where it does not. */
  readonly takesEmpty: () => Promise<Answer | undefined>;
  /** How many units that are refused by themselves end the search, where nothing at all is taken. */
  readonly unprovenMax: number;
}

/** What a search has found. What is in none of the four has been taken. */
export interface SearchResult<Unit> {
  /** Not taken, and not to be cut. */
  readonly guilty: readonly Found<Unit>[];
  /** Refused by themselves, and nothing was taken since: the endpoint may refuse everything. Or it refuses by chance. */
  readonly unproven: readonly Found<Unit>[];
  /** Not taken, and not cut further: the requests were spent, or the search was ended. */
  readonly uncut: readonly Found<Unit>[];
  /** Whether the requests were spent: what is not cut is guilty as a whole then. Where it ended before, there may be good ones in it. */
  readonly spent: boolean;
  /** Not sent by themselves. */
  readonly unsent: readonly Unit[];
  /** The answer that stopped it. */
  readonly stopped: Answer | undefined;
  /** It was stopped by failures in a row: the endpoint may be down. */
  readonly down: boolean;
  /** It was stopped by an endpoint that took nothing, and refuses an empty request, too. */
  readonly refusesEmpty: boolean;
  /** Whether anything was taken that had items: the endpoint takes data, so that what it does not take is guilty. */
  readonly anyTaken: boolean;
  readonly requests: number;
}

/** Failures in a row, with nothing taken or refused between them, after which the endpoint is down and not the units guilty. */
export const FAILURES_IN_A_ROW_MAX = 4;

interface Open<Unit> extends Found<Unit> {
  /** All that stood beside it in what was refused has been taken. */
  readonly isolated?: boolean;
}

/** @param first What was not taken as a whole. */
export function search<Unit>(first: Found<Unit>, options: SearchOptions<Unit>): Promise<SearchResult<Unit>> {
  return new Search(first, options).run();
}

/** Why a search ends before all is found. */
interface Early<Unit> {
  readonly unsent?: readonly Unit[];
  readonly stopped?: Answer | undefined;
  readonly down?: boolean;
}

/** One search. */
class Search<Unit> {
  readonly #options: SearchOptions<Unit>;
  readonly #proof: Proof | undefined;
  readonly #guilty: Found<Unit>[] = [];
  /** Refused, and refused again when they were sent once more. */
  readonly #repeated: Found<Unit>[] = [];
  readonly #unproven: Found<Unit>[] = [];
  /** Refused, and not answered for when they were sent once more: the refusal stands, and is all that is known. */
  readonly #interrupted: Found<Unit>[] = [];
  /** Not taken, and still to be looked into; the last one is next. */
  readonly #open: Open<Unit>[];
  #failuresInARow = 0;
  #taken = 0;
  #requests = 0;
  #asked = false;
  #refusesEmpty = false;

  constructor(first: Found<Unit>, options: SearchOptions<Unit>) {
    this.#options = options;
    this.#proof = options.proof;
    this.#open = [first];
  }

  async run(): Promise<SearchResult<Unit>> {
    for (;;) {
      const found = this.#provable() ?? this.#open.pop();
      if (found === undefined) break;
      if (this.#spent) return this.#result([found]);
      const early = await this.#lookInto(found);
      if (early !== undefined) return early;
    }
    return this.#result([], this.#unproven.length > 0 ? { stopped: await this.#refusesAll() } : {});
  }

  /** @returns the end of the search, where it ends with this one. */
  async #lookInto(found: Open<Unit>): Promise<SearchResult<Unit> | undefined> {
    const { unit, verdict } = found;
    const halves = this.#options.split(unit);
    if (halves !== undefined) return await this.#sendHalves(halves, verdict);
    if (found.confirmed === true || isDamaged(verdict) || (verdict.kind === "failing" && this.#taken === 0)) {
      this.#guilty.push(found);
      return undefined;
    }
    const proof = this.#proof;
    if (proof === undefined || verdict.kind === "failing") return await this.#sendAgain(found);
    if (!proof.fickle() && (found.isolated === true || proof.takenSince(verdict))) return await this.#sendAgain(found);
    this.#unproven.push(found);
    if (this.#taken > 0 || this.#unproven.length < proof.unprovenMax) return undefined;
    return this.#result([], { stopped: await this.#refusesAll() });
  }

  /** @param verdict On both together. */
  async #sendHalves(
    halves: readonly [Unit, Unit],
    verdict: Refused | Failing,
  ): Promise<SearchResult<Unit> | undefined> {
    const notTaken: Open<Unit>[] = [];
    const takenBy: (string | undefined)[] = [];
    for (const [place, unit] of halves.entries()) {
      const own = await this.#post(unit);
      const unsent = halves.slice(place);
      if (own.kind === "stopped" || (own.kind === "failing" && this.#isDown)) {
        return this.#result(notTaken, { unsent, stopped: own.answer, down: own.kind === "failing" });
      }
      if (own.kind !== "taken") notTaken.push({ unit, verdict: own });
      else if (own.empty !== true) takenBy.push(own.by);
    }
    const [rest] = notTaken;
    if (rest !== undefined && takenBy.length === 1) {
      // One half was taken, where both together were refused.
      const [by] = takenBy;
      this.#open.push({ ...rest, isolated: refusedBy(verdict, by) && refusedBy(rest.verdict, by) });
      return undefined;
    }
    // What was pushed last is searched first.
    this.#open.push(...(this.#options.secondFirst?.() === true ? notTaken : notTaken.reverse()));
    return undefined;
  }

  /** Of what cannot be cut, after the endpoint has shown that it takes something: failures come and go. */
  async #sendAgain(found: Found<Unit>): Promise<SearchResult<Unit> | undefined> {
    const { unit, verdict } = found;
    const own = await this.#post(unit);
    const noAnswer = own.kind === "stopped" || own.kind === "failing";
    const stands = noAnswer && verdict.kind === "refused" && this.#proof !== undefined;
    if (stands) this.#interrupted.push(found);
    const unsent = stands ? [] : [unit];
    if (own.kind === "stopped" || (own.kind === "failing" && this.#isDown)) {
      return this.#result([], { unsent, stopped: own.answer, down: own.kind === "failing" });
    }
    if (own.kind === "taken") {
      if (refusedBy(verdict, own.by)) this.#proof?.contradicted();
    } else if (!stands) {
      (own.kind === "refused" ? this.#repeated : this.#guilty).push({ unit, verdict: own, confirmed: true });
    }
    return undefined;
  }

  async #post(unit: Unit): Promise<Verdict> {
    const verdict = await this.#options.post(unit);
    this.#requests++;
    if (verdict.kind !== "stopped") this.#failuresInARow = verdict.kind === "failing" ? this.#failuresInARow + 1 : 0;
    if (verdict.kind === "taken" && verdict.empty !== true) this.#taken++;
    return verdict;
  }

  get #isDown(): boolean {
    return this.#failuresInARow >= FAILURES_IN_A_ROW_MAX;
  }

  get #spent(): boolean {
    return this.#requests >= this.#options.requestsMax;
  }

  /** Where nothing was taken: the answer of an endpoint that refuses an empty request, too. */
  async #refusesAll(): Promise<Answer | undefined> {
    if (this.#proof === undefined || this.#asked || this.#taken > 0) return undefined;
    this.#asked = true;
    this.#requests++;
    const answer = await this.#proof.takesEmpty();
    this.#refusesEmpty = answer !== undefined;
    return answer;
  }

  /** The first that was refused before something was taken: it can be proven now. Those behind it were refused later. */
  #provable(): Found<Unit> | undefined {
    const [oldest] = this.#unproven;
    const proof = this.#proof;
    if (oldest?.verdict.kind !== "refused" || proof?.takenSince(oldest.verdict) !== true || proof.fickle()) {
      return undefined;
    }
    return this.#unproven.shift();
  }

  /** @param last Not taken either, behind what is open. */
  #result(
    last: readonly Open<Unit>[],
    { unsent = [], stopped, down = false }: Early<Unit> = {},
  ): SearchResult<Unit> {
    const fickle = this.#proof?.fickle() === true;
    const spent = this.#spent;
    const isProven = (verdict: Refused | Failing) =>
      spent && verdict.kind === "refused" && !fickle && this.#proof?.takenSince(verdict) === true;
    const doubtful = [...this.#unproven, ...this.#interrupted];
    const repeated = this.#repeated;
    return {
      guilty: fickle ? this.#guilty : [...this.#guilty, ...repeated],
      unproven: fickle ? [...doubtful, ...repeated.map((each) => ({ ...each, confirmed: false }))] : doubtful,
      uncut: [...this.#open, ...last].map(({ unit, verdict, confirmed }) => ({
        unit,
        verdict,
        confirmed: confirmed === true || isProven(verdict),
      })),
      spent,
      unsent,
      stopped,
      down,
      refusesEmpty: this.#refusesEmpty,
      anyTaken: this.#taken > 0,
      requests: this.#requests,
    };
  }
}

/** Whether one endpoint refused it. */
function refusedBy(verdict: Refused | Failing, by: string | undefined): boolean {
  return verdict.kind === "refused" && verdict.occasion?.by === by;
}

/** It has not been refused by anybody: it cannot be sent. */
function isDamaged(verdict: Refused | Failing): boolean {
  return verdict.kind === "refused" && verdict.status === undefined;
}
