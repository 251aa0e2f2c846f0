/**
 * The passphrase of the CA's key, for the `certs` commands: from a file or from the environment, never from the command line, where
 * every user of the machine could read it.
 * @module
 */
import { readFile, stat } from "node:fs/promises";
import process from "node:process";
import { type Command, Option } from "commander";
import { CA_PASSPHRASE_VARIABLE } from "../config/environment.ts";
import { CertificateError, type CertificateErrorCode, codeOf, messageOf } from "../errors.ts";
import type { Passphrase } from "../pki/certificate.ts";

/** What the option leaves among a command's flags. */
export interface CaPassphraseFlags {
  readonly caPassphraseFile?: string;
}

const BYTES_MAX = 4_096;

/** Adds the option to a command. `help`: what the passphrase is for there. */
export function withCaPassphrase(command: Command, help: string): Command {
  const source = `its first line (default: ${CA_PASSPHRASE_VARIABLE}, if it is set)`;
  return command.addOption(new Option("--ca-passphrase-file <file>", `${help}: ${source}`));
}

/**
 * The passphrase, if there is one.
 * @throws {CertificateError} for a file that cannot be read, is empty, or that every user of the machine can read.
 */
export async function readCaPassphrase({ caPassphraseFile: file }: CaPassphraseFlags): Promise<Passphrase> {
  const value = process.env[CA_PASSPHRASE_VARIABLE];
  if (file !== undefined) return { setting: `--ca-passphrase-file ${file}`, value: await firstLine(file) };
  return value === undefined || value === ""
    ? { setting: `${CA_PASSPHRASE_VARIABLE}, or give --ca-passphrase-file`, value: undefined }
    : { setting: CA_PASSPHRASE_VARIABLE, value };
}

async function firstLine(file: string): Promise<string> {
  const what = `Cannot read the passphrase of --ca-passphrase-file ${file}`;
  const cannot = (code: CertificateErrorCode, state: string, remedy: string, cause?: unknown) =>
    new CertificateError(code, { what, state, remedy }, { cause });
  let text: string;
  try {
    const status = await stat(file);
    // A pipe, as the shell makes one of <(command), has nobody else to read it.
    if (status.isFile() && (status.mode & 0o007) !== 0) {
      const mode = (status.mode & 0o777).toString(8).padStart(4, "0");
      throw cannot(
        "key_exposed",
        `it has mode ${mode}, so every user of this machine can open it`,
        "run chmod 600 on it",
      );
    }
    if (status.size > BYTES_MAX) throw cannot("unreadable", `it has ${status.size} bytes`, "name a file of one line");
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof CertificateError) throw error;
    throw codeOf(error) === "ENOENT"
      ? cannot("not_found", "there is no such file", "write the passphrase to it, and give it mode 600")
      : cannot("unreadable", messageOf(error), "name a file that can be read", error);
  }
  const [line = ""] = text.split(/\r?\n/, 1);
  if (line === "") throw cannot("unreadable", "its first line is empty", "write the passphrase there");
  return line;
}
