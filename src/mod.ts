/**
 * edgeferry as a library: the instrumentation of any Hono app, and the relay in a program of yours.
 *
 * An app that traces and measures its own requests, and exports straight to a Collector. With mutual TLS `exporter` is
 * `{ endpoint: "https://collector.example:4318", tls: { ca, cert, key } }`, the three as PEM text.
 *
 * ```ts
 * import { Hono } from "hono";
 * import { httpInstrumentation, startTelemetry } from "@edgeferry/edgeferry";
 *
 * await using telemetry = startTelemetry({
 *   serviceName: "checkout",
 *   exporter: { endpoint: "http://127.0.0.1:4318" },
 *   shutdownMs: 500,
 * });
 * const app = new Hono();
 * app.use(httpInstrumentation(telemetry));
 * app.get("/hello/:name", (c) => c.text(`Hello ${c.req.param("name")}`));
 *
 * const answer = await app.request("/hello/Ada");
 * if (await answer.text() !== "Hello Ada") throw new Error("It said something else");
 * ```
 *
 * A relay below a path of a server that is there already:
 *
 * ```ts
 * import { createHash } from "node:crypto";
 * import { Hono } from "hono";
 * import { configFrom, createRelay } from "@edgeferry/edgeferry";
 *
 * const token = crypto.randomUUID();
 * const sha256 = createHash("sha256").update(token).digest("hex");
 * const config = configFrom({
 *   receiver: { auth: { tokens: { tokens: [{ id: "web", sha256 }] } } },
 *   sending_queue: { storage: "none" },
 *   exporter: { endpoint: "http://127.0.0.1:4318" },
 *   telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
 * });
 * await using relay = await createRelay(config);
 * const app = new Hono();
 * app.get("/", (c) => c.text("mine"));
 * app.route("/otlp", relay.app);
 *
 * const post = { method: "POST", body: "{}" };
 * const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
 * const taken = await app.request("/otlp/v1/traces", { ...post, headers });
 * const refused = await app.request("/otlp/v1/traces", post);
 * const health = await app.request("/otlp/readyz");
 * const statuses = [taken.status, refused.status, health.status].join();
 * if (statuses !== "200,401,200") throw new Error(statuses);
 * ```
 *
 * A relay with a socket of its own. `loadConfig()` reads `config/relay.yaml`, where it is there, and the process's variables;
 * here both are given:
 *
 * ```ts
 * import { ConfigError, loadConfig, startRelay } from "@edgeferry/edgeferry";
 *
 * const env = {
 *   EDGEFERRY_RECEIVER_HTTP_ENDPOINT: "127.0.0.1:0",
 *   EDGEFERRY_RECEIVER_AUTH_INSECURE: "true",
 *   EDGEFERRY_SENDING_QUEUE_STORAGE: "none",
 *   EDGEFERRY_EXPORTER_ENDPOINT: "http://127.0.0.1:4318",
 *   EDGEFERRY_TELEMETRY_ADMIN_ENDPOINT: "127.0.0.1:0",
 *   EDGEFERRY_TELEMETRY_METRICS_ENABLED: "false",
 * };
 * const { config } = await loadConfig({ env, file: null });
 * await using relay = await startRelay(config);
 *
 * const headers = { "content-type": "application/json" };
 * const answer = await fetch(`${relay.url}/v1/traces`, { method: "POST", headers, body: "{}" });
 * if (answer.status !== 200) throw new Error(await answer.text());
 * await answer.body?.cancel();
 *
 * // What cannot be used is said with its place and the remedy.
 * const wrong = { ...env, EDGEFERRY_SENDING_QUEUE_QUEUE_SIZE: "much" };
 * const error = await loadConfig({ env: wrong, file: null }).catch((error: unknown) => error);
 * if (!(error instanceof ConfigError)) throw error;
 * ```
 * @module
 */
export { createRelay, type EmbeddedRelay, type Relay, type RunningRelay, startRelay } from "./relay/relay.ts";
export type { Environment } from "./config/environment.ts";
export { configFrom, loadConfig, type LoadedConfig, type LoadOptions } from "./config/load.ts";
export type { Config, ConfigInput } from "./config/types.ts";
export type { Endpoint } from "./config/units.ts";
export type { SignalName } from "./signal.ts";
export type { LimitsInput, SigningKeyInput, TokenInput, TokensInput } from "./config/tokens.ts";
export {
  httpInstrumentation,
  instrument,
  type InstrumentableApp,
  type InstrumentOptions,
} from "./telemetry/instrument.ts";
export {
  type CollectorEndpoint,
  type SignalTargets,
  startTelemetry,
  type Telemetry,
  type TelemetryOptions,
} from "./telemetry/telemetry.ts";
export type { OtlpTarget } from "./telemetry/exporter.ts";
export {
  createLog,
  type Log,
  type LogFields,
  type LogLevel,
  type LogLine,
  type LogLineField,
  type LogOptions,
} from "./telemetry/log.ts";
export { CertificateError, type CertificateErrorCode, ConfigError, StatedError, type Statement } from "./errors.ts";
