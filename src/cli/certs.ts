/**
 * `certs`: certificates, made, renewed and revoked.
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { type Command, InvalidArgumentError } from "commander";
import { CertificateError } from "../errors.ts";
import {
  alternativeName,
  distinguishedName,
  isKeyType,
  isRsaBits,
  KEY_TYPES,
  type KeyType,
  type RsaBits,
} from "../pki/authority.ts";
import {
  addAuthority,
  issueCertificate,
  retireAuthority,
  revokeCertificate,
  rotateCertificates,
  type Written,
} from "../pki/folder.ts";
import { initCertificates } from "../pki/init.ts";
import { type CaPassphraseFlags, readCaPassphrase, withCaPassphrase } from "./ca_passphrase.ts";
import { showCommand } from "./certs_show.ts";
import { day, DIR_DEFAULT, OPENS_CA } from "./certs_words.ts";
import { printable } from "./terminal.ts";
import { counted, FaultFound, type Io, newCommand, put, table } from "./io.ts";

const DAYS_MAX = 7300;

/** The command `certs` with its own commands. */
export function certsCommand(io: Io): Command {
  const certs = newCommand(io, "certs").description(
    "Make, show, renew and revoke the certificates of the mutual-TLS connection",
  );
  certs.addCommand(initCommand(io));
  certs.addCommand(issueCommand(io));
  certs.addCommand(showCommand(io));
  certs.addCommand(rotateCommand(io));
  certs.addCommand(revokeCommand(io));
  return certs;
}

interface InitFlags extends CaPassphraseFlags {
  readonly dir: string;
  readonly caCn?: string;
  readonly keyType?: KeyType;
  readonly rsa?: RsaBits;
  readonly days?: number;
  readonly serverSan?: readonly string[];
  readonly force?: true;
  readonly json?: true;
}

function initCommand(io: Io): Command {
  const command = newCommand(io, "init")
    .description("Make a CA, a server certificate for the Collector and a client certificate for the relay")
    .option("--dir <folder>", "where to write", DIR_DEFAULT)
    .option("--ca-cn <name>", "common name of the CA (default: MyRootCA)", parseCommonName)
    .option("--key-type <type>", `keys: one of ${KEY_TYPES.join(", ")} (default: ec-p256)`, parseKeyType)
    .option("--rsa <bits>", "the same as --key-type rsa-<bits>, for 2048, 3072 or 4096", parseRsaBits)
    .option("--days <number>", "days that server and client are valid (default: 365)", parseDays)
    .option("--server-san <name>", "one more host name or IP address of the server; may be repeated", collectName)
    .option("--force", "replace the files that are there")
    .option("--json", "print the result as JSON");
  return withCaPassphrase(command, "encrypt the CA's key by the passphrase in this file")
    .action(async (flags: InitFlags) => {
      if (flags.keyType !== undefined && flags.rsa !== undefined) {
        command.error("error: give one of --key-type and --rsa");
      }
      const { value: caPassphrase } = await readCaPassphrase(flags);
      const made = await initCertificates({
        dir: flags.dir,
        caCommonName: flags.caCn,
        keyType: flags.keyType,
        rsaBits: flags.rsa,
        days: flags.days,
        serverNames: flags.serverSan,
        force: flags.force,
        caPassphrase,
      });
      const environment = environmentOf(flags.dir);
      if (flags.json) {
        io.out(JSON.stringify({ dir: flags.dir, certificates: made, environment }, null, 2));
        return;
      }
      for (const line of writtenTable(made, io.width)) io.out(line);
      io.out("");
      io.out("Lines for .env:");
      for (const [name, value] of Object.entries(environment)) io.out(`${name}=${quoted(value)}`);
    });
}

function parseRsaBits(value: string): RsaBits {
  const bits = Number(value);
  if (!isRsaBits(bits)) throw new InvalidArgumentError("Give 2048, 3072 or 4096.");
  return bits;
}

