/**
 * Looking for what the Collector does not take: what was not taken as a whole is halved, both halves are sent, and the smallest that was not
 * taken is halved next, until the guilty units stand alone, the requests that it may cost are spent, or the endpoint takes nothing at all.
 * So the first guilty one is found soon, and whenever it ends, all that is left has been sent and not been taken.
 * @module
 */
import type { Answer } from "./client.ts";

/** The Collector will never take it: 400, 413, 422, or bytes that cannot be sent. */
export interface Refused {
  readonly kind: "refused";
  readonly reason: string;
  readonly status?: number;
}

/** No success, which may be because of what was sent: 5xx, a cut connection, no answer in time. Or the endpoint is down. */
export interface Failing {
  readonly kind: "failing";
  readonly answer: Answer;
}

/** What came of sending one unit. `stopped`: it says nothing of what was sent, and nothing more is to be sent now. */
export type Verdict =
  | { readonly kind: "taken" }
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
  /** Whether the endpoint takes an empty request; the answer where it does not. */
  readonly takesEmpty: () => Promise<Answer | undefined>;
  readonly requestsMax: number;
}

/** What a search has found. What is in none of the three has been taken. */
export interface SearchResult<Unit> {
  /** Not taken, and not to be cut. */
  readonly guilty: readonly Found<Unit>[];
  /** Not taken, and not cut further: the requests were spent, or the search was stopped. */
  readonly uncut: readonly Found<Unit>[];
  /** Not sent by themselves. */
  readonly unsent: readonly Unit[];
  /** The answer that stopped it. */
  readonly stopped: Answer | undefined;
  /** It was stopped by failures in a row: the endpoint may be down. */
  readonly down: boolean;
  /** Whether anything was taken: the endpoint takes data, so that what it does not take is guilty. */
  readonly anyTaken: boolean;
  readonly requests: number;
}

/** Failures in a row, with nothing taken or refused between them, after which the endpoint is down and not the units guilty. */
export const FAILURES_IN_A_ROW_MAX = 4;

/** @param first What was not taken as a whole. */
export async function search<Unit>(
  first: Found<Unit>,
  { split, post, takesEmpty, requestsMax }: SearchOptions<Unit>,
): Promise<SearchResult<Unit>> {
  const guilty: Found<Unit>[] = [];
  // What was not taken, and how much had been taken before it.
  const open = [{ ...first, takenBefore: 0 }];
  let failuresInARow = 0;
  let taken = 0;
  let requests = 0;
  const result = (
    uncut: readonly Found<Unit>[],
    unsent: readonly Unit[] = [],
    stopped?: Answer,
    down = false,
  ): SearchResult<Unit> => ({ guilty, uncut, unsent, stopped, down, anyTaken: taken > 0, requests });
  for (let found = open.pop(); found !== undefined; found = open.pop()) {
    if (requests >= requestsMax) return result([...open, found]);
    const halves = split(found.unit);
    // A unit that cannot be cut is sent once more, after the endpoint has shown that it takes something: failures come and go, and an endpoint
    // may refuse everything for a while.
    if (halves === undefined) {
      const sound = found.confirmed === true || isDamaged(found.verdict);
      if (sound || (found.verdict.kind === "failing" && taken === 0)) {
        guilty.push(found);
        continue;
      }
      if (found.verdict.kind === "refused" && taken === found.takenBefore) {
        const answer = await takesEmpty();
        requests++;
        if (answer !== undefined) return result([...open, found], [], answer);
      }
    }
    const notTaken: typeof open = [];
    const units = halves ?? [found.unit];
    for (const [place, unit] of units.entries()) {
      const verdict = await post(unit);
      requests++;
      if (verdict.kind === "stopped") {
        return result([...open, ...notTaken], units.slice(place), verdict.answer);
      }
      failuresInARow = verdict.kind === "failing" ? failuresInARow + 1 : 0;
      if (verdict.kind === "taken") taken++;
      else if (verdict.kind === "failing" && failuresInARow >= FAILURES_IN_A_ROW_MAX) {
        return result([...open, ...notTaken], units.slice(place), verdict.answer, true);
      } else if (halves === undefined) guilty.push({ unit, verdict, confirmed: true });
      else notTaken.push({ unit, verdict, takenBefore: taken });
    }
    // The first half is gone into first.
    open.push(...notTaken.reverse());
  }
  return result([]);
}

/** It has not been refused by anybody: it cannot be sent. */
function isDamaged(verdict: Refused | Failing): boolean {
  return verdict.kind === "refused" && verdict.status === undefined;
}
