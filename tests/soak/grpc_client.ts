/**
 * The client under soak: unary gRPC by hand on `node:http2`, started by `grpc.ts` as a child. Opens `--connections` connections to
 * `--port`, `--concurrency` at a time, and calls on each until the far end has ended it, or makes `--calls` calls and
 * waits for that end. Prints what it counted each half second.
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http2, { type ClientHttp2Session } from "node:http2";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { counter } from "./counter.ts";
import { guard } from "./guard.ts";
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
    guarded: { type: "boolean", default: false },
  },
});

const CALL_MS = 10_000;
const callsEach = Number(flags.calls);
const counts = counter();

const body = Buffer.concat([randomBytes(750), Buffer.alloc(750)]);
const messages = [{ encoding: "identity", bytes: framed(0, body) }, {
  encoding: "gzip",
  bytes: framed(1, gzipSync(body)),
}];

/** Whether it was answered with grpc-status 0. */
function call(session: ClientHttp2Session): Promise<boolean> {
  const message = messages[counts.calls++ % 2]!;
  return new Promise((resolve) => {
    const stream = session.request({
      ":method": "POST",
      ":path": EXPORT_PATH,
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-encoding": message.encoding,
    });
    let status: unknown;
    stream.setTimeout(CALL_MS, () => {
      counts.failed++;
      stream.close(http2.constants.NGHTTP2_CANCEL);
    });
    stream.on("trailers", (trailers) => status = trailers["grpc-status"]);
    stream.on("aborted", () => counts.aborted++);
    stream.on("error", () => counts.aborted++);
    stream.on("close", () => {
      if (status === "0") counts.answered++;
      resolve(status === "0");
    });
    stream.resume();
    stream.end(message.bytes);
  });
}

const tls = flags.ca === undefined ? {} : {
  ca: readFileSync(flags.ca),
  servername: "localhost",
  ...(flags.mutual && flags.cert !== undefined && flags.key !== undefined
    ? { cert: readFileSync(flags.cert), key: readFileSync(flags.key) }
    : {}),
};

async function oneConnection(): Promise<void> {
  const session = http2.connect(`${flags.ca === undefined ? "http" : "https"}://127.0.0.1:${flags.port}`, tls);
  if (flags.guarded) guard(session);
  let ended = false;
  const closed = new Promise<void>((resolve) => session.once("close", resolve));
  session.on("error", () => counts.failed++);
  session.on("goaway", () => ended = true);
  session.once("close", () => ended = true);
  const connected = await Promise.race([
    new Promise<boolean>((resolve) => session.once("connect", () => resolve(true))),
    closed.then(() => false),
  ]);
  if (!connected) {
    await pause(20); // The far end is being started anew.
    return;
  }
  counts.connections++;
  const lane = async () => {
    while (!ended && !session.closed && !session.destroyed) {
      if (!await call(session) && !flags.load) await pause(1);
    }
  };
  // With load six calls are open at a time; without it the last answer has come before the end, and the connection is idle.
  if (flags.load) await Promise.all(Array.from({ length: 6 }, lane));
  else if (callsEach > 0) {
    for (let made = 0; made < callsEach && !ended; made++) await call(session);
    await Promise.race([closed, new Promise((resolve) => session.once("goaway", resolve))]);
  } else {
    while (!ended && !session.closed && !session.destroyed) {
      if (!await call(session)) break;
      await Promise.race([closed, pause(counts.calls % 4)]);
    }
  }
  if (counts.connections % 2 === 0) session.close();
  else session.destroy();
  await Promise.race([closed, pause(CALL_MS).then(() => counts.failed++)]);
  counts.closed++;
}

const wanted = Number(flags.connections);
let opened = 0;
await Promise.all(Array.from({ length: Number(flags.concurrency) }, async () => {
  while (opened < wanted) {
    opened++;
    const before = counts.connections;
    await oneConnection();
    if (counts.connections === before && opened > wanted * 3) break;
  }
}));
console.log(JSON.stringify({ done: true }));
process.stdin.on("data", () => {});
