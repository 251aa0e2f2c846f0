/**
 * How long the certificates of an identity last, and from when on that is worth a word.
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

/** One certificate and its end. */
export interface Expiry {
  readonly role: "client" | "intermediate" | "ca";
  readonly subject: string;
  readonly fingerprintSha256: string;
  readonly validTo: Date;
  /** Whole days; negative once it has ended. */
  readonly daysLeft: number;
  readonly level: "ok" | "warning" | "error";
}

/** The end of each certificate: the client's own, its intermediates, the CAs. */
export function expiriesOf(facts: IdentityFacts, limits: ExpiryLimits, now: Date): Expiry[] {
  const of = (role: Expiry["role"], { subject, fingerprintSha256, validTo }: CertificateFacts): Expiry => {
    const leftMs = validTo.getTime() - now.getTime();
    return {
      role,
      subject,
      fingerprintSha256,
      validTo,
      daysLeft: daysLeft(validTo, now),
      level: leftMs <= limits.errorMs ? "error" : leftMs <= limits.warningMs ? "warning" : "ok",
    };
  };
  const authorities = facts.authorities.map((each) => of("ca", each));
  // Of several CAs an old one that ends is what a rotation looks like: as long as another one lasts, trust does.
  const lasting = authorities.some(({ level }) => level !== "error");
  return [
    of("client", facts.certificate),
    ...facts.intermediates.map((each) => of("intermediate", each)),
    ...authorities.map((each): Expiry => each.level === "error" && lasting ? { ...each, level: "warning" } : each),
  ];
}

const ROLES: Readonly<Record<Expiry["role"], string>> = {
  client: "client certificate",
  intermediate: "intermediate certificate",
  ca: "CA certificate",
};

/** A sentence without a period: `The client certificate CN=client-app ends in 12 days, at 2030-01-02T03:04:05Z`. */
export function expiryText({ role, subject, daysLeft, validTo }: Expiry): string {
  const days = (count: number) => `${count} day${count === 1 ? "" : "s"}`;
  const when = validTo.toISOString().replace(/\.\d+Z$/, "Z");
  const state = daysLeft < 0 ? `ended ${days(-daysLeft)} ago` : `ends in ${days(daysLeft)}`;
  return `The ${ROLES[role]} ${subject || "without a name"} ${state}, at ${when}`;
}
