/**
 * A folder with a CA and what it has issued: one certificate more, renewal in place, a new CA in two steps, and a revocation list.
 *
 * `ca.crt` holds the CA that `ca.key` belongs to, and first; while the CA is rolled, the old one stands behind it.
 * @module
 */
import { createPrivateKey, type KeyObject, type X509Certificate } from "node:crypto";
import { access, copyFile, readdir, readFile, rm } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { underLock } from "../files/lock.ts";
import { CertificateError, codeOf } from "../errors.ts";
import {
  type Authority,
  createAuthority,
  isKeyType,
  type Issued,
  type KeyType,
  openAuthority,
  type Revocation,
  revocationsOf,
} from "./authority.ts";
import {
  type CertificateFacts,
  chainOf,
  checkKeyMatches,
  DAY_MS,
  daysLeft,
  describe,
  exportPrivateKey,
  isEncryptedKey,
  keyTypeOf,
  lifeLeft,
  parseCertificates,
  parsePrivateKey,
  type Passphrase,
  type Usage,
} from "./certificate.ts";
import { isNearItsEnd } from "./expiry.ts";
import { exposureOf } from "./identity.ts";
import { readPem } from "./pem.ts";
import { CERTIFICATE_MODE, finishWriting, KEY_MODE, type NewFile, writeAll } from "./write.ts";

const CA_NAME = "ca";
/** The key of the CA that is on its way out. */
const OLD_KEY = "ca.key.old";
/** The revocation list. */
const CRL = "ca.crl";

/** A certificate that was written, with its key. */
export interface Written {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly facts: CertificateFacts;
}

/** What opens the CA of a folder. */
export interface OpenOptions {
  /** The passphrase of `ca.key`, where it is encrypted. */
  readonly caPassphrase?: Passphrase | undefined;
  /** The clock; for tests. */
  readonly now?: Date | undefined;
}

/** Options of {@link issueCertificate}. */
export interface IssueCertificateOptions extends OpenOptions {
  readonly dir: string;
  readonly usage: Usage;
  /** Common name and first subject alternative name; the files are named after it. */
  readonly name: string;
  /** Further host names and IP addresses. */
  readonly subjectAltNames?: readonly string[] | undefined;
  /** 365 unless given, and never longer than the CA. */
  readonly days?: number | undefined;
  readonly keyType?: KeyType | undefined;
  /** Replace what is there. */
  readonly force?: boolean | undefined;
}

/**
 * Issues one certificate with the CA of the folder.
 * @throws {CertificateError} `exists` without `force`; `unsupported` for a name that cannot stand in a certificate; as for reading
 * and writing files.
 */
export function issueCertificate(options: IssueCertificateOptions): Promise<Written> {
  return underLock(options.dir, () => issue(options));
}

async function issue(options: IssueCertificateOptions): Promise<Written> {
  const { dir, usage, name, subjectAltNames = [], days, keyType } = options;
  const { authority } = await openFolder(dir, options);
  const file = name.replaceAll(/[^A-Za-z0-9._-]+/g, "_").replace(/^\.+/, "_");
  if (file === CA_NAME) {
    throw new CertificateError("exists", {
      what: `Cannot issue for the name ${name}`,
      state: "its files would be the CA's",
      remedy: "choose another",
    });
  }
  if (options.force !== true) {
    for (const taken of [`${file}.crt`, `${file}.key`]) {
      if (!await access(join(dir, taken)).then(() => true, () => false)) continue;
      const remedy = "renew it with certs rotate, or replace it with --force";
      throw new CertificateError("exists", {
        what: `Cannot issue for ${name}`,
        state: `${join(dir, taken)} is there already`,
        remedy,
      });
    }
  }
  const issued = await authority.issue({
    commonName: name,
    subjectAltNames: [...new Set([name, ...subjectAltNames])],
    usages: [usage],
    days,
    keyType,
  });
  await writeAll(dir, pairOf(file, issued));
  return writtenAt(dir, file, issued);
}

/** One certificate of the folder, and what became of it. `subject` is empty where it cannot be read. */
export interface Rotated {
  readonly certificateFile: string;
  readonly subject: string;
  readonly outcome: "renewed" | "kept" | "skipped";
  /** Why it was kept or skipped; until when the new one is valid. */
  readonly reason: string;
}

