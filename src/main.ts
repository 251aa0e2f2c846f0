/**
 * The program: argv to a command to an exit code. 0 done, 1 it found a fault, 2 wrong use.
 * @module
 */
import process from "node:process";
import { type Command, CommanderError } from "commander";
import { certsCommand } from "./cli/certs.ts";
import { configCommand } from "./cli/config.ts";
import { doctorCommand } from "./cli/doctor.ts";
import { FaultFound, type Io, newCommand } from "./cli/io.ts";
import { queueCommand } from "./cli/queue.ts";
import { collectorCommand, configOf, devCommand, runCommand } from "./cli/run.ts";
import { sendCommand } from "./cli/send.ts";
import { tokenCommand } from "./cli/token.ts";
import { CertificateError, ConfigError, messageOf } from "./errors.ts";
import { parseTokensFile } from "./receiver/authenticate.ts";
import { readTokensFile } from "./receiver/tokens_file.ts";
import { StorageError } from "./queue/storage_error.ts";
import { VERSION } from "./version.ts";

/** Every command. */
export function program(io: Io): Command {
  const root = newCommand(io, "edgeferry")
    .description("An OTLP relay: plain OTLP/HTTP with a token in, mutual TLS to the Collector out")
    .version(VERSION);
  for (
    const command of [
      runCommand(io),
      devCommand(io),
      collectorCommand(io),
      certsCommand(io),
      configCommand(io),
      doctorCommand(io),
      sendCommand(io),
      tokenCommand(io, async (config) => {
        const { receiver, sending_queue } = await configOf(io, config);
        const { tokens, tokens_file: file } = receiver.auth;
        return {
          tokens: async () =>
            tokens === undefined ? await readTokensFile(file) : parseTokensFile(tokens, "receiver.auth.tokens"),
          queuePath: sending_queue.path,
        };
      }),
      queueCommand(io, async (file) => (await configOf(io, file)).sending_queue.path),
    ]
  ) {
    root.addCommand(command);
  }
  return root;
}

/** Runs one command and returns its exit code; every error ends as a message on `io.err`. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  try {
    await program(io).parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    // --help and --version are thrown too; what commander has to say, it has said.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    io.err(messageOf(error));
    // What has no name of ours is a defect: its trace belongs in the report.
    const named = [FaultFound, ConfigError, CertificateError, StorageError].some((kind) => error instanceof kind);
    if (!named && error instanceof Error && error.stack !== undefined) io.err(error.stack);
    return 1;
  }
}

if (import.meta.main) {
  const code = await main(process.argv.slice(2), {
    out: (line) => console.log(line),
    err: (line) => console.error(line),
    isTerminal: process.stdout.isTTY === true,
  });
  process.exit(code);
}
