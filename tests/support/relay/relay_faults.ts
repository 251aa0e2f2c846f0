/** What can be wrong with a relay's files and its Collector's certificate, and doctor asked about it. */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { chmod, copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Protocol } from "../../../src/config/exporter_settings.ts";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { examine, type Report } from "../../../src/doctor/doctor.ts";
import type { Pair, TestCertificates } from "../files/certificates.ts";

export const VERSIONS = ["1.2", "1.3"] as const;
export type Version = typeof VERSIONS[number];

/** What the Collector's side has wrong. */
export const SERVERS = ["good", "name", "expired", "future", "usage", "namesake", "open"] as const;
export type ServerKind = typeof SERVERS[number];

/** The three files of the relay. */
export interface Files {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface Fault {
  /** What is done. */
  readonly fault: string;
  /** What doctor says to it. */
  readonly code: string;
  /** What the exporter says to it, where it gets as far as a request. */
  readonly exporter?: string;
  readonly server?: ServerKind;
  /** The relay's files, made of good ones in a folder of their own. */
  readonly files?: (good: Files, certs: TestCertificates, dir: string) => Files | Promise<Files>;
  readonly tls?: NonNullable<ConfigInput["exporter"]>["tls"];
}

const shows = (pair: (certs: TestCertificates) => Pair) => (good: Files, certs: TestCertificates): Files => ({
  ...good,
  cert: pair(certs).certificateFile,
  key: pair(certs).keyFile,
});

/** A file of the folder, written anew. */
export async function written(dir: string, name: string, text: string): Promise<string> {
  const file = join(dir, name);
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

export const FAULTS: readonly Fault[] = [
  // Files that cannot be used, whatever the far end.
  {
    fault: "unable to load certificate: the path leads nowhere",
    code: "not_found",
    files: (good, _certs, dir) => ({ ...good, cert: join(dir, "gone.crt") }),
  },
  {
    fault: "unable to load certificate: the file holds no PEM",
    code: "not_pem",
    files: async (good, _certs, dir) => ({ ...good, cert: await written(dir, "words.crt", "certs/client.crt\n") }),
  },
  {
    fault: "the CA is a key",
    code: "not_pem",
    files: (good) => ({ ...good, ca: good.key }),
  },
  {
    fault: "damaged base64",
    code: "unparsable",
    files: async (good, _certs, dir) => {
      const text = await readFile(good.cert, "utf8");
      const middle = text.indexOf("\n") + 40;
      return {
        ...good,
        cert: await written(dir, "damaged.crt", `${text.slice(0, middle)}####${text.slice(middle + 4)}`),
      };
    },
  },
  {
    fault: "encrypted key",
    code: "key_encrypted",
    files: async (good, certs, dir) => {
      const pem = createPrivateKey(certs.client.key).export({
        type: "pkcs8",
        format: "pem",
        cipher: "aes-256-cbc",
        passphrase: "open sesame",
      });
      return { ...good, key: await written(dir, "encrypted.key", String(pem)) };
    },
  },
  {
    fault: "RSA of 1024 bits",
    code: "key_too_weak",
    files: async (good, _certs, dir) => {
      const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
      const pem = privateKey.export({ type: "pkcs8", format: "pem" });
      return { ...good, key: await written(dir, "weak.key", String(pem)) };
    },
  },
  {
    fault: "bad record MAC: the key is of another certificate",
    code: "key_mismatch",
    files: shows(({ mismatchedClient }) => mismatchedClient),
  },
  {
    fault: "every user can read the key",
    code: "key_exposed",
    files: async (good, _certs, dir) => {
      const key = join(dir, "open.key");
      await copyFile(good.key, key);
      await chmod(key, 0o644);
      return { ...good, key };
    },
  },
  // The Collector's certificate.
  {
    fault: "certificate verify failed: another CA",
    code: "wrong_ca",
    exporter: "wrong_ca",
    files: (good, { otherCa, otherClient }) => ({
      ca: otherCa.certificateFile,
      cert: otherClient.certificateFile,
      key: good.key === "" ? "" : otherClient.keyFile,
    }),
  },
  {
    fault: "certificate verify failed: another CA of the same name",
    code: "wrong_ca",
    exporter: "wrong_ca",
    server: "namesake",
  },
  { fault: "hostname mismatch", code: "server_name_mismatch", exporter: "server_name_mismatch", server: "name" },
  {
    fault: "the Collector's certificate has expired",
    code: "server_certificate_expired",
    exporter: "server_certificate_expired",
    server: "expired",
  },
  {
    fault: "the Collector's certificate is of tomorrow",
    code: "server_certificate_not_yet_valid",
    exporter: "server_certificate_not_yet_valid",
    server: "future",
  },
  {
    fault: "the Collector's certificate is for clients",
    code: "server_certificate_usage",
    exporter: "server_certificate_usage",
    server: "usage",
  },
  { fault: "the Collector asks for no certificate", code: "client_certificate_not_demanded", server: "open" },
  // The client certificate.
  {
    fault: "no client certificate",
    code: "not_found",
    exporter: "client_certificate_missing",
    files: (good) => ({ ...good, cert: "", key: "" }),
  },
  {
    fault: "client certificate of another CA",
    code: "client_certificate_unknown_ca",
    exporter: "client_certificate_unknown_ca",
    files: shows(({ otherClient }) => otherClient),
  },
  {
    fault: "client certificate of another CA of the same name",
    code: "client_certificate_unknown_ca",
    exporter: "client_certificate_unknown_ca",
    files: shows(({ namesakeClient }) => namesakeClient),
  },
  {
    fault: "client certificate expired",
    code: "client_certificate_expired",
    exporter: "client_certificate_expired",
    files: shows(({ expiredClient }) => expiredClient),
  },
  {
    fault: "client certificate of tomorrow",
    code: "client_certificate_not_yet_valid",
    exporter: "client_certificate_not_yet_valid",
    files: shows(({ futureClient }) => futureClient),
  },
  {
    fault: "client certificate without the usage clientAuth",
    code: "client_certificate_usage",
    exporter: "client_certificate_usage",
    files: shows(({ wrongUsageClient }) => wrongUsageClient),
  },
];

/** The host is localhost; `name` has a certificate for others. */
export async function serversOf(certs: TestCertificates): Promise<Record<ServerKind, Pair>> {
  const year = 365 * 86_400_000;
  return {
    good: certs.server,
    name: await certs.issueServer("server-name", { subjectAltNames: ["otel-collector"] }),
    expired: await certs.issueServer("server-expired", { days: 30, now: new Date(Date.now() - year) }),
    future: await certs.issueServer("server-future", { now: new Date(Date.now() + year) }),
    usage: await certs.issueServer("server-usage", { usages: ["clientAuth"] }),
    namesake: certs.namesakeServer,
    open: certs.server,
  };
}

let configs = 0;

/** Doctor on a relay with these files. */
export async function doctor(
  dir: string,
  endpoint: string,
  { ca, cert, key }: Files,
  tls: NonNullable<ConfigInput["exporter"]>["tls"] = {},
  protocol: Protocol = "http/protobuf",
): Promise<Report> {
  const file = join(dir, `relay-${configs++}.yaml`);
  const missing = join(dir, "there-is-none");
  const config: ConfigInput = {
    exporter: {
      endpoint,
      protocol,
      tls: { ca_file: ca, cert_file: cert || missing, key_file: key || missing, ...tls },
    },
    sending_queue: { path: join(dir, "queue.db"), queue_size: "64MiB" },
  };
  await writeFile(file, JSON.stringify(config));
  return await examine({ file, env: { DENO_TLS_CA_STORE: "" } });
}

export function told(report: Report): string {
  const lines = report.checks.filter(({ status }) => status !== "ok").map(({ id, status, finding, evidence }) =>
    `${status} ${id}: ${finding} [${evidence.join("; ")}]`
  );
  return lines.join("\n");
}
