/**
 * The embedded Collector as a process: tells each request that it takes as one line of JSON, before it is answered. Arguments:
 * folder of certificates, port, file that holds its present {@link Trouble} as JSON.
 */
import { readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import { type Misbehaviour, startCollector } from "../../../src/collector/server.ts";
import { decodeRequest } from "../../../src/otlp/decode.ts";
import { collectorTls, type Receipt, type Trouble } from "./far_end.ts";
import { arrivedSpans, POISON } from "../bodies/numbered_spans.ts";

const [certsDir, port, control] = process.argv.slice(2);
const text = new TextDecoder();

const collector = await startCollector({
  host: "127.0.0.1",
  port: Number(port),
  tls: await collectorTls(certsDir!),
  misbehave: (_signal, _request, body) => {
    if (isPoisoned(body)) return { kind: "status", status: 400, message: `refused: ${POISON}` };
    return misbehaviour(JSON.parse(readFileSync(control!, "utf8")));
  },
  onReceived: ({ signal, body }) => {
    const receipt: Receipt = { at: Date.now(), spans: arrivedSpans(decodeRequest(signal, body)) };
    if (receipt.spans.length > 0) writeAll(`${JSON.stringify(receipt)}\n`);
  },
});
writeAll(`listening ${collector.port}\n`);

function misbehaviour(trouble: Trouble | null): Misbehaviour | undefined {
  if (trouble?.kind !== "status") return trouble ?? undefined;
  const { status, retryAfterS } = trouble;
  return {
    kind: "status",
    status,
    ...(retryAfterS === undefined ? {} : { headers: { "retry-after": `${retryAfterS}` } }),
  };
}

function isPoisoned(body: Uint8Array): boolean {
  const gzipped = body[0] === 0x1f && body[1] === 0x8b;
  return text.decode(gzipped ? gunzipSync(body) : body).includes(POISON);
}

/** Written when it returns: what is acknowledged after it has been told, even if the process is killed in between. */
function writeAll(line: string): void {
  const bytes = new TextEncoder().encode(line);
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
}
