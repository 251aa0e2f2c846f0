/**
 * The Collector's place in a measurement: mutual TLS, reads everything, counts items. HTTP/1.1, since Deno's `node:http2` server was
 * seen to stall under concurrent bodies of megabytes; OTLP/gRPC by the relay's own framing. A process of its own:
 * `sink.ts CERTS_DIR`. Prints one line of JSON with its ports; GET on the control port tells the counts, POST resets them.
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { join } from "node:path";
import process from "node:process";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { Http2Connection, type Http2Limits } from "../../src/http2/connection.ts";
import { fieldOf } from "../../src/http2/fields.ts";
import { encodeFields } from "../../src/http2/hpack.ts";
import type { Field } from "../../src/http2/hpack_tables.ts";
import type { Http2Stream, StreamEvents } from "../../src/http2/stream.ts";
import { MESSAGE_PREFIX_BYTES, messagePrefix } from "../../src/otlp/grpc.ts";
import { type Signal, SIGNALS } from "../../src/signal.ts";
import { Walker } from "../../src/otlp/wire.ts";

const dir = process.argv[2] ?? "certs";
const walker = new Walker();
const GRPC_LIMITS: Http2Limits = {
  streamsMax: 1_000,
  streamWindowBytes: 16 << 20,
  windowBytes: 64 << 20,
  headerListBytesMax: 1 << 16,
  headerMs: 0,
  idleMs: 0,
  pingMs: 0,
  pingAckMs: 0,
  takeMs: 0,
};

let items = 0;
let bytes = 0;
let requests = 0;

const INFLATE: Readonly<Record<string, (raw: Uint8Array) => Uint8Array>> = {
  identity: (raw) => raw,
  gzip: (raw) => gunzipSync(raw),
  zstd: (raw) => zstdDecompressSync(raw),
};

/** Counts what a request holds. @throws where a Collector would refuse it, as the probe for gzip members. */
function count(signal: Signal, raw: Uint8Array, encoding: string, json = false): void {
  if (raw.length === 0) return;
  const sent = INFLATE[encoding]!(raw);
  const content = json ? transcodeJson(signal.name, sent, 1 << 26).protobuf : sent;
  items += signal.name === "traces" ? walker.walk(signal.name, content).items : 0;
  bytes += raw.length;
  requests++;
}

async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
  const signal = SIGNALS.find(({ path }) => path === request.url);
  const { "content-encoding": encoding = "identity", "content-type": type } = request.headers;
  try {
    if (signal !== undefined) count(signal, Buffer.concat(chunks), encoding, type === "application/json");
  } catch {
    response.writeHead(400).end();
    return;
  }
  response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
}

const GRPC_HEADER = encodeFields([[":status", "200"], ["content-type", "application/grpc"]]);
const GRPC_OK = encodeFields([["grpc-status", "0"]]);
const GRPC_REFUSED = encodeFields([
  [":status", "200"],
  ["content-type", "application/grpc"],
  ["grpc-status", "3"],
]);
const EMPTY_MESSAGE = messagePrefix(0, false);

/** One call of OTLP/gRPC. */
function called(stream: Http2Stream, fields: readonly Field[]): StreamEvents {
  const chunks: Uint8Array[] = [];
  const signal = SIGNALS.find(({ grpcPath }) => grpcPath === fieldOf(fields, ":path"));
  return {
    data(piece) {
      chunks.push(piece.slice());
      stream.consumed(piece.length);
    },
    end() {
      const message = Buffer.concat(chunks).subarray(MESSAGE_PREFIX_BYTES);
      try {
        if (signal !== undefined) count(signal, message, fieldOf(fields, "grpc-encoding") ?? "identity");
      } catch {
        return stream.sendHeaders(GRPC_REFUSED, true);
      }
      stream.sendHeaders(GRPC_HEADER);
      stream.sendData(EMPTY_MESSAGE);
      stream.sendTrailers(GRPC_OK);
    },
    cut() {},
  };
}

const TLS = {
  ca: readFileSync(join(dir, "ca.crt")),
  cert: readFileSync(join(dir, "server.crt")),
  key: readFileSync(join(dir, "server.key")),
  requestCert: true,
  rejectUnauthorized: true,
};

const grpc = createTlsServer({ ...TLS, ALPNProtocols: ["h2"] }, (socket) => {
  void new Http2Connection(socket, {
    side: "server",
    limits: GRPC_LIMITS,
    events: { opened: called, closed() {}, failed: (error) => console.error(error) },
  });
});

const server = createSecureServer(
  TLS,
  (request, response) => void take(request, response).catch(() => request.destroy()),
);
const control = createServer((request: IncomingMessage, response: ServerResponse) => {
  // Who speaks no TLS sends here.
  if (SIGNALS.some(({ path }) => path === request.url)) {
    return void take(request, response).catch(() => request.destroy());
  }
  const state = JSON.stringify({ items, bytes, requests });
  if (request.method === "POST") items = bytes = requests = 0;
  response.end(state);
});
for (const each of [server, control, grpc]) await new Promise<void>((resolve) => each.listen(0, "127.0.0.1", resolve));
const [port, controlPort, grpcPort] = [server, control, grpc].map((each) => (each.address() as AddressInfo).port);
console.log(JSON.stringify({ port, control: controlPort, grpc: grpcPort }));
