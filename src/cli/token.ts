/**
 * `token new` and `token revoke`.
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { SIGNAL_NAMES, type SignalName } from "../otlp/signal.ts";
import { addToken, newSecret, removeTokens } from "../receiver/tokens_file.ts";
import { FaultFound, type Io, newCommand } from "./io.ts";

const FILE_DEFAULT = "config/tokens.yaml";

/** The family `token`. */
export function tokenCommand(io: Io): Command {
  const family = newCommand(io, "token").description("Make and revoke the tokens that senders prove themselves with");

  family.command("new")
    .description("Make a token and print it, once; the file keeps its SHA-256 alone")
    .requiredOption("--id <id>", "who sends with it: letters, digits, '.', '_' and '-'")
    .option("--signals <names>", `what it may send (default: ${SIGNAL_NAMES.join(",")})`, signalNames)
    .option("--file <path>", "the tokens file", FILE_DEFAULT)
    .option("--json", "print JSON")
    .action(async (flags: { id: string; signals?: SignalName[]; file: string; json?: true }) => {
      const secret = newSecret();
      await addToken(flags.file, {
        id: flags.id,
        secret,
        ...(flags.signals === undefined ? {} : { signals: flags.signals }),
      });
      if (flags.json) io.out(JSON.stringify({ id: flags.id, token: secret, file: flags.file }, null, 2));
      else {
        io.out(secret);
        io.err(`Token for ${flags.id}: shown this once. Senders set Authorization: Bearer TOKEN, or x-api-key`);
      }
    });

  family.command("revoke")
    .description("Remove every token of an id")
    .argument("<id>", "whose")
    .option("--file <path>", "the tokens file", FILE_DEFAULT)
    .action(async (id: string, flags: { file: string }) => {
      const removed = await removeTokens(flags.file, id);
      if (removed === 0) throw new FaultFound(`No token of ${id} is in ${flags.file}`);
      io.out(`Removed ${removed} token${removed === 1 ? "" : "s"} of ${id} from ${flags.file}`);
    });

  return family;
}

function signalNames(value: string): SignalName[] {
  return value.split(",").map((name) => {
    const signal = SIGNAL_NAMES.find((known) => known === name.trim());
    if (signal === undefined) throw new InvalidArgumentError(`${name} is no signal; use ${SIGNAL_NAMES.join(", ")}.`);
    return signal;
  });
}
