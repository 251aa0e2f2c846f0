/**
 * The trust and the identity of a connection to the database. The files are read anew for each connection, so that
 * renewed ones need no restart; a change that cannot be used leaves those of before in use.
 * @module
 */
import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { messageOf } from "../errors.ts";
import { expiriesOf, type Expiry } from "../pki/expiry.ts";
import { checkAuthorities, type IdentityFacts, loadIdentity } from "../pki/identity.ts";
import { describe, parseCertificates } from "../pki/certificate.ts";
import { readPem } from "../pki/pem.ts";
import type { Log } from "../telemetry/log.ts";
import type { DatabaseTls } from "./settings.ts";

const SECTION = "sending_queue.postgres.tls";
/** A change that cannot be used is told once in this time, in ms. */
const TOLD_MS = 600_000;

type Loaded = Pick<ConnectionOptions, "ca" | "cert" | "key"> & {
  readonly facts: Pick<IdentityFacts, "authorities"> & Partial<IdentityFacts>;
};

/** What {@link DatabaseTls} names, as it is now. */
export class DatabaseTrust {
  readonly #tls: DatabaseTls;
  readonly #log: Log;
  #last: Loaded | undefined;

  constructor(tls: DatabaseTls, log: Log) {
    this.#tls = tls;
    this.#log = log;
  }

  /** For `node:tls`. @throws {CertificateError} where the files cannot be used and none could before */
  async options(host: string): Promise<ConnectionOptions> {
    try {
      this.#last = await load(this.#tls);
    } catch (error) {
      if (this.#last === undefined) throw error;
      this.#log.limited("database tls", TOLD_MS).error(
        "Refused a changed certificate for the database; the previous one stays in use",
        { cause: messageOf(error) },
      );
    }
    const { facts: _, ...options } = this.#last;
    // SNI takes no address (RFC 6066, section 3): the driver has the certificate checked against the one that it connects to.
    return { ...options, ...(isIP(host) === 0 ? { servername: host } : {}), rejectUnauthorized: true };
  }

  /** The end of each certificate that was read last. */
  expiries(now: Date): Expiry[] {
    const facts = this.#last?.facts;
    if (facts?.certificate === undefined) return [];
    const { certificate, intermediates = [], authorities } = facts;
    return expiriesOf({ certificate, intermediates, authorities }, this.#tls.expiry, now, {
      own: "database_client",
      ca: "database_ca",
    });
  }
}

async function load({ ca, identity, exposedKeyAllowed }: DatabaseTls): Promise<Loaded> {
  if (identity !== undefined) {
    const { caCerts, cert, key, facts } = await loadIdentity({
      ca,
      ...identity,
      exposedKeyAllowed,
      settings: {
        ca: `${SECTION}.ca_file`,
        cert: `${SECTION}.cert_file`,
        key: `${SECTION}.key_file`,
        passphrase: `${SECTION}.key_passphrase`,
        exposedKey: `${SECTION}.key_readable_by_others`,
      },
    });
    return { ...(ca === undefined ? {} : { ca: caCerts }), cert, key, facts };
  }
  if (ca === undefined) return { facts: { authorities: [] } };
  const document = await readPem({ what: "CA certificate", setting: `${SECTION}.ca_file`, value: ca });
  const authorities = parseCertificates(document);
  checkAuthorities(authorities, document.name, new Date(), []);
  return { ca: authorities.map(String), facts: { authorities: authorities.map(describe) } };
}
