/**
 * Who sends: static tokens, kept as SHA-256 digests in `tokens.yaml`.
 * @module
 */
import { hash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Buffer } from "node:buffer";
import { parse } from "@std/yaml";
import { z } from "zod";
import { parseDuration, parseSize } from "../config/units.ts";
import { ConfigError, messageOf, Refusal } from "../errors.ts";
import { type AttributeValue, encodeResourceAttributes } from "../otlp/resource_attributes.ts";
import { SIGNAL_NAMES, type SignalName } from "../otlp/signal.ts";
import type { Sender, SenderLimits } from "./sender.ts";

/** Tells who sends a request, or refuses it with 401. */
export interface Authenticator {
  /** @param incoming The request as `node:http` has it, where it came by that listener. */
  authenticate(
    headers: Headers,
    incoming?: IncomingMessage,
    request?: { readonly url: string },
  ): Sender | Promise<Sender>;
}

/** Knows tokens that carry their own proof: signed ones. */
export interface TokenVerifier {
  /** Whether its tokens may stand in a URL, for senders that can set no header (`sendBeacon`). */
  readonly allowedInUrl: boolean;
  /** Whether a token is one of its kind; what it says is not yet proved. */
  claims(token: string): boolean;
  /**
   * @returns a promise only where the signature has not been checked before.
   * @throws {Refusal} `unauthenticated`; `keys_unavailable` when that cannot be told now.
   */
  verify(token: string): Sender | Promise<Sender>;
}

/** The sender when there is no authentication (`receiver.auth.insecure`, loopback only). */
const ANONYMOUS: Sender = { id: "anonymous", proof: "none", signals: new Set(SIGNAL_NAMES) };

/** Lets everyone in. */
export const INSECURE: Authenticator = { authenticate: () => ANONYMOUS };

/** Who sends. */
export const TOKEN_ID = z.string().regex(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
  "is not an id: letters, digits, '.', '_' and '-', at most 63",
);
/** 32 to 258 bytes, in base64url. */
export const SIGNING_SECRET = /^[\w-]{43,344}$/;
const SHA256_HEX = /^[0-9a-f]{64}$/i;
/** A token is 43 characters as made here; what is longer than this is no token and is not hashed. */
const TOKEN_CHARACTERS_MAX = 512;

const rate = z.number().positive().max(1e12);
const size = z.union([z.string(), z.number()]).transform((value, context): number => {
  const bytes = parseSize(value);
  if (bytes !== undefined && bytes > 0) return bytes;
  context.addIssue({ code: "custom", message: "is not a size such as 512KiB" });
  return z.NEVER;
});

/** The limits of a sender, as they are written. */
export const LIMITS = z.strictObject({
  requests_per_second: rate.exactOptional(),
  items_per_second: rate.exactOptional(),
  bytes_per_second: size.exactOptional(),
  concurrent_requests: z.int().positive().max(1_000_000).exactOptional(),
  max_request_body_size: size.exactOptional(),
  queue_share: z.number().positive().max(1).exactOptional(),
});

/** Web origins, without a path. */
export const ORIGINS = z.array(
  z.string().max(300).regex(/^https?:\/\/[A-Za-z0-9.-]+(?::\d{1,5})?$/, "is not an origin such as https://app.example"),
).min(1).max(100);

/** A moment with its zone. YAML readers may make a Date of it. */
export const MOMENT = z.union([z.string(), z.date()]).transform((value, context): string => {
  const date = value instanceof Date
    ? value
    : /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|z|[+-]\d\d:\d\d)$/.test(value)
    ? new Date(value)
    : undefined;
  if (date !== undefined && !Number.isNaN(date.getTime())) return date.toISOString();
  context.addIssue({ code: "custom", message: "is not a time such as 2027-01-31T12:00:00Z" });
  return z.NEVER;
});

/** Attributes that each resource of a sender is given. */
export const RESOURCE_ATTRIBUTES = z.record(
  z.string().min(1).max(255),
  z.union([z.string().max(1_024), z.number(), z.boolean()]),
).refine((attributes) => {
  const { length } = Object.keys(attributes);
  return length > 0 && length <= 32;
}, "has from 1 to 32 attributes");

/** Revoked tokens that a file remembers at most. */
export const REVOKED_MAX = 1_000;

