/** A Hono app that traces and measures its own requests and exports them straight to the Collector, over mutual TLS. */
import { Hono } from "hono";
import { httpInstrumentation, startTelemetry } from "../../src/mod.ts";

const pem = (variable: string, path: string) => Deno.readTextFileSync(Deno.env.get(variable) ?? path);
const endpoint = Deno.env.get("OTEL_EXPORTER_OTLP_ENDPOINT") ?? "https://localhost:4318";
const ca = pem("OTEL_EXPORTER_OTLP_CERTIFICATE", "certs/ca.crt");
const cert = pem("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "certs/client.crt");
const key = pem("OTEL_EXPORTER_OTLP_CLIENT_KEY", "certs/client.key");

const telemetry = startTelemetry({ serviceName: "checkout", exporter: { endpoint, tls: { ca, cert, key } } });
const app = new Hono();
app.use(httpInstrumentation(telemetry));
app.get("/hello/:name", (c) => c.text(`Hello ${c.req.param("name")}\n`));

const server = Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT") ?? 8080) }, app.fetch);
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => void server.shutdown());
await server.finished;
await telemetry.stop();
Deno.exit(0);
