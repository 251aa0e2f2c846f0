/**
 * A listener that may run out of files, to be started under `ulimit -n`: prints its port, and a line when it listens anew. With the argument
 * `grpc` it is the one of OTLP/gRPC.
 */
import process from "node:process";
import type { ReceiverEnvironment } from "../../../src/receiver/app.ts";
import { listenOnGrpc } from "../../../src/receiver/grpc/listener.ts";
import { listenOnNode } from "../../../src/receiver/listener/node_listener.ts";

// Deno panics without files unless it has looked for a signal before.
process.on("SIGTERM", () => process.exit(0));
const options = {
  hostname: "127.0.0.1",
  port: 0,
  limits: {
    connectionsMax: 10_000,
    addressConnectionsMax: 0,
    headerBytesMax: 16_384,
    headerMs: 60_000,
    bodyMs: 60_000,
    idleMs: 60_000,
  },
  selfCheckMs: 200,
  events: {
    refused: () => {},
    dropped: () => {},
    failed: () => {},
    listenedAnew: () => console.log(`accepting ${listener.accepting()}, anew`),
  },
};
/** An app that takes a call without looking at it. */
function taking(_: Request, { inbound }: ReceiverEnvironment): Response {
  inbound?.body.cancel();
  return { status: 200, headers: {}, body: new Uint8Array(0) } as unknown as Response;
}
const listener = process.argv[2] === "grpc"
  ? await listenOnGrpc({ ...options, streamsMax: 100, unreadBytesMax: 1 << 20, isReady: () => true, answer: taking })
  : await listenOnNode({ ...options, answer: () => new Response("here") });
console.log(`port ${listener.port}`);