const TOKENS_FILE = z.strictObject({
  tokens: z.array(z.strictObject({
    id: TOKEN_ID,
    sha256: z.string().regex(SHA256_HEX, "is not a SHA-256 digest: 64 hex digits"),
    signals: z.array(z.enum(SIGNAL_NAMES)).min(1).default([...SIGNAL_NAMES]),
    limits: LIMITS.exactOptional(),
    origins: ORIGINS.exactOptional(),
    not_after: MOMENT.exactOptional(),
    resource_attributes: RESOURCE_ATTRIBUTES.exactOptional(),
  })).max(10_000).default([]),
  signing_keys: z.array(
    z.strictObject({
      id: TOKEN_ID,
      secret: z.string().regex(SIGNING_SECRET, "is not a secret: 32 to 258 bytes in base64url").exactOptional(),
      public_key: z.string().regex(/^[\w-]{43}$/, "is not an Ed25519 public key: 32 bytes in base64url")
        .exactOptional(),
      origins: ORIGINS,
      signals: z.array(z.enum(SIGNAL_NAMES)).min(1).exactOptional(),
      limits: LIMITS.exactOptional(),
      resource_attributes: RESOURCE_ATTRIBUTES.exactOptional(),
      max_age: z.string().default("15m"),
    }).transform((key, context) => {
      const ageMs = parseDuration(key.max_age);
      if ((key.secret === undefined) === (key.public_key === undefined)) {
        context.addIssue({ code: "custom", message: "needs a secret or a public_key, and not both" });
      }
      if (ageMs === undefined || ageMs < 1_000 || ageMs > 86_400_000) {
        context.addIssue({ code: "custom", message: "max_age is not a time such as 15m, from 1s to 24h" });
      }
      return { ...key, max_age_ms: ageMs ?? 0 };
    }),
  ).max(1_000).default([]),
  revoked: z.array(z.strictObject({
    id: TOKEN_ID,
    sha256: z.string().regex(SHA256_HEX, "is not a SHA-256 digest: 64 hex digits"),
    at: MOMENT,
  })).max(REVOKED_MAX).default([]),
});

/** A key with which an app's backend mints tokens for its pages, under the file's names. */
export interface SigningKey {
  readonly id: string;
  /** HS256, shared with the backend: 32 bytes or more, in base64url. */
  readonly secret?: string;
  /** EdDSA, whose private key is the backend's alone: 32 bytes in base64url. */
  readonly public_key?: string;
  /** The most that its tokens may be for. */
  readonly origins: readonly string[];
  readonly signals?: readonly SignalName[];
  readonly limits?: LimitsEntry;
  readonly resource_attributes?: Readonly<Record<string, AttributeValue>>;
  /** As written. */
  readonly max_age: string;
  /** The longest that a token may be good, in ms. */
  readonly max_age_ms: number;
}

/** What a tokens file says. */
export interface TokensFile {
  readonly tokens: readonly TokenEntry[];
  readonly signingKeys: readonly SigningKey[];
  readonly revoked: readonly RevokedToken[];
}

/** A token that is no longer good: who still uses it is to be found. */
export interface RevokedToken {
  readonly id: string;
  readonly sha256: string;
  /** When it was revoked: ISO 8601, in UTC. */
  readonly at: string;
}

/** The limits of a sender as a file has them: sizes are text or bytes. */
export type WrittenLimits = z.input<typeof LIMITS>;

/** The limits of a sender under the file's names; sizes in bytes. */
export type LimitsEntry = z.output<typeof LIMITS>;

/** One entry of `tokens.yaml`, under the file's names. */
export interface TokenEntry {
  readonly id: string;
  /** The digest of the secret, in hex. The secret itself is kept nowhere. */
  readonly sha256: string;
  readonly signals: readonly SignalName[];
  readonly limits?: LimitsEntry;
  /** The web origins that it may be used from; absent: anywhere. */
  readonly origins?: readonly string[];
  /** Refused from then on: ISO 8601, in UTC. */
  readonly not_after?: string;
  /** Set on each resource that is sent with it, whatever the sender says under the same keys. */
  readonly resource_attributes?: Readonly<Record<string, AttributeValue>>;
}

/** Limits as the relay uses them. */
export function limitsOf(entry: LimitsEntry): SenderLimits {
  return {
    ...(entry.requests_per_second === undefined ? {} : { requestsPerSecond: entry.requests_per_second }),
    ...(entry.items_per_second === undefined ? {} : { itemsPerSecond: entry.items_per_second }),
    ...(entry.bytes_per_second === undefined ? {} : { bytesPerSecond: entry.bytes_per_second }),
    ...(entry.concurrent_requests === undefined ? {} : { concurrentRequests: entry.concurrent_requests }),
    ...(entry.max_request_body_size === undefined ? {} : { bodyBytesMax: entry.max_request_body_size }),
    ...(entry.queue_share === undefined ? {} : { queueShare: entry.queue_share }),
  };
}

