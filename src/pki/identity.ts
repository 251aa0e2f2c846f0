/**
 * The identity of this end of a mutual-TLS connection, and its trust: CA, certificate and key as one thing, validated
 * together.
 * @module
 */
import { createHash, type X509Certificate } from "node:crypto";
import { CertificateError } from "../errors.ts";
import {
  type CertificateFacts,
  chainOf,
  checkDates,
  checkForm,
  checkIsCa,
  checkKeyMatches,
  checkKeyType,
  checkUsage,
  describe,
  exportPrivateKey,
  foreignIssuer,
  isEncryptedKey,
  parseCertificates,
  parsePrivateKey,
} from "./certificate.ts";
import { type PemDocument, readPem } from "./pem.ts";

/** The settings that messages name; by default those of the exporter. */
export interface IdentitySettings {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly passphrase: string;
  /** The one that allows a key file which others can read, where there is one. */
  readonly exposedKey: string | undefined;
}

const EXPORTER_SETTINGS: IdentitySettings = {
  ca: "exporter.tls.ca_file",
  cert: "exporter.tls.cert_file",
  key: "exporter.tls.key_file",
  passphrase: "exporter.tls.key_passphrase",
  exposedKey: "exporter.tls.key_readable_by_others",
};

/** Where an identity comes from. Each of the three is a path, or PEM text. */
export interface IdentityConfig {
  /** CA certificates that the peer's certificate must lead to; a server that asks for none has none. */
  readonly ca?: string | undefined;
  /** The leaf first, then its intermediates. */
  readonly cert: string;
  readonly key: string;
  /** For an encrypted key. */
  readonly keyPassphrase?: string | undefined;
  /** A key file that every user of the machine can read is used, with a warning. */
  readonly exposedKeyAllowed?: boolean;
  /** Accepts certificates outside their dates, and lists them in `facts.faults`: for callers that can wait until they are replaced. */
  readonly datesAllowed?: boolean;
  /** Which end this is; decides the usage that the certificate must allow. `client` unless given. */
  readonly role?: "client" | "server";
  readonly settings?: Partial<IdentitySettings>;
}

/** What is worth knowing of an identity; holds no secret. */
export interface IdentityFacts {
  readonly certificate: CertificateFacts;
  /** What stands behind the leaf in its file. */
  readonly intermediates: readonly CertificateFacts[];
  readonly authorities: readonly CertificateFacts[];
  /** The files it was read from; PEM text has none. */
  readonly files: readonly string[];
  /** Usable, but a person should know; each a full sentence without a period. */
  readonly warnings: readonly string[];
  /** Why it cannot be used now, although it was accepted: dates, where {@link IdentityConfig.datesAllowed} is set. */
  readonly faults: readonly CertificateError[];
}

/** A validated identity, in the form that `Deno.createHttpClient` and `node:https` take. */
export interface Identity {
  /** One PEM certificate each. `Deno.createHttpClient` adds these to its default roots. */
  readonly caCerts: string[];
  /** PEM, the leaf first. */
  readonly cert: string;
  /** Unencrypted PKCS#8 PEM, whatever the form of the source. */
  readonly key: string;
  readonly facts: IdentityFacts;
  /** SHA-256 of the source texts: the same digest means that nothing was changed. */
  readonly digest: string;
}

/** The three texts. */
export interface Documents {
  readonly ca: PemDocument | undefined;
  readonly cert: PemDocument;
  readonly key: PemDocument;
}

/**
 * Reads and validates an identity.
 * @param now The time that the certificates must be valid at; the clock unless given.
 * @throws {CertificateError} for the first fault found, in the order CA, certificate, key.
 */
export async function loadIdentity(config: IdentityConfig, now: Date = new Date()): Promise<Identity> {
  return validate(config, await readDocuments(config), now);
}

async function readDocuments(config: IdentityConfig): Promise<Documents> {
  const settings = { ...EXPORTER_SETTINGS, ...config.settings };
  const role = config.role ?? "client";
  const what = role === "server" ? "client CA certificate" : "CA certificate";
  return {
    ca: config.ca === undefined ? undefined : await readPem({ what, setting: settings.ca, value: config.ca }),
    cert: await readPem({ what: `${role} certificate`, setting: settings.cert, value: config.cert }),
    key: await readPem({ what: `${role} key`, setting: settings.key, value: config.key }),
  };
}

/** Readings of files that go on changing while they are read, at most. */
const READINGS_MAX = 10;

/** Three files are not read at one moment: what is not as `known` counts when it is read the same twice in a row. */
export async function readSettled(config: IdentityConfig, known: string | undefined): Promise<Documents> {
  let documents = await readDocuments(config);
  for (let readings = 1; readings < READINGS_MAX && digestOf(documents) !== known; readings++) {
    const again = await readDocuments(config);
    if (digestOf(again) === digestOf(documents)) break;
    documents = again;
  }
  return documents;
}

