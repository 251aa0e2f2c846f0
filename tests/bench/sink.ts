/**
 * The Collector's place in a measurement: mutual TLS, reads everything, counts items. HTTP/1.1, since Deno's `node:http2` server was
 * seen to stall under concurrent bodies of megabytes. A process of its own:
 * `sink.ts CERTS_DIR`. Prints one line of JSON with its ports; GET on the control port tells the counts, POST resets them.
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { SIGNALS } from "../../src/signal.ts";
import { Walker } from "../../src/otlp/wire.ts";

const dir = process.argv[2] ?? "certs";
const walker = new Walker();
let items = 0;
let bytes = 0;
let requests = 0;

const INFLATE: Readonly<Record<string, (raw: Uint8Array) => Uint8Array>> = {
  identity: (raw) => raw,
  gzip: (raw) => gunzipSync(raw),
  zstd: (raw) => zstdDecompressSync(raw),
};

async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
  const raw = Buffer.concat(chunks);
  const signal = SIGNALS.find(({ path }) => path === request.url);
  if (signal !== undefined && raw.length > 0) {
    try {
      const sent = INFLATE[request.headers["content-encoding"] ?? "identity"]!(raw);
      const json = request.headers["content-type"] === "application/json";
      const content = json ? transcodeJson(signal.name, sent, 1 << 26).protobuf : sent;
      items += signal.name === "traces" ? walker.walk(signal.name, content).items : 0;
      bytes += raw.length;
      requests++;
    } catch {
      // The probe for gzip members, or a body that a Collector would refuse too.
      response.writeHead(400).end();
      return;
    }
  }
  response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
}

const server = createSecureServer({
  ca: readFileSync(join(dir, "ca.crt")),
  cert: readFileSync(join(dir, "server.crt")),
  key: readFileSync(join(dir, "server.key")),
  requestCert: true,
  rejectUnauthorized: true,
}, (request, response) => void take(request, response).catch(() => request.destroy()));
const control = createServer((request: IncomingMessage, response: ServerResponse) => {
  // Who speaks no TLS sends here.
  if (SIGNALS.some(({ path }) => path === request.url)) {
    return void take(request, response).catch(() => request.destroy());
  }
  const state = JSON.stringify({ items, bytes, requests });
  if (request.method === "POST") items = bytes = requests = 0;
  response.end(state);
});
server.listen(0, "127.0.0.1", () =>
  control.listen(0, "127.0.0.1", () => {
    const port = (server.address() as AddressInfo).port;
    console.log(JSON.stringify({ port, control: (control.address() as AddressInfo).port }));
  }));
