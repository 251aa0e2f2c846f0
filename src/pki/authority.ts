/**
 * A small certificate authority: one CA, and leaves for servers and clients. What it issues is X.509 v3 by the profile of
 * RFC 5280 and is taken by OpenSSL, Go, Node and rustls.
 * @module
 */
// The decorators of @peculiar/x509 need the Reflect metadata API before the library itself is evaluated.
import "reflect-metadata";
import type { KeyObject, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";
import { CertificateError } from "../errors.ts";
import { DAY_MS, keyTypeOf, type Usage } from "./certificate.ts";

const CA_DAYS = 3650;
const LEAF_DAYS = 365;
/** Certificates begin this much in the past, for peers whose clock is behind. */
const CLOCK_SKEW_MS = 5 * 60_000;
/** RFC 5280 4.1.2.2 allows 20 octets; 16 random ones cannot collide in practice. */
const SERIAL_BYTES = 16;
/** RFC 5280 appendix A, ub-common-name. */
const COMMON_NAME_CHARS_MAX = 64;

const RSA_BITS = [2048, 3072, 4096] as const;

/** RSA key sizes that can be issued, in bits. */
export type RsaBits = typeof RSA_BITS[number];

/** Whether keys of this many bits can be issued. */
export function isRsaBits(bits: number): bits is RsaBits {
  return RSA_BITS.some((each) => each === bits);
}

const ALGORITHMS = {
  "ec-p256": { name: "ECDSA", namedCurve: "P-256" },
  "ec-p384": { name: "ECDSA", namedCurve: "P-384" },
  "ed25519": { name: "Ed25519" },
  "rsa-2048": rsa(2048),
  "rsa-3072": rsa(3072),
  "rsa-4096": rsa(4096),
} as const;

function rsa(modulusLength: RsaBits) {
  const publicExponent = new Uint8Array([1, 0, 1]);
  return { name: "RSASSA-PKCS1-v1_5", modulusLength, publicExponent, hash: "SHA-256" } as const;
}

/** Kinds of keys that can be issued. */
export type KeyType = keyof typeof ALGORITHMS;

/** Every {@link KeyType}. */
export const KEY_TYPES = Object.keys(ALGORITHMS) as KeyType[];

/** Whether keys of this kind can be issued. */
export function isKeyType(text: string): text is KeyType {
  return text in ALGORITHMS;
}

/** What both kinds of certificate are issued with. */
export interface IssueOptions {
  /** EC P-256 unless given. */
  readonly keyType?: KeyType | undefined;
  /** RSA key of this size, where `keyType` is not given. */
  readonly rsaBits?: RsaBits | undefined;
  /** Validity in days from `now`; 3650 for a CA and 365 for a leaf unless given. */
  readonly days?: number | undefined;
  /** The time of issue; the clock unless given. */
  readonly now?: Date | undefined;
}

/** What a leaf says of its holder. */
export interface LeafOptions extends IssueOptions {
  readonly commonName: string;
  /** Host names and IP addresses. */
  readonly subjectAltNames: readonly string[];
  /** Extended key usages; with none the extension is left out. */
  readonly usages: readonly Usage[];
}

/** A certificate and its key, as PEM: X.509 and unencrypted PKCS#8. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

/** A CA that can issue. */
export interface Authority extends Issued {
  /** @throws {CertificateError} `unsupported` for a name that cannot stand in a certificate. */
  issue(options: LeafOptions): Promise<Issued>;
  /** A list of what is revoked of what this CA has issued (RFC 5280 5), as PEM; it is valid for as long as the CA. */
  revoke(entries: readonly Revocation[], now?: Date): Promise<string>;
}

/** One certificate that is not to be taken any more. */
export interface Revocation {
  /** Hexadecimal. */
  readonly serialNumber: string;
  readonly at: Date;
}

/** The development server: every name under which the Collector is reached by default. */
export const SERVER: Omit<LeafOptions, keyof IssueOptions> = {
  commonName: "otel-collector",
  subjectAltNames: ["otel-collector", "localhost", "127.0.0.1"],
  usages: ["serverAuth"],
};

/** The development client. */
export const CLIENT: Omit<LeafOptions, keyof IssueOptions> = {
  commonName: "client-app",
  subjectAltNames: ["client-app"],
  usages: ["clientAuth"],
};

/**
 * Makes a new CA, self-signed, that may sign leaves only.
 * @throws {CertificateError} `unsupported` for a name that cannot stand in a certificate.
 */
export async function createAuthority(options: IssueOptions & { readonly commonName: string }): Promise<Authority> {
  const name = distinguishedName(options.commonName);
  const keys = await generateKeys(options);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: name,
    issuer: name,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    ...validity(options, CA_DAYS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return authorityOf(certificate, keys.privateKey, await toPem(certificate, keys.privateKey));
}

function authorityOf(certificate: x509.X509Certificate, key: CryptoKey, pem: Issued): Authority {
  return {
    ...pem,
    issue: (leaf) => issueLeaf(certificate, key, leaf),
    async revoke(entries, now = new Date()) {
      const list = await x509.X509CrlGenerator.create({
        issuer: certificate.subjectName.toJSON(),
        thisUpdate: now,
        // A peer that finds the list out of date refuses everybody.
        nextUpdate: certificate.notAfter,
        entries: entries.map(({ serialNumber, at }) => ({
          serialNumber,
          revocationDate: at,
          // Without a reason the library writes an empty list of extensions, which RFC 5280 5.1 does not allow.
          reason: x509.X509CrlReason.privilegeWithdrawn,
        })),
        extensions: [await x509.AuthorityKeyIdentifierExtension.create(certificate.publicKey), crlNumber(now)],
        signingAlgorithm: { hash: "SHA-256", ...key.algorithm },
        signingKey: key,
      });
      return x509.PemConverter.encode(list.rawData, "X509 CRL") + "\n"; // The label of RFC 7468 6.
    },
  };
}

/** Rises from list to list (RFC 5280 5.2.3): the seconds since the Unix epoch, as a DER INTEGER of eight octets at most. */
function crlNumber(now: Date): x509.Extension {
  const hex = Math.floor(now.getTime() / 1000).toString(16).padStart(10, "0");
  const octets = hex.match(/../g)!.map((octet) => parseInt(octet, 16));
  while (octets.length > 1 && octets[0] === 0 && octets[1]! < 0x80) octets.shift();
  return new x509.Extension("2.5.29.20", false, new Uint8Array([0x02, octets.length, ...octets]));
}

/**
 * A CA that was made before.
 * @param key Of the kinds of {@link KEY_TYPES}.
 * @throws {CertificateError} `unsupported` for another kind of key.
 */
export async function openAuthority(certificate: X509Certificate, key: KeyObject): Promise<Authority> {
  const kind = keyTypeOf(key).toLowerCase().replace(/^ec p-/, "ec-p").replace(" ", "-");
  if (!isKeyType(kind)) {
    const state = `it is ${keyTypeOf(key)}`;
    const remedy = `make a CA of one of ${KEY_TYPES.join(", ")}`;
    throw new CertificateError("unsupported", { what: "Cannot issue with this CA key", state, remedy });
  }
  const pkcs8 = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
  const signing = await crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHMS[kind], true, ["sign"]);
  const parsed = new x509.X509Certificate(new Uint8Array(certificate.raw));
  return authorityOf(parsed, signing, await toPem(parsed, signing));
}

/** The entries of a revocation list. @throws {CertificateError} `unparsable`. */
export function revocationsOf(pem: string, name: string): Revocation[] {
  try {
    const [der] = x509.PemConverter.decode(pem);
    if (der === undefined) throw new TypeError("no PEM block");
    return new x509.X509Crl(der).entries.map(({ serialNumber, revocationDate }) => ({
      serialNumber,
      at: revocationDate,
    }));
  } catch (cause) {
    const remedy = "restore it, or remove it and revoke again";
    const what = `Cannot read revocation list ${name}`;
    throw new CertificateError("unparsable", { what, state: "it is damaged", remedy }, { cause });
  }
}

async function issueLeaf(ca: x509.X509Certificate, caKey: CryptoKey, options: LeafOptions): Promise<Issued> {
  const keys = await generateKeys(options);
  // RSA key transport is gone from TLS 1.3, but some TLS 1.2 peers still ask for the bit (RFC 5246 7.4.2).
  const keyUsages = x509.KeyUsageFlags.digitalSignature |
    (keys.publicKey.algorithm.name.startsWith("RSA") ? x509.KeyUsageFlags.keyEncipherment : 0);
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(keyUsages, true),
  ];
  if (options.usages.length > 0) {
    const oids = options.usages.map((usage) => x509.ExtendedKeyUsage[usage]);
    extensions.push(new x509.ExtendedKeyUsageExtension(oids));
  }
  if (options.subjectAltNames.length > 0) {
    extensions.push(new x509.SubjectAlternativeNameExtension(options.subjectAltNames.map(alternativeName)));
  }
  extensions.push(
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    await x509.AuthorityKeyIdentifierExtension.create(ca.publicKey),
  );
  const { notBefore, notAfter } = validity(options, LEAF_DAYS);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: distinguishedName(options.commonName),
    issuer: ca.subjectName.toJSON(),
    publicKey: keys.publicKey,
    signingKey: caKey,
    notBefore,
    // Nobody takes a leaf after its CA has ended.
    notAfter: notAfter < ca.notAfter ? notAfter : ca.notAfter,
    extensions,
  });
  return await toPem(certificate, keys.privateKey);
}