/**
 * Reads the text of a tokens file.
 * @param name How the file is called in errors.
 * @throws {ConfigError} when it is not one; no part of a digest is repeated.
 */
export function parseTokens(text: string, name: string): readonly TokenEntry[] {
  return parseTokensFile(text, name).tokens;
}

/** The same with the signing keys. @throws {ConfigError} */
export function parseTokensFile(text: string, name: string): TokensFile {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    // The lines after the first quote the file.
    throw new ConfigError(`Cannot read tokens file ${name}: ${messageOf(error).split("\n", 1)[0]}`);
  }
  const result = TOKENS_FILE.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw new ConfigError(`Cannot use tokens file ${name}: ${issue.path.join(".") || "the file"}: ${issue.message}`);
  }
  const idByDigest = new Map<string, string>();
  for (const { id, sha256 } of result.data.tokens) {
    const digest = sha256.toLowerCase();
    const other = idByDigest.get(digest);
    if (other === id) {
      throw new ConfigError(`Cannot use tokens file ${name}: token ${id} stands in it twice; remove one`);
    }
    if (other !== undefined) {
      throw new ConfigError(
        `Cannot use tokens file ${name}: tokens ${other} and ${id} have one digest, so nobody can tell who sends; make a new one`,
      );
    }
    idByDigest.set(digest, id);
  }
  const keyIds = result.data.signing_keys.map(({ id }) => id);
  const twice = keyIds.find((id, index) => keyIds.indexOf(id) !== index);
  if (twice !== undefined) {
    throw new ConfigError(
      `Cannot use tokens file ${name}: signing key ${twice} stands in it twice; give it another id`,
    );
  }
  const { tokens, signing_keys: signingKeys, revoked } = result.data;
  return { tokens, signingKeys, revoked };
}

/** The digest of a secret, in hex. */
export function digestOf(secret: string): string {
  return hash("sha256", secret);
}

/** How a sender with a static token is told to have proved itself: two tokens of one id are told apart. */
export function proofOf(digest: string): string {
  return `token ${digest.slice(0, 8).toLowerCase()}`;
}

interface Known {
  readonly digest: Buffer;
  readonly sender: Sender;
  /** ms since the Unix epoch; Infinity where it does not expire. */
  readonly notAfter: number;
  readonly revoked: boolean;
}

const NO_SIGNALS: ReadonlySet<SignalName> = new Set();

/** Secrets whose digest has been found remembered: a digest costs more than all else that is done to know a sender. */
const REMEMBERED_MAX = 1_000;

/** Static and signed tokens, by `Authorization: Bearer` (RFC 6750) or `x-api-key`. */
export class TokenAuthenticator implements Authenticator {
  /** By the digest's first 8 hex digits, so that a look-up tells nothing that helps to guess a secret. */
  #known = new Map<string, Known[]>();
  /**
   * Secrets that have been compared by digest before. A guess that shares a prefix with one finds nothing faster: V8 compares
   * two strings only where their seeded hashes are the same.
   */
  readonly #remembered = new Map<string, Known>();
  #origins: ReadonlySet<string> = new Set();
  readonly #now: () => number;
  readonly #verifiers: readonly TokenVerifier[];

  /**
   * @param now ms since the Unix epoch
   * @param verifiers Asked, in order, for what is no static token.
   */
  constructor(
    entries: readonly TokenEntry[],
    now: () => number = Date.now,
    verifiers: readonly TokenVerifier[] = [],
  ) {
    this.#now = now;
    this.#verifiers = verifiers;
    this.replace(entries);
  }

  /** The origins that tokens are bound to. */
  get origins(): ReadonlySet<string> {
    return this.#origins;
  }

