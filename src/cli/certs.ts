/**
 * `certs`: development certificates, made and shown.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { access, readdir } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
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
  type CertificateFacts,
  chainOf,
  checkChain,
  checkDates,
  checkForm,
  checkKeyMatches,
  checkKeyType,
  daysLeft,
  describe,
  holdsCertificate,
  holdsPrivateKey,
  isEncryptedKey,
  keyTypeOf,
  parseCertificates,
  parsePrivateKey,
  type Passphrase,
} from "../pki/certificate.ts";
import {
  addAuthority,
  issueCertificate,
  retireAuthority,
  revocationsIn,
  revokeCertificate,
  rotateCertificates,
  type Written,
} from "../pki/folder.ts";
import { exposureOf } from "../pki/identity.ts";
import { initCertificates } from "../pki/init.ts";
import { type PemDocument, readPem } from "../pki/pem.ts";
import { leftoversIn } from "../pki/write.ts";
import { type CaPassphraseFlags, readCaPassphrase, withCaPassphrase } from "./ca_passphrase.ts";
import { FaultFound, type Io, newCommand, table } from "./io.ts";

const DAYS_MAX = 7300;
const DIR_DEFAULT = "certs";
const WITHIN_DAYS_DEFAULT = 30;
const OPENS_CA = "the passphrase of an encrypted CA key is in this file";

/** The command `certs` with its own commands `init` and `show`. */
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
    .option("--rsa <bits>", "RSA keys of 2048, 3072 or 4096 bits (default: EC P-256)", parseRsaBits)
    .option("--days <number>", "days that server and client are valid (default: 365)", parseDays)
    .option("--server-san <name>", "one more host name or IP address of the server; may be repeated", collectName)
    .option("--force", "replace the files that are there")
    .option("--json", "print the result as JSON");
  return withCaPassphrase(command, "encrypt the CA's key by the passphrase in this file")
    .action(async (flags: InitFlags) => {
      const { value: caPassphrase } = await readCaPassphrase(flags);
      const made = await initCertificates({
        dir: flags.dir,
        caCommonName: flags.caCn,
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
      for (const line of writtenTable(made)) io.out(line);
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
    ...(uid === undefined || gid === undefined ? {} : { UID: String(uid), GID: String(gid) }),
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
    else for (const line of writtenTable([made])) io.out(line);
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

function writtenTable(made: readonly Written[]): string[] {
  const rows = made.map(({ certificateFile, keyFile, facts }) => [
    certificateFile,
    keyFile,
    facts.commonName ?? "",
    facts.subjectAltNames.join(" ") || "-",
    day(facts.validTo),
    facts.keyType,
  ]);
  return table([["CERTIFICATE", "KEY", "CN", "SAN", "VALID UNTIL", "KEY TYPE"], ...rows]);
}

interface RotateFlags extends CaPassphraseFlags {
  readonly dir: string;
  readonly within: number;
  readonly all?: true;
  readonly ca?: true;
  readonly retireCa?: true;
  readonly json?: true;
}

function rotateCommand(io: Io): Command {
  const command = newCommand(io, "rotate")
    .description("Renew in place what is near its end, keeping the CA; or change the CA, in two steps")
    .option("--dir <folder>", "the folder with ca.crt and ca.key", DIR_DEFAULT)
    .option("--within <days>", "renew what has fewer days left than this", parseDays, WITHIN_DAYS_DEFAULT)
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
        for (const line of writtenTable([made])) io.out(line);
        io.out(`Both CAs are in ${made.certificateFile}. When both ends have read it: certs rotate --all`);
      }
      return;
    }
    if (flags.retireCa) {
      const retired = await retireAuthority(dir, options);
      if (flags.json) io.out(JSON.stringify({ retired }, null, 2));
      else for (const { subject } of retired) io.out(printable(`Took ${subject} out of ${join(dir, "ca.crt")}`));
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
      for (const line of table([["CERTIFICATE", "SUBJECT", "OUTCOME", ""], ...rows])) io.out(printable(line));
    }
    const skipped = rotated.filter(({ outcome }) => outcome === "skipped");
    if (skipped.length > 0) {
      throw new FaultFound(`Could not renew ${counted(skipped.length, "certificate")}; see above`);
    }
  });
}

