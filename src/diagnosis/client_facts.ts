/**
 * What is known of the certificate that a client shows: enough to say why a peer that gives no reason has refused it.
 * @module
 */
import { CertificateError } from "../errors.ts";
import { chainOf, describe, parseCertificates } from "../pki/certificate.ts";

/** Facts of a client's identity, without secrets. */
export interface ClientFacts {
  /** Whether there is a client certificate at all. */
  readonly shown: boolean;
  readonly dates: "valid" | "expired" | "not_yet_valid";
  /** Its usages allow it to a client. */
  readonly clientAuth: boolean;
  /** Its issuers lead to the CA that is trusted here. Lawful when not: the peer may trust another. */
  readonly anchored: boolean;
  /** The peer has answered a request on a connection that showed it. */
  readonly accepted: boolean;
}

/**
 * Looks at an identity as PEM.
 * @param accepted Whether the peer has answered since it is shown.
 */
export function clientFacts(
  identity: { readonly caCerts: readonly string[]; readonly cert?: string },
  accepted: boolean,
  now: Date,
): ClientFacts {
  const { caCerts, cert } = identity;
  const nothing: ClientFacts = { shown: false, dates: "valid", clientAuth: true, anchored: true, accepted };
  if (cert === undefined) return nothing;
  try {
    const [leaf, ...intermediates] = parse(cert);
    const { usages, validFrom, validTo } = describe(leaf);
    const authorities = caCerts.length === 0 ? [] : parse(caCerts.join(""));
    return {
      shown: true,
      dates: now > validTo ? "expired" : now < validFrom ? "not_yet_valid" : "valid",
      clientAuth: usages.length === 0 || usages.includes("clientAuth") || usages.includes("any"),
      anchored: chainOf(leaf, intermediates, authorities).kind === "anchored",
      accepted,
    };
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    return { ...nothing, shown: true }; // What cannot be read here tells nothing.
  }
}

function parse(text: string) {
  return parseCertificates({ name: "certificate", setting: "", text, path: undefined, mode: undefined });
}
