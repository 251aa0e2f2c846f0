/**
 * Who sends: static tokens, kept as SHA-256 digests in `tokens.yaml`.
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { Buffer } from "node:buffer";
import { parse } from "@std/yaml";
import { z } from "zod";
import { ConfigError, messageOf, Refusal } from "../errors.ts";
import { SIGNAL_NAMES, type SignalName } from "../otlp/signal.ts";

/** A sender that has proved who it is. */
export interface Sender {
  /** Its id: on its parts in the queue, in metrics, in dead letters. */
  readonly id: string;
  /** The signals that it may send. */
  readonly signals: ReadonlySet<SignalName>;
}

/** Tells who sends a request, or refuses it with 401. */
export interface Authenticator {
  authenticate(headers: Headers): Sender;
}

/** The sender when there is no authentication (`receiver.auth.insecure`, loopback only). */
const ANONYMOUS: Sender = { id: "anonymous", signals: new Set(SIGNAL_NAMES) };

/** Lets everyone in. */
export const INSECURE: Authenticator = { authenticate: () => ANONYMOUS };

const TOKEN_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const SHA256_HEX = /^[0-9a-f]{64}$/i;
/** A token is 43 characters as made here; what is longer than this is no token and is not hashed. */
const TOKEN_CHARACTERS_MAX = 512;

const TOKENS_FILE = z.strictObject({
  tokens: z.array(z.strictObject({
    id: z.string().regex(TOKEN_ID, "is not a token id: letters, digits, '.', '_' and '-', at most 63"),
    sha256: z.string().regex(SHA256_HEX, "is not a SHA-256 digest: 64 hex digits"),
    signals: z.array(z.enum(SIGNAL_NAMES)).min(1).default([...SIGNAL_NAMES]),
  })).max(10_000),
});

/** One entry of `tokens.yaml`. */
export interface TokenEntry {
  readonly id: string;
  /** The digest of the secret, in hex. The secret itself is kept nowhere. */
  readonly sha256: string;
  readonly signals: readonly SignalName[];
}

/**
 * Reads the text of a tokens file.
 * @param name How the file is called in errors.
 * @throws {ConfigError} when it is not one; no part of a digest is repeated.
 */
export function parseTokens(text: string, name: string): TokenEntry[] {
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
  return result.data.tokens;
}

/** The digest of a secret, in hex. */
export function digestOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

interface Known {
  readonly digest: Buffer;
  readonly sender: Sender;
}

/** Static tokens, by `Authorization: Bearer` (RFC 6750) or `x-api-key`. */
export class TokenAuthenticator implements Authenticator {
  /** By the digest's first 8 hex digits, so that a look-up tells nothing that helps to guess a secret. */
  readonly #known = new Map<string, Known[]>();

  constructor(entries: readonly TokenEntry[]) {
    for (const entry of entries) {
      const digest = entry.sha256.toLowerCase();
      const bucket = this.#known.get(digest.slice(0, 8)) ?? [];
      bucket.push({
        digest: Buffer.from(digest, "hex"),
        sender: { id: entry.id, signals: new Set(entry.signals) },
      });
      this.#known.set(digest.slice(0, 8), bucket);
    }
  }

  authenticate(headers: Headers): Sender {
    const secret = secretOf(headers);
    if (secret.length > TOKEN_CHARACTERS_MAX) throw unauthenticated("the token is too long", "invalid_token");
    const digest = createHash("sha256").update(secret).digest();
    for (const known of this.#known.get(digest.toString("hex", 0, 4)) ?? []) {
      if (timingSafeEqual(known.digest, digest)) return known.sender;
    }
    throw unauthenticated("the token is not known", "invalid_token");
  }
}

function secretOf(headers: Headers): string {
  const authorization = headers.get("authorization");
  if (authorization !== null) {
    const match = /^bearer +(\S+)$/i.exec(authorization.trim());
    if (match === null) throw unauthenticated("Authorization is not of the form 'Bearer TOKEN'", "invalid_request");
    return match[1]!;
  }
  const apiKey = headers.get("x-api-key");
  if (apiKey !== null && apiKey !== "") return apiKey;
  throw unauthenticated("no token: set Authorization: Bearer TOKEN, or x-api-key", undefined);
}

/** 401 MUST carry WWW-Authenticate (RFC 9110, 15.5.2); the error codes are those of RFC 6750, 3.1. */
function unauthenticated(what: string, error: string | undefined): Refusal {
  const challenge = `Bearer realm="edgeferry"${error === undefined ? "" : `, error="${error}"`}`;
  return new Refusal("unauthenticated", `Not authenticated: ${what}`, { headers: { "www-authenticate": challenge } });
}

/** Refuses with 403 a signal that the sender may not send. */
export function authorize(sender: Sender, signal: SignalName): void {
  if (!sender.signals.has(signal)) {
    throw new Refusal(
      "forbidden",
      `Token ${sender.id} may not send ${signal}; it may send ${[...sender.signals].join(", ")}`,
    );
  }
}
