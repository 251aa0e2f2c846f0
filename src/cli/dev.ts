/**
 * `dev` and `collector`: everything for development in one process, or the Collector by itself.
 * @module
 */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { exporterSettings } from "../config/exporter_settings.ts";
import { readDotEnvFile } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { type Endpoint, isLoopback, parseEndpoint } from "../config/units.ts";
import { ConfigError } from "../errors.ts";
import { SIGNAL_NAMES } from "../signal.ts";
import { initCertificates } from "../pki/init.ts";
import { finishWriting } from "../pki/write.ts";
import type { Relay } from "../relay/relay.ts";
import { configOf } from "./configuration.ts";
import { ensureDevToken } from "./dev_token.ts";
import { openCollector } from "./embedded_collector.ts";
import { type Io, newCommand, put } from "./io.ts";
import { runUntilStopped, stopSignal } from "./run.ts";
import { withAllThatIsTaken } from "./taken.ts";

const CERTS_DIR = "certs";
const COLLECTOR_ENDPOINT = "127.0.0.1:4318";
/** What config/collector.yaml sets on each data point. */
const DEV_POINT_ATTRIBUTES: ReadonlyMap<string, string> = new Map([["env", "dev"]]);

/** The command `dev`: sets up what is missing and runs everything. */
export function devCommand(io: Io): Command {
  return newCommand(io, "dev")
    .description("Make certificates and a token if there are none, run the embedded Collector and the relay")
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .option("--no-collector", "use the Collector that is already there")
    .option("--quiet", "do not print what the embedded Collector receives")
    .action(async (flags: DevFlags) => {
      // The task's own watch sees changes of a `.env` that is there at the start, and none of one that comes later.
      const later = await readDotEnvFile() === "";
      const stopped = stopSignal();
      while (await devOnce(io, flags, stopped, later) === "changed") put(io, "Starting again with the changed .env");
    });
}

interface DevFlags {
  readonly config?: string;
  readonly collector: boolean;
  readonly quiet?: true;
}

/** Between two looks at `.env`, in ms. */
const DOT_ENV_MS = 500;

/** Runs everything once. @param watched Ends, too, when `.env` changes. */
async function devOnce(
  io: Io,
  flags: DevFlags,
  stopped: Promise<void>,
  watched: boolean,
): Promise<"stopped" | "changed"> {
  const dotEnv = await readDotEnvFile();
  await ensureCertificates(io);
  const loaded = await configOf(io, flags.config);
  const config: Config = {
    ...loaded,
    telemetry: { ...loaded.telemetry, traces: { ...loaded.telemetry.traces, sampling_ratio: 1 } },
  };
  if (!config.receiver.auth.insecure) await ensureDevToken(config.receiver.auth.tokens_file);
  await using stack = new AsyncDisposableStack();
  if (flags.collector) {
    const collector = collectorOf(config);
    const options = {
      endpoint: collector,
      certs: CERTS_DIR,
      quiet: flags.quiet === true,
      pointAttributes: DEV_POINT_ATTRIBUTES,
      foldedService: config.telemetry.resource.service_name,
    };
    stack.use(
      await openCollector(io, options).catch(async (error) => {
        throw await withAllThatIsTaken(config, error, collector);
      }),
    );
  }
  const onReady = ({ url, adminUrl }: Relay) => {
    // A signal may have an endpoint of its own, as in the specification's variables.
    const collector = new URL(exporterSettings(config, "traces").url).origin;
    put(io, `Relay at ${url}, sending to ${collector} over mutual TLS. Send a first trace, metric and log:`);
    io.out(`  npx -y deno@${Deno.version.deno} task send${sendFlags(config, flags.config, url)}`);
    put(io, `What passes through is shown at ${adminUrl}/`);
    return Promise.resolve();
  };
  const changed = Promise.withResolvers<void>();
  let outcome: "stopped" | "changed" = "stopped";
  if (watched) {
    const timer = setInterval(async () => {
      if (await readDotEnvFile().catch(() => dotEnv) === dotEnv) return;
      outcome = "changed";
      changed.resolve();
    }, DOT_ENV_MS);
    stack.defer(() => clearInterval(timer));
  }
  await runUntilStopped(io, config, { onReady, stopped: Promise.race([stopped, changed.promise]) });
  return outcome;
}

/** The options for `send`, which reads the configuration itself; its port there may be 0, any free one. */
function sendFlags({ receiver: { http } }: Config, file: string | undefined, url: string): string {
  const configured = file === undefined ? "" : ` --config ${file}`;
  if (http.endpoint.port !== 0) return configured;
  return url.startsWith("https:") ? `${configured} --url ${url}` : ` --url ${url}`;
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
    .addOption(
      new Option("--set <key=value>", "an attribute to set on every data point; may be given more than once")
        .argParser(pointAttribute).default(new Map(), "none"),
    )
    .action(async (flags: { endpoint: Endpoint; certs: string; set: ReadonlyMap<string, string> }) => {
      await using collector = await openCollector(io, { ...flags, pointAttributes: flags.set });
      put(io, `Collector at ${collector.url}, for clients with a certificate of ${join(flags.certs, "ca.crt")}`);
      await stopSignal();
    });
}

function pointAttribute(text: string, before: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const end = text.indexOf("=");
  if (end < 1) throw new InvalidArgumentError("It must be KEY=VALUE, e.g. env=dev");
  return new Map([...before, [text.slice(0, end), text.slice(end + 1)]]);
}

async function ensureCertificates(io: Io): Promise<void> {
  await finishWriting(CERTS_DIR);
  try {
    await access(join(CERTS_DIR, "ca.crt"));
  } catch {
    await initCertificates({ dir: CERTS_DIR });
    put(io, `Made a CA, a server and a client certificate in ${CERTS_DIR}/`);
  }
}

/** Where the relay looks for its Collector: the embedded one must listen there. */
function collectorOf(config: Config): Endpoint {
  const grpc = SIGNAL_NAMES.find((signal) => exporterSettings(config, signal).protocol === "grpc");
  if (grpc !== undefined) {
    throw new ConfigError({
      what: `Cannot stand in for the Collector of ${grpc}`,
      state: "exporter.protocol is grpc, and the embedded one speaks OTLP/HTTP",
      remedy: "unset exporter.protocol, or to use the Collector that is there, run dev with --no-collector",
    });
  }
  const { url } = exporterSettings(config, "traces");
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "https:" || !isLoopback(hostname)) {
    throw new ConfigError(
      {
        what: `Cannot stand in for the Collector at ${url}`,
        state: "the embedded one is https:// on this machine",
        remedy: "to use the Collector that is there, run dev with --no-collector",
      },
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
