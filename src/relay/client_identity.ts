/**
 * The identity that the relay shows to the Collector: opened at start, watched, tried before it is used, and reported before
 * its end.
 * @module
 */
import type { TlsSettings } from "../config/exporter_settings.ts";
import { CertificateError } from "../errors.ts";
import type { CollectorClient } from "../exporter/client/client.ts";
import { watchPeers } from "../exporter/client/peer_certificates.ts";
import { tryIdentity } from "../exporter/client/trial.ts";
import type { SignalName } from "../signal.ts";
import { expiriesOf, type Expiry, expiryOf } from "../pki/expiry.ts";
import { type Identity, type IdentityConfig, loadIdentity } from "../pki/identity.ts";
import { watchIdentity } from "../pki/identity_watch.ts";
import { keepCalendar } from "./expiry.ts";
import type { Log } from "../telemetry/log.ts";

/** An identity in use. */
export interface KeptIdentity extends AsyncDisposable {
  /** The end of each of its certificates, and of those that the other side was seen to show, as of now. */
  expiries(): Expiry[];
}

/**
 * Reads and validates the identity for the start of a relay.
 *
 * With a durable queue, certificates outside their dates are an ERROR, and the relay starts all the same. A relay that does not run
 * takes nothing, and its senders lose data; one that runs keeps the data, and uses renewed files as soon as they are there. Without a
 * disk it could take nothing, so the start is refused. Faults that are no matter of time are refused either way.
 * @throws {CertificateError}
 */
export async function openIdentity(tls: TlsSettings, durable: boolean, log: Log): Promise<Identity> {
  const identity = await loadIdentity({ ...identityConfig(tls), datesAllowed: durable });
  for (const warning of identity.facts.warnings) log.warn(warning);
  for (const fault of identity.facts.faults) {
    log.error("Started with a certificate that cannot be used: data is kept until it is replaced", { cause: fault });
  }
  return identity;
}

function identityConfig(tls: TlsSettings): IdentityConfig {
  return {
    ca: tls.ca.value,
    cert: tls.cert.value,
    key: tls.key.value,
    keyPassphrase: tls.keyPassphrase.value,
    exposedKeyAllowed: tls.exposedKeyAllowed,
    settings: {
      ca: tls.ca.setting,
      cert: tls.cert.setting,
      key: tls.key.setting,
      passphrase: tls.keyPassphrase.setting,
    },
  };
}

/** Uses changed files after a trial, and reports certificates near their end. */
export function keepIdentity(options: {
  readonly tls: TlsSettings;
  readonly identity: Identity;
  readonly client: CollectorClient;
  /** Those that the client sends. */
  readonly signals: readonly SignalName[];
  readonly log: Log;
}): KeptIdentity {
  const { tls, client, signals, log } = options;
  let { facts } = options.identity;
  const peers = watchPeers({
    urls: [...new Set(signals.map((signal) => new URL(client.target(signal).url).origin))].map((url) => new URL(url)),
    identity: () => client.identity,
    onSeen: () => {
      for (const { subject, serialNumber, validTo } of peers.seen()) {
        log.debug("Looked at the Collector's certificate", {
          subject,
          serial: serialNumber,
          validTo: validTo.toISOString(),
        });
      }
      calendar.look();
    },
  });
  const expiries = () => {
    const now = new Date();
    return [
      ...expiriesOf(facts, tls.expiry, now),
      ...peers.seen().map((each) => expiryOf("collector", each, tls.expiry, now)),
    ];
  };
  const calendar = keepCalendar(expiries, log);

  const watch = watchIdentity(identityConfig(tls), options.identity, {
    reloadIntervalMs: tls.reloadIntervalMs,
    async onChange(next, abort) {
      const trial = await tryIdentity(client, next, signals, abort);
      if (abort.aborted) return;
      if (trial.kind === "refused") {
        const { what, remedy } = trial.fault;
        throw new CertificateError(
          "refused_by_peer",
          { what: "Cannot use the new certificates", state: what, remedy },
          {
            cause: trial.cause,
          },
        );
      }
      client.replaceIdentity(next);
      const renewed = next.facts.certificate.fingerprintSha256 !== facts.certificate.fingerprintSha256;
      facts = next.facts;
      log.info(
        renewed ? "Took up a changed client certificate" : `Took up changed CA certificates of ${tls.ca.setting}`,
        {
          serial: facts.certificate.serialNumber,
          certificate: facts.certificate.fingerprintSha256,
          validTo: facts.certificate.validTo.toISOString(),
          authorities: facts.authorities.length,
          tried: trial.kind === "accepted" ? "the Collector takes it" : `not tried: ${trial.reason}`,
        },
      );
      for (const warning of facts.warnings) log.warn(warning);
      calendar.look();
      // The Collector's certificate may have been replaced together with ours.
      void peers.look();
    },
    onRefused: (reason) =>
      log.error("Refused a changed client certificate; the previous one stays in use", { cause: reason }),
    onRestored: () => log.info("The refused change of the client certificate is undone; nothing is left to do"),
  });
  return {
    expiries,
    async [Symbol.asyncDispose]() {
      calendar[Symbol.dispose]();
      await watch[Symbol.asyncDispose]();
      await peers[Symbol.asyncDispose]();
    },
  };
}
