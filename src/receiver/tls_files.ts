/**
 * The certificate, the key and the client CA of the listener, from files that may change.
 * @module
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ConfigError, messageOf } from "../errors.ts";

/** Paths of PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Asks clients for a certificate of one of these CA. */
  readonly clientCa: string | undefined;
}

/** PEM text, as `node:tls` takes it. */
export interface ServerIdentity {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
}

/** The files' text, as one text that changes when any of them does. */
export async function readTlsFiles(files: TlsFiles): Promise<string> {
  const texts: string[] = [];
  const named = [["cert_file", files.cert], ["key_file", files.key], ["client_ca_file", files.clientCa]] as const;
  for (const [key, path] of named) {
    if (path === undefined) continue;
    try {
      texts.push(await readFile(path, "utf8"));
    } catch (error) {
      throw new ConfigError(`Cannot read receiver.http.tls.${key} ${path}: ${messageOf(error)}; name a PEM file`);
    }
  }
  return JSON.stringify(texts);
}

/**
 * Checks that the texts fit together.
 * @param text What {@link readTlsFiles} has read.
 * @throws {ConfigError} naming the setting.
 */
export function checkTlsFiles(text: string, now: Date = new Date()): ServerIdentity {
  const [cert = "", key = "", ca] = JSON.parse(text) as string[];
  const certificate = certificateOf(cert, "cert_file");
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    throw new ConfigError(
      "Cannot use receiver.http.tls.key_file: it is no private key in PEM, or encrypted; decrypt it",
    );
  }
  if (!fits) {
    throw new ConfigError(
      "Cannot use receiver.http.tls.key_file: it is not the key of cert_file; name the two of a pair",
    );
  }
  if (now > certificate.validToDate) {
    throw new ConfigError(
      `Cannot use receiver.http.tls.cert_file: it has expired, at ${certificate.validToDate.toISOString()}; issue a new one`,
    );
  }
  if (ca !== undefined && !certificateOf(ca, "client_ca_file").ca) {
    throw new ConfigError("Cannot use receiver.http.tls.client_ca_file: its certificate is not a CA's; name the CA's");
  }
  return { cert, key, ...(ca === undefined ? {} : { ca }) };
}

function certificateOf(pem: string, key: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new ConfigError(`Cannot use receiver.http.tls.${key}: it has no certificate in PEM that can be read`);
  }
}