async function generateKeys({ keyType, rsaBits }: IssueOptions): Promise<CryptoKeyPair> {
  const kind = keyType ?? (rsaBits === undefined ? "ec-p256" : `rsa-${rsaBits}` as const);
  return await crypto.subtle.generateKey(ALGORITHMS[kind], true, ["sign", "verify"]) as CryptoKeyPair;
}

function validity(options: IssueOptions, daysDefault: number): { notBefore: Date; notAfter: Date } {
  const now = options.now ?? new Date();
  const days = options.days ?? daysDefault;
  return { notBefore: new Date(now.getTime() - CLOCK_SKEW_MS), notAfter: new Date(now.getTime() + days * DAY_MS) };
}

/** Positive and without a leading zero octet (RFC 5280 4.1.2.2). */
function randomSerial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(SERIAL_BYTES));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The common name as a distinguished name.
 * @throws {CertificateError} `unsupported` for a name that is empty, too long or not printable.
 */
export function distinguishedName(commonName: string): x509.JsonName {
  // deno-lint-ignore no-control-regex
  if (commonName === "" || commonName.length > COMMON_NAME_CHARS_MAX || /[\x00-\x1f\x7f]/.test(commonName)) {
    const remedy = `give 1 to ${COMMON_NAME_CHARS_MAX} printable characters`;
    const what = `Cannot issue for common name ${JSON.stringify(commonName)}`;
    throw new CertificateError("unsupported", { what, state: "it is empty, too long or not printable", remedy });
  }
  return [{ CN: [commonName] }];
}

/**
 * A host name (RFC 1123 2.1, with `*` as the first label: RFC 6125 6.4.3) or an IP address, for a certificate.
 * @throws {CertificateError} `unsupported` for anything else, such as a URL.
 */
export function alternativeName(name: string): x509.JsonGeneralName {
  if (isIP(name) !== 0) return { type: "ip", value: name };
  const label = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
  if (name.length > 253 || !new RegExp(`^(\\*\\.)?${label}(\\.${label})*$`).test(name)) {
    const remedy = 'give a host name such as "collector.example" or an IP address, without scheme and port';
    const what = `Cannot issue for name ${JSON.stringify(name)}`;
    throw new CertificateError("unsupported", { what, state: "it is no host name and no address", remedy });
  }
  return { type: "dns", value: name };
}

async function toPem(certificate: x509.X509Certificate, privateKey: CryptoKey): Promise<Issued> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", privateKey);
  return {
    certificate: certificate.toString("pem") + "\n",
    key: x509.PemConverter.encode(pkcs8, x509.PemConverter.PrivateKeyTag) + "\n",
  };
}
