/**
 * Certificates and keys as they come from the configuration: parsed, checked and described. Every fault is a
 * {@link CertificateError} that names the file or the setting, its state and the remedy.
 *
 * What passes here is what rustls, under `Deno.createHttpClient`, accepts: X.509 v3; RSA of 2048 bits or more, P-256,
 * P-384, P-521 or Ed25519. What it would ignore in silence, such as a CA without PEM in it, is refused here.
 * @module
 */
// The decorators of @peculiar/x509 need the Reflect metadata API before the library itself is evaluated.
import "reflect-metadata";
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { CertificateError, messageOf } from "../errors.ts";
import { type PemBlock, pemBlocks, type PemDocument } from "./pem.ts";

/** Certificates in one bundle at most. */
const BUNDLE_CERTIFICATES_MAX = 1000;
/** Issuers followed from a certificate to its CA at most. */
const CHAIN_LENGTH_MAX = 8;
/** Deno's TLS takes no RSA key of fewer bits. */
export const RSA_BITS_MIN = 2048;
export const DAY_MS = 86_400_000;

/** Extended key usages that matter here. Source: RFC 5280 4.2.1.12. */
export type Usage = "serverAuth" | "clientAuth";

/** A certificate in words, for people and for `--json`. */
export interface CertificateFacts {
  /** Distinguished name, as in the certificate: `C=DE, O=Example, CN=client-app`. */
  readonly subject: string;
  readonly commonName: string | undefined;
  /** `DNS:localhost`, `IP:127.0.0.1`, `URI:…`, `email:…`. */
  readonly subjectAltNames: readonly string[];
  readonly issuer: string;
  /** Hexadecimal. */
  readonly serialNumber: string;
  readonly validFrom: Date;
  readonly validTo: Date;
  readonly isCa: boolean;
  /** Extended key usages by name, or by OID where none is known; empty means unrestricted. */
  readonly usages: readonly string[];
  /** Key usages of RFC 5280 4.2.1.3; empty means unrestricted. */
  readonly keyUsages: readonly string[];
  /** Upper-case hexadecimal with colons, as openssl prints it. */
  readonly fingerprintSha256: string;
  /** `RSA 4096`, `EC P-256`, `Ed25519`. */
  readonly keyType: string;
}

/** Where the issuers of a certificate lead. */
export type Chain =
  /** `path` starts with the certificate and ends with the CA. */
  | { readonly kind: "anchored"; readonly path: readonly X509Certificate[] }
  /** No certificate at hand has the name `issuer`. */
  | { readonly kind: "unknown_issuer"; readonly issuer: string }
  /** A certificate at hand has the name `issuer`, but another key made the signature. */
  | { readonly kind: "bad_signature"; readonly issuer: string };

function isKeyLabel(label: string): boolean {
  return label === "PRIVATE KEY" || label.endsWith(" PRIVATE KEY");
}

/** Whether the text holds a private key, encrypted or not. */
export function holdsPrivateKey(document: PemDocument): boolean {
  return pemBlocks(document).some((block) => isKeyLabel(block.label));
}

/** Whether the text holds a certificate. */
export function holdsCertificate(document: PemDocument): boolean {
  return pemBlocks(document).some((block) => block.label === "CERTIFICATE");
}

/**
 * Parses every certificate of a text, in the order of the text: a leaf and its intermediates, or a bundle of CAs.
 * @throws {CertificateError} `not_pem` when there is none, `unparsable`, or `unsupported` for X.509 v1 and v2.
 */
