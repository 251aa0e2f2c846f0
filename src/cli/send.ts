/**
 * `send`: one trace, one metric and one log record by the stock OpenTelemetry JS SDK, as a service of yours would send them.
 * @module
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { rootCertificates } from "node:tls";
import { type Attributes, SpanKind } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPExporterError } from "@opentelemetry/otlp-exporter-base";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { type Command, InvalidArgumentError } from "commander";
import { withDotEnv } from "../config/environment.ts";
import { exporterSettings } from "../config/exporter_settings.ts";
import { loadConfig, readDotEnvFile } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { formatEndpoint } from "../config/units.ts";
import { loadIdentity } from "../pki/identity.ts";
import { readPem } from "../pki/pem.ts";
import { CertificateError, codeOf, messageOf } from "../errors.ts";
import { decodeStatus } from "../otlp/response.ts";
import { signalOf } from "../signal.ts";
import { DEV_TOKEN_FILE } from "./dev_token.ts";
import { FaultFound, type Io, newCommand, put } from "./io.ts";

interface SendFlags {
  readonly config?: string;
  readonly url?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
  readonly service: string;
  readonly json?: true;
}

/** What the stock SDK has an exporter for. */
type SentSignal = "traces" | "metrics" | "logs";

/** What became of one. */
interface Result {
  /** What is printed. */
  readonly text: string;
  readonly accepted: boolean;
  /** The HTTP status, or the system's code where there was no answer. */
  readonly code?: number | string | undefined;
}

/** What was sent, by signal. */
interface Sent {
  readonly traceId: string;
  readonly spanId: string;
  readonly results: Record<SentSignal, Result>;
}

/** The command `send`. Throws {@link FaultFound} when one of the three was not taken. */
export function sendCommand(io: Io): Command {
  return newCommand(io, "send")
    .description("Send one trace, one metric and one log record with the stock OpenTelemetry SDK")
    .option("--config <file>", "the relay's configuration file (default: config/relay.yaml, if it is there)")
    // Explicit, so that the OTEL_EXPORTER_OTLP_* variables, which are the relay's, do not send it past the relay.
    .option(
      "--url <url>",
      "the relay's base URL (default: receiver.http.endpoint, https:// where it has a certificate)",
      baseUrl,
    )
    .option(
      "--ca <file>",
      "CA certificates that the relay's must lead to (default: exporter.tls.ca_file and public ones)",
    )
    .option(
      "--cert <file>",
      "a client certificate (default: exporter.tls.cert_file, where receiver.http.tls asks for one)",
    )
    .option("--key <file>", "its key")
    .option(
      "--token <token>",
      `the sender's token (default: EDGEFERRY_TOKEN, else what dev wrote to ${DEV_TOKEN_FILE})`,
    )
    .option("--service <name>", "service.name of what is sent", "first-steps")
    .option("--json", "print JSON")
    .action(async (flags: SendFlags) => {
      const token = flags.token ?? withDotEnv(process.env, await readDotEnvFile())["EDGEFERRY_TOKEN"] ??
        await devToken();
      const { url, agent } = await relayOf(flags);
      const { traceId, spanId, results } = await sendOnce({ url, agent, token, service: flags.service });
      if (flags.json) io.out(JSON.stringify({ url, traceId, spanId, results: textsOf(results) }, null, 2));
      else {
        for (const [signal, result] of Object.entries(textsOf(results))) put(io, `${signal.padEnd(7)} ${result}`, 8);
        io.out(`trace id ${traceId}`);
      }
      const refused = Object.values(results).filter(({ accepted }) => !accepted);
      if (refused.length > 0) {
        const remedy = remedyOf(refused, token);
        throw new FaultFound(
          `The relay at ${url} did not take everything${remedy === undefined ? "" : `; ${remedy}`}`,
        );
      }
    });
}

function remedyOf(refused: readonly Result[], token: string | undefined): string | undefined {
  if (refused.some(({ code }) => code === "ECONNREFUSED")) {
    return "nothing listens there: start it with 'deno task dev', or name another by --url";
  }
  if (!refused.some(({ code }) => code === 401)) return undefined;
  return token === undefined
    ? "no token was sent: pass --token, set EDGEFERRY_TOKEN, or run dev in this folder"
    : "make a token with 'deno task token new', and pass it by --token or EDGEFERRY_TOKEN";
}

/** Where a relay is, and what its TLS wants. */
interface RelayEnd {
  readonly url: string;
  readonly agent: { readonly ca?: string[]; readonly cert?: string; readonly key?: string };
}

/** The relay that the flags name, or else that of the configuration. @throws {ConfigError} or {@link CertificateError} */
async function relayOf(flags: SendFlags): Promise<RelayEnd> {
  // Another machine's relay needs nothing of this one's configuration.
  if (flags.url?.startsWith("http:")) return { url: flags.url, agent: {} };
  const { config } = await loadConfig({
    env: process.env,
    dotEnv: await readDotEnvFile(),
    ...(flags.config === undefined ? {} : { file: flags.config }),
  });
  const url = flags.url ?? urlOf(config);
  return { url, agent: url.startsWith("https:") ? await agentOf(config, flags) : {} };
}

/** Where the receiver of this configuration is reached from this machine. */
function urlOf({ receiver: { http } }: Config): string {
  const scheme = http.tls.cert_file === undefined ? "http" : "https";
  const { hostname, port } = http.endpoint;
  const host = hostname === "0.0.0.0" || hostname === "::" ? "localhost" : hostname;
  return `${scheme}://${formatEndpoint({ hostname: host, port })}`;
}

