/** A listener that may run out of files, to be started under `ulimit -n`: prints its port, and a line when it listens anew. */
import process from "node:process";
import { listenOnNode } from "../../../src/receiver/node_listener.ts";

// Deno panics without files unless it has looked for a signal before.
process.on("SIGTERM", () => process.exit(0));
const listener = await listenOnNode({
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
  answer: () => new Response("here"),
  events: {
    refused: () => {},
    dropped: () => {},
    failed: () => {},
    listenedAnew: () => console.log(`accepting ${listener.accepting()}, anew`),
  },
});
console.log(`port ${listener.port}`);
