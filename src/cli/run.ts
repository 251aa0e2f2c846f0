/**
 * `run`: the relay until it is told to stop.
 * @module
 */
import process from "node:process";
import { setTimeout } from "node:timers";
import type { Command } from "commander";
import { exporterSettings } from "../config/exporter_settings.ts";
import { exporterNames } from "../config/routes.ts";
import type { Config } from "../config/schema.ts";
import type { WayIn } from "../relay/listen.ts";
import { type Relay, startRelayWith } from "../relay/relay.ts";
import { SIGNAL_NAMES } from "../signal.ts";
import { createLog, type Log } from "../telemetry/log.ts";
import { configOf } from "./configuration.ts";
import { within } from "../within.ts";
import { type Io, newCommand, warn } from "./io.ts";
import { withAllThatIsTaken } from "./taken.ts";
import { shownLogLine } from "./terminal.ts";

/** The command `run`: the relay alone, until SIGTERM or SIGINT. */
export function runCommand(io: Io): Command {
  return newCommand(io, "run")
    .description("Run the relay until SIGTERM or SIGINT")
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .option("--role <role>", "both, receiver or exporter; the same as role in the configuration")
    .action(async (flags: { config?: string; role?: string }) => {
      const config = await configOf(io, flags.config, flags.role === undefined ? {} : { EDGEFERRY_ROLE: flags.role });
      const { role } = config;
      const onReady = (relay: Relay, log: Log) => {
        const where = {
          ...(role === "exporter" ? {} : { receiving: relay.url }),
          ...(role === "receiver" ? {} : { sending: collectorsOf(config).join(", ") }),
          page: `${relay.adminUrl}/`,
        };
        const reasons = relay.reasons();
        if (reasons.length === 0) log.info("Ready", where);
        else log.warn("Started, and not ready yet", { ...where, reasons: reasons.join("; ") });
        return Promise.resolve();
      };
      await runUntilStopped(io, config, { onReady });
    });
}

/** Where its data goes: each Collector once. */
function collectorsOf(config: Config): string[] {
  const urls = exporterNames(config).flatMap((exporter) =>
    SIGNAL_NAMES.map((signal) => new URL(exporterSettings(config, signal, exporter).url).origin)
  );
  return [...new Set(urls)];
}

/** How a relay is run. */
export interface RunOptions {
  readonly onReady?: (relay: Relay, log: Log) => Promise<void>;
  /** Resolves when it is to stop; SIGTERM or SIGINT unless given. */
  readonly stopped?: Promise<void>;
  /** What serves the receiver. */
  readonly way?: WayIn;
  /** The host freezes the process between requests. */
  readonly frozenBetween?: boolean;
}

/** Runs the relay until it is to stop, or a defect of its own. */
export async function runUntilStopped(io: Io, config: Config, options: RunOptions = {}): Promise<void> {
  const { onReady = () => Promise.resolve(), stopped = stopSignal(), way = "node", frozenBetween = false } = options;
  warnOfTrust(io);
  const log = logOn(io, config.telemetry.log);
  const starting = startRelayWith(config, log, { way, frozenBetween }).catch(async (error) => {
    throw await withAllThatIsTaken(config, error);
  });
  // A start may hang, for example on a disk: a stop does not wait for it.
  if (await Promise.race([starting.then(() => false), stopped.then(() => true)])) {
    log.info("Stopping before the start was done", { graceMs: config.shutdown.grace });
    await within(starting.then((relay) => relay.stop(), () => {}), config.shutdown.grace);
    return;
  }
  await using relay = await starting;
  await onReady(relay, log);
  await Promise.race([stopped, relay.failed]);
  log.info("Stopping", { graceMs: config.shutdown.grace });
}

/** The log on stderr; formatted for a terminal where a person reads it as text. */
export function logOn(io: Io, { level, format }: Config["telemetry"]["log"]): Log {
  if (io.errLook === undefined || format === "json") return createLog({ level, format });
  return createLog({ level, format: (line) => shownLogLine(line, io.errLook ?? {}) });
}

/** Warns when Deno trusts more than the given CA: nothing later shows it. */
function warnOfTrust(io: Io): void {
  const { env } = process;
  const trusted = [
    ...(env["DENO_TLS_CA_STORE"] === "" ? [] : ["Deno's default roots (start with DENO_TLS_CA_STORE=, empty)"]),
    ...["DENO_CERT", "NODE_EXTRA_CA_CERTS"].filter((name) => (env[name] ?? "") !== "").map((name) =>
      `${name} (unset it)`
    ),
  ];
  if (trusted.length > 0) {
    warn(io, `trusted beside exporter.tls.ca_file: ${trusted.join(", ")}; to trust that CA alone, remove them`);
  }
}

/**
 * One Ctrl-C arrives several times: from the terminal, and again from `deno task`, which passes it on to a command that has had it
 * already. Within this time, in ms, it counts as the same one; a later one ends the process at once, as a second Ctrl-C should.
 */
const SAME_SIGNAL_MS = 1_000;

/** Resolves at the first SIGTERM or SIGINT. */
export function stopSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const names = ["SIGTERM", "SIGINT"] as const;
  let taken = false;
  const stop = () => {
    resolve();
    if (taken) return;
    taken = true;
    setTimeout(() => {
      for (const name of names) process.off(name, stop);
    }, SAME_SIGNAL_MS).unref();
  };
  for (const name of names) process.on(name, stop);
  return promise;
}
