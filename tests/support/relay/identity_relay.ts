/** A relay in this process with files of its own to rotate, and a log that can be waited for. */
import { X509Certificate } from "node:crypto";
import { copyFile, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCollector } from "../../../src/collector/server.ts";
import { configFrom } from "../../../src/config/load.ts";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { digestOf } from "../../../src/receiver/senders/authenticator.ts";
import { type Relay, startRelayWith } from "../../../src/relay/relay.ts";
import { queueThread } from "../threads/queue_threads.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import type { Pair, TestCertificates } from "../files/certificates.ts";
import { relayConfig, SILENT } from "./config.ts";
import { Journal, requestOf } from "./exporting.ts";

const TOKEN = "a-token-of-the-tests";

/** A line of the log. */
export interface Line {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** PEM texts for the three files; what is left out stays. */
export interface Texts {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface IdentityRelay extends AsyncDisposable {
  readonly dir: string;
  readonly queuePath: string;
  readonly log: Journal<Line>;
  /** @throws what the start of a relay throws. */
  start(collectorUrl: string, more?: ConfigInput): Promise<Relay>;
  /** Replaces the files as `certs rotate` does: each written under another name, then renamed. */
  replace(texts: Texts): Promise<void>;
  /** Resolves with the line that says that this certificate is in use. */
  tookUp(serial: string): Promise<Line>;
}

export function serialOf({ certificate }: { readonly certificate: string }): string {
  return new X509Certificate(certificate).serialNumber;
}

/** An embedded Collector that writes down the serial of who delivers. */
export async function collecting(certs: TestCertificates, port = 0, more: Partial<{ ca: string[] }> = {}) {
  const serials = new Journal<string>();
  const collector = await startCollector({
    host: "127.0.0.1",
    port,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key, ...more },
    onReceived: ({ items, peerSerial }) => items > 0 && serials.push(peerSerial),
  });
  return { collector, serials, [Symbol.asyncDispose]: () => collector.stop() };
}

/** A folder with `ca.crt`, `client.crt` and `client.key`. */
export async function identityRelay(certs: TestCertificates, client: Pair = certs.client): Promise<IdentityRelay> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-identity-"));
  const queuePath = join(dir, "queue.db");
  await writeFile(join(dir, "tokens.yaml"), `tokens:\n  - { id: test, sha256: ${digestOf(TOKEN)} }\n`);
  await copyFile(certs.ca.certificateFile, join(dir, "ca.crt"));
  await copyFile(client.certificateFile, join(dir, "client.crt"));
  await copyFile(client.keyFile, join(dir, "client.key"));
  const log = new Journal<Line>();
  return {
    dir,
    queuePath,
    log,
    start(collectorUrl, more = {}) {
      const config = relayConfig(
        { collectorUrl, certsDir: dir, queuePath },
        SILENT,
        {
          receiver: { auth: { tokens_file: join(dir, "tokens.yaml") } },
          // Nothing waits for company: what is under way on old connections shows in many requests, not in a few merged ones.
          sending_queue: { batch: { flush_timeout: "0" } },
          exporter: { retry_on_failure: { initial_interval: "10ms", max_interval: "200ms" } },
        },
        more,
      );
      const write = (line: string) => log.push(JSON.parse(line));
      const relayLog = createLog({ level: "debug", format: "json", write });
      return startRelayWith(configFrom(config), relayLog, { startThread: queueThread });
    },
    async replace({ ca, cert, key }) {
      const texts = [["ca.crt", ca], ["client.key", key], ["client.crt", cert]] as const;
      const named = texts.flatMap(([name, text]) => text === undefined ? [] : [{ name, text }]);
      for (const { name, text } of named) await writeFile(join(dir, `${name}.tmp`), text, { mode: 0o600 });
      for (const { name } of named) await rename(join(dir, `${name}.tmp`), join(dir, name));
    },
    tookUp: (serial) =>
      log.find(({ message, serial: shown }) => message.startsWith("Took up") && shown === serial, `serial ${serial}`),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Headers of a sender with a token that posts protobuf. */
export const TRACE_HEADERS = { "content-type": "application/x-protobuf", authorization: `Bearer ${TOKEN}` };

/** Posts one trace as a sender with a token does. The status. */
export async function postTrace(url: string, names: readonly string[], client?: Deno.HttpClient): Promise<number> {
  const response = await fetch(`${url}/v1/traces`, {
    method: "POST",
    headers: TRACE_HEADERS,
    body: requestOf("traces", names),
    ...(client === undefined ? {} : { client }),
  });
  await response.body?.cancel();
  return response.status;
}