function parseDays(value: string): number {
  const days = Number(value);
  if (!Number.isInteger(days) || days < 1 || days > DAYS_MAX) {
    throw new InvalidArgumentError(`Give a whole number from 1 to ${DAYS_MAX}.`);
  }
  return days;
}

function parseCommonName(value: string): string {
  asArgument(() => distinguishedName(value));
  return value;
}

function collectName(value: string, previous: readonly string[] = []): string[] {
  asArgument(() => alternativeName(value));
  return [...previous, value];
}

function asArgument(check: () => void): void {
  try {
    check();
  } catch (error) {
    throw error instanceof CertificateError ? new InvalidArgumentError(`${error.message}.`) : error;
  }
}

/**
 * The lines of `.env` that go with the files in `dir`: whom the Collector's container runs as, since it must read a key of
 * mode 600, and the exporter's variables.
 */
export function environmentOf(dir: string): Record<string, string> {
  const uid = process.getuid?.();
  const gid = process.getgid?.();
  return {
    ...(uid === undefined || gid === undefined ? {} : { OWNER_UID: String(uid), OWNER_GID: String(gid) }),
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "https://localhost:4318/v1/metrics",
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://localhost:4318/v1/traces",
    OTEL_EXPORTER_OTLP_CERTIFICATE: join(dir, "ca.crt"),
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: join(dir, "client.crt"),
    OTEL_EXPORTER_OTLP_CLIENT_KEY: join(dir, "client.key"),
    OTEL_EXPORTER_OTLP_INSECURE: "false",
  };
}

function quoted(value: string): string {
  return /^[\w./:@+-]*$/.test(value) ? value : JSON.stringify(value);
}

interface IssueFlags extends CaPassphraseFlags {
  readonly dir: string;
  readonly client?: string;
  readonly server?: string;
  readonly san?: readonly string[];
  readonly days?: number;
  readonly keyType?: KeyType;
  readonly force?: true;
  readonly json?: true;
}

function issueCommand(io: Io): Command {
  const command = newCommand(io, "issue")
    .description(
      "Issue one certificate with the CA of the folder: a client for each service, a server for each Collector",
    )
    .option("--client <name>", "a client certificate for this service", parseName)
    .option("--server <name>", "a server certificate for this host", parseName)
    .option("--san <name>", "one more host name or IP address; may be repeated", collectName)
    .option("--days <number>", "days that it is valid, at most as long as the CA (default: 365)", parseDays)
    .option("--key-type <type>", `one of ${KEY_TYPES.join(", ")} (default: ec-p256)`, parseKeyType)
    .option("--dir <folder>", "the folder with ca.crt and ca.key", DIR_DEFAULT)
    .option("--force", "replace the files that are there")
    .option("--json", "print the result as JSON");
  return withCaPassphrase(command, OPENS_CA).action(async (flags: IssueFlags) => {
    const name = flags.client ?? flags.server;
    if (name === undefined || (flags.client !== undefined && flags.server !== undefined)) {
      return command.error("error: give one of --client and --server");
    }
    const made = await issueCertificate({
      dir: flags.dir,
      usage: flags.client === undefined ? "serverAuth" : "clientAuth",
      name,
      subjectAltNames: flags.san,
      days: flags.days,
      keyType: flags.keyType,
      force: flags.force,
      caPassphrase: await readCaPassphrase(flags),
    });
    if (flags.json) io.out(JSON.stringify(made, null, 2));
    else for (const line of writtenTable([made], io.width)) io.out(line);
  });
}

function parseName(value: string): string {
  asArgument(() => {
    distinguishedName(value);
    alternativeName(value);
  });
  return value;
}

function parseKeyType(value: string): KeyType {
  if (!isKeyType(value)) throw new InvalidArgumentError(`Give one of ${KEY_TYPES.join(", ")}.`);
  return value;
}

