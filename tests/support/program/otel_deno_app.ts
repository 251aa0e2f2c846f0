/** A program for tests: an instrumented app in a process whose environment says what Deno's own telemetry does. */
import { connect } from "node:net";
import process from "node:process";
import { text } from "node:stream/consumers";
import { context, trace } from "@opentelemetry/api";
import { Hono } from "hono";
import { instrument } from "../../../src/telemetry/instrument.ts";
import { startTelemetry } from "../../../src/telemetry/telemetry.ts";

const { ENDPOINT = "", CA = "", CERT = "", KEY = "" } = process.env;
const telemetry = startTelemetry({
  serviceName: "app",
  samplingRatio: 0,
  exporter: { endpoint: ENDPOINT, tls: { ca: CA, cert: CERT, key: KEY } },
});
console.log(`warnings: ${telemetry.warnings.length}`);
const app = new Hono();
instrument(app, telemetry);
app.get("/x", async (c) => {
  await Promise.resolve();
  telemetry.tracerProvider.getTracer("app").startSpan("work", {}, context.active()).end();
  return c.text(trace.getActiveSpan()?.spanContext().traceId ?? "none");
});
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, app.fetch);
// By hand, since Deno's own fetch would add a traceparent. The first is sampled by nobody but Deno, the second by its caller.
for (const header of ["", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"]) {
  const socket = connect(server.addr.port, "127.0.0.1");
  socket.end(`GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${header}\r\n`);
  console.log(`answer: ${(await text(socket)).split("\r\n\r\n")[1]}`);
}
await server.shutdown();
await telemetry.stop();
