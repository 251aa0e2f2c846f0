/**
 * `run`, `dev` and `collector`: the commands that stay.
 * @module
 */
import { access } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { type Command, InvalidArgumentError, Option } from "commander";
import { exporterSettings } from "../config/exporter_settings.ts";
import { loadConfig, loadEnvironment } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { type Endpoint, isLoopback, parseEndpoint } from "../config/units.ts";
import { ConfigError } from "../errors.ts";
import { initCertificates } from "../pki/init.ts";
import { finishWriting } from "../pki/write.ts";
import { startRelay } from "../relay.ts";
import { createLog } from "../telemetry/log.ts";
import { ensureDevToken } from "./dev_token.ts";
import { openCollector } from "./embedded_collector.ts";
import { type Io, newCommand } from "./io.ts";

const CERTS_DIR = "certs";
const COLLECTOR_ENDPOINT = "127.0.0.1:4318";

/** The command `run`: the relay alone, until SIGTERM or SIGINT. */
export function runCommand(io: Io): Command {
  return newCommand(io, "run")
    .description("Run the relay until SIGTERM or SIGINT")
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .action(async (flags: { config?: string }) => {
      const config = await configOf(io, flags.config);
      await runUntilStopped(io, config);
    });
}

/** The command `dev`: sets up what is missing and runs everything. */
export function devCommand(io: Io): Command {
  return newCommand(io, "dev")
    .description("Make certificates and a token if there are none, run the embedded Collector and the relay")
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .option("--no-collector", "use the Collector that is already there")
    .option("--quiet", "do not print what the embedded Collector receives")
    .action(async (flags: { config?: string; collector: boolean; quiet?: true }) => {
      await ensureCertificates(io);
      const loaded = await configOf(io, flags.config);
      const config: Config = {
        ...loaded,
        telemetry: { ...loaded.telemetry, traces: { ...loaded.telemetry.traces, sampling_ratio: 1 } },
      };
      if (!config.receiver.auth.insecure) await ensureDevToken(config.receiver.auth.tokens_file);
      await using stack = new AsyncDisposableStack();
      if (flags.collector) {
        const options = { endpoint: collectorOf(config), certs: CERTS_DIR, quiet: flags.quiet === true };
        stack.use(await openCollector(io, options));
      }
      await runUntilStopped(io, config, (url) => {
        // A signal may have an endpoint of its own, as in the specification's variables.
        const collector = new URL(exporterSettings(config, "traces").url).origin;
        io.out(`Relay at ${url}, sending to ${collector} over mutual TLS. Send a first trace, metric and log:`);
        io.out(`  npx -y deno@${Deno.version.deno} task send${url === "http://127.0.0.1:4319" ? "" : ` --url ${url}`}`);
        return Promise.resolve();
      });
    });
}

/** The command `collector`: the embedded Collector alone. */
export function collectorCommand(io: Io): Command {
  return newCommand(io, "collector")
    .description("Run the embedded development Collector: OTLP/HTTP over mutual TLS, prints what it receives")
    .addOption(
      new Option("--endpoint <host:port>", "where to listen").argParser(endpointOf)
        .default(endpointOf(COLLECTOR_ENDPOINT), COLLECTOR_ENDPOINT),
    )
    .option("--certs <dir>", "folder with ca.crt, server.crt and server.key", CERTS_DIR)
    .action(async (flags: { endpoint: Endpoint; certs: string }) => {
      await using collector = await openCollector(io, flags);
      io.out(`Collector at ${collector.url}, for clients with a certificate of ${join(flags.certs, "ca.crt")}`);
      await stopSignal();
    });
}

/** The configuration of a file and the environment; its warnings are printed. @throws {ConfigError} */
export async function configOf(io: Io, file: string | undefined): Promise<Config> {
  const { config, warnings } = await loadConfig({
    env: await loadEnvironment(process.env),
    ...(file === undefined ? {} : { file }),
  });
  for (const warning of warnings) io.err(`Warning: ${warning}`);
  return config;
}

/** Runs the relay until SIGTERM or SIGINT, or a defect of its own. */
export async function runUntilStopped(
  io: Io,
  config: Config,
  onReady: (url: string) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  warnOfTrust(io);
  const stopped = stopSignal();
  const log = createLog({ level: config.telemetry.log.level, format: config.telemetry.log.format });
  await using relay = await startRelay(config, log);
  await onReady(relay.url);
  await Promise.race([stopped, relay.failed]);
  log.info("Stopping", { graceMs: config.shutdown.grace });
}

/** Deno trusts more than the CA given: said at start, because nothing later shows it. */
function warnOfTrust(io: Io): void {
  const { env } = process;
  const trusted = [
    ...(env["DENO_TLS_CA_STORE"] === "" ? [] : ["Deno's default roots (start with DENO_TLS_CA_STORE=, empty)"]),
    ...["DENO_CERT", "NODE_EXTRA_CA_CERTS"].filter((name) => (env[name] ?? "") !== "").map((name) =>
      `${name} (unset it)`
    ),
  ];
  if (trusted.length > 0) {
    io.err(`Warning: trusted beside exporter.tls.ca_file: ${trusted.join(", ")}; to trust that CA alone, remove them`);
  }
}

/** Resolves at the first SIGTERM or SIGINT. */
function stopSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.once(name, () => resolve());
  }
  return promise;
}

async function ensureCertificates(io: Io): Promise<void> {
  await finishWriting(CERTS_DIR);
  try {
    await access(join(CERTS_DIR, "ca.crt"));
  } catch {
    await initCertificates({ dir: CERTS_DIR });
    io.out(`Made a CA, a server and a client certificate in ${CERTS_DIR}/`);
  }
}

/** Where the relay's Collector is looked for: there the embedded one has to listen. */
function collectorOf(config: Config): Endpoint {
  const { url } = exporterSettings(config, "traces");
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "https:" || !isLoopback(hostname)) {
    throw new ConfigError(
      `Cannot stand in for the Collector at ${url}: the embedded one is https:// on this machine; to use the Collector ` +
        "that is there, run dev with --no-collector",
    );
  }
  const host = hostname === "localhost" ? "127.0.0.1" : hostname.replaceAll(/^\[|\]$/g, "");
  return { hostname: host, port: Number(port || 443) };
}

function endpointOf(value: string): Endpoint {
  const endpoint = parseEndpoint(value);
  if (endpoint === undefined) {
    throw new InvalidArgumentError(`It is not of the form host:port, as ${COLLECTOR_ENDPOINT}.`);
  }
  return endpoint;
}
