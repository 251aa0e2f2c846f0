/**
 * Finds out who sends a request: static tokens, kept as SHA-256 digests in `tokens.yaml`.
 * @module
 */
import { hash, timingSafeEqual } from "node:crypto";
import { Buffer } from "node:buffer";
import { Refusal } from "../../errors.ts";
import { encodeResourceAttributes } from "../../otlp/rewrite/resource_attributes.ts";
import { SIGNAL_NAMES, type SignalName } from "../../signal.ts";
import { type HeaderFields, type Peer, soleValue } from "./peer.ts";
import type { Proof, Sender } from "./sender.ts";
import { limitsOf, type RevokedToken, type TokenEntry } from "./tokens_schema.ts";

/** Tells who sends a request, or refuses it with 401. */
export interface Authenticator {
  /** @param peer What the connection shows of the sender. @param request Its URL, absolute, with its query. */
  authenticate(
    headers: HeaderFields,
    peer?: Peer,
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

/** A token is 43 characters as made here; what is longer than this is no token and is not hashed. */
const TOKEN_CHARACTERS_MAX = 512;

/** The digest of a secret, in hex. */
export function digestOf(secret: string): string {
  return hash("sha256", secret);
}

/** How a sender with a static token is told to have proved itself: two tokens of one id are told apart. */
export function proofOf(digest: string): Proof {
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
    headers: HeaderFields,
    _peer?: Peer,
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
    const query = request?.url.indexOf("?") ?? -1;
    const token = query < 0 ? null : new URLSearchParams(request!.url.slice(query)).get("access_token");
    if (token === null) {
      throw unauthenticated("no token", undefined, { remedy: "set Authorization: Bearer TOKEN, or x-api-key" });
    }
    if (this.#verifiers.find((verifier) => verifier.claims(token))?.allowedInUrl === true) return token;
    throw unauthenticated("the URL may hold a minted token only", "invalid_request", {
      remedy: "set Authorization: Bearer TOKEN",
    });
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

function secretOf(headers: HeaderFields): string | undefined {
  const authorization = headers.get("authorization");
  if (authorization !== null) {
    const match = /^bearer +(\S+)$/i.exec(soleValue(authorization).trim());
    if (match === null) throw unauthenticated("Authorization is not of the form 'Bearer TOKEN'", "invalid_request");
    return match[1]!;
  }
  const apiKey = headers.get("x-api-key");
  return apiKey === null || apiKey === "" ? undefined : soleValue(apiKey);
}

/** 401 for a token that was good once: whose it is is known. */
export class FormerToken extends Refusal {
  readonly sender: Sender;
  readonly state: "expired" | "revoked";

  /** @param at Since when, in ms since the Unix epoch. */
  constructor(sender: Sender, state: "expired" | "revoked", at: number) {
    const { what, headers, kind } = unauthenticated(
      `the token of ${sender.id} ${state === "expired" ? "has expired" : "was revoked"}, at ${
        new Date(at).toISOString()
      }`,
      "invalid_token",
    );
    // By the token: its id is the operator's, and each one is another fault to mend.
    super("unauthenticated", what, { headers, kind });
    this.sender = sender;
    this.state = state;
  }
}

/**
 * 401 MUST carry WWW-Authenticate (RFC 9110, 15.5.2); the error codes are those of RFC 6750, 3.1.
 * @param options The log limits it by `kind`; by `what`, where that is a wording of ours alone.
 */
export function unauthenticated(
  what: string,
  error: string | undefined,
  { kind = what, remedy }: { readonly kind?: string; readonly remedy?: string } = {},
): Refusal {
  const challenge = `Bearer realm="edgeferry"${error === undefined ? "" : `, error="${error}"`}`;
  return new Refusal("unauthenticated", `Not authenticated: ${what}`, {
    remedy,
    headers: { "www-authenticate": challenge },
    kind,
  });
}
