/** What a relay of the bench runs with: one configuration, in which each measurement changes what it is about. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ConfigInput } from "../../src/config/schema.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";

/** The token of every sender that shows one. */
export const TOKEN = "bench-token";

/** A port at which there is no Collector: a durable 200 does not need one. */
const NO_SINK = { port: 9 };

export interface RelayFiles {
  /** A folder with ca.crt, client.crt and client.key. */
  readonly certs: string;
  /** Where the relay sends to; nowhere unless given. */
  readonly sink?: { readonly port: number };
  /** Beside what every relay here has. */
  readonly config?: ConfigInput;
  /** What the token has beside its digest, as YAML's flow entries; after it, sections of the token file. */
  readonly token?: { readonly more?: string; readonly sections?: string };
}

/** Writes `relay.yaml` and `tokens.yaml` into a folder, which is made where it is missing. */
export async function writeRelayFiles(dir: string, files: RelayFiles): Promise<void> {
  const { certs, sink = NO_SINK, config = {}, token = {} } = files;
  const whole: ConfigInput = {
    ...config,
    receiver: {
      ...config.receiver,
      http: { endpoint: "127.0.0.1:0", ...config.receiver?.http },
      auth: { tokens_file: "tokens.yaml", ...config.receiver?.auth },
    },
    sending_queue: { path: "data/queue.db", ...config.sending_queue },
    exporter: {
      endpoint: `https://localhost:${sink.port}`,
      tls: { ca_file: `${certs}/ca.crt`, cert_file: `${certs}/client.crt`, key_file: `${certs}/client.key` },
      ...config.exporter,
    },
    telemetry: { admin: { endpoint: "127.0.0.1:0" } },
  };
  await mkdir(dir, { recursive: true });
  await writeFile(
    join(dir, "tokens.yaml"),
    `tokens:\n  - { id: bench, sha256: ${digestOf(TOKEN)}${token.more ?? ""} }\n${token.sections ?? ""}`,
  );
  // JSON is YAML too.
  await writeFile(join(dir, "relay.yaml"), JSON.stringify(whole, undefined, 2));
}
