/**
 * What each token is used for: when, how much, from where, and what it was refused. So that one which nobody uses can be revoked,
 * and one that has leaked is seen.
 * @module
 */
import { z } from "zod";
import { nameOfSender, type ProofKind, senderId } from "../../config/sender_id.ts";
import type { RefusalCode } from "../../errors.ts";
import { kindOfProof, type Sender } from "./sender.ts";

/** Where a request came from. */
export interface From {
  /** The header Origin, which pages have. */
  readonly origin: string | null;
  /** The peer's address; of a proxy, where one stands before the relay. Asked for once a second for each token. */
  address(): string | undefined;
}

const count = z.number().nonnegative();
const moment = z.number().int().nonnegative();

/** One place that a token was used from. */
const PLACE = z.strictObject({ place: z.string().max(300), first_use: moment, last_use: moment });

/** Requests and items in the hour that runs, and in the one before. */
const HOUR = z.strictObject({
  start: moment,
  requests: count,
  items: count,
  previous_requests: count,
  previous_items: count,
});

const TOKEN = z.strictObject({
  id: z.string().max(300),
  proof: z.string().max(64),
  /** ms since the Unix epoch; absent: never answered 200. */
  last_use: moment.exactOptional(),
  /** The time of its last request, refused or not. */
  last_seen: moment,
  requests: count,
  items: count,
  hour: HOUR,
  /** Requests by the code of their refusal. */
  refused: z.record(z.string().max(64), count),
  places: z.array(PLACE).max(16),
});

/** The file of usage. */
export const USAGE = z.strictObject({
  /** Since when is counted, and until when, in ms since the Unix epoch. */
  since: moment,
  until: moment,
  tokens: z.array(TOKEN).max(20_000),
});

/** What is known of all tokens. */
export type UsageSnapshot = z.output<typeof USAGE>;
/** What is known of one token. */
export type TokenUsage = z.output<typeof TOKEN>;

/**
 * Senders that are counted for themselves, by the kind of their proof; those beyond count as one. An issuer of tokens or certificates
 * that makes ever new names fills neither the memory nor the place of other kinds.
 */
const SENDERS_MAX: Readonly<Record<ProofKind, number>> = {
  token: 10_000,
  key: 1_000,
  jwt: 1_000,
  certificate: 1_000,
  none: 1,
};
const OTHERS = "(others)";
/** Places remembered for each token; the one longest unused makes room. */
const PLACES_MAX = 10;
const PLACE_CHARACTERS_MAX = 253;
const HOUR_MS = 3_600_000;
/** A place is looked at so often, in ms: the address of a peer costs more than all else here. */
const PLACE_MS = 1_000;
/** What has not been seen for so long is forgotten, in ms. */
const FORGOTTEN_MS = 90 * 24 * HOUR_MS;

interface Kept {
  readonly usage: TokenUsage;
  placeAt: number;
  origin: string | null | undefined;
}

/** Counts. Nothing here waits or writes. */
export class Usage {
  readonly #now: () => number;
  readonly #tokens = new Map<string, Kept>();
  readonly #counts = new Map<ProofKind, number>();
  /** One look-up for each sender that an authenticator keeps. */
  readonly #bySender = new WeakMap<Sender, Kept>();
  readonly #since: number;
  #changed = false;