async function agentOf(config: Config, { ca, cert, key }: SendFlags): Promise<RelayEnd["agent"]> {
  const { tls } = exporterSettings(config, "traces");
  const trusted = ca === undefined ? [...rootCertificates] : [];
  if (cert === undefined && config.receiver.http.tls.client_ca_file === undefined) {
    try {
      const { text } = await readPem(ca === undefined ? tls.ca : { what: "CA", setting: "--ca", value: ca });
      return { ca: [text, ...trusted] };
    } catch (error) {
      // What is configured may be missing where a public one has signed.
      const optional = ca === undefined && error instanceof CertificateError && error.code === "not_found";
      if (!optional) throw error;
      return { ca: trusted };
    }
  }
  const identity = await loadIdentity({
    ca: ca ?? tls.ca.value,
    cert: cert ?? tls.cert.value,
    key: key ?? tls.key.value,
    ...(key === undefined ? { keyPassphrase: tls.keyPassphrase.value } : {}),
    exposedKeyAllowed: tls.exposedKeyAllowed,
    datesAllowed: true,
    settings: {
      ca: ca === undefined ? tls.ca.setting : "--ca",
      cert: cert === undefined ? tls.cert.setting : "--cert",
      key: key === undefined ? tls.key.setting : "--key",
    },
  });
  return { ca: [...identity.caCerts, ...trusted], cert: identity.cert, key: identity.key };
}

function baseUrl(value: string): string {
  if (!/^https?:\/\//.test(value) || !URL.canParse(value)) {
    throw new InvalidArgumentError("It is not an http:// or https:// URL.");
  }
  return value.replace(/\/+$/, "");
}

async function devToken(): Promise<string | undefined> {
  try {
    return (await readFile(DEV_TOKEN_FILE, "utf8")).trim();
  } catch {
    return undefined;
  }
}

const NOT_SENT: Result = { text: "not sent", accepted: false };

function textsOf(results: Sent["results"]): Record<SentSignal, string> {
  const { traces, metrics, logs } = results;
  return { traces: traces.text, metrics: metrics.text, logs: logs.text };
}

async function sendOnce(
  { url, agent, token, service }: RelayEnd & { readonly token: string | undefined; readonly service: string },
): Promise<Sent> {
  const options = (signal: SentSignal) => ({
    url: `${url}${signalOf(signal).path}`,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    ...(Object.keys(agent).length === 0 ? {} : { httpAgentOptions: agent }),
  });
  const resource = resourceFromAttributes({ "service.name": service });
  const results: Record<SentSignal, Result> = { traces: NOT_SENT, metrics: NOT_SENT, logs: NOT_SENT };
  const attributes: Attributes = { "http.request.method": "GET", "http.route": "/hello", "url.scheme": "https" };

  const traces = new Watched(new OTLPTraceExporter(options("traces")), (result) => results.traces = result);
  const tracerProvider = new BasicTracerProvider({
    resource,
    spanProcessors: [new SimpleSpanProcessor(traces.exporter)],
  });
  const span = tracerProvider.getTracer("edgeferry send").startSpan("GET /hello", {
    kind: SpanKind.SERVER,
    attributes,
  });
  span.end();

  const metrics = new Watched(new OTLPMetricExporter(options("metrics")), (result) => results.metrics = result);
  const reader = new PeriodicExportingMetricReader({ exporter: metrics.exporter, exportIntervalMillis: 3_600_000 });
  const meterProvider = new MeterProvider({ resource, readers: [reader] });
  meterProvider.getMeter("edgeferry send").createCounter("hello.requests", { unit: "{request}" }).add(1, attributes);

  const logs = new Watched(new OTLPLogExporter(options("logs")), (result) => results.logs = result);
  const loggerProvider = new LoggerProvider({
    resource,
    processors: [new SimpleLogRecordProcessor({ exporter: logs.exporter })],
  });
  loggerProvider.getLogger("edgeferry send").emit({
    severityNumber: SeverityNumber.INFO,
    severityText: "INFO",
    body: "Hello from edgeferry send",
    attributes: { "http.route": "/hello" },
  });

  // Each shutdown sends what is left and waits for it.
  await Promise.allSettled([tracerProvider.shutdown(), meterProvider.shutdown(), loggerProvider.shutdown()]);
  return { ...span.spanContext(), results };
}

/** What every exporter of the SDK has. */
interface Exporting<Item> {
  export(items: Item, callback: (result: ExportResult) => void): void;
}

/** An exporter that reports its result, since the SDK keeps it to itself. */
class Watched<Item, Exporter extends Exporting<Item>> {
  readonly exporter: Exporter;

  constructor(exporter: Exporter & Exporting<Item>, told: (result: Result) => void) {
    const send = exporter.export.bind(exporter);
    exporter.export = (items, callback) =>
      send(items, (result) => {
        told(
          result.code === ExportResultCode.SUCCESS
            ? { text: "accepted", accepted: true }
            : { text: `refused: ${reasonOf(result.error)}`, accepted: false, code: answerCodeOf(result.error) },
        );
        callback(result);
      });
    this.exporter = exporter;
  }
}

/** The HTTP status of an answer, or the code of the first of its causes that has one. */
function answerCodeOf(error: unknown): number | string | undefined {
  if (error instanceof OTLPExporterError && error.code !== undefined) return error.code;
  for (let cause = error, left = 8; cause instanceof Error && left > 0; cause = cause.cause, left--) {
    const code = codeOf(cause);
    if (code !== undefined) return code;
  }
  return undefined;
}

/** The status and the relay's own words, where there was an answer. */
function reasonOf(error: unknown): string {
  if (!(error instanceof OTLPExporterError) || error.code === undefined) return messageOf(error ?? "no reason");
  const words = decodeStatus("application/json", new TextEncoder().encode(error.data ?? ""));
  return `${error.code} ${words || error.message}`;
}
