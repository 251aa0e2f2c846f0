/**
 * The embedded Collector with the certificates of a folder, which may change while it runs.
 * @module
 */
import { join } from "node:path";
import {
  describeReceived,
  type EmbeddedCollector,
  type Received,
  servicesOf,
  startCollector,
} from "../collector/server.ts";
import type { Endpoint } from "../config/units.ts";
import { CertificateError } from "../errors.ts";
import { type Identity, type IdentityConfig, loadIdentity } from "../pki/identity.ts";
import { watchIdentity } from "../pki/identity_watch.ts";
import { type Io, put } from "./io.ts";

/** What to run. */
export interface EmbeddedOptions {
  readonly endpoint: Endpoint;
  /** Folder with `ca.crt`, `server.crt` and `server.key`. */
  readonly certs: string;
  /** Attributes that are set on each data point, as a transform processor of a Collector does it: shown with what arrives. */
  readonly pointAttributes?: ReadonlyMap<string, string>;
  /** A service whose telemetry is announced once and then not printed: the relay's own, which grows with every other request. */
  readonly foldedService?: string;
  /** Does not print what arrives. */
  readonly quiet?: boolean;
  /** Between two looks at the files, in ms; a change is seen at once where the system reports it. */
  readonly reloadIntervalMs?: number;
}

const RELOAD_MS = 5_000;

const PREFIX = "collector: ";
/** Behind the name of the signal. */
const RECEIVED_INDENT = PREFIX.length + 8;

/**
 * Starts it. Certificates outside their dates are reported and shown all the same, until renewed ones come.
 * @throws {CertificateError} for files that cannot be used; {@link ConfigError} when the address cannot be had.
 */
export async function openCollector(io: Io, options: EmbeddedOptions): Promise<EmbeddedCollector> {
  const { endpoint, certs, quiet = false, pointAttributes } = options;
  const config: IdentityConfig = {
    ca: join(certs, "ca.crt"),
    cert: join(certs, "server.crt"),
    key: join(certs, "server.key"),
    role: "server",
    settings: { ca: "ca.crt", cert: "server.crt", key: "server.key", exposedKey: undefined },
  };
  const identity = await load(config);
  for (const text of [...identity.facts.warnings, ...identity.facts.faults.map(({ message }) => message)]) {
    io.err(`${PREFIX}${text}`);
  }
  let folded = false;
  /** Whether all of it is of the folded service. */
  const isFolded = (received: Received): boolean => {
    if (options.foldedService === undefined) return false;
    const services = servicesOf(received);
    return services.size === 1 && services.has(options.foldedService);
  };
  const collector = await startCollector({
    host: endpoint.hostname,
    port: endpoint.port,
    tls: tlsOf(identity),
    onReceived(received) {
      // An empty request is a trial of the relay's or a step of doctor's: nothing has arrived.
      if (quiet || received.items === 0) return;
      if (!isFolded(received)) {
        put(io, `${PREFIX}${describeReceived(received, pointAttributes)}`, RECEIVED_INDENT);
      } else if (!folded) {
        folded = true;
        put(
          io,
          `${PREFIX}own     the relay's own telemetry (${options.foldedService}) arrives too; it is not listed`,
          RECEIVED_INDENT,
        );
      }
    },
    onRefused: (reason) => io.err(`${PREFIX}refused a client: ${reason}`),
  });
  const watch = watchIdentity(config, identity, {
    reloadIntervalMs: options.reloadIntervalMs ?? RELOAD_MS,
    onChange(next) {
      collector.replaceTls(tlsOf(next));
      const { serialNumber } = next.facts.certificate;
      put(io, `${PREFIX}took up changed certificates of ${certs} (serial ${serialNumber})`, PREFIX.length);
    },
    onRefused: ({ message }) =>
      io.err(`${PREFIX}refused changed certificates, the previous ones stay in force: ${message}`),
  });
  const stop = async () => {
    await watch[Symbol.asyncDispose]();
    await collector.stop();
  };
  return { ...collector, stop, [Symbol.asyncDispose]: stop };
}

async function load(config: IdentityConfig): Promise<Identity> {
  try {
    return await loadIdentity({ ...config, datesAllowed: true });
  } catch (error) {
    if (!(error instanceof CertificateError) || error.code !== "not_found") throw error;
    const { what, state } = error;
    throw new CertificateError("not_found", { what, state, remedy: 'make it with "deno task certs init"' });
  }
}

function tlsOf({ caCerts, cert, key }: Identity) {
  return { ca: caCerts, cert, key };
}
