/**
 * Short-lived tokens for web pages, minted by the app's own backend: JWT signed with a key that the tokens file names. A page
 * cannot keep a secret, so what it holds is bound to an origin, to signals and to a size, and is soon of no use.
 * @module
 */
import { Buffer } from "node:buffer";
import { decodeProtectedHeader, importJWK, jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import { parseSize } from "../../config/units.ts";
import { encodeResourceAttributes } from "../../otlp/rewrite/resource_attributes.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import { type TokenVerifier, unauthenticated } from "./authenticator.ts";
import { SIGNING_SECRET, type SigningKey } from "./tokens_schema.ts";
import { isCompact } from "./jwt.ts";
import type { Sender } from "./sender.ts";
import { refusalFor, senderOf, SIGNED_CHARACTERS_MAX, VerifiedTokens } from "./verified.ts";

/** The `typ` of a minted token's header, which tells it from an issuer's JWT. */
const MINTED_TYPE = "edgeferry";

/** What a minted token may claim: never more than its key has. */
const CLAIMS = z.object({
  exp: z.number(),
  origins: z.array(z.string()).exactOptional(),
  signals: z.array(z.string()).exactOptional(),
  max_request_body_size: z.union([z.number(), z.string()]).exactOptional(),
});

/** How far the backend's clock may differ, in ms. */
const CLOCK_TOLERANCE_MS = 5_000;

/** Knows the tokens of these keys. */
export class MintedVerifier implements TokenVerifier {
  readonly allowedInUrl = true;
  readonly #verified: VerifiedTokens;
  readonly #now: () => number;
  #keys: ReadonlyMap<string, SigningKey> = new Map();

  /** @param now ms since the Unix epoch */
  constructor(keys: readonly SigningKey[], now: () => number = Date.now) {
    this.#now = now;
    this.#verified = new VerifiedTokens(now);
    this.replace(keys);
  }

  /** Takes other keys in place of those there were; the next request is judged by them. */
  replace(keys: readonly SigningKey[]): void {
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#verified.clear();
  }

  claims(token: string): boolean {
    if (token.length > SIGNED_CHARACTERS_MAX || !isCompact(token)) return false;
    if (this.#verified.has(token)) return true;
    try {
      return decodeProtectedHeader(token).typ === MINTED_TYPE;
    } catch {
      return false;
    }
  }

  verify(token: string): Sender | Promise<Sender> {
    return this.#verified.get(token) ?? this.#verify(token);
  }

  async #verify(token: string): Promise<Sender> {
    try {
      const key = this.#keys.get(decodeProtectedHeader(token).kid ?? "");
      if (key === undefined) throw unauthenticated("the token's key is not known", "invalid_token");
      const now = this.#now();
      const { payload } = await jwtVerify(token, await verificationKey(key), {
        algorithms: [algorithmOf(key)],
        typ: MINTED_TYPE,
        clockTolerance: CLOCK_TOLERANCE_MS / 1000,
        requiredClaims: ["exp"],
        currentDate: new Date(now),
      });
      const claims = CLAIMS.safeParse(payload);
      if (!claims.success) throw unauthenticated("the token's claims are not as they must be", "invalid_token");
      const notAfterMs = claims.data.exp * 1000 + CLOCK_TOLERANCE_MS;
      if (notAfterMs > now + key.max_age_ms + 2 * CLOCK_TOLERANCE_MS) {
        throw unauthenticated("the token lives longer than its key allows", "invalid_token");
      }
      return this.#verified.add(token, { sender: narrowed(key, claims.data), notAfterMs });
    } catch (error) {
      throw refusalFor(error);
    }
  }
}

/** The key's sender, with no more than the token claims. */
function narrowed(key: SigningKey, claims: z.output<typeof CLAIMS>): Sender {
  const origins = key.origins.filter((origin) => claims.origins?.includes(origin) ?? true);
  const signals = (key.signals ?? SIGNAL_NAMES).filter((signal) => claims.signals?.includes(signal) ?? true);
  if (origins.length === 0 || signals.length === 0) {
    throw unauthenticated("the token claims an origin or a signal that its key does not have", "invalid_token");
  }
  const claimed = claims.max_request_body_size === undefined ? undefined : parseSize(claims.max_request_body_size);
  if (claims.max_request_body_size !== undefined && claimed === undefined) {
    throw unauthenticated("the token's claim max_request_body_size is no size", "invalid_token");
  }
  const size = Math.min(claimed ?? Infinity, key.limits?.max_request_body_size ?? Infinity);
  const limits = { ...key.limits, ...(size === Infinity ? {} : { max_request_body_size: size }) };
  return {
    ...senderOf(key.id, "key", { signals, origins, limits }),
    ...(key.resource_attributes === undefined
      ? {}
      : { resourceAttributes: encodeResourceAttributes(key.resource_attributes) }),
  };
}

/** What {@link mint} is told. */
export interface MintOptions {
  readonly keyId: string;
  /** HS256: the key's secret, in base64url. EdDSA: the private key as a JWK (RFC 8037). */
  readonly secret: string;
  readonly origins?: readonly string[];
  readonly signals?: readonly string[];
  readonly bodyBytesMax?: number;
  /** How long the token is good, in ms. */
  readonly ageMs: number;
}

/** Makes a token, as a backend does. @throws {TypeError} when the secret cannot be used. */
export async function mint(options: MintOptions, now: number = Date.now()): Promise<string> {
  const { keyId, secret, origins, signals, bodyBytesMax, ageMs } = options;
  const alg = secret.trimStart().startsWith("{") ? "EdDSA" : "HS256";
  // jose signs with a shorter one too, and every relay refuses what comes of it.
  if (alg === "HS256" && !SIGNING_SECRET.test(secret)) throw new TypeError("The secret is not one of a signing key");
  const key = alg === "EdDSA" ? await importJWK(JSON.parse(secret), alg) : Buffer.from(secret, "base64url");
  return await new SignJWT({
    ...(origins === undefined ? {} : { origins }),
    ...(signals === undefined ? {} : { signals }),
    ...(bodyBytesMax === undefined ? {} : { max_request_body_size: bodyBytesMax }),
  })
    .setProtectedHeader({ alg, kid: keyId, typ: MINTED_TYPE })
    .setExpirationTime(Math.floor((now + ageMs) / 1000))
    .sign(key);
}

const algorithmOf = (key: SigningKey): string => key.secret === undefined ? "EdDSA" : "HS256";

async function verificationKey(key: SigningKey): Promise<Uint8Array | CryptoKey> {
  if (key.secret !== undefined) return Buffer.from(key.secret, "base64url");
  const imported = await importJWK({ kty: "OKP", crv: "Ed25519", x: key.public_key ?? "" }, "EdDSA");
  return imported;
}
