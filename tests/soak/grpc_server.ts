/**
 * The server under soak: unary gRPC by hand on `node:http2`, started by `grpc.ts` as a child. Prints its port, then what it counted each
 * half second, as lines of JSON. `--port`, and `--ca --cert --key [--mutual]` for TLS.
 */
import { Buffer } from "node:buffer";
import http2, { type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { counter } from "./counter.ts";
import { guard } from "./guard.ts";
import { BODY_BYTES_MAX, EMPTY_MESSAGE, messageIn } from "./message.ts";
import { flags, listen, TLS } from "./server_flags.ts";

const counts = counter();

function answer(stream: ServerHttp2Stream, message: Buffer | undefined): void {
  if (stream.destroyed || stream.closed) return;
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": message === undefined ? "13" : "0" }));
  stream.end(message === undefined ? undefined : EMPTY_MESSAGE);
  counts.answered++;
}

function onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  counts.calls++;
  const parts: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (part: Buffer) => {
    bytes += part.length;
    if (bytes <= BODY_BYTES_MAX) parts.push(part);
    else stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });
  stream.on("error", () => counts.failed++);
  stream.on("aborted", () => counts.aborted++);
  stream.on("end", () => {
    const message = messageIn(Buffer.concat(parts), headers["grpc-encoding"]?.toString());
    // One in four waits as a commit does, so that calls are open when the connection ends.
    if (counts.calls % 4 === 0) setTimeout(answer, counts.calls % 5, stream, message);
    else answer(stream, message);
  });
}

const limits = { settings: { maxConcurrentStreams: 100 } };
const server: Http2Server = TLS === undefined
  ? http2.createServer(limits)
  : http2.createSecureServer({ ...limits, ...TLS });
server.on("stream", onStream);
server.on("session", (session) => {
  counts.connections++;
  if (flags.guarded) guard(session);
  session.on("error", () => counts.failed++);
  session.on("close", () => counts.closed++);
  // With --ends the server ends some itself, as it does at a connection's age or at its own stop.
  if (flags.ends && counts.connections % 3 === 0) setTimeout(() => session.close(), counts.connections % 20);
  if (flags.ends && counts.connections % 3 === 1) setTimeout(() => session.destroy(), counts.connections % 20);
});
server.on("sessionError", () => counts.failed++);
server.on("tlsClientError", () => counts.failed++);
listen(server);
