/**
 * What `token usage` prints: each token of the file, used or not, and every other sender that has been seen.
 * @module
 */
import type { TokensFile } from "../receiver/senders/tokens_schema.ts";
import { proofOf } from "../receiver/senders/authenticator.ts";
import { lastHour, type TokenUsage, type UsageSnapshot } from "../receiver/senders/usage.ts";
import { table } from "./io.ts";

/** One token, or one sender by another proof. Times are ISO 8601, in UTC. */
export interface UsageRow {
  readonly id: string;
  /** `token` with the first digits of its SHA-256, `key`, `jwt`, `certificate` or `none`. */
  readonly proof: string;
  /** `expired`: after its `not_after`. `revoked`: by `token revoke`. `removed`: it is not in the tokens file any more. */
  readonly state: "valid" | "expired" | "revoked" | "removed";
  /** null: never, as far as it has been counted. */
  readonly last_use: string | null;
  /** Answered 200, since it has been counted. */
  readonly requests: number;
  readonly items: number;
  readonly last_hour: { readonly requests: number; readonly items: number };
  /** Refused requests, by reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** Origins of pages, addresses of other senders; the last ones. */
  readonly from: readonly { readonly place: string; readonly first_use: string; readonly last_use: string }[];
}

/** Every row, those in the file first. @param now ms since the Unix epoch */
export function usageRows(file: TokensFile, usage: UsageSnapshot | undefined, now: number): UsageRow[] {
  const seen = new Map((usage?.tokens ?? []).map((one) => [`${one.proof} ${one.id}`, one]));
  const take = (proof: string, id: string): TokenUsage | undefined => {
    const one = seen.get(`${proof} ${id}`);
    seen.delete(`${proof} ${id}`);
    return one;
  };
  return [
    ...file.tokens.map(({ id, sha256, not_after: end }) => {
      const proof = proofOf(sha256);
      const state = end !== undefined && Date.parse(end) <= now ? "expired" : "valid";
      return rowOf(id, proof, state, take(proof, id), now);
    }),
    ...file.signingKeys.map(({ id }) => rowOf(id, "key", "valid", take("key", id), now)),
    // Revoked ones as far as they have been seen.
    ...file.revoked.map(({ id, sha256 }) => ({ id, proof: proofOf(sha256) }))
      .filter(({ id, proof }) => seen.has(`${proof} ${id}`))
      .map(({ id, proof }) => rowOf(id, proof, "revoked", take(proof, id), now)),
    // Tokens that are gone; JWT and certificates, which stand in no file.
    ...[...seen.values()].map((one) =>
      rowOf(one.id, one.proof, /^(token|key)\b/.test(one.proof) ? "removed" : "valid", one, now)
    ),
  ];
}

function rowOf(
  id: string,
  proof: string,
  state: UsageRow["state"],
  usage: TokenUsage | undefined,
  now: number,
): UsageRow {
  return {
    id,
    proof,
    state,
    last_use: usage?.last_use === undefined ? null : time(usage.last_use),
    requests: usage?.requests ?? 0,
    items: usage?.items ?? 0,
    last_hour: usage === undefined ? { requests: 0, items: 0 } : lastHour(usage, now),
    refused: usage?.refused ?? {},
    from: (usage?.places ?? []).toSorted((a, b) => b.last_use - a.last_use).map(({ place, first_use, last_use }) => ({
      place,
      first_use: time(first_use),
      last_use: time(last_use),
    })),
  };
}

/** The places shown for a token in the table. */
const PLACES_SHOWN = 3;

/** The rows as lines of a table, of `width` characters where one is given. */
export function describeUsage(rows: readonly UsageRow[], width?: number): string[] {
  return table([
    ["id", "proof", "last use", "requests", "items", "in the last hour", "refused", "from"],
    ...rows.map(({ id, proof, state, last_use, requests, items, last_hour, refused, from }) => [
      id,
      state === "valid" ? proof : `${proof}, ${state}`,
      last_use?.replace(/\.\d+Z$/, "Z") ?? "never",
      String(requests),
      String(items),
      String(last_hour.requests),
      Object.entries(refused).map(([reason, count]) => `${reason} ${count}`).join(", ") || "-",
      placesOf(from.map(({ place }) => place)),
    ]),
  ], width);
}

function placesOf(places: readonly string[]): string {
  // An origin is the sender's to choose: control characters have no business on a terminal.
  // deno-lint-ignore no-control-regex
  const shown = places.slice(0, PLACES_SHOWN).join(", ").replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ") || "-";
  return places.length > PLACES_SHOWN ? `${shown} and ${places.length - PLACES_SHOWN} more` : shown;
}

const time = (ms: number): string => new Date(ms).toISOString();
