/**
 * `run`: the relay until it is told to stop.
 * @module
 */
import process from "node:process";
import type { Command } from "commander";
import type { Config } from "../config/schema.ts";
import { startRelay } from "../relay.ts";
import { createLog } from "../telemetry/log.ts";
import { configOf } from "./configuration.ts";
import { type Io, newCommand } from "./io.ts";

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
export function stopSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.once(name, () => resolve());
  }
  return promise;
}