/**
 * Renews what is near its end, in place: the same names, usages, kind of key and lifetime, with a new key. The CA stays.
 * @param withinDays Fewer days left than this is near; infinite for all. Unless given: 30, or a third of its lifetime where that is
 * less.
 * @throws {CertificateError} as for reading and writing files.
 */
export function rotateCertificates(
  dir: string,
  withinDays: number | undefined,
  options: OpenOptions = {},
): Promise<Rotated[]> {
  return underLock(dir, () => rotate(dir, withinDays, options));
}

async function rotate(dir: string, withinDays: number | undefined, options: OpenOptions): Promise<Rotated[]> {
  const { authority, authorities } = await openFolder(dir, options);
  const { now = new Date() } = options;
  const rotated: Rotated[] = [];
  const revoked = new Set((await revocationsIn(dir)).map(({ serialNumber }) => serialNumber.toLowerCase()));
  for (const found of await leavesOf(dir)) {
    const { file } = found;
    if (found.kind === "unreadable") {
      const { message } = found.error;
      rotated.push({ certificateFile: join(dir, `${file}.crt`), subject: "", outcome: "skipped", reason: message });
      continue;
    }
    const { certificates, encrypted } = found;
    const [leaf] = certificates;
    const facts = describe(leaf);
    const told = (outcome: Rotated["outcome"], reason: string) =>
      void rotated.push({ certificateFile: join(dir, `${file}.crt`), subject: facts.subject, outcome, reason });
    const left = daysLeft(facts.validTo, now);
    const obstacle = encrypted
      ? "its key is encrypted, and the new one would not be; issue it by hand"
      : obstacleTo(facts, certificates.length, chainOf(leaf, [], authorities).kind === "anchored");
    // Its name may have been given up with it: whether there is to be another one, a person says.
    if (revoked.has(facts.serialNumber.toLowerCase())) {
      told("kept", "it was revoked; replace it with certs issue --force, or remove it");
    } else if (withinDays === undefined ? !isNearItsEnd(facts, now) : left >= withinDays) {
      told("kept", lifeLeft(facts.validTo, now));
    } else if (obstacle !== undefined) told("skipped", obstacle);
    else {
      const issued = await authority.issue({
        commonName: facts.commonName ?? file,
        subjectAltNames: facts.subjectAltNames.map((name) => name.replace(/^(DNS|IP):/, "")),
        usages: facts.usages.filter(isUsage),
        days: Math.max(1, Math.round((facts.validTo.getTime() - facts.validFrom.getTime()) / DAY_MS)),
        keyType: kindOf(leaf.publicKey),
        now,
      });
      await writeAll(dir, pairOf(file, issued));
      const { validTo } = writtenAt(dir, file, issued).facts;
      told("renewed", `valid until ${validTo.toISOString().slice(0, 10)}`);
    }
  }
  return rotated;
}

/** The kind of a key, where it can be issued here. */
function kindOf(key: KeyObject): KeyType | undefined {
  const kind = keyTypeOf(key).toLowerCase().replace(/^ec p-/, "ec-p").replace(" ", "-");
  return isKeyType(kind) ? kind : undefined;
}

/** Why a certificate cannot be issued again as it is. */
function obstacleTo(facts: CertificateFacts, length: number, ours: boolean): string | undefined {
  if (!ours) return "another CA has issued it; renew it there";
  if (length > 1) return "intermediates stand behind it in its file; issue it by hand";
  const name = facts.subjectAltNames.find((each) => !/^(DNS|IP):/.test(each));
  if (name !== undefined) return `it has the name ${name}, which is not issued here; issue it by hand`;
  const usage = facts.usages.find((each) => !isUsage(each));
  return usage === undefined ? undefined : `it has the usage ${usage}, which is not issued here; issue it by hand`;
}

function isUsage(text: string): text is Usage {
  return text === "serverAuth" || text === "clientAuth";
}

/**
 * The first step to a new CA: makes one, and puts it before the old one into `ca.crt`, so that both ends come to trust both. What
 * is issued from then on is of the new one. The old key is kept beside it until the old CA is retired. With a passphrase the new key
 * is encrypted by it too. It is of the old one's kind unless another is given.
 * @throws {CertificateError} `exists` when a roll is under way already.
 */
export function addAuthority(
  dir: string,
  options: OpenOptions & { readonly keyType?: KeyType } = {},
): Promise<Written> {
  return underLock(dir, () => add(dir, options));
}