  /**
   * Takes other tokens in place of those there were; the next request is judged by them.
   * @param revoked Refused as others are, but by name.
   */
  replace(entries: readonly TokenEntry[], revoked: readonly RevokedToken[] = []): void {
    const known = new Map<string, Known[]>();
    const add = (sha256: string, of: (digest: string) => Omit<Known, "digest">) => {
      const digest = sha256.toLowerCase();
      const bucket = known.get(digest.slice(0, 8)) ?? [];
      bucket.push({ digest: Buffer.from(digest, "hex"), ...of(digest) });
      known.set(digest.slice(0, 8), bucket);
    };
    for (const entry of entries) {
      add(entry.sha256, (digest) => ({
        sender: {
          id: entry.id,
          proof: proofOf(digest),
          signals: new Set(entry.signals),
          ...(entry.origins === undefined ? {} : { origins: entry.origins }),
          ...(entry.limits === undefined ? {} : { limits: limitsOf(entry.limits) }),
          ...(entry.resource_attributes === undefined
            ? {}
            : { resourceAttributes: encodeResourceAttributes(entry.resource_attributes) }),
        },
        notAfter: entry.not_after === undefined ? Infinity : Date.parse(entry.not_after),
        revoked: false,
      }));
    }
    // Behind the others: one that is among them again counts.
    for (const { id, sha256, at } of revoked) {
      add(sha256, (digest) => ({
        sender: { id, proof: proofOf(digest), signals: NO_SIGNALS },
        notAfter: Date.parse(at),
        revoked: true,
      }));
    }
    this.#known = known;
    this.#origins = new Set(entries.flatMap(({ origins }) => origins ?? []));
    this.#remembered.clear();
  }

  authenticate(
    headers: Headers,
    _incoming?: IncomingMessage,
    request?: { readonly url: string },
  ): Sender | Promise<Sender> {
    const secret = secretOf(headers) ?? this.#inUrl(request);
    const verifier = this.#verifiers.find((one) => one.claims(secret));
    if (verifier !== undefined) return verifier.verify(secret);
    const known = this.#find(secret);
    if (known === undefined) throw unauthenticated("the token is not known", "invalid_token");
    if (known.revoked) throw new FormerToken(known.sender, "revoked", known.notAfter);
    if (known.notAfter !== Infinity && this.#now() >= known.notAfter) {
      throw new FormerToken(known.sender, "expired", known.notAfter);
    }
    return known.sender;
  }

  /** A token in the URL (RFC 6750, 2.3) may be seen by others, so it has to be one that is soon of no use. */
  #inUrl(request: { readonly url: string } | undefined): string {
    const token = request?.url.includes("?") ? new URL(request.url).searchParams.get("access_token") : null;
    if (token === null) {
      throw unauthenticated("no token: set Authorization: Bearer TOKEN, or x-api-key", undefined);
    }
    if (this.#verifiers.find((verifier) => verifier.claims(token))?.allowedInUrl === true) return token;
    throw unauthenticated("the URL may hold a minted token only; set Authorization: Bearer TOKEN", "invalid_request");
  }

  #find(secret: string): Known | undefined {
    const remembered = this.#remembered.get(secret);
    if (remembered !== undefined) return remembered;
    if (secret.length > TOKEN_CHARACTERS_MAX) throw unauthenticated("the token is too long", "invalid_token");
    const text = digestOf(secret);
    const digest = Buffer.from(text, "hex");
    const known = this.#known.get(text.slice(0, 8))?.find((known) => timingSafeEqual(known.digest, digest));
    if (known === undefined) return undefined;
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    this.#remembered.set(secret, known);
    return known;
  }
}

function secretOf(headers: Headers): string | undefined {
  const authorization = headers.get("authorization");
  if (authorization !== null) {
    const match = /^bearer +(\S+)$/i.exec(authorization.trim());
    if (match === null) throw unauthenticated("Authorization is not of the form 'Bearer TOKEN'", "invalid_request");
    return match[1]!;
  }
  const apiKey = headers.get("x-api-key");
  return apiKey === null || apiKey === "" ? undefined : apiKey;
}

/** 401 for a token that was good once: whose it is is known. */
export class FormerToken extends Refusal {
  readonly sender: Sender;
  readonly state: "expired" | "revoked";

  /** @param at Since when, in ms since the Unix epoch. */
  constructor(sender: Sender, state: "expired" | "revoked", at: number) {
    const { message, headers } = unauthenticated(
      `the token of ${sender.id} ${state === "expired" ? "has expired" : "was revoked"}, at ${
        new Date(at).toISOString()
      }`,
      "invalid_token",
    );
    super("unauthenticated", message, { headers });
    this.sender = sender;
    this.state = state;
  }
}

/** 401 MUST carry WWW-Authenticate (RFC 9110, 15.5.2); the error codes are those of RFC 6750, 3.1. */
export function unauthenticated(what: string, error: string | undefined): Refusal {
  const challenge = `Bearer realm="edgeferry"${error === undefined ? "" : `, error="${error}"`}`;
  return new Refusal("unauthenticated", `Not authenticated: ${what}`, { headers: { "www-authenticate": challenge } });
}
