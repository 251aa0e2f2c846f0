/**
 * The embedded Collector as a process: tells each request that it takes as one line of JSON, before it is answered. Arguments:
 * folder of certificates, port, file that holds its present {@link Control} as JSON.
 */
import { readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import { type Misbehaviour, startCollector } from "../../../src/collector/server.ts";
import { decodeRequest } from "../../../src/otlp/decode.ts";
import { collectorTls, type Control, type Receipt, type Trouble } from "./far_end.ts";
import { arrivedSpans, CUTS, FAILS, POISON } from "../bodies/numbered_spans.ts";

const [certsDir, port, control] = process.argv.slice(2);
const text = new TextDecoder();

const collector = await startCollector({
  host: "127.0.0.1",
  port: Number(port),
  tls: await collectorTls(certsDir!),
  misbehave: (_signal, _request, body) => {
    const { trouble, mended }: Control = JSON.parse(readFileSync(control!, "utf8"));
    const content = contentOf(body);
    if (content.includes(POISON)) return { kind: "status", status: 400, message: `refused: ${POISON}` };
    if (!mended && content.includes(FAILS)) return { kind: "status", status: 503, message: "failed on what is in it" };
    if (!mended && content.includes(CUTS)) return { kind: "disconnect" };
    if (hasEmpties(body)) return { kind: "status", status: 400, message: `refused: ${POISON}: an empty resource` };
    return misbehaviour(trouble);
  },
  onReceived: ({ signal, body }) => {
    const receipt: Receipt = { at: Date.now(), spans: arrivedSpans(decodeRequest(signal, body)) };
    if (receipt.spans.length > 0) writeAll(`${JSON.stringify(receipt)}\n`);
  },
});
writeAll(`listening ${collector.port}\n`);

function misbehaviour(trouble: Trouble | undefined): Misbehaviour | undefined {
  if (trouble?.kind !== "status") return trouble;
  const { status, retryAfterS } = trouble;
  return {
    kind: "status",
    status,
    ...(retryAfterS === undefined ? {} : { headers: { "retry-after": `${retryAfterS}` } }),
  };
}

function inflated(body: Uint8Array): Uint8Array {
  return body[0] === 0x1f && body[1] === 0x8b ? gunzipSync(body) : body;
}

function contentOf(body: Uint8Array): string {
  return text.decode(inflated(body));
}

/** Whether a resource stands in it that has nothing in it. */
function hasEmpties(body: Uint8Array): boolean {
  try {
    const resources = decodeRequest("traces", inflated(body))["resourceSpans"];
    return Array.isArray(resources) && resources.some((each) => typeof each === "object" && !("scopeSpans" in each));
  } catch {
    // Not a request: the Collector says so.
    return false;
  }
}

/** Written when it returns: what is acknowledged after it has been told, even if the process is killed in between. */
function writeAll(line: string): void {
  const bytes = new TextEncoder().encode(line);
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
}
