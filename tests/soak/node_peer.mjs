// A peer under Node: `node node_peer.mjs PORT CONNECTIONS grpc-js|http2 idle|load CALLS [CA CERT KEY]`. grpc-js is looked for from the
// folder that SOAK_MODULES names, where `npm install @grpc/grpc-js` was run: it is no dependency of the project.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import secure from "node:tls";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";

const [port, connections, kind, state, calls, ca, cert, key] = process.argv.slice(2);
const PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
// A trace export with a field that nobody knows, of 1,500 bytes.
const body = Buffer.concat([Buffer.from([0x7a, 0xdc, 0x0b]), Buffer.alloc(1500, "abcdefg")]);
const authorization = `Bearer ${process.env.SOAK_TOKEN}`;
const counts = { connections: 0, calls: 0, answered: 0, failed: 0 };
const below = (limit) => Math.floor(Math.random() * limit);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
process.on("uncaughtException", () => counts.failed++);

function framed(zipped) {
  const message = zipped ? gzipSync(body) : body;
  const head = Buffer.alloc(5);
  head[0] = zipped ? 1 : 0;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
const messages = [framed(false), framed(true)];

async function throughHttp2() {
  const address = { port: Number(port), host: "127.0.0.1" };
  const socket = ca === undefined ? net.connect(address) : secure.connect({
    ...address,
    ca: readFileSync(ca),
    cert: readFileSync(cert),
    key: readFileSync(key),
    servername: "localhost",
    ALPNProtocols: ["h2"],
  });
  const session = http2.connect(`${ca === undefined ? "http" : "https"}://localhost`, {
    createConnection: () => socket,
  });
  const closed = new Promise((resolve) => session.once("close", resolve));
  session.on("error", () => counts.failed++);
  const call = () =>
    new Promise((resolve) => {
      if (session.closed || session.destroyed) return resolve(undefined);
      const zipped = counts.calls++ % 2;
      const stream = session.request({
        ":method": "POST",
        ":path": PATH,
        "content-type": "application/grpc",
        te: "trailers",
        "grpc-encoding": zipped ? "gzip" : "identity",
        authorization,
      });
      stream.on("trailers", (trailers) => trailers["grpc-status"] === "0" && counts.answered++);
      stream.on("error", () => {});
      stream.on("close", resolve);
      stream.resume();
      stream.end(messages[zipped]);
      if (state === "load" && below(6) === 0) setTimeout(() => stream.close(8), below(3));
    });
  for (let left = Number(calls) || 1 + below(5); left > 0; left--) await call();
  if (state === "load") { for (let left = 1 + below(6); left > 0; left--) void call(); }
  const end = below(4);
  if (end === 0) session.close();
  else if (end === 1) session.destroy();
  else if (end === 2) socket.destroy();
  else session.goaway(below(3), 225);
  if (end === 3) setTimeout(() => session.destroy(), below(5));
  await Promise.race([closed, pause(500)]);
  if (!session.destroyed) session.destroy();
}

let grpc;
if (kind === "grpc-js") grpc = createRequire(`${process.env.SOAK_MODULES}/`)("@grpc/grpc-js");

async function throughGrpc() {
  const credentials = ca === undefined
    ? grpc.credentials.createInsecure()
    : grpc.credentials.createSsl(readFileSync(ca), readFileSync(key), readFileSync(cert));
  const client = new grpc.Client(`localhost:${port}`, credentials, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.default_compression_algorithm": below(2) === 0 ? 2 : 0,
  });
  const metadata = new grpc.Metadata();
  metadata.set("authorization", authorization);
  const call = (deadline) =>
    new Promise((resolve) => {
      counts.calls++;
      client.makeUnaryRequest(PATH, (v) => v, (v) => v, body, metadata, { deadline }, (error) => {
        if (error === null) counts.answered++;
        resolve(error);
      });
    });
  for (let left = Number(calls) || 1 + below(5); left > 0; left--) await call(Date.now() + 20_000);
  if (state === "load") {
    for (let left = 1 + below(6); left > 0; left--) void call(Date.now() + 1 + below(6));
    await pause(below(4));
  }
  client.close();
}

let opened = 0;
await Promise.all(Array.from({ length: 16 }, async () => {
  while (opened++ < Number(connections)) {
    await (kind === "grpc-js" ? throughGrpc() : throughHttp2());
    counts.connections++;
  }
}));
console.log(JSON.stringify(counts));
process.exit(0);