/** Checks the three together. @throws {CertificateError} */
export function validate(config: IdentityConfig, documents: Documents, now: Date): Identity {
  const { ca, cert, key } = documents;
  const settings = { ...EXPORTER_SETTINGS, ...config.settings };
  const warnings: string[] = [];
  const faults: CertificateError[] = [];
  const tolerated = (check: () => void) => {
    try {
      check();
    } catch (error) {
      const ofDate = error instanceof CertificateError && (error.code === "expired" || error.code === "not_yet_valid");
      if (!ofDate || config.datesAllowed !== true) throw error;
      faults.push(error);
    }
  };
  const authorities = ca === undefined ? [] : parseCertificates(ca);
  if (ca !== undefined) tolerated(() => checkAuthorities(authorities, ca.name, now, warnings));

  const certificates = parseCertificates(cert);
  const [leaf, ...intermediates] = certificates;
  checkForm(leaf, cert.name);
  checkKeyType(leaf.publicKey, cert.name);
  tolerated(() => checkDates(leaf, cert.name, now));
  checkUsage(leaf, cert.name, config.role === "server" ? "serverAuth" : "clientAuth");

  const passphrase = { setting: settings.passphrase, value: config.keyPassphrase };
  const privateKey = parsePrivateKey(key, passphrase);
  checkKeyMatches(privateKey, key.name, certificates, cert.name);

  // What stands behind a server's certificate is for its clients to know; its CA is for theirs.
  if (ca !== undefined && config.role !== "server") {
    const chain = chainOf(leaf, intermediates, authorities);
    // Lawful: the CA here is for the peer's certificate, and the peer may trust another CA for ours, also one of the same name.
    if (chain.kind !== "anchored") {
      warnings.push(`${foreignIssuer(chain, cert.name, ca.name)}; the other end must trust that issuer`);
    }
  }
  const exposure = exposureOf(key, settings.exposedKey);
  if (exposure?.to === "all" && config.exposedKeyAllowed !== true) {
    throw new CertificateError("key_exposed", {
      what: `Cannot use ${key.name}`,
      state: `it ${exposure.state}`,
      remedy: exposure.remedy,
    });
  }
  if (exposure !== undefined) warnings.push(`The ${key.name} ${exposure.state}; run chmod 600 on it`);
  if (config.keyPassphrase !== undefined && config.keyPassphrase !== "" && !isEncryptedKey(key)) {
    warnings.push(`The ${key.name} is not encrypted, though ${passphrase.setting} is set; encrypt it or unset that`);
  }
  return {
    caCerts: authorities.map(toPem),
    cert: certificates.map(toPem).join(""),
    key: exportPrivateKey(privateKey),
    facts: {
      certificate: describe(leaf),
      intermediates: intermediates.map(describe),
      authorities: authorities.map(describe),
      files: [ca, cert, key].flatMap((document) => document?.path ?? []),
      warnings,
      faults,
    },
    digest: digestOf(documents),
  };
}

/** The users who can read a key file besides its owner; undefined when there are none, or when that cannot be told. */
export interface Exposure {
  /** `group`: as with Kubernetes' fsGroup, lawful. */
  readonly to: "group" | "all";
  readonly state: string;
  readonly remedy: string;
}

/**
 * Looks at the permission bits of a key's file.
 * @param setting The one that allows it; undefined where there is none.
 */
export function exposureOf(key: PemDocument, setting?: string): Exposure | undefined {
  if (key.mode === undefined || (key.mode & 0o077) === 0) return undefined;
  const mode = key.mode.toString(8).padStart(4, "0");
  const remedy = "run chmod 600 on it (in a volume of Kubernetes: defaultMode: 0440)" +
    (setting === undefined ? "" : `, or set ${setting}: true`);
  return (key.mode & 0o007) === 0
    ? { to: "group", state: `has mode ${mode}, so its group can open it`, remedy }
    : { to: "all", state: `has mode ${mode}, so every user of this machine can open it`, remedy };
}

/** Equal where nothing was changed. */
export function digestOf({ ca, cert, key }: Documents): string {
  const hash = createHash("sha256");
  for (const { text } of [ca ?? { text: "" }, cert, key]) hash.update(`${text.length}:`).update(text);
  return hash.digest("hex");
}

/** A bundle may hold some that cannot be used, such as an expired one during a rotation, but not only such. @throws {CertificateError} */
export function checkAuthorities(
  authorities: readonly X509Certificate[],
  name: string,
  now: Date,
  warnings: string[],
): void {
  const faults: CertificateError[] = [];
  for (const authority of authorities) {
    try {
      checkIsCa(authority, name);
      checkKeyType(authority.publicKey, name);
      checkDates(authority, name, now);
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      faults.push(error);
    }
  }
  const [first] = faults;
  if (first !== undefined && faults.length === authorities.length) throw first;
  for (const fault of faults) warnings.push(`One certificate of several is of no use. ${fault.message}`);
}

/** From the parsed certificate, so that what another parser would read differently never reaches it. */
function toPem(certificate: X509Certificate): string {
  return certificate.toString().trimEnd() + "\n";
}
