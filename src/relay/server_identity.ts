/**
 * The identity that the receiver shows to its senders, and the CA that theirs must lead to: opened at start, watched, and reported
 * before its end.
 * @module
 */
import { type Identity, type IdentityConfig, loadIdentity } from "../pki/identity.ts";
import { watchIdentity } from "../pki/identity_watch.ts";
import { serverExpiries, type ServerTls } from "../receiver/listener/tls_identity.ts";
import { keepCalendar } from "./expiry.ts";
import type { KeptIdentity } from "./client_identity.ts";
import type { Log } from "../telemetry/log.ts";

/**
 * Reads and validates the identity for the start of a relay. Dates are an ERROR and no reason not to start: what is queued goes on
 * to the Collector, and renewed files are taken up by themselves.
 * @throws {CertificateError}
 */
export async function openServerIdentity(config: IdentityConfig, log: Log): Promise<Identity> {
  const identity = await loadIdentity({ ...config, datesAllowed: true });
  for (const warning of identity.facts.warnings) log.warn(warning);
  for (const fault of identity.facts.faults) {
    log.error("Started with a certificate that senders will refuse until it is replaced", { cause: fault });
  }
  return identity;
}

/** Uses changed files, and reports certificates near their end. `replace`: for the connections to come. */
export function keepServerIdentity(options: {
  readonly tls: ServerTls;
  readonly config: IdentityConfig;
  readonly identity: Identity;
  readonly replace: (identity: Identity) => void;
  readonly log: Log;
}): KeptIdentity {
  const { tls, config, replace, log } = options;
  let { facts } = options.identity;
  const expiries = () => serverExpiries(facts, tls, new Date());
  const calendar = keepCalendar(expiries, log);
  const watch = watchIdentity(config, options.identity, {
    reloadIntervalMs: tls.reload_interval,
    onChange(next) {
      replace(next);
      const renewed = next.facts.certificate.fingerprintSha256 !== facts.certificate.fingerprintSha256;
      facts = next.facts;
      log.info(`Took up a changed ${renewed ? "certificate" : "client CA"} of receiver.http.tls`, {
        serial: facts.certificate.serialNumber,
        certificate: facts.certificate.fingerprintSha256,
        validTo: facts.certificate.validTo.toISOString(),
        authorities: facts.authorities.length,
      });
      for (const warning of facts.warnings) log.warn(warning);
      calendar.look();
    },
    onRefused: (reason) =>
      log.error("Refused a changed certificate of receiver.http.tls; the previous one stays in use", { cause: reason }),
    onRestored: () =>
      log.info("The refused change of receiver.http.tls's certificate is undone; nothing is left to do"),
  });
  return {
    expiries,
    async [Symbol.asyncDispose]() {
      calendar[Symbol.dispose]();
      await watch[Symbol.asyncDispose]();
    },
  };
}
