/**
 * A set of development certificates on disk: a CA, a server for the Collector, a client for the relay.
 * @module
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { underLock } from "../files/lock.ts";
import { CertificateError } from "../errors.ts";
import { CLIENT, createAuthority, type Issued, type KeyType, type RsaBits, SERVER } from "./authority.ts";
import { type CertificateFacts, describe, exportPrivateKey } from "./certificate.ts";
import { CERTIFICATE_MODE, finishWriting, KEY_MODE, writeAll } from "./write.ts";

const CA_DAYS_MIN = 3650;

/** Options of {@link initCertificates}. */
export interface InitOptions {
  /** Folder to write to; made where it is missing. */
  readonly dir: string;
  /** `MyRootCA` unless given. */
  readonly caCommonName?: string | undefined;
  /** EC P-256 unless given. */
  readonly keyType?: KeyType | undefined;
  /** RSA keys of this size, where `keyType` is not given. */
  readonly rsaBits?: RsaBits | undefined;
  /** Days that server and client are valid; 365 unless given. The CA is valid for 3650, or as long as these. */
  readonly days?: number | undefined;
  /** Host names and IP addresses of the server besides the usual ones. */
  readonly serverNames?: readonly string[] | undefined;
  /** Encrypts the CA's key. */
  readonly caPassphrase?: string | undefined;
  /** Replace what is there. */
  readonly force?: boolean | undefined;
}

/** One of the three pairs written. */
export interface InitResult {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly facts: CertificateFacts;
}

/**
 * Writes `ca`, `server` and `client` to `dir`, each as `.crt` (mode 644) and `.key` (mode 600): all of them or, in a run
 * that is interrupted, all of them by the next one.
 * @throws {CertificateError} `exists` when one of the files is there and `force` is not set; `unsupported` for a name that
 * cannot stand in a certificate; `permissions` or `unwritable` when the folder cannot be written.
 */
export function initCertificates(options: InitOptions): Promise<InitResult[]> {
  return underLock(options.dir, () => init(options));
}

async function init(options: InitOptions): Promise<InitResult[]> {
  const { dir, keyType, rsaBits, days } = options;
  const names = ["ca", "server", "client"];
  await finishWriting(dir);
  if (options.force !== true) await refuseExisting(dir, names.flatMap((name) => [`${name}.crt`, `${name}.key`]));

  const now = new Date();
  const ca = await createAuthority({
    commonName: options.caCommonName ?? "MyRootCA",
    keyType,
    rsaBits,
    days: Math.max(CA_DAYS_MIN, days ?? 0),
    now,
  });
  const subjectAltNames = [...new Set([...SERVER.subjectAltNames, ...options.serverNames ?? []])];
  const issued: [string, Issued][] = [
    ["ca", { ...ca, key: exportPrivateKey(createPrivateKey(ca.key), options.caPassphrase) }],
    ["server", await ca.issue({ ...SERVER, subjectAltNames, keyType, rsaBits, days, now })],
    ["client", await ca.issue({ ...CLIENT, keyType, rsaBits, days, now })],
  ];
  await writeAll(
    dir,
    issued.flatMap(([name, { certificate, key }]) => [
      { name: `${name}.crt`, text: certificate, mode: CERTIFICATE_MODE },
      { name: `${name}.key`, text: key, mode: KEY_MODE },
    ]),
  );
  return issued.map(([name, { certificate }]) => ({
    certificateFile: join(dir, `${name}.crt`),
    keyFile: join(dir, `${name}.key`),
    facts: describe(new X509Certificate(certificate)),
  }));
}

async function refuseExisting(dir: string, names: readonly string[]): Promise<void> {
  const existing: string[] = [];
  for (const name of names) {
    if (await lstat(join(dir, name)).then(() => true, () => false)) existing.push(name);
  }
  if (existing.length === 0) return;
  const state = `${existing.join(", ")} ${existing.length === 1 ? "is" : "are"} there already`;
  const remedy = "name another folder with --dir, or replace them with --force; a new CA ends what the old one issued";
  throw new CertificateError("exists", { what: `Cannot write certificates to ${dir}`, state, remedy });
}