async function add(dir: string, options: OpenOptions & { readonly keyType?: KeyType }): Promise<Written> {
  const { authorities, current } = await openFolder(dir, options);
  if (authorities.length > 1) {
    const remedy = "finish it: certs rotate --all, then certs rotate --retire-ca";
    throw new CertificateError("exists", {
      what: `Cannot make a new CA in ${dir}`,
      state: "a change of the CA is under way",
      remedy,
    });
  }
  const { commonName, validFrom, validTo } = describe(current);
  const next = await createAuthority({
    commonName: nextName(commonName ?? "CA"),
    days: Math.round((validTo.getTime() - validFrom.getTime()) / DAY_MS),
    keyType: options.keyType ?? kindOf(current.publicKey),
  });
  await copyFile(join(dir, "ca.key"), join(dir, OLD_KEY));
  await writeAll(dir, [
    { name: "ca.crt", text: next.certificate + authorities.map(pemOf).join(""), mode: CERTIFICATE_MODE },
    {
      name: "ca.key",
      text: exportPrivateKey(createPrivateKey(next.key), options.caPassphrase?.value),
      mode: KEY_MODE,
    },
  ]);
  return writtenAt(dir, CA_NAME, next);
}

/** Another name than the old one's: of two CAs of one name, a peer may try the wrong one and stop. */
function nextName(name: string): string {
  const [, stem = name, number] = /^(.*?)(?: G(\d+))?$/.exec(name) ?? [];
  return `${stem} G${Number(number ?? 1) + 1}`;
}

/**
 * The second step: takes the old CA out of `ca.crt`.
 * @throws {CertificateError} `exists` while a certificate of the folder is of the old CA; `not_found` when there is no old one.
 */
export function retireAuthority(dir: string, options: OpenOptions = {}): Promise<readonly CertificateFacts[]> {
  return underLock(dir, () => retire(dir, options));
}

async function retire(dir: string, options: OpenOptions): Promise<readonly CertificateFacts[]> {
  const { authorities, current } = await openFolder(dir, options);
  const old = authorities.filter((each) => each !== current);
  if (old.length === 0) {
    throw new CertificateError("not_found", {
      what: `Cannot retire a CA in ${dir}`,
      state: "ca.crt holds one alone",
      remedy: "add one with certs rotate --ca",
    });
  }
  const revoked = new Set((await revocationsIn(dir)).map(({ serialNumber }) => serialNumber.toLowerCase()));
  const left = (await leavesOf(dir)).filter((found) => {
    if (found.kind === "unreadable") return false;
    const [leaf, ...rest] = found.certificates;
    return !revoked.has(leaf.serialNumber.toLowerCase()) && chainOf(leaf, rest, old).kind === "anchored";
  });
  if (left.length > 0) {
    const names = left.map(({ file }) => `${file}.crt`).join(", ");
    const state = `${names} ${left.length === 1 ? "is" : "are"} of that CA`;
    throw new CertificateError("exists", {
      what: `Cannot retire the old CA in ${dir}`,
      state,
      remedy: "renew with certs rotate --all first",
    });
  }
  await writeAll(dir, [{ name: "ca.crt", text: pemOf(current), mode: CERTIFICATE_MODE }]);
  await rm(join(dir, OLD_KEY), { force: true });
  return old.map(describe);
}

/**
 * Adds a certificate to the revocation list `ca.crl`, which is made when there is none.
 * @throws {CertificateError} `wrong_issuer` for one that the CA of the folder has not issued.
 */
export function revokeCertificate(
  dir: string,
  certificateFile: string,
  options: OpenOptions = {},
): Promise<Revocation[]> {
  return underLock(dir, () => revoke(dir, certificateFile, options));
}

async function revoke(dir: string, certificateFile: string, options: OpenOptions): Promise<Revocation[]> {
  const { authority, current } = await openFolder(dir, options);
  const { now = new Date() } = options;
  const document = await readPem({ what: "certificate", setting: "the argument", value: certificateFile });
  const [leaf] = parseCertificates(document);
  if (chainOf(leaf, [], [current]).kind !== "anchored") {
    const state = `the CA in ${join(dir, "ca.crt")} has not issued it`;
    throw new CertificateError("wrong_issuer", {
      what: `Cannot revoke ${certificateFile}`,
      state,
      remedy: "revoke it at its own CA",
    });
  }
  const known = await revocationsIn(dir);
  const serialNumber = leaf.serialNumber.toLowerCase();
  const entries = known.some((each) => each.serialNumber.toLowerCase() === serialNumber)
    ? known
    : [...known, { serialNumber, at: now }];
  await writeAll(dir, [{ name: CRL, text: await authority.revoke(entries, now), mode: CERTIFICATE_MODE }]);
  return entries;
}

