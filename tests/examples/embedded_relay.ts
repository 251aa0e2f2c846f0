/** A Hono app that is there already, and takes its senders' telemetry below /otlp: a relay without a port of its own. */
import { Hono } from "hono";
import { createRelay, loadConfig } from "../../src/mod.ts";

const { config } = await loadConfig();
const relay = await createRelay(config);

const app = new Hono();
app.get("/", (c) => c.text("The app\n"));
app.route("/otlp", relay.app);

const server = Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT") ?? 8080) }, app.fetch);
const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
await Promise.race([stopped, relay.failed]);
// Answers what is under way first; then there is nothing that the server's own end could break off.
await relay.stop();
await server.shutdown();
Deno.exit(0);
