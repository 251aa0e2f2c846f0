/**
 * What is common to signed tokens: which are remembered, and how their faults are told.
 * @module
 */
import { errors } from "jose";
import { z } from "zod";
import { senderId } from "../../config/sender_id.ts";
import { Refusal } from "../../errors.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import { unauthenticated } from "./authenticator.ts";
import { LIMITS, limitsOf, ORIGINS } from "./tokens_schema.ts";
import type { Sender } from "./sender.ts";

/** A signed token is a kilobyte or so; what is longer is not looked at. */
export const SIGNED_CHARACTERS_MAX = 8_192;

/** What a token may say of its sender, under the names of `tokens.yaml`. */
export const PERMISSIONS = z.strictObject({
  signals: z.array(z.enum(SIGNAL_NAMES)).min(1).exactOptional(),
  origins: ORIGINS.exactOptional(),
  limits: LIMITS.exactOptional(),
});

/** A sender by what its token says. */
export function senderOf(
  name: string,
  proof: "key" | "jwt",
  { signals, origins, limits }: z.output<typeof PERMISSIONS>,
): Sender {
  return {
    id: senderId(proof, name),
    proof,
    signals: new Set(signals ?? SIGNAL_NAMES),
    ...(origins === undefined ? {} : { origins }),
    ...(limits === undefined ? {} : { limits: limitsOf(limits) }),
  };
}

/** The 401 for a claim with permissions that cannot be used. @param claim Its name. */
export function wrongPermissions(claim: string, error: z.ZodError): Refusal {
  const issue = error.issues[0]!;
  const where = [claim, ...issue.path].join(".");
  return unauthenticated(
    `the token's claim ${where} is not as it must be: ${issue.message}`,
    "invalid_token",
    { kind: "claims" },
  );
}

/** A token whose signature has been checked. */
export interface Verified {
  readonly sender: Sender;
  /** Refused from then on, in ms since the Unix epoch. */
  readonly notAfterMs: number;
}

/** The most tokens remembered; all are forgotten when there are more, and are checked again. */
const REMEMBERED_MAX = 2_000;

/** Tokens whose signature has been checked: that costs more than all else that is done for a request. */
export class VerifiedTokens {
  readonly #tokens = new Map<string, Verified>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  has(token: string): boolean {
    return this.#tokens.has(token);
  }

  /** @throws {Refusal} when it has expired since. */
  get(token: string): Sender | undefined {
    const verified = this.#tokens.get(token);
    if (verified === undefined) return undefined;
    if (this.#now() < verified.notAfterMs) return verified.sender;
    this.#tokens.delete(token);
    throw unauthenticated("the token has expired", "invalid_token");
  }

  add(token: string, verified: Verified): Sender {
    if (this.#tokens.size >= REMEMBERED_MAX) this.#tokens.clear();
    this.#tokens.set(token, verified);
    return verified.sender;
  }

  clear(): void {
    this.#tokens.clear();
  }
}

/** The 401 for what jose found wrong; anything else as it is. Nothing of a token that is not proved is repeated. */
export function refusalFor(error: unknown): unknown {
  if (error instanceof Refusal || !(error instanceof errors.JOSEError)) return error;
  return unauthenticated(faultOf(error), "invalid_token");
}

function faultOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return "the token has expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === "aud") return "the token is for another audience";
    if (error.claim === "iss") return "the token is of another issuer";
    if (error.claim === "nbf") return "the token is not valid yet";
    return `the token's claim ${error.claim} is ${error.reason === "missing" ? "missing" : "not as it must be"}`;
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return "the token's signature is wrong";
  if (error instanceof errors.JOSEAlgNotAllowed) return "the token's algorithm is not allowed";
  if (error instanceof errors.JWKSNoMatchingKey) return "the token's key is not known";
  return "the token is not a signed one that can be read";
}
