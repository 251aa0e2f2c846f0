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
export async function search<Unit>(
  first: Found<Unit>,
  { split, post, requestsMax, secondFirst = () => false, proof }: SearchOptions<Unit>,
): Promise<SearchResult<Unit>> {
  const guilty: Found<Unit>[] = [];
  /** Refused, and refused again when they were sent once more. */
  const repeated: Found<Unit>[] = [];
  const unproven: Found<Unit>[] = [];
  /** Refused, and not answered for when they were sent once more: the refusal stands, and is all that is known. */
  const interrupted: Found<Unit>[] = [];
  const open: Open<Unit>[] = [first];
  let failuresInARow = 0;
  let taken = 0;
  let requests = 0;
  let asked = false;
  let refusesEmpty = false;
  const result = (
    uncut: readonly Open<Unit>[],
    unsent: readonly Unit[] = [],
    stopped?: Answer,
    down = false,
  ): SearchResult<Unit> => {
    const fickle = proof?.fickle() === true;
    const spent = requests >= requestsMax;
    const isProven = (verdict: Refused | Failing) =>
      spent && verdict.kind === "refused" && !fickle && proof?.takenSince(verdict) === true;
    const told = uncut.map(({ unit, verdict, confirmed }) => ({
      unit,
      verdict,
      confirmed: confirmed === true || isProven(verdict),
    }));
    const doubtful = [...unproven, ...interrupted];
    const proven = { guilty: [...guilty, ...repeated], unproven: doubtful };
    const chance = { guilty, unproven: [...doubtful, ...repeated.map((each) => ({ ...each, confirmed: false }))] };
    const anyTaken = taken > 0;
    const found = fickle ? chance : proven;
    return { ...found, uncut: told, spent, unsent, stopped, down, refusesEmpty, anyTaken, requests };
  };
  /** Where nothing was taken: the answer of an endpoint that refuses an empty request, too. */
  const refusesAll = async (): Promise<Answer | undefined> => {
    if (proof === undefined || asked || taken > 0) return undefined;
    asked = true;
    requests++;
    const answer = await proof.takesEmpty();
    refusesEmpty = answer !== undefined;
    return answer;
  };
  /** The first that was refused before something was taken: it can be proven now. Those behind it were refused later. */
  const provable = (): Found<Unit> | undefined => {
    const [oldest] = unproven;
    if (oldest?.verdict.kind !== "refused" || proof?.takenSince(oldest.verdict) !== true || proof.fickle()) {
      return undefined;
    }
    return unproven.shift();
  };
  for (;;) {
    const found: Open<Unit> | undefined = provable() ?? open.pop();
    if (found === undefined) break;
    if (requests >= requestsMax) return result([...open, found]);
    const { unit, verdict } = found;
    const halves = split(unit);
    // A unit that cannot be cut is sent once more, after the endpoint has shown that it takes something: failures come and go.
    if (halves === undefined) {
      if (found.confirmed === true || isDamaged(verdict) || (verdict.kind === "failing" && taken === 0)) {
        guilty.push(found);
        continue;
      }
      const isProven = proof === undefined ||
        (!proof.fickle() && verdict.kind === "refused" && (found.isolated === true || proof.takenSince(verdict)));
      if (verdict.kind === "refused" && !isProven) {
        unproven.push(found);
        if (taken > 0 || unproven.length < proof.unprovenMax) continue;
        const answer = await refusesAll();
        return result(open, [], answer);
      }
    }
    const notTaken: Open<Unit>[] = [];
    const units = halves ?? [unit];
    const takenBy = new Map<number, string | undefined>();
    for (const [place, each] of units.entries()) {
      const own = await post(each);
      requests++;
      const stands = halves === undefined && verdict.kind === "refused" && proof !== undefined &&
        (own.kind === "stopped" || own.kind === "failing");
      if (stands) interrupted.push(found);
      const unsent = stands ? [] : units.slice(place);
      if (own.kind === "stopped") return result([...open, ...notTaken], unsent, own.answer);
      failuresInARow = own.kind === "failing" ? failuresInARow + 1 : 0;
      if (own.kind === "taken") {
        if (own.empty !== true) {
          taken++;
          takenBy.set(place, own.by);
        }
        if (halves === undefined && refusedBy(verdict, own.by)) proof?.contradicted();
      } else if (own.kind === "failing" && failuresInARow >= FAILURES_IN_A_ROW_MAX) {
        return result([...open, ...notTaken], unsent, own.answer, true);
      } else if (stands) {
        continue;
      } else if (halves === undefined) {
        (own.kind === "refused" ? repeated : guilty).push({ unit: each, verdict: own, confirmed: true });
      } else notTaken.push({ unit: each, verdict: own });
    }
    const [rest] = notTaken;
    // One half was taken, where both together were refused.
    if (rest !== undefined && takenBy.size === 1) {
      const [by] = takenBy.values();
      open.push({ ...rest, isolated: refusedBy(verdict, by) && refusedBy(rest.verdict, by) });
      continue;
    }
    // What was pushed last is searched first.
    open.push(...(secondFirst() ? notTaken : notTaken.reverse()));
  }
  const answer = unproven.length > 0 ? await refusesAll() : undefined;
  return result([], [], answer);
}

/** Whether one endpoint refused it. */
function refusedBy(verdict: Refused | Failing, by: string | undefined): boolean {
  return verdict.kind === "refused" && verdict.occasion?.by === by;
}

/** It has not been refused by anybody: it cannot be sent. */
function isDamaged(verdict: Refused | Failing): boolean {
  return verdict.kind === "refused" && verdict.status === undefined;
}
