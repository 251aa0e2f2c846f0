/**
 * The sources of the identity that the receiver shows to its senders, and of the CA for the senders' certificates.
 * @module
 */
import type { Config } from "../../config/schema.ts";
import { expiriesOf, type Expiry } from "../../pki/expiry.ts";
import type { IdentityConfig, IdentityFacts } from "../../pki/identity.ts";

/** `receiver.http.tls`. */
export type ServerTls = Config["receiver"]["http"]["tls"];

const SECTION = "receiver.http.tls";
const ROLES = { own: "receiver", ca: "receiver_client_ca" } as const;

/** The sources as `pki/identity.ts` reads them; undefined where the receiver serves without TLS. */
export function serverIdentityConfig(tls: ServerTls): IdentityConfig | undefined {
  const { cert_file: cert, key_file: key } = tls;
  if (cert === undefined || key === undefined) return undefined;
  return {
    ca: tls.client_ca_file,
    cert,
    key,
    keyPassphrase: tls.key_passphrase,
    exposedKeyAllowed: tls.key_readable_by_others,
    role: "server",
    settings: {
      ca: `${SECTION}.client_ca_file`,
      cert: `${SECTION}.cert_file`,
      key: `${SECTION}.key_file`,
      passphrase: `${SECTION}.key_passphrase`,
      exposedKey: `${SECTION}.key_readable_by_others`,
    },
  };
}

/** The end of each of its certificates. */
export function serverExpiries(facts: IdentityFacts, tls: ServerTls, now: Date): Expiry[] {
  return expiriesOf(facts, { warningMs: tls.expiry_warning, errorMs: tls.expiry_error }, now, ROLES);
}