export function parseCertificates(document: PemDocument): [X509Certificate, ...X509Certificate[]] {
  const blocks = pemBlocks(document);
  const certificates: X509Certificate[] = [];
  for (const block of blocks) {
    if (block.label !== "CERTIFICATE") continue;
    if (certificates.length === BUNDLE_CERTIFICATES_MAX) {
      const state = `it holds more than ${BUNDLE_CERTIFICATES_MAX} certificates`;
      const remedy = "keep the ones that are needed";
      throw new CertificateError("unparsable", { what: `Cannot read ${document.name}`, state, remedy });
    }
    const nth = certificates.length + 1;
    try {
      certificates.push(new X509Certificate(block.pem));
    } catch (cause) {
      const state = `certificate ${nth} in it is damaged (${messageOf(cause)})`;
      const remedy = "copy it again in full";
      throw new CertificateError("unparsable", { what: `Cannot read ${document.name}`, state, remedy }, { cause });
    }
  }
  const [first, ...rest] = certificates;
  if (first !== undefined) return [first, ...rest];
  const label = blocks[0]?.label ?? "no block that is complete";
  const [state, remedy] = label === "TRUSTED CERTIFICATE"
    ? [
      "it holds a TRUSTED CERTIFICATE, which only openssl reads",
      "convert it with openssl x509 -in FILE -out NEW",
    ]
    : [
      `it holds ${label}, but no CERTIFICATE`,
      `set ${document.setting} to the certificate` + (isKeyLabel(label) ? " (are certificate and key swapped?)" : ""),
    ];
  throw new CertificateError("not_pem", { what: `Cannot read ${document.name}`, state, remedy });
}

/** The passphrase of an encrypted key and the setting it came from. */
export interface Passphrase {
  readonly setting: string;
  readonly value: string | undefined;
}

/** Whether the first private key of a text is encrypted, in PKCS#8 (RFC 5958 3) or in the older form (RFC 1421 4.6). */
export function isEncryptedKey(document: PemDocument): boolean {
  const block = pemBlocks(document).find((each) => isKeyLabel(each.label));
  return block !== undefined && isEncrypted(block);
}

function isEncrypted(block: PemBlock): boolean {
  return block.label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type:.*ENCRYPTED/m.test(block.pem);
}

/**
 * Parses the first private key of a text: PKCS#8, PKCS#1 or SEC1, decrypted by the passphrase where that is needed.
 * @throws {CertificateError} `not_pem`, `unparsable`, `key_encrypted`, `key_too_weak` or `unsupported`.
 */
export function parsePrivateKey(document: PemDocument, passphrase: Passphrase): KeyObject {
  const blocks = pemBlocks(document);
  const block = blocks.find((each) => isKeyLabel(each.label));
  if (block === undefined) {
    const label = blocks[0]?.label ?? "no block that is complete";
    const swapped = label === "CERTIFICATE" ? " (are certificate and key swapped?)" : "";
    const state = `it holds ${label}, but no PRIVATE KEY`;
    const remedy = `set ${document.setting} to the key${swapped}`;
    throw new CertificateError("not_pem", { what: `Cannot read ${document.name}`, state, remedy });
  }
  let key: KeyObject;
  if (isEncrypted(block)) {
    if (passphrase.value === undefined || passphrase.value === "") {
      const remedy = `set ${passphrase.setting}`;
      throw new CertificateError("key_encrypted", {
        what: `Cannot read ${document.name}`,
        state: "it is encrypted",
        remedy,
      });
    }
    try {
      key = createPrivateKey({ key: block.pem, passphrase: passphrase.value });
    } catch (cause) {
      const state = `${passphrase.setting} does not decrypt it`;
      const remedy = "correct the passphrase, or, if it is right, encrypt the key by a cipher that is known here: " +
        "openssl pkcs8 -topk8 -v2 aes-256-cbc";
      throw new CertificateError("key_encrypted", { what: `Cannot read ${document.name}`, state, remedy }, { cause });
    }
  } else {
    try {
      key = createPrivateKey(block.pem);
    } catch (cause) {
      const state = `its ${block.label} is damaged or of an unknown kind (${messageOf(cause)})`;
      const remedy = "copy it again in full";
      throw new CertificateError("unparsable", { what: `Cannot read ${document.name}`, state, remedy }, { cause });
    }
  }
  checkKeyType(key, document.name);
  return key;
}

/**
 * The key as PKCS#8 PEM: unencrypted, the one form that every consumer takes, or encrypted by a passphrase (RFC 8018, AES-256).
 */
export function exportPrivateKey(key: KeyObject, passphrase?: string): string {
  const pem = passphrase === undefined
    ? key.export({ type: "pkcs8", format: "pem" })
    : key.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase });
  return typeof pem === "string" ? pem : pem.toString("utf8");
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" };