/** What the revocation list of a folder holds; nothing when there is none. */
export async function revocationsIn(dir: string): Promise<Revocation[]> {
  let text: string;
  try {
    text = await readFile(join(dir, CRL), "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
  return revocationsOf(text, join(dir, CRL));
}

interface Folder {
  readonly authority: Authority;
  readonly current: X509Certificate;
  readonly authorities: readonly X509Certificate[];
}

async function openFolder(
  dir: string,
  { caPassphrase = { setting: "the passphrase", value: undefined } }: OpenOptions,
): Promise<Folder> {
  await finishWriting(dir);
  const certificate = await readPem({ what: "CA certificate", setting: "--dir", value: join(dir, "ca.crt") });
  const keyDocument = await readPem({ what: "CA key", setting: "--dir", value: join(dir, "ca.key") });
  const exposure = exposureOf(keyDocument);
  if (exposure?.to === "all") {
    const state = `it ${exposure.state}, and issue with it`;
    throw new CertificateError("key_exposed", {
      what: `Cannot use ${keyDocument.name}`,
      state,
      remedy: exposure.remedy,
    });
  }
  const authorities = parseCertificates(certificate);
  const key: KeyObject = parsePrivateKey(keyDocument, caPassphrase);
  const current = authorities.find((each) => each.checkPrivateKey(key));
  if (current === undefined) {
    checkKeyMatches(key, keyDocument.name, authorities, certificate.name);
    throw new CertificateError("key_mismatch", {
      what: `Cannot use ${keyDocument.name}`,
      state: `it is of no certificate in ${certificate.name}`,
      remedy: "put the certificate of the CA whose key it is into that file, or give the key of one that is there",
    });
  }
  return { authority: await openAuthority(current, key), current, authorities };
}

/** A certificate of the folder with its key. */
type Leaf =
  | {
    readonly kind: "readable";
    readonly file: string;
    readonly certificates: ReturnType<typeof parseCertificates>;
    /** Its key is. */
    readonly encrypted: boolean;
  }
  | { readonly kind: "unreadable"; readonly file: string; readonly error: CertificateError };

/** Every certificate of the folder that is no CA and has its key beside it. */
async function leavesOf(dir: string): Promise<Leaf[]> {
  const names = await readdir(dir);
  const leaves: Leaf[] = [];
  for (const name of names.sort()) {
    const file = basename(name, ".crt");
    if (extname(name) !== ".crt" || file === CA_NAME || !names.includes(`${file}.key`)) continue;
    try {
      const document = await readPem({ what: "certificate", setting: "--dir", value: join(dir, name) });
      const certificates = parseCertificates(document);
      if (certificates[0].ca) continue;
      const key = await readPem({ what: "key", setting: "--dir", value: join(dir, `${file}.key`) });
      leaves.push({ kind: "readable", file, certificates, encrypted: isEncryptedKey(key) });
    } catch (error) {
      // One that is damaged is no reason to leave the others to their end.
      if (!(error instanceof CertificateError)) throw error;
      leaves.push({ kind: "unreadable", file, error });
    }
  }
  return leaves;
}

/** The key first: who looks in between finds the old certificate with a key that does not match, and waits. */
function pairOf(file: string, { certificate, key }: Issued): NewFile[] {
  return [
    { name: `${file}.key`, text: key, mode: KEY_MODE },
    { name: `${file}.crt`, text: certificate, mode: CERTIFICATE_MODE },
  ];
}

function writtenAt(dir: string, file: string, { certificate }: Issued): Written {
  const [parsed] = parseCertificates({ name: file, setting: "", text: certificate, path: undefined, mode: undefined });
  return {
    certificateFile: join(dir, `${file}.crt`),
    keyFile: join(dir, `${file}.key`),
    facts: describe(parsed),
  };
}

function pemOf(certificate: X509Certificate): string {
  return certificate.toString().trimEnd() + "\n";
}
