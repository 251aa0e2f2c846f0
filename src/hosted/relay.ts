/**
 * The relay for hosts that start a module and give it variables and one port: no flags, no files, no disk that lasts, an instance
 * that is stopped or frozen when nobody asks it anything. Deno Deploy is one, containers that scale to zero are others. All that
 * it needs is in the environment; config/relay.deploy.env lists it. `deploy.ts` and `serve.ts` start it.
 * @module
 */
import process from "node:process";
import { logOn, runUntilStopped, stopSignal } from "../cli/run.ts";
import { type Io, warn } from "../cli/io.ts";
import type { Environment } from "../config/environment.ts";
import { configFrom, loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { ConfigError } from "../errors.ts";
import { refusalAnswer } from "../receiver/answer.ts";
import { unreadableTarget, webAnswer } from "../receiver/web_request.ts";
import { UnderWay } from "../passing.ts";
import { createRelayWith } from "../relay/relay.ts";
import { within } from "../within.ts";

/** Where the host says nothing of a port; `deno serve` has the same. `DENO_SERVE_ADDRESS` beats both, by Deno itself. */
const PORT_DEFAULT = "8000";

/**
 * The configuration for such a host: the environment, above defaults that are right there.
 * @throws {ConfigError} naming each variable that is missing or wrong.
 */
export async function deployConfig(env: Environment): Promise<{ config: Config; warnings: readonly string[] }> {
  // An empty variable counts as unset here as elsewhere.
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const storage = set["EDGEFERRY_SENDING_QUEUE_STORAGE"]?.trim().toLowerCase() ?? "none";
  const endpoint = set["EDGEFERRY_RECEIVER_HTTP_ENDPOINT"] ?? `0.0.0.0:${set["PORT"] ?? PORT_DEFAULT}`;
  const { config, warnings } = await loadConfig({
    env: {
      EDGEFERRY_RECEIVER_HTTP_ENDPOINT: endpoint,
      EDGEFERRY_SENDING_QUEUE_STORAGE: "none",
      // What is queued is sent where a process runs all the time.
      ...(storage === "postgres" ? { EDGEFERRY_ROLE: "receiver" } : {}),
      EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: endpoint,
      EDGEFERRY_TELEMETRY_LOG_FORMAT: "json",
      // Deno Deploy kills 5 s after its SIGINT.
      EDGEFERRY_SHUTDOWN_GRACE: "4s",
      ...set,
    },
    file: null,
  });
  if (config.sending_queue.storage === "sqlite") {
    throw new ConfigError(
      {
        what: "Cannot use sending_queue.storage sqlite here",
        state: "what an instance writes goes with it",
        remedy: "set EDGEFERRY_SENDING_QUEUE_STORAGE to postgres or remove it, or run src/main.ts where a disk lasts",
      },
    );
  }
  if (config.sending_queue.storage === "postgres" && config.role !== "receiver") {
    throw new ConfigError(
      {
        what: `Cannot use role ${config.role} here`,
        state: "an instance sends nothing while it is frozen or stopped",
        remedy: "remove EDGEFERRY_ROLE, and run src/main.ts run --role exporter where a process runs all the time",
      },
    );
  }
  const missing = missingOf(config);
  if (missing.length > 0) {
    throw new ConfigError(
      missing.map((name) => `Cannot start without ${name}: it is not set; set it to ${NEEDED[name]}`),
    );
  }
  return { config, warnings };
}

/** Variables that name what elsewhere is a file of ours, and what is wanted in them. */
const NEEDED = {
  EDGEFERRY_EXPORTER_OTLP_CERTIFICATE: "the PEM text of the CA that issued the Collector's certificate",
  EDGEFERRY_EXPORTER_OTLP_CLIENT_CERTIFICATE: "the PEM text of the client certificate",
  EDGEFERRY_EXPORTER_OTLP_CLIENT_KEY: "the PEM text of its key",
  EDGEFERRY_RECEIVER_AUTH_TOKENS: "the text of a tokens file, which token new --file writes",
} as const;

function missingOf({ role, exporter, receiver }: Config): (keyof typeof NEEDED)[] {
  const { tls } = exporter;
  const files = configFrom({});
  const own = files.exporter.tls;
  const missing: (keyof typeof NEEDED)[] = [];
  if (role !== "receiver" && exporter.endpoint.startsWith("https:")) {
    if (tls.ca_pem === undefined && tls.ca_file === own.ca_file) missing.push("EDGEFERRY_EXPORTER_OTLP_CERTIFICATE");
    if (tls.cert_pem === undefined && tls.cert_file === own.cert_file) {
      missing.push("EDGEFERRY_EXPORTER_OTLP_CLIENT_CERTIFICATE");
    }
    if (tls.key_pem === undefined && tls.key_file === own.key_file) missing.push("EDGEFERRY_EXPORTER_OTLP_CLIENT_KEY");
  }
  const { tokens, tokens_file: tokensFile, insecure, jwt } = receiver.auth;
  const proven = tokens !== undefined || tokensFile !== files.receiver.auth.tokens_file || jwt.jwks_url !== undefined;
  if (!proven && !insecure) missing.push("EDGEFERRY_RECEIVER_AUTH_TOKENS");
  return missing;
}

/** What a host's module needs before anything else. @throws {ConfigError} */
async function prepare(io: Io): Promise<Config> {
  const { config, warnings } = await deployConfig(process.env);
  for (const warning of warnings) warn(io, warning);
  // Such hosts take no variable of Deno's. It is read when TLS is first used, which nothing has yet, so that the given CA alone is
  // trusted; an issuer of JWT is known by the public ones.
  if (!config.receiver.auth.jwt.jwks_url?.startsWith("https:")) process.env["DENO_TLS_CA_STORE"] ??= "";
  return config;
}

/** Runs until the host stops it. @throws {ConfigError} and what else keeps it from starting. */
export async function runDeployed(io: Io): Promise<void> {
  await runUntilStopped(io, await prepare(io), { way: "deno_serve", frozenBetween: true });
}

/** A relay that another serves. */
export interface Served {
  /** @param info `completed` resolves when the answer has left, as that of `Deno.serve` does. */
  fetch(request: Request, info: { readonly completed: Promise<void> }): Response | Promise<Response>;
  /** Resolves when the host has stopped it and what was under way is answered; rejects for a defect of its own. */
  readonly ended: Promise<void>;
}

/** The longest that answers are waited for to leave, in ms; `shutdown.grace` has room for it. */
const LEAVING_MS_MAX = 500;

/** A relay for a server that is there already and tells nothing of its end, such as that of `deno serve`. @throws {ConfigError} */
export async function serveDeployed(io: Io): Promise<Served> {
  const config = await prepare(io);
  const stopped = stopSignal();
  const log = logOn(io, config.telemetry.log);
  const relay = await createRelayWith(config, log, { frozenBetween: true });
  const leaving = new UnderWay();
  const ended = (async () => {
    await Promise.race([stopped, relay.failed]);
    log.info("Stopping", { graceMs: config.shutdown.grace });
    await relay.stop();
    await within(leaving.settled(), LEAVING_MS_MAX);
  })();
  return {
    ended,
    fetch(request, info) {
      // It rejects where the sender has gone.
      void leaving.track(info.completed);
      const refusal = unreadableTarget(request);
      if (refusal !== undefined) return webAnswer(refusalAnswer(new Headers(), refusal));
      return relay.app.fetch(request, info);
    },
  };
}