/** The type of a public or private key in words: `RSA 4096`, `EC P-256`, `Ed25519`. */
export function keyTypeOf(key: KeyObject): string {
  const type = key.asymmetricKeyType ?? "unknown";
  if (type === "ed25519") return "Ed25519";
  if (type === "ec") {
    const curve = key.asymmetricKeyDetails?.namedCurve ?? "of an unnamed curve";
    return `EC ${CURVES[curve] ?? curve}`;
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  return bits === undefined ? type.toUpperCase() : `${type.toUpperCase()} ${bits}`;
}

/**
 * Refuses a key that rustls would not use.
 * @param name How messages call the key or its certificate.
 * @throws {CertificateError} `key_too_weak` or `unsupported`.
 */
export function checkKeyType(key: KeyObject, name: string): void {
  const remedy = "make a new one: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519";
  const bits = key.asymmetricKeyDetails?.modulusLength;
  const known = /^(RSA \d+|EC P-(256|384|521)|Ed25519)$/.test(keyTypeOf(key));
  if (!known) {
    const state = `its key is ${keyTypeOf(key)}, which TLS here does not support`;
    throw new CertificateError("unsupported", { what: `Cannot use ${name}`, state, remedy });
  }
  if (bits !== undefined && bits < RSA_BITS_MIN) {
    const state = `its RSA key has ${bits} bits, which is too weak`;
    throw new CertificateError("key_too_weak", { what: `Cannot use ${name}`, state, remedy });
  }
}

/**
 * Refuses a leaf certificate in a form that rustls does not read or sign with: X.509 v1, or a SHA-1 signature.
 * @throws {CertificateError} `unsupported`.
 */
export function checkForm(certificate: X509Certificate, name: string): void {
  const version = versionOf(certificate.raw);
  if (version !== 3) {
    const state = `it is X.509 version ${version}, and TLS here needs version 3`;
    const remedy = "issue it again with extensions (openssl x509 -req needs -extfile)";
    throw new CertificateError("unsupported", { what: `Cannot use ${name}`, state, remedy });
  }
  const { signatureAlgorithm } = new x509.X509Certificate(new Uint8Array(certificate.raw));
  const hash = "hash" in signatureAlgorithm ? signatureAlgorithm.hash.name : "";
  if (hash === "SHA-1" || hash === "MD5") {
    const state = `it is signed with ${hash}, which peers refuse`;
    throw new CertificateError("unsupported", {
      what: `Cannot use ${name}`,
      state,
      remedy: "issue it again with SHA-256",
    });
  }
}

/** Certificate ::= SEQUENCE { TBSCertificate ::= SEQUENCE { [0] { INTEGER } OPTIONAL, … (RFC 5280 4.1); absent means v1. */
function versionOf(der: Uint8Array): number {
  let offset = 0;
  for (let depth = 0; depth < 2; depth++) {
    const length = der[offset + 1] ?? 0;
    offset += length < 0x80 ? 2 : 2 + (length & 0x7f);
  }
  return der[offset] === 0xa0 ? (der[offset + 4] ?? 0) + 1 : 1;
}

/**
 * Refuses a key that does not belong to the leaf, the first certificate of a text.
 * @throws {CertificateError} `key_mismatch`.
 */
export function checkKeyMatches(
  key: KeyObject,
  keyName: string,
  certificates: readonly [X509Certificate, ...X509Certificate[]],
  certificateName: string,
): void {
  if (certificates[0].checkPrivateKey(key)) return;
  const later = certificates.findIndex((each) => each.checkPrivateKey(key));
  const remedy = later > 0
    ? `it belongs to certificate ${later + 1} in that file: put that one first`
    : "give the key that was made with this certificate, or issue the certificate again for this key";
  const state = `it does not match ${certificateName} (${nameOf(certificates[0])})`;
  throw new CertificateError("key_mismatch", { what: `Cannot use ${keyName}`, state, remedy });
}

/**
 * Refuses a certificate outside its dates.
 * @throws {CertificateError} `expired` or `not_yet_valid`.
 */
export function checkDates(certificate: X509Certificate, name: string, now: Date): void {
  const { validFromDate: from, validToDate: to } = certificate;
  if (now > to) {
    const state = `it expired ${lengthOf(now.getTime() - to.getTime())} ago, at ${instant(to)}`;
    throw new CertificateError("expired", {
      what: `Cannot use ${name}`,
      state,
      remedy: "issue a new one and replace the file",
    });
  }
  if (now < from) {
    const state = `it is valid only from ${instant(from)} on, and the clock says ${instant(now)}`;
    throw new CertificateError("not_yet_valid", {
      what: `Cannot use ${name}`,
      state,
      remedy: "set the clock, or issue it again",
    });
  }
}

/**
 * Refuses a leaf that may not be used as `usage`. A certificate without the extension may be used for anything.
 * @throws {CertificateError} `wrong_usage`.
 */
export function checkUsage(certificate: X509Certificate, name: string, usage: Usage): void {
  const { usages } = describe(certificate);
  if (usages.length === 0 || usages.includes(usage) || usages.includes("any")) return;
  const state = `its extended key usage is ${usages.join(", ")}, without ${usage}`;
  throw new CertificateError("wrong_usage", {
    what: `Cannot use ${name}`,
    state,
    remedy: `issue it again with ${usage}`,
  });
}

/**
 * Refuses what cannot anchor trust. A self-signed certificate may, though it is no CA: it vouches for itself.
 * @throws {CertificateError} `wrong_usage`.
 */
export function checkIsCa(certificate: X509Certificate, name: string): void {
  if (certificate.ca || signed(certificate, certificate)) return;
  const state = `${nameOf(certificate)} in it is not a CA certificate but issued by ${oneLine(certificate.issuer)}`;
  throw new CertificateError("wrong_usage", {
    what: `Cannot use ${name}`,
    state,
    remedy: "give the certificate of that CA",
  });
}

/**
 * Follows the issuers of a leaf, by name and by signature.
 * @param intermediates What came with the leaf.
 * @param authorities What is trusted; a path ends at the first of these.
 */
export function chainOf(
  leaf: X509Certificate,
  intermediates: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): Chain {
  const path = [leaf];
  let current = leaf;
  while (path.length <= CHAIN_LENGTH_MAX) {
    const authority = authorities.find((each) => signed(current, each));
    if (authority !== undefined) {
      return { kind: "anchored", path: authority.raw.equals(current.raw) ? path : [...path, authority] };
    }
    const next = intermediates.find((each) => !path.includes(each) && signed(current, each));
    if (next === undefined) break;
    path.push(next);
    current = next;
  }
  const issuer = oneLine(current.issuer);
  // A root that came with the leaf and is not trusted has its own name as its issuer: it is no namesake of itself.
  const namesake = [...intermediates, ...authorities].some((each) =>
    each.subject === current.issuer && !each.raw.equals(current.raw)
  );
  return { kind: namesake ? "bad_signature" : "unknown_issuer", issuer };
}

/**
 * Refuses a leaf whose issuers do not lead to one of the authorities.
 * @throws {CertificateError} `wrong_issuer`.
 */
export function checkChain(chain: Chain, name: string, authoritiesName: string): void {
  if (chain.kind === "anchored") return;
  const what = `Cannot use ${name}`;
  throw new CertificateError(
    "wrong_issuer",
    chain.kind === "bad_signature"
      ? {
        what,
        state:
          `its issuer is called ${chain.issuer}, and so is a certificate in ${authoritiesName}, but another key signed it`,
        remedy: "issue it again by that CA, or give the CA that signed it",
      }
      : {
        what,
        state: `its issuer ${chain.issuer} is not in ${authoritiesName}`,
        remedy: "give the CA that signed it",
      },
  );
}

/** How an issuer is not among the authorities, for a warning: a sentence without a period. */
export function foreignIssuer(
  chain: Exclude<Chain, { readonly kind: "anchored" }>,
  name: string,
  authoritiesName: string,
): string {
  return chain.kind === "bad_signature"
    ? `The issuer of the ${name} is called ${chain.issuer}, as a CA in the ${authoritiesName} is, but it is another with another key`
    : `The issuer of the ${name}, ${chain.issuer}, is not in the ${authoritiesName}`;
}

function signed(certificate: X509Certificate, issuer: X509Certificate): boolean {
  if (certificate.issuer !== issuer.subject) return false;
  try {
    return certificate.verify(issuer.publicKey);
  } catch {
    return false; // A key type that cannot be verified here cannot be shown to have signed.
  }
}

/** Names of the extended key usages (RFC 5280 4.2.1.12); others are shown by OID. */
const USAGE_NAMES: Readonly<Record<string, string>> = {
  "2.5.29.37.0": "any",
  "1.3.6.1.5.5.7.3.1": "serverAuth",
  "1.3.6.1.5.5.7.3.2": "clientAuth",
  "1.3.6.1.5.5.7.3.3": "codeSigning",
  "1.3.6.1.5.5.7.3.4": "emailProtection",
  "1.3.6.1.5.5.7.3.8": "timeStamping",
  "1.3.6.1.5.5.7.3.9": "OCSPSigning",
};

const KEY_USAGE_NAMES: readonly [number, string][] = [
  [x509.KeyUsageFlags.digitalSignature, "digitalSignature"],
  [x509.KeyUsageFlags.nonRepudiation, "nonRepudiation"],
  [x509.KeyUsageFlags.keyEncipherment, "keyEncipherment"],
  [x509.KeyUsageFlags.dataEncipherment, "dataEncipherment"],
  [x509.KeyUsageFlags.keyAgreement, "keyAgreement"],
  [x509.KeyUsageFlags.keyCertSign, "keyCertSign"],
  [x509.KeyUsageFlags.cRLSign, "cRLSign"],
];

/** What a certificate says. */
export function describe(certificate: X509Certificate): CertificateFacts {
  // node:crypto gives the extended key usages under Node only; the library gives them everywhere.
  const parsed = new x509.X509Certificate(new Uint8Array(certificate.raw));
  const flags = parsed.getExtension(x509.KeyUsagesExtension)?.usages ?? 0;
  const usages = parsed.getExtension(x509.ExtendedKeyUsageExtension)?.usages ?? [];
  return {
    subject: oneLine(certificate.subject),
    commonName: parsed.subjectName.getField("CN")[0],
    subjectAltNames: certificate.subjectAltName?.split(/, (?=[A-Za-z ]+:)/)
      .map((each) => each.replace(/^IP Address:/, "IP:")) ?? [],
    issuer: oneLine(certificate.issuer),
    serialNumber: certificate.serialNumber,
    validFrom: certificate.validFromDate,
    validTo: certificate.validToDate,
    isCa: certificate.ca,
    usages: Array.from(usages, (oid) => USAGE_NAMES[String(oid)] ?? String(oid)),
    keyUsages: KEY_USAGE_NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name),
    fingerprintSha256: certificate.fingerprint256,
    keyType: keyTypeOf(certificate.publicKey),
  };
}

