/**
 * PEM from the configuration, where a value is either the text itself or a path to it.
 * @module
 */
import type { Buffer } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { described, pemTextOf, shownPath } from "../config/shown.ts";
import { CertificateError, codeOf, messageOf } from "../errors.ts";

/** Bytes of PEM read from one file at most; the public root bundles are about 250 KiB. */
const PEM_BYTES_MAX = 4 * 1024 * 1024;

/** A certificate, bundle or key as the configuration names it. */
export interface PemSource {
  /** What it is, for messages: `client key`. */
  readonly what: string;
  /** The setting or variable that holds the value, for messages: `exporter.tls.key_file`. */
  readonly setting: string;
  /** PEM text, also on one line or in base64; otherwise a path. */
  readonly value: string;
}

/** The text behind a {@link PemSource}. */
export interface PemDocument {
  /** How messages call it: `client key certs/client.key`. */
  readonly name: string;
  readonly setting: string;
  readonly text: string;
  /** Undefined when the value was PEM text itself. */
  readonly path: string | undefined;
  /** Permission bits of the file; undefined for PEM text and where the system has none. */
  readonly mode: number | undefined;
}

/** Whether a value is PEM text; otherwise it is a path. */
export function isPemText(value: string): boolean {
  return pemTextOf(value) !== undefined;
}

/**
 * Reads the text of a source: the value itself when it is PEM text, otherwise the file it names.
 * @throws {CertificateError} `not_found`, `permissions`, `unreadable`, or `not_pem` when the file holds no PEM block.
 */
export async function readPem(source: PemSource): Promise<PemDocument> {
  const { what, setting, value } = source;
  const text = pemTextOf(value);
  if (text !== undefined) {
    return { name: `${what} (PEM text in ${setting})`, setting, text, path: undefined, mode: undefined };
  }
  if (value.trim() === "") {
    throw new CertificateError("not_found", {
      what: `Cannot read ${what}`,
      state: `${setting} is empty`,
      remedy: "give a path or PEM text",
    });
  }
  // What is there is a path, however it looks; of anything else no more is told than may be.
  let name = `${what} ${shownPath(value)}`;
  let bytes: Buffer;
  let mode: number;
  try {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    const status = await stat(value);
    name = `${what} ${value}`;
    if (!status.isFile()) {
      const state = status.isDirectory() ? "it is a directory" : "it is not a regular file";
      throw new CertificateError("unreadable", {
        what: `Cannot read ${name}`,
        state,
        remedy: `set ${setting} to a PEM file`,
      });
    }
    if (status.size > PEM_BYTES_MAX) {
      const state = `it has ${status.size} bytes, more than the ${PEM_BYTES_MAX} a PEM file may have`;
      throw new CertificateError("unreadable", {
        what: `Cannot read ${name}`,
        state,
        remedy: `set ${setting} to a PEM file`,
      });
    }
    mode = status.mode & 0o777;
    bytes = await readFile(value);
  } catch (error) {
    if (error instanceof CertificateError) throw error;
    if (name.endsWith(value)) throw readFailure(name, setting, error);
    // The system's own words have the value in them.
    const state = `${setting} has ${described(value)}, which is no path of a file here`;
    throw new CertificateError("not_pem", {
      what: `Cannot read ${what}`,
      state,
      remedy: "give a path, PEM text or base64 of PEM text",
    });
  }
  const held = bytes.toString("utf8");
  // What stands between the blocks of a file is commentary, and stays as it is.
  const heldText = held.includes("-----BEGIN") ? held : pemTextOf(held);
  if (heldText === undefined) throw notPem(name, setting, bytes);
  return { name, setting, text: heldText, path: value, mode };
}

function readFailure(name: string, setting: string, error: unknown): CertificateError {
  const code = codeOf(error);
  if (code === "ENOENT" || code === "ENOTDIR") {
    const remedy = `set ${setting} to a PEM file, or make one with "certs init"`;
    return new CertificateError("not_found", { what: `Cannot read ${name}`, state: "there is no such file", remedy });
  }
  if (error instanceof Error && error.name === "NotCapable") {
    const state = "Deno was started without the permission to read it";
    const remedy = "add its folder to --allow-read";
    return new CertificateError("permissions", { what: `Cannot read ${name}`, state, remedy }, { cause: error });
  }
  if (code === "EACCES" || code === "EPERM") {
    const state = "permission denied";
    const remedy = "give the file, and each folder above it, to the user that runs this program";
    return new CertificateError("permissions", { what: `Cannot read ${name}`, state, remedy }, { cause: error });
  }
  const remedy = `set ${setting} to a readable PEM file`;
  const what = `Cannot read ${name}`;
  return new CertificateError("unreadable", { what, state: messageOf(error), remedy }, { cause: error });
}

function notPem(name: string, setting: string, bytes: Buffer): CertificateError {
  let [state, remedy] = ["it holds no PEM block", `set ${setting} to a file with a "-----BEGIN" line`];
  if (bytes.length === 0) [state, remedy] = ["it is empty", `set ${setting} to a PEM file`];
  // An ASN.1 SEQUENCE with a long length (X.690 8.1): what every DER certificate, DER key and PKCS#12 file begins with.
  else if (bytes[0] === 0x30 && ((bytes[1] ?? 0) & 0x80) !== 0) {
    state = "it is binary (DER or PKCS#12), not PEM";
    remedy = "convert it with openssl x509, openssl pkey or openssl pkcs12";
  } else if (bytes.includes(0)) {
    [state, remedy] = ["it is binary or UTF-16 text, not PEM", "save it as plain UTF-8 text"];
  }
  return new CertificateError("not_pem", { what: `Cannot read ${name}`, state, remedy });
}

/** One block of a PEM text. */
export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`, … */
  readonly label: string;
  /** The block from its BEGIN to its END line. */
  readonly pem: string;
}

/**
 * The blocks of a text in their order; what stands between them is commentary (RFC 7468 2).
 * @throws {CertificateError} `unparsable` when a block does not end.
 */
export function pemBlocks(document: PemDocument): PemBlock[] {
  const blocks: PemBlock[] = [];
  const begin = /-----BEGIN ([A-Z0-9 ]+)-----/g;
  for (let match = begin.exec(document.text); match !== null; match = begin.exec(document.text)) {
    const label = match[1] ?? "";
    const endLine = `-----END ${label}-----`;
    const end = document.text.indexOf(endLine, begin.lastIndex);
    if (end < 0) {
      const state = `its ${label} block has no END line`;
      const remedy = "the text was cut off, copy it again in full";
      throw new CertificateError("unparsable", { what: `Cannot read ${document.name}`, state, remedy });
    }
    // Leading blanks come from YAML and shells; no PEM parser but the strict ones minds them.
    const pem = document.text.slice(match.index, end + endLine.length).replaceAll(/^[ \t]+|[ \t\r]+$/gm, "") + "\n";
    blocks.push({ label, pem });
    begin.lastIndex = end + endLine.length;
  }
  return blocks;
}
