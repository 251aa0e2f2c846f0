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
}

/** What is searched, and how. */
export interface SearchOptions<Unit> {
  /** Two units in place of one; undefined for one that cannot be cut. */
  readonly split: (unit: Unit) => readonly [Unit, Unit] | undefined;
  readonly post: (unit: Unit) => Promise<Verdict>;
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
  { split, post, requestsMax }: SearchOptions<Unit>,
): Promise<SearchResult<Unit>> {
  const guilty: Found<Unit>[] = [];
  const open = [first];
  let failuresInARow = 0;
  let anyTaken = false;
  let requests = 0;
  const result = (
    uncut: readonly Found<Unit>[],
    unsent: readonly Unit[] = [],
    stopped?: Answer,
    down = false,
  ): SearchResult<Unit> => ({ guilty, uncut, unsent, stopped, down, anyTaken, requests });
  for (let found = open.pop(); found !== undefined; found = open.pop()) {
    if (requests >= requestsMax) return result([...open, found]);
    const parts = split(found.unit) ?? [found.unit];
    // What failed by itself is asked once more: failures come and go. What was refused by itself is guilty.
    if (parts.length === 1 && (found.verdict.kind === "refused" || !anyTaken)) {
      guilty.push(found);
      continue;
    }
    const notTaken: Found<Unit>[] = [];
    for (const [place, unit] of parts.entries()) {
      const verdict = await post(unit);
      requests++;
      if (verdict.kind === "stopped") {
        return result([...open, ...notTaken], parts.slice(place), verdict.answer);
      }
      failuresInARow = verdict.kind === "failing" ? failuresInARow + 1 : 0;
      if (verdict.kind === "taken") anyTaken = true;
      else if (verdict.kind === "failing" && failuresInARow >= FAILURES_IN_A_ROW_MAX) {
        return result([...open, ...notTaken], parts.slice(place), verdict.answer, true);
      } else if (parts.length === 1) guilty.push({ unit, verdict });
      else notTaken.push({ unit, verdict });
    }
    // The first half is gone into first.
    open.push(...notTaken.reverse());
  }
  return result([]);
}
