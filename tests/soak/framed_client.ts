/** The client of `grpc_client.ts`, on the framing in TypeScript in place of `node:http2`. Takes the same flags. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import secure from "node:tls";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { Http2Connection } from "../../src/http2/connection.ts";
import { fieldOf } from "../../src/http2/fields.ts";
import { encodeFields } from "../../src/http2/hpack.ts";
import type { Field } from "../../src/http2/hpack_tables.ts";
import { counter } from "./counter.ts";
import { LIMITS } from "./limits.ts";
import { EXPORT_PATH, framed } from "./message.ts";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    port: { type: "string" },
    connections: { type: "string", default: "1000" },
    concurrency: { type: "string", default: "16" },
    load: { type: "boolean", default: false },
    calls: { type: "string", default: "0" },
    ca: { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    mutual: { type: "boolean", default: false },
  },
});

const CALL_MS = 10_000;
const callsEach = Number(flags.calls);
const counts = counter();
const body = Buffer.concat([randomBytes(750), Buffer.alloc(750)]);
const requests = (["identity", "gzip"] as const).map((encoding) => ({
  block: encodeFields([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", EXPORT_PATH],
    [":authority", "localhost"],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ["grpc-encoding", encoding],
  ]),
  message: encoding === "gzip" ? framed(1, gzipSync(body)) : framed(0, body),
}));

const tls = flags.ca === undefined ? undefined : {
  ca: readFileSync(flags.ca),
  servername: "localhost",
  ALPNProtocols: ["h2"],
  ...(flags.mutual && flags.cert !== undefined && flags.key !== undefined
    ? { cert: readFileSync(flags.cert), key: readFileSync(flags.key) }
    : {}),
};

async function oneConnection(): Promise<void> {
  const address = { port: Number(flags.port), host: "127.0.0.1" };
  const socket = tls === undefined ? net.connect(address) : secure.connect({ ...address, ...tls });
  socket.setNoDelay(true);
  let tellClosed: () => void = () => {};
  const closed = new Promise<void>((resolve) => tellClosed = resolve);
  const connected = new Promise<boolean>((resolve) => {
    socket.once(tls === undefined ? "connect" : "secureConnect", () => resolve(true));
    void closed.then(() => resolve(false));
  });
  const connection = new Http2Connection(socket, {
    side: "client",
    limits: LIMITS,
    events: {
      closed: () => tellClosed(),
      failed: (error) => {
        throw error;
      },
    },
  });
  if (!await connected) {
    counts.failed++;
    await pause(20); // The far end is being started anew.
    return;
  }
  counts.connections++;
  async function call(): Promise<boolean> {
    const { block, message } = requests[counts.calls++ % 2]!;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let status: string | undefined;
    const took = (fields: readonly Field[]) => void (status = fieldOf(fields, "grpc-status") ?? status);
    const made = connection.request(block, {
      headers: took,
      data: (piece) => made?.consumed(piece.length),
      trailers: took,
      end: () => resolve(status === "0"),
      cut() {
        counts.aborted++;
        resolve(false);
      },
    });
    if (made === undefined) return false;
    made.sendData(message, true);
    const timer = setTimeout(() => {
      counts.failed++;
      made.reset();
    }, CALL_MS);
    const answered = await promise;
    clearTimeout(timer);
    if (answered) counts.answered++;
    return answered;
  }
  if (flags.load) {
    await Promise.all(Array.from({ length: 6 }, async () => {
      while (connection.usable) await call();
    }));
  } else if (callsEach > 0) {
    for (let made = 0; made < callsEach && connection.usable; made++) await call();
    await closed;
  } else {
    while (connection.usable && await call()) await Promise.race([closed, pause(counts.calls % 4)]);
  }
  if (counts.connections % 2 === 0) connection.drain();
  else connection.destroy();
  await Promise.race([closed, pause(CALL_MS).then(() => counts.failed++)]);
  connection.destroy();
  counts.closed++;
}

const wanted = Number(flags.connections);
let opened = 0;
await Promise.all(Array.from({ length: Number(flags.concurrency) }, async () => {
  while (opened < wanted) {
    opened++;
    await oneConnection();
  }
}));
console.log(JSON.stringify({ done: true }));