  /** @param before What a relay before this one has counted. @param now ms since the Unix epoch. */
  constructor(before?: UsageSnapshot, now: () => number = Date.now) {
    this.#now = now;
    this.#since = before?.since ?? now();
    for (const usage of before?.tokens ?? []) {
      if (usage.id === OTHERS || !this.#isFull(usage.proof)) this.#keep(structuredClone(usage));
    }
  }

  /** A request was answered 200. */
  accepted(sender: Sender, items: number, from: From): void {
    const now = this.#now();
    const kept = this.#of(sender, now);
    const { usage } = kept;
    usage.last_use = now;
    usage.requests++;
    usage.items += items;
    turn(usage.hour, now);
    usage.hour.requests++;
    usage.hour.items += items;
    this.#see(kept, from, now);
  }

  /** A request of a sender who had proved who it is was refused. */
  refused(sender: Sender, code: RefusalCode | "expired" | "revoked", from: From): void {
    const now = this.#now();
    const kept = this.#of(sender, now);
    kept.usage.refused[code] = (kept.usage.refused[code] ?? 0) + 1;
    this.#see(kept, from, now);
  }

  /** Whether anything has been counted since the last snapshot. */
  get changed(): boolean {
    return this.#changed;
  }

  /** What is known now, to be written. */
  snapshot(): UsageSnapshot {
    const now = this.#now();
    this.#changed = false;
    return {
      since: this.#since,
      until: now,
      tokens: [...this.#tokens.values()].map(({ usage }) => usage).filter((usage) =>
        usage.last_seen > now - FORGOTTEN_MS
      ),
    };
  }

  /** When each of these senders was last answered 200, by whichever of its tokens, in ms since the Unix epoch. */
  lastUses(ids: ReadonlySet<string>): ReadonlyMap<string, number> {
    const uses = new Map<string, number>();
    for (const { usage: { id: name, proof, last_use: at } } of this.#tokens.values()) {
      const id = senderId(kindOfProof(proof), name);
      if (at !== undefined && ids.has(id)) uses.set(id, Math.max(at, uses.get(id) ?? 0));
    }
    return uses;
  }

  #of(sender: Sender, now: number): Kept {
    let kept = this.#bySender.get(sender);
    if (kept === undefined) {
      const { proof } = sender;
      const id = nameOfSender(sender.id);
      kept = this.#tokens.get(keyOf(id, proof));
      if (kept === undefined) {
        const named = this.#isFull(proof) ? { id: OTHERS, proof: kindOfProof(proof) } : { id, proof };
        kept = this.#tokens.get(keyOf(named.id, named.proof)) ?? this.#keep({
          ...named,
          last_seen: now,
          requests: 0,
          items: 0,
          hour: { start: now - now % HOUR_MS, requests: 0, items: 0, previous_requests: 0, previous_items: 0 },
          refused: {},
          places: [],
        });
      }
      this.#bySender.set(sender, kept);
    }
    return kept;
  }

  #isFull(proof: string): boolean {
    const kind = kindOfProof(proof);
    return (this.#counts.get(kind) ?? 0) >= SENDERS_MAX[kind];
  }

  #keep(usage: TokenUsage): Kept {
    const kind = kindOfProof(usage.proof);
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    const kept: Kept = { usage, placeAt: -Infinity, origin: undefined };
    this.#tokens.set(keyOf(usage.id, usage.proof), kept);
    return kept;
  }

  #see(kept: Kept, { origin, address }: From, now: number): void {
    this.#changed = true;
    kept.usage.last_seen = now;
    if (kept.origin === origin && now - kept.placeAt < PLACE_MS) return;
    kept.placeAt = now;
    kept.origin = origin;
    const place = (origin ?? address() ?? "unknown").slice(0, PLACE_CHARACTERS_MAX);
    const { places } = kept.usage;
    const known = places.find((one) => one.place === place);
    if (known !== undefined) {
      known.last_use = now;
      return;
    }
    if (places.length >= PLACES_MAX) {
      const oldest = places.reduce((a, b) => a.last_use <= b.last_use ? a : b);
      places.splice(places.indexOf(oldest), 1);
    }
    places.push({ place, first_use: now, last_use: now });
  }
}

const keyOf = (id: string, proof: string) => `${proof} ${id}`;

function turn(hour: TokenUsage["hour"], now: number): void {
  const start = now - now % HOUR_MS;
  if (start === hour.start) return;
  const next = start === hour.start + HOUR_MS;
  hour.previous_requests = next ? hour.requests : 0;
  hour.previous_items = next ? hour.items : 0;
  hour.requests = hour.items = 0;
  hour.start = start;
}

/** Requests and items of the last hour, as far as two counts tell: a part of the hour before is taken as spread evenly. */
export function lastHour(usage: TokenUsage, now: number): { readonly requests: number; readonly items: number } {
  const hour = { ...usage.hour };
  turn(hour, now);
  const before = 1 - (now - hour.start) / HOUR_MS;
  return {
    requests: Math.round(hour.requests + hour.previous_requests * before),
    items: Math.round(hour.items + hour.previous_items * before),
  };
}