function revokeCommand(io: Io): Command {
  const command = newCommand(io, "revoke")
    .description("Put a certificate on the revocation list ca.crl. The Collector reads none: see certs/README.md")
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

interface ShowFlags extends CaPassphraseFlags {
  readonly dir?: string;
  readonly json?: true;
}

function showCommand(io: Io): Command {
  const command = newCommand(io, "show")
    .description("Show certificates, and check their dates, keys and issuers")
    .argument("[files...]", "certificates and keys; the key beside a certificate is found by its name")
    .option("--dir <folder>", `all certificates and keys of a folder (default: ${DIR_DEFAULT}, without files)`)
    .option("--json", "print the result as JSON");
  return withCaPassphrase(command, OPENS_CA).action(async (files: string[], flags: ShowFlags) => {
    if (files.length > 0 && flags.dir !== undefined) command.error("error: give files or --dir, not both");
    const dirs = files.length > 0 ? new Set(files.map((file) => dirname(file))) : [flags.dir ?? DIR_DEFAULT];
    const left = (await Promise.all([...dirs].map(leftIn))).flat();
    const shown = await inspect(
      files.length > 0 ? files : await filesIn(flags.dir ?? DIR_DEFAULT),
      new Date(),
      await readCaPassphrase(flags),
    );
    shown.push(...left);
    if (flags.json) io.out(JSON.stringify(shown, null, 2));
    else for (const line of shown.flatMap(linesOf)) io.out(line);
    const faults = shown.reduce((sum, each) => sum + each.faults.length, 0);
    if (faults > 0) {
      throw new FaultFound(`Found ${counted(faults, "fault")} in ${counted(shown.length, "file")}; see above`);
    }
  });
}

async function filesIn(dir: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (cause) {
    const message = `Cannot read folder ${dir}: no certificates are there; make them with "certs init --dir ${dir}"`;
    throw new CertificateError("not_found", message, { cause });
  }
  const files = names.filter((name) => [".crt", ".cer", ".pem", ".key"].includes(extname(name))).sort();
  if (files.length === 0) {
    const message = `Cannot show folder ${dir}: no .crt, .cer, .pem or .key is in it; make them with "certs init"`;
    throw new CertificateError("not_found", message);
  }
  return files.map((name) => join(dir, name));
}

/** What interrupted runs have left in a folder, as faults of it. */
async function leftIn(dir: string): Promise<ShownFile[]> {
  // A folder that cannot be listed may hold files that can be read.
  const { pending, abandoned } = await leftoversIn(dir).catch(() => ({ pending: [], abandoned: [] }));
  const faults = [];
  if (pending.length > 0) {
    const state = `a change was interrupted before ${pending.join(", ")} had taken their names`;
    faults.push(`Cannot rely on ${dir}: ${state}; certs rotate finishes it`);
  }
  if (abandoned.length > 0) {
    const state = `a change was interrupted before it was complete, and left ${abandoned.join(", ")}`;
    faults.push(`Nothing is changed in ${dir}: ${state}; remove ${abandoned.length === 1 ? "it" : "them"}`);
  }
  return faults.length === 0 ? [] : [{ file: dir, certificates: [], keys: [], faults }];
}

interface ShownCertificate extends CertificateFacts {
  readonly daysLeft: number;
  /** The file of the CA that its issuers lead to, when that CA is among the files; null when it is not. */
  readonly issuedBy: string | null;
}

interface ShownKey {
  readonly file: string;
  /** Null when the key is encrypted, and the passphrase given is not its own. */
  readonly keyType: string | null;
  readonly encrypted: boolean;
  /** The certificate file it belongs to; null when there is none, or the key could not be opened. */
  readonly matches: string | null;
}

interface ShownFile {
  readonly file: string;
  readonly certificates: ShownCertificate[];
  readonly keys: ShownKey[];
  readonly faults: string[];
}

type Chain = ReturnType<typeof parseCertificates>;

/** Each file with all that is wrong with it; a fault in one does not hide those of another. */
async function inspect(files: readonly string[], now: Date, caPassphrase: Passphrase): Promise<ShownFile[]> {
  const shown = new Map<string, ShownFile>();
  const chains = new Map<string, Chain>();
  const keys: { document: PemDocument; file: string; beside: string | undefined }[] = [];
  const shownOf = (file: string): ShownFile => {
    const known = shown.get(file) ?? { file, certificates: [], keys: [], faults: [] };
    shown.set(file, known);
    return known;
  };

  for (const file of new Set(files)) {
    await noting(shownOf(file).faults, async () => {
      const document = await readFileAs(file);
      const isKey = holdsPrivateKey(document);
      if (isKey) keys.push({ document, file, beside: undefined });
      if (!isKey || holdsCertificate(document)) chains.set(file, parseCertificates(document));
    });
  }
  for (const file of chains.keys()) {
    const keyFile = file.slice(0, file.length - extname(file).length) + ".key";
    const known = keys.find((key) => key.file === keyFile);
    if (known !== undefined) known.beside = file;
    else if (!shown.has(keyFile) && await access(keyFile).then(() => true, () => false)) {
      await noting(shownOf(file).faults, async () => {
        keys.push({ document: await readFileAs(keyFile), file: keyFile, beside: file });
      });
    }
  }
  const authorities = [...chains].flatMap(([file, chain]) =>
    chain.filter((each) => each.ca).map((certificate) => ({ file, certificate }))
  );
  for (const [file, chain] of chains) {
    for (const certificate of chain) {
      await inspectCertificate(shownOf(file), certificate, chain, authorities, now);
    }
  }
  for (const { document, file, beside } of keys) {
    await inspectKey(shownOf(shown.has(file) ? file : beside ?? file), document, file, beside, chains, caPassphrase);
  }
  return [...shown.values()];
}

async function readFileAs(file: string): Promise<PemDocument> {
  return await readPem({ what: "file", setting: "the argument", value: file });
}

/** Runs a check and notes a {@link CertificateError} as a fault. */
async function noting(faults: string[], check: () => Promise<void> | void): Promise<void> {
  try {
    await check();
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    faults.push(error.message);
  }
}

async function inspectCertificate(
  shown: ShownFile,
  certificate: X509Certificate,
  file: Chain,
  authorities: readonly { readonly file: string; readonly certificate: X509Certificate }[],
  now: Date,
): Promise<void> {
  const facts = describe(certificate);
  const name = file.length === 1 ? shown.file : `${facts.subject} in ${shown.file}`;
  const chain = chainOf(certificate, file, authorities.map((each) => each.certificate));
  const anchor = chain.kind === "anchored" ? chain.path.at(-1) : undefined;
  shown.certificates.push({
    ...facts,
    daysLeft: daysLeft(facts.validTo, now),
    issuedBy: authorities.find((each) => each.certificate === anchor)?.file ?? null,
  });
  await noting(shown.faults, () => checkKeyType(certificate.publicKey, name));
  await noting(shown.faults, () => checkDates(certificate, name, now));
  if (!certificate.ca) await noting(shown.faults, () => checkForm(certificate, name));
  // An issuer that is not among the files is no fault of theirs.
  await noting(shown.faults, async () => {
    const revoked = (await revocationsIn(dirname(shown.file))).find(({ serialNumber }) =>
      serialNumber.toLowerCase() === certificate.serialNumber.toLowerCase()
    );
    if (revoked === undefined) return;
    throw new CertificateError("revoked", `Cannot use ${name}: it was revoked on ${day(revoked.at)}; issue a new one`);
  });
  if (chain.kind === "bad_signature") await noting(shown.faults, () => checkChain(chain, name, "the files shown"));
}

async function inspectKey(
  shown: ShownFile,
  document: PemDocument,
  file: string,
  beside: string | undefined,
  chains: ReadonlyMap<string, Chain>,
  caPassphrase: Passphrase,
): Promise<void> {
  const exposure = exposureOf(document);
  if (exposure !== undefined) shown.faults.push(`Cannot keep ${file} so: it ${exposure.state}; run chmod 600 on it`);
  const encrypted = isEncryptedKey(document);
  if (encrypted && !opens(document, caPassphrase)) {
    shown.keys.push({ file, keyType: null, encrypted, matches: null });
    return;
  }
  await noting(shown.faults, () => {
    const key = parsePrivateKey(document, caPassphrase);
    const matches = [...chains].find(([, chain]) => chain[0].checkPrivateKey(key))?.[0] ?? null;
    shown.keys.push({ file, keyType: keyTypeOf(key), encrypted, matches });
    const expected = beside ?? file;
    const chain = chains.get(expected);
    if (chain !== undefined && matches !== expected) checkKeyMatches(key, file, chain, expected);
    if (chain === undefined && matches === null && chains.size > 0) {
      throw new CertificateError("key_mismatch", `Cannot use ${file}: it matches none of the certificates shown`);
    }
  });
}

/** Whether this passphrase is the key's; other keys of the folder may have others. */
function opens(document: PemDocument, passphrase: Passphrase): boolean {
  try {
    parsePrivateKey(document, passphrase);
    return true;
  } catch (error) {
    return !(error instanceof CertificateError && error.code === "key_encrypted");
  }
}

function linesOf(shown: ShownFile): string[] {
  const lines = [shown.file];
  for (const each of shown.certificates) {
    const left = each.daysLeft < 0 ? `expired ${-each.daysLeft} days ago` : `${each.daysLeft} days left`;
    lines.push(...table([
      ["  subject", each.subject],
      ["  SAN", each.subjectAltNames.join(" ") || "-"],
      ["  issuer", each.issuedBy === null ? each.issuer : `${each.issuer} (${each.issuedBy})`],
      ["  valid", `${day(each.validFrom)} to ${day(each.validTo)} (${left})`],
      ["  serial", each.serialNumber],
      ["  usages", [...each.isCa ? ["CA"] : [], ...each.usages, ...each.keyUsages].join(" ") || "any"],
      ["  public key", each.keyType],
      ["  SHA-256", each.fingerprintSha256],
    ]));
  }
  for (const key of shown.keys) {
    const type = key.keyType === null
      ? "encrypted, so not compared (--ca-passphrase-file)"
      : `${key.keyType}${key.encrypted ? ", encrypted" : ""}`;
    const match = key.matches === null ? "" : `, matches ${key.matches}`;
    lines.push(`  key         ${key.file}: ${type}${match}`);
  }
  for (const fault of shown.faults) lines.push(`  FAULT       ${fault}`);
  return [...lines.map(printable), ""];
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** A certificate may say anything, terminal escapes included. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
