/**
 * The client under soak: unary gRPC by hand on `node:http2`, started by `grpc.ts` as a child. Opens `--connections` connections to
 * `--port`, `--concurrency` at a time, and calls on each until the far end has ended it, or makes `--calls` calls and
 * waits for that end. Prints what it counted each half second.
 */
import http2, { type ClientHttp2Session } from "node:http2";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { CALL_MS, callsEach, flags, MESSAGES, openAll, TLS } from "./client_flags.ts";
import { counter } from "./counter.ts";
import { guard } from "./guard.ts";
import { EXPORT_PATH } from "./message.ts";

const counts = counter();

/** Whether it was answered with grpc-status 0. */
function call(session: ClientHttp2Session): Promise<boolean> {
  const message = MESSAGES[counts.calls++ % 2]!;
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

async function oneConnection(): Promise<void> {
  const session = http2.connect(`${flags.ca === undefined ? "http" : "https"}://127.0.0.1:${flags.port}`, TLS);
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

await openAll(oneConnection);
process.stdin.on("data", () => {});
