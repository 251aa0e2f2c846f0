/**
 * `certs show`: certificates and keys of files or a folder, with all that is wrong with them.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { access, readdir } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import type { Command } from "commander";
import { CertificateError, codeOf } from "../errors.ts";
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
  lifeLeft,
  parseCertificates,
  parsePrivateKey,
  type Passphrase,
} from "../pki/certificate.ts";
import { isNearItsEnd } from "../pki/expiry.ts";
import { revocationsIn } from "../pki/folder.ts";
import { exposureOf } from "../pki/identity.ts";
import { type PemDocument, readPem } from "../pki/pem.ts";
import { leftoversIn } from "../pki/write.ts";
import { type CaPassphraseFlags, readCaPassphrase, withCaPassphrase } from "./ca_passphrase.ts";
import { day, DIR_DEFAULT, OPENS_CA } from "./certs_words.ts";
import { printable } from "./terminal.ts";
import { counted, FaultFound, fitted, type Io, newCommand, painted } from "./io.ts";

interface ShowFlags extends CaPassphraseFlags {
  readonly dir?: string;
  readonly json?: true;
}

/** The command `certs show`. Throws {@link FaultFound} when something is wrong with what is shown. */
export function showCommand(io: Io): Command {
  const command = newCommand(io, "show")
    .description("Show certificates, and check their dates, keys and issuers")
    .argument("[files...]", "certificates and keys; the key beside a certificate is found by its name")
    .option("--dir <folder>", `all certificates and keys of a folder (default: ${DIR_DEFAULT}, without files)`)
    .option("--json", "print the result as JSON");
  return withCaPassphrase(command, OPENS_CA).action(async (files: string[], flags: ShowFlags) => {
    if (files.length > 0 && flags.dir !== undefined) command.error("error: give files or --dir, not both");
    const dirs = files.length > 0 ? new Set(files.map((file) => dirname(file))) : [flags.dir ?? DIR_DEFAULT];
    const left = (await Promise.all([...dirs].map(leftIn))).flat();
    const now = new Date();
    const shown = await inspect(
      files.length > 0 ? files : await filesIn(flags.dir ?? DIR_DEFAULT),
      now,
      await readCaPassphrase(flags),
    );
    shown.push(...left);
    if (flags.json) io.out(JSON.stringify(shown, null, 2));
    else for (const line of folded(shown).flatMap((each) => linesOf(io, each, now))) io.out(line);
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
    const remedy = `make them with "certs init --dir ${dir}"`;
    const what = `Cannot read folder ${dir}`;
    throw new CertificateError(
      "not_found",
      { what, state: "no certificates are there", remedy },
      codeOf(cause) === "ENOENT" ? {} : { cause },
    );
  }
  const files = names.filter((name) => [".crt", ".cer", ".pem", ".key"].includes(extname(name))).sort();
  if (files.length === 0) {
    const state = "no .crt, .cer, .pem or .key is in it";
    throw new CertificateError("not_found", {
      what: `Cannot show folder ${dir}`,
      state,
      remedy: 'make them with "certs init"',
    });
  }
  return files.map((name) => join(dir, name));
}

/** Files that interrupted runs have left in a folder, as faults of the folder. */
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
    throw new CertificateError("revoked", {
      what: `Cannot use ${name}`,
      state: `it was revoked on ${day(revoked.at)}`,
      remedy: "issue a new one",
    });
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
      throw new CertificateError("key_mismatch", {
        what: `Cannot use ${file}`,
        state: "it matches none of the certificates shown",
        remedy: "put its certificate beside it, or remove the key",
      });
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

/** For people: a key that nothing is wrong with stands with the certificate it belongs to. */
function folded(shown: readonly ShownFile[]): ShownFile[] {
  const files = new Map(shown.map((each) => [each.file, { ...each, keys: [...each.keys] }]));
  for (const { file, certificates, keys, faults } of shown) {
    const [key, ...more] = keys;
    if (key === undefined || more.length > 0 || certificates.length > 0 || faults.length > 0) continue;
    const beside = files.get(key.matches ?? `${file.slice(0, file.length - extname(file).length)}.crt`);
    if (beside === undefined) continue;
    beside.keys.push(key);
    files.delete(file);
  }
  return [...files.values()];
}

function linesOf(io: Io, shown: ShownFile, now: Date): string[] {
  const rows: [label: string, value: string][] = [];
  for (const each of shown.certificates) {
    const soon = each.validTo > now && isNearItsEnd(each, now)
      ? `, near its end: certs rotate${each.isCa ? " --ca changes" : " renews"} it`
      : "";
    rows.push(
      ["subject", each.subject],
      ["SAN", each.subjectAltNames.join(" ") || "-"],
      ["issuer", each.issuedBy === null ? each.issuer : `${each.issuer} (${each.issuedBy})`],
      ["valid", `${day(each.validFrom)} to ${day(each.validTo)} (${lifeLeft(each.validTo, now)}${soon})`],
      ["serial", each.serialNumber],
      ["usages", [...each.isCa ? ["CA"] : [], ...each.usages, ...each.keyUsages].join(" ") || "any"],
      ["public key", each.keyType],
      ...fingerprintRows(each.fingerprintSha256, io.width),
    );
  }
  for (const key of shown.keys) {
    const type = key.keyType === null
      ? "encrypted, so not compared (--ca-passphrase-file)"
      : `${key.keyType}${key.encrypted ? ", encrypted" : ""}`;
    const match = key.matches === null ? "" : `, matches ${key.matches}`;
    rows.push(["key", `${key.file}: ${type}${match}`]);
  }
  const lines = ([label, value]: readonly [string, string], paint = (text: string) => text): string[] => {
    const [first = "", ...more] = fitted(
      `  ${label.padEnd(LABEL_WIDTH)}  ${printable(value)}`,
      io.width,
      LABEL_WIDTH + 4,
    );
    return [first.slice(0, 2) + paint(label) + first.slice(2 + label.length), ...more];
  };
  return [
    painted(io, "heading", printable(shown.file)),
    ...rows.flatMap((row) => lines(row)),
    ...shown.faults.flatMap((fault) => lines(["FAULT", fault], (text) => painted(io, "bad", text))),
    "",
  ];
}

/** That of the longest label, `public key`. */
const LABEL_WIDTH = 10;

/** On one line where there is room, else on two of 16 bytes. */
function fingerprintRows(fingerprint: string, width = Infinity): [label: string, value: string][] {
  if (LABEL_WIDTH + 4 + fingerprint.length <= width) return [["SHA-256", fingerprint]];
  const half = Math.ceil(fingerprint.length / 2);
  return [["SHA-256", fingerprint.slice(0, half)], ["", fingerprint.slice(half)]];
}