/** Whole days from `now` until the certificate ends; negative once it has. */
export function daysLeft(validTo: Date, now: Date): number {
  return Math.floor((validTo.getTime() - now.getTime()) / DAY_MS);
}

function nameOf(certificate: X509Certificate): string {
  return oneLine(certificate.subject) || `serial ${certificate.serialNumber}`;
}

function oneLine(distinguishedName: string): string {
  return (distinguishedName ?? "").replaceAll("\n", ", ");
}

const LENGTHS = [["day", DAY_MS], ["hour", 3_600_000], ["minute", 60_000]] as const;

/** How long that is, in the largest unit that there is a whole one of: `12 days`, `1 hour`, `less than a minute`. */
export function lengthOf(ms: number): string {
  for (const [unit, unitMs] of LENGTHS) {
    const whole = Math.floor(ms / unitMs);
    if (whole > 0) return `${whole} ${unit}${whole === 1 ? "" : "s"}`;
  }
  return "less than a minute";
}

/** How long the certificate lasts, or since when it does not: `12 days left`, `5 hours left`, `expired 1 day ago`. */
export function lifeLeft(validTo: Date, now: Date): string {
  const leftMs = validTo.getTime() - now.getTime();
  return leftMs < 0 ? `expired ${lengthOf(-leftMs)} ago` : `${lengthOf(leftMs)} left`;
}

function instant(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}
