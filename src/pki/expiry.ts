/**
 * How long certificates last, and from when on that is worth a word.
 * @module
 */
import { type CertificateFacts, daysLeft, lengthOf } from "./certificate.ts";
import type { IdentityFacts } from "./identity.ts";

/**
 * How near to its end a certificate may come, in ms. For a short-lived certificate, a part of its
 * lifetime counts instead: a third and a tenth.
 */
export interface ExpiryLimits {
  /** Worth a warning. */
  readonly warningMs: number;
  /** A person is needed. */
  readonly errorMs: number;
}

/** What a certificate is to the relay. */
export type ExpiryRole = keyof typeof ROLES;

/** In words. `ours`: in files of the relay's; others are renewed elsewhere. */
const ROLES = {
  client: { what: "client certificate", ours: true, remedy: "renew it (certs rotate)" },
  intermediate: { what: "intermediate certificate", ours: true, remedy: "renew it where it was issued" },
  ca: { what: "CA certificate", ours: true, remedy: "change the CA in two steps (certs rotate --ca)" },
  receiver: { what: "receiver's certificate", ours: true, remedy: "renew it (certs rotate)" },
  receiver_client_ca: {
    what: "receiver's client CA certificate",
    ours: true,
    remedy: "change the CA in two steps (certs rotate --ca)",
  },
  database_client: { what: "client certificate for the database", ours: true, remedy: "renew it where it was issued" },
  database_ca: {
    what: "database's CA certificate",
    ours: true,
    remedy: "change the CA in two steps: both in one file first",
  },
  collector: { what: "Collector's certificate", ours: false, remedy: "renew it on the Collector's side" },
} as const;

/** From when on `certs` takes a certificate for one near its end, in ms. */
const NEAR_MS = 30 * 86_400_000;

/** One certificate and its end. */
export interface Expiry {
  readonly role: ExpiryRole;
  /** The relay is not ready because of ours only. */
  readonly ours: boolean;
  readonly subject: string;
  readonly fingerprintSha256: string;
  readonly validTo: Date;
  /** Whole days; negative once it has ended. */
  readonly daysLeft: number;
  /** ms; negative once it has ended. */
  readonly msLeft: number;
  readonly level: ExpiryLevel;
}

export type ExpiryLevel = "ok" | "warning" | "error";

type Lifetime = Pick<CertificateFacts, "validFrom" | "validTo">;

/** How near to its end a certificate is. */
export function expiryLevel({ validFrom, validTo }: Lifetime, limits: ExpiryLimits, now: Date): ExpiryLevel {
  const lifetimeMs = validTo.getTime() - validFrom.getTime();
  const leftMs = validTo.getTime() - now.getTime();
  if (leftMs <= Math.min(limits.errorMs, lifetimeMs / 10)) return "error";
  return leftMs <= Math.min(limits.warningMs, lifetimeMs / 3) ? "warning" : "ok";
}

/** Whether it is time to renew a certificate, where nobody says how long before its end. */
export function isNearItsEnd(certificate: Lifetime, now: Date): boolean {
  return expiryLevel(certificate, { warningMs: NEAR_MS, errorMs: 0 }, now) !== "ok";
}

/** The end of one certificate. */
export function expiryOf(role: ExpiryRole, certificate: CertificateFacts, limits: ExpiryLimits, now: Date): Expiry {
  const { subject, fingerprintSha256, validTo } = certificate;
  return {
    role,
    ours: ROLES[role].ours,
    subject,
    fingerprintSha256,
    validTo,
    daysLeft: daysLeft(validTo, now),
    msLeft: validTo.getTime() - now.getTime(),
    level: expiryLevel(certificate, limits, now),
  };
}

/**
 * The end of each certificate of an identity: its own, its intermediates, the CAs.
 * @param roles What its own certificate and its CAs are; the exporter's unless given.
 */
export function expiriesOf(
  facts: Pick<IdentityFacts, "certificate" | "intermediates" | "authorities">,
  limits: ExpiryLimits,
  now: Date,
  roles: { readonly own: ExpiryRole; readonly ca: ExpiryRole } = { own: "client", ca: "ca" },
): Expiry[] {
  const of = (role: ExpiryRole, certificate: CertificateFacts) => expiryOf(role, certificate, limits, now);
  const authorities = facts.authorities.map((each) => of(roles.ca, each));
  // An old CA that ends beside others is a normal rotation: trust lasts as long as one of them does.
  const lasting = authorities.some(({ level }) => level !== "error");
  return [
    of(roles.own, facts.certificate),
    ...facts.intermediates.map((each) => of("intermediate", each)),
    ...authorities.map((each): Expiry => each.level === "error" && lasting ? { ...each, level: "warning" } : each),
  ];
}

/** A sentence without a period: `The client certificate CN=client-app ends in 12 days, at 2030-01-02T03:04:05Z`. */
export function expiryText({ role, subject, msLeft, validTo }: Expiry): string {
  const when = validTo.toISOString().replace(/\.\d+Z$/, "Z");
  const state = msLeft < 0 ? `ended ${lengthOf(-msLeft)} ago` : `ends in ${lengthOf(msLeft)}`;
  return `The ${ROLES[role].what} ${subject || "without a name"} ${state}, at ${when}`;
}

/** What is to be done. */
export function expiryRemedy({ role, ours }: Pick<Expiry, "role" | "ours">): string {
  const { remedy } = ROLES[role];
  return ours ? `${remedy}; changed files are taken up by themselves` : remedy;
}
