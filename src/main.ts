/**
 * The program: argv to a command to an exit code. 0 done, 1 it found a fault, 2 wrong use.
 * @module
 */
import process from "node:process";
import { type Command, CommanderError } from "commander";
import { configOf } from "./cli/configuration.ts";
import { FaultFound, type Io, newCommand } from "./cli/io.ts";
import { shownMessage, terminalOf } from "./cli/terminal.ts";
import { CertificateError, ConfigError, messageOf } from "./errors.ts";
import { LockTimeout } from "./files/lock.ts";
import { databaseSettings } from "./postgres/settings.ts";
import { ConnectError } from "./postgres/connect_error.ts";
import { StorageError } from "./queue/storage_error.ts";
import { VERSION } from "./version.ts";

/** Every command. Each is loaded when it is asked for: a relay that starts need not wait for what issues certificates. */
const COMMANDS: Readonly<Record<string, (io: Io) => Promise<Command>>> = {
  run: async (io) => (await import("./cli/run.ts")).runCommand(io),
  dev: async (io) => (await import("./cli/dev.ts")).devCommand(io),
  collector: async (io) => (await import("./cli/dev.ts")).collectorCommand(io),
  certs: async (io) => (await import("./cli/certs.ts")).certsCommand(io),
  config: async (io) => (await import("./cli/config.ts")).configCommand(io),
  doctor: async (io) => (await import("./cli/doctor.ts")).doctorCommand(io),
  metrics: async (io) => (await import("./cli/metrics.ts")).metricsCommand(io),
  send: async (io) => (await import("./cli/send.ts")).sendCommand(io),
  token: async (io) => {
    const { configuredTokens, tokenCommand } = await import("./cli/token.ts");
    return tokenCommand(io, async (file) => configuredTokens(await configOf(io, file)));
  },
  queue: async (io) =>
    (await import("./cli/queue.ts")).queueCommand(io, async (file) => {
      const config = await configOf(io, file);
      const { sending_queue: { path, storage }, redaction } = config;
      return { path, redaction, database: storage === "postgres" ? databaseSettings(config) : undefined };
    }),
};

/** The program with the command of this name, or with all of them where there is none. */
export async function program(io: Io, name?: string): Promise<Command> {
  const root = newCommand(io, "edgeferry")
    .description("An OTLP relay: plain OTLP/HTTP with a token in, mutual TLS to the Collector out")
    .version(VERSION);
  const named = name !== undefined && Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]!] : Object.values(COMMANDS);
  for (const load of named) root.addCommand(await load(io));
  return root;
}

/** Runs one command and returns its exit code; every error ends as a message on `io.err`. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  try {
    await (await program(io, argv[0])).parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    // --help and --version are thrown too; what commander has to say, it has said.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    io.err(messageOf(error));
    // What has no name of ours is a defect: its trace belongs in the report.
    const named = [FaultFound, ConfigError, CertificateError, ConnectError, StorageError, LockTimeout].some((kind) =>
      error instanceof kind
    );
    if (!named && error instanceof Error && error.stack !== undefined) io.err(error.stack);
    return 1;
  }
}

if (import.meta.main) {
  const terminal = terminalOf(process.stdout, process.stderr, process.env);
  const io: Io = Object.assign(terminal, {
    out: (line: string) => console.log(line),
    err: (text: string, kind?: "warning") =>
      console.error(terminal.errLook === undefined ? text : shownMessage(text, terminal.errLook, kind)),
  });
  const code = await main(process.argv.slice(2), io);
  process.exit(code);
}
