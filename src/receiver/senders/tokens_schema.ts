/**
 * What a tokens file may say: its schema, its types, and reading it.
 * @module
 */
import { z } from "zod";
import { shownName } from "../../config/shown.ts";
import { parseDuration, parseSize } from "../../config/units.ts";
import { parseYaml, place, type YamlFile } from "../../config/yaml.ts";
import { ConfigError } from "../../errors.ts";
import type { AttributeValue } from "../../otlp/rewrite/resource_attributes.ts";
import { SIGNAL_NAMES, type SignalName } from "../../signal.ts";
import type { SenderLimits } from "./sender.ts";

/** The sender. */
export const TOKEN_ID = z.string().regex(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
  "is not an id: letters, digits, '.', '_' and '-', at most 63",
);
/** 32 to 258 bytes, in base64url. */
export const SIGNING_SECRET = /^[\w-]{43,344}$/;
const SHA256_HEX = /^[0-9a-f]{64}$/i;

/** The name of a signal, in capitals or not. */
const SIGNAL = z.preprocess(
  (value) => typeof value === "string" ? value.trim().toLowerCase() : value,
  z.enum(SIGNAL_NAMES),
);

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
    signals: z.array(SIGNAL).min(1).default([...SIGNAL_NAMES]),
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
      signals: z.array(SIGNAL).min(1).exactOptional(),
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
  let file: YamlFile;
  try {
    file = parseYaml(text, name);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`Cannot read tokens file ${error.message}`);
  }
  const result = TOKENS_FILE.safeParse(file.value);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const path = issue.path.map((part) => shownName(String(part))).join(".") || "the file";
    // What the file says in a wrong place may be a secret.
    const message = issue.code === "unrecognized_keys"
      ? `there is no key ${issue.keys.map(shownName).join(", ")} here`
      : issue.message;
    throw new ConfigError({
      what: `Cannot use tokens file ${place(name, file.valueAt(issue.path))}`,
      state: `${path}: ${message}`,
    });
  }
  const idByDigest = new Map<string, string>();
  for (const { id, sha256 } of result.data.tokens) {
    const digest = sha256.toLowerCase();
    const other = idByDigest.get(digest);
    if (other === id) {
      throw new ConfigError({
        what: `Cannot use tokens file ${name}`,
        state: `token ${id} stands in it twice`,
        remedy: "remove one",
      });
    }
    if (other !== undefined) {
      throw new ConfigError(
        {
          what: `Cannot use tokens file ${name}`,
          state: `tokens ${other} and ${id} have one digest, so nobody can tell who sends`,
          remedy: "make a new one",
        },
      );
    }
    idByDigest.set(digest, id);
  }
  const keyIds = result.data.signing_keys.map(({ id }) => id);
  const twice = keyIds.find((id, index) => keyIds.indexOf(id) !== index);
  if (twice !== undefined) {
    throw new ConfigError(
      {
        what: `Cannot use tokens file ${name}`,
        state: `signing key ${twice} stands in it twice`,
        remedy: "give it another id",
      },
    );
  }
  const { tokens, signing_keys: signingKeys, revoked } = result.data;
  return { tokens, signingKeys, revoked };
}
