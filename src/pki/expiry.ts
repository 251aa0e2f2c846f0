/**
 * How long certificates last, and from when on that is worth a word.
 * @module
 */
import { type CertificateFacts, daysLeft } from "./certificate.ts";
import type { IdentityFacts } from "./identity.ts";

/** How near to its end a certificate may come, in ms. */
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
  client: { what: "client certificate", ours: true },
  intermediate: { what: "intermediate certificate", ours: true },
  ca: { what: "CA certificate", ours: true },
  receiver: { what: "receiver's certificate", ours: true },
  receiver_client_ca: { what: "receiver's client CA certificate", ours: true },
  collector: { what: "Collector's certificate", ours: false },
} as const;

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
  readonly level: "ok" | "warning" | "error";
}

/** The end of one certificate. */
export function expiryOf(role: ExpiryRole, certificate: CertificateFacts, limits: ExpiryLimits, now: Date): Expiry {
  const { subject, fingerprintSha256, validTo } = certificate;
  const leftMs = validTo.getTime() - now.getTime();
  return {
    role,
    ours: ROLES[role].ours,
    subject,
    fingerprintSha256,
    validTo,
    daysLeft: daysLeft(validTo, now),
    level: leftMs <= limits.errorMs ? "error" : leftMs <= limits.warningMs ? "warning" : "ok",
  };
}

/**
 * The end of each certificate of an identity: its own, its intermediates, the CAs.
 * @param roles What its own certificate and its CAs are; the exporter's unless given.
 */
export function expiriesOf(
  facts: IdentityFacts,
  limits: ExpiryLimits,
  now: Date,
  roles: { readonly own: ExpiryRole; readonly ca: ExpiryRole } = { own: "client", ca: "ca" },
): Expiry[] {
  const of = (role: ExpiryRole, certificate: CertificateFacts) => expiryOf(role, certificate, limits, now);
  const authorities = facts.authorities.map((each) => of(roles.ca, each));
  // Of several CAs an old one that ends is what a rotation looks like: as long as another one lasts, trust does.
  const lasting = authorities.some(({ level }) => level !== "error");
  return [
    of(roles.own, facts.certificate),
    ...facts.intermediates.map((each) => of("intermediate", each)),
    ...authorities.map((each): Expiry => each.level === "error" && lasting ? { ...each, level: "warning" } : each),
  ];
}

/** A sentence without a period: `The client certificate CN=client-app ends in 12 days, at 2030-01-02T03:04:05Z`. */
export function expiryText({ role, subject, daysLeft, validTo }: Expiry): string {
  const days = (count: number) => `${count} day${count === 1 ? "" : "s"}`;
  const when = validTo.toISOString().replace(/\.\d+Z$/, "Z");
  const state = daysLeft < 0 ? `ended ${days(-daysLeft)} ago` : `ends in ${days(daysLeft)}`;
  return `The ${ROLES[role].what} ${subject || "without a name"} ${state}, at ${when}`;
}