function writtenTable(made: readonly Written[], width: number | undefined): string[] {
  const rows = made.map(({ certificateFile, keyFile, facts }) => [
    certificateFile,
    keyFile,
    facts.commonName ?? "",
    day(facts.validTo),
    facts.keyType,
    facts.subjectAltNames.join(" ") || "-",
  ]);
  return table([["CERTIFICATE", "KEY", "CN", "VALID UNTIL", "KEY TYPE", "SAN"], ...rows], width);
}

interface RotateFlags extends CaPassphraseFlags {
  readonly dir: string;
  readonly within?: number;
  readonly all?: true;
  readonly ca?: true;
  readonly retireCa?: true;
  readonly json?: true;
}

function rotateCommand(io: Io): Command {
  const command = newCommand(io, "rotate")
    .description(
      "Renew certificates that are near their end, in place, with the same CA; or change the CA, in two steps",
    )
    .option("--dir <folder>", "the folder with ca.crt and ca.key", DIR_DEFAULT)
    .option(
      "--within <days>",
      "renew what has fewer days left than this (default: 30, or a third of its lifetime where that is less)",
      parseDays,
    )
    .option("--all", "renew everything, whatever time is left")
    .option("--ca", "first step to a new CA: make it, and let ca.crt hold both")
    .option("--retire-ca", "second step: take the old CA out of ca.crt")
    .option("--json", "print the result as JSON");
  return withCaPassphrase(command, OPENS_CA).action(async (flags: RotateFlags) => {
    const { dir } = flags;
    if ([flags.all, flags.ca, flags.retireCa].filter(Boolean).length > 1) {
      command.error("error: give one of --all, --ca and --retire-ca");
    }
    const options = { caPassphrase: await readCaPassphrase(flags) };
    if (flags.ca) {
      const made = await addAuthority(dir, options);
      if (flags.json) io.out(JSON.stringify({ added: made }, null, 2));
      else {
        for (const line of writtenTable([made], io.width)) io.out(line);
        put(io, `Both CAs are in ${made.certificateFile}. When both ends have read it: certs rotate --all`);
      }
      return;
    }
    if (flags.retireCa) {
      const retired = await retireAuthority(dir, options);
      if (flags.json) io.out(JSON.stringify({ retired }, null, 2));
      else for (const { subject } of retired) put(io, printable(`Took ${subject} out of ${join(dir, "ca.crt")}`));
      return;
    }
    const rotated = await rotateCertificates(dir, flags.all ? Infinity : flags.within, options);
    if (flags.json) io.out(JSON.stringify({ rotated }, null, 2));
    else {
      const rows = rotated.map(({ certificateFile, subject, outcome, reason }) => [
        certificateFile,
        subject,
        outcome,
        reason,
      ]);
      for (const line of table([["CERTIFICATE", "SUBJECT", "OUTCOME", ""], ...rows], io.width)) io.out(printable(line));
    }
    const skipped = rotated.filter(({ outcome }) => outcome === "skipped");
    if (skipped.length > 0) {
      throw new FaultFound(`Could not renew ${counted(skipped.length, "certificate")}; see above`);
    }
  });
}

function revokeCommand(io: Io): Command {
  const command = newCommand(io, "revoke")
    .description(
      "Put a certificate on the revocation list ca.crl. The Collector reads no such list: see certs/README.md",
    )
    .argument("<file>", "the certificate")
    .option("--dir <folder>", "the folder with ca.crt and ca.key", DIR_DEFAULT)
    .option("--json", "print the list as JSON");
  return withCaPassphrase(command, OPENS_CA)
    .action(async (file: string, flags: CaPassphraseFlags & { dir: string; json?: true }) => {
      const revoked = await revokeCertificate(flags.dir, file, { caPassphrase: await readCaPassphrase(flags) });
      if (flags.json) {
        io.out(JSON.stringify({ revoked }, null, 2));
        return;
      }
      for (
        const line of table([["SERIAL", "REVOKED"], ...revoked.map(({ serialNumber, at }) => [serialNumber, day(at)])])
      ) {
        io.out(line);
      }
    });
}
