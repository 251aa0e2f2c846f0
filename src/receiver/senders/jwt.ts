/**
 * JWT of an issuer (RFC 7519), whose keys are fetched from its JWKS. The keys stay in use while the host that serves them is
 * down; what needs a key that is not there then is told 503, not 401, since its token may well be good.
 * @module
 */
import { createRemoteJWKSet, customFetch, decodeJwt, errors, type JWTHeaderParameters, jwtVerify } from "jose";
import { messageOf, Refusal } from "../../errors.ts";
import { whenAborted } from "../../within.ts";
import { type TokenVerifier, unauthenticated } from "./authenticator.ts";
import type { Sender } from "./sender.ts";
import {
  PERMISSIONS,
  refusalFor,
  senderOf,
  SIGNED_CHARACTERS_MAX,
  VerifiedTokens,
  wrongPermissions,
} from "./verified.ts";

/** What an issuer's tokens are held to. */
export interface JwtOptions {
  readonly issuer: string;
  readonly audience: string;
  readonly jwksUrl: string;
  /** How far the clocks may differ, in ms. */
  readonly clockToleranceMs: number;
  /** How often the keys are fetched anew, in ms: a key that its issuer has withdrawn counts for so long. */
  readonly refreshMs: number;
  /** The claim that names the sender. */
  readonly senderClaim: string;
  /** The claim, an object, with `signals`, `origins` and `limits` as in `tokens.yaml`. */
  readonly permissionsClaim: string;
  /** Hears once when the keys can no longer be fetched, and once when they can again. */
  readonly onKeys: (state: "failed" | "recovered", cause?: string) => void;
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** ms since the Unix epoch. */
  readonly now?: () => number;
}

/** Asymmetric ones: with a secret shared with the issuer the relay could make its own senders' tokens. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
/** The shortest time between two fetches, in ms: tokens that name keys of no issuer cannot make more of them. */
const FETCH_INTERVAL_MS = 1_000;
const FETCH_MS_MAX = 5_000;
/** What may name a sender: visible ASCII. */
const SENDER_ID = /^[\x21-\x7e]{1,255}$/;

export class JwtVerifier implements TokenVerifier, AsyncDisposable {
  readonly allowedInUrl = false;
  readonly #options: JwtOptions;
  readonly #now: () => number;
  readonly #keys: ReturnType<typeof createRemoteJWKSet>;
  readonly #verified: VerifiedTokens;
  #fetchedAt = -Infinity;
  #fetching: Promise<void> | undefined;
  #failed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #disposed = new AbortController();

  constructor(options: JwtOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#verified = new VerifiedTokens(this.#now);
    const { fetch: fetchWith = fetch } = options;
    // Kept until others have been fetched, however old; when that is done is decided here.
    this.#keys = createRemoteJWKSet(new URL(options.jwksUrl), {
      cacheMaxAge: Infinity,
      cooldownDuration: Infinity,
      timeoutDuration: FETCH_MS_MAX,
      [customFetch]: (url, init) =>
        fetchWith(String(url), { ...init, signal: AbortSignal.any([this.#disposed.signal, init.signal]) }),
    });
  }

  /** Fetches the keys, and again from time to time. Never rejects: an issuer that is down keeps no relay from starting. */
  async start(): Promise<void> {
    await this.#fetch().catch(() => {});
    this.#schedule();
  }

  claims(token: string): boolean {
    if (token.length > SIGNED_CHARACTERS_MAX) return false;
    return isCompact(token);
  }

  verify(token: string): Sender | Promise<Sender> {
    return this.#verified.get(token) ?? this.#verify(token);
  }

  async #verify(token: string): Promise<Sender> {
    const { issuer, audience, clockToleranceMs, senderClaim, permissionsClaim } = this.#options;
    try {
      // Before any key is fetched for it.
      if (decodeJwt(token).iss !== issuer) throw unauthenticated("the token is of another issuer", "invalid_token");
      const { payload } = await jwtVerify(token, (header) => this.#keyOf(header), {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: clockToleranceMs / 1000,
        requiredClaims: ["exp", senderClaim],
        currentDate: new Date(this.#now()),
      });
      const id = payload[senderClaim];
      if (typeof id !== "string" || !SENDER_ID.test(id)) {
        throw unauthenticated(`the token's claim ${senderClaim} is no name of a sender`, "invalid_token");
      }
      const permissions = PERMISSIONS.safeParse(payload[permissionsClaim] ?? {});
      if (!permissions.success) throw wrongPermissions(permissionsClaim, permissions.error);
      const notAfterMs = (payload.exp ?? 0) * 1000 + clockToleranceMs;
      return this.#verified.add(token, { sender: senderOf(id, "jwt", permissions.data), notAfterMs });
    } catch (error) {
      throw refusalFor(error);
    }
  }

  async #keyOf(header: JWTHeaderParameters): Promise<CryptoKey> {
    if (this.#keys.jwks() !== undefined) {
      try {
        return await this.#keys(header);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      }
    }
    // A key that has come with a rotation, perhaps.
    try {
      await this.#fetch();
    } catch (error) {
      throw new Refusal("keys_unavailable", "The keys of the token's issuer cannot be fetched now", {
        remedy: "retry",
        retryAfterS: 2,
        cause: error,
      });
    }
    return await this.#keys(header);
  }

  /** One fetch at a time, begun a second after the last one at the earliest. */
  #fetch(): Promise<void> {
    return this.#fetching ??= this.#fetchOnce().finally(() => this.#fetching = undefined);
  }

  async #fetchOnce(): Promise<void> {
    const waitMs = Math.min(FETCH_INTERVAL_MS, this.#fetchedAt + FETCH_INTERVAL_MS - performance.now());
    if (waitMs > 0) await pause(waitMs, this.#disposed.signal);
    this.#fetchedAt = performance.now();
    try {
      await this.#keys.reload();
      // What a withdrawn key has signed is not remembered.
      this.#verified.clear();
      if (this.#failed) this.#options.onKeys("recovered");
      this.#failed = false;
    } catch (error) {
      if (!this.#failed && !this.#disposed.signal.aborted) this.#options.onKeys("failed", messageOf(error));
      this.#failed = true;
      throw error;
    }
  }

  #schedule(): void {
    if (this.#disposed.signal.aborted) return;
    this.#timer = setTimeout(() => void this.start(), this.#options.refreshMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    clearTimeout(this.#timer);
    await this.#fetching?.catch(() => {});
  }
}

/** Three parts of base64url, as JWS in its compact form has (RFC 7515, 7.1); the last is empty where nothing is signed. */
export function isCompact(token: string): boolean {
  return /^eyJ[\w-]+\.[\w-]*\.[\w-]*$/.test(token);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      goOn();
      resolve();
    }, ms);
    const goOn = whenAborted(signal, () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
