/**
 * A service with the stock OpenTelemetry JS SDK. Everything is exported twice: by the variables OTEL_EXPORTER_OTLP_*, as any
 * service would, and to CONTROL_URL, so that a test can compare what arrives on both ways. PROTOCOL is protobuf or json. Prints
 * how much it sent as one line of JSON; ends with 1 when an export failed.
 */
import { type Context, context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { type ExportResult, ExportResultCode, TraceState } from "@opentelemetry/core";
import * as logsJson from "@opentelemetry/exporter-logs-otlp-http";
import * as logsProto from "@opentelemetry/exporter-logs-otlp-proto";
import * as metricsJson from "@opentelemetry/exporter-metrics-otlp-http";
import * as metricsProto from "@opentelemetry/exporter-metrics-otlp-proto";
import * as tracesJson from "@opentelemetry/exporter-trace-otlp-http";
import * as tracesProto from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchLogRecordProcessor,
  LoggerProvider,
  type LogRecordExporter,
  type ReadableLogRecord,
} from "@opentelemetry/sdk-logs";
import {
  AggregationType,
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
} from "@opentelemetry/sdk-trace-base";

const controlUrl = Deno.env.get("CONTROL_URL");
const json = Deno.env.get("PROTOCOL") === "json";
const sent = { spans: 0, dataPoints: 0, logRecords: 0 };
const failures: string[] = [];

/** Hands every batch to both exporters. */
class Both<Items> {
  constructor(
    readonly first: { export(items: Items, done: (result: ExportResult) => void): void; shutdown(): Promise<void> },
    readonly second: { export(items: Items, done: (result: ExportResult) => void): void; shutdown(): Promise<void> },
    readonly count: (items: Items) => void,
  ) {}
  export(items: Items, done: (result: ExportResult) => void): void {
    this.count(items);
    this.first.export(items, (result) => {
      if (result.code !== ExportResultCode.SUCCESS) failures.push(String(result.error));
      this.second.export(items, (control) => done(result.code === ExportResultCode.SUCCESS ? control : result));
    });
  }
  async shutdown(): Promise<void> {
    await Promise.all([this.first.shutdown(), this.second.shutdown()]);
  }
  forceFlush(): Promise<void> {
    return Promise.resolve();
  }
}

const traces = json ? tracesJson : tracesProto;
const metrics = json ? metricsJson : metricsProto;
const logs = json ? logsJson : logsProto;
const spanExporter: SpanExporter = new Both<ReadableSpan[]>(
  new traces.OTLPTraceExporter(),
  new traces.OTLPTraceExporter({ url: `${controlUrl}/v1/traces` }),
  (spans) => sent.spans += spans.length,
);
const metricExporter: PushMetricExporter = new Both<ResourceMetrics>(
  new metrics.OTLPMetricExporter(),
  new metrics.OTLPMetricExporter({ url: `${controlUrl}/v1/metrics` }),
  ({ scopeMetrics }) =>
    sent.dataPoints += scopeMetrics.flatMap(({ metrics }) =>
      metrics
    ).flatMap(({ dataPoints }) => [...dataPoints]).length,
);
const logExporter: LogRecordExporter = new Both<ReadableLogRecord[]>(
  new logs.OTLPLogExporter(),
  new logs.OTLPLogExporter({ url: `${controlUrl}/v1/logs` }),
  (records) => sent.logRecords += records.length,
);

const resource = resourceFromAttributes({
  "service.name": Deno.env.get("OTEL_SERVICE_NAME"),
  "service.version": "1.2.3",
  "host.cpus": 2,
  "host.tags": ["a", "b"],
});

// Small batches, so that one run makes several requests of each.
const tracerProvider = new BasicTracerProvider({
  resource,
  spanProcessors: [new BatchSpanProcessor(spanExporter, { maxExportBatchSize: 50, maxQueueSize: 1_000 })],
});
const tracer = tracerProvider.getTracer("till", "4.5.6", { schemaUrl: "https://opentelemetry.io/schemas/1.41.0" });

function inSpan(parent: Context, name: string, kind: SpanKind, work: (context: Context) => void): void {
  const span = tracer.startSpan(name, { kind, attributes: { "http.route": "/carts/:id" } }, parent);
  work(trace.setSpan(parent, span));
  span.end();
}

const caller = trace.setSpanContext(ROOT_CONTEXT, {
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "00f067aa0ba902b7",
  traceFlags: TraceFlags.SAMPLED,
  traceState: new TraceState("vendor=value,other=1"),
  isRemote: true,
});
inSpan(caller, "checkout", SpanKind.SERVER, (checkout) => {
  inSpan(checkout, "charge", SpanKind.CLIENT, (charge) => {
    const span = trace.getSpan(charge)!;
    span.setAttributes({
      "text": "Grüße, 世界 🛒",
      "empty": "",
      "whole": 9_007_199_254_740_991,
      "negative": -1,
      "real": 0.1,
      "yes": true,
      "texts": ["a", "b"],
      "wholes": [1, 2, 3],
      "reals": [0.5, 1.5],
      "truths": [true, false],
      "long": "x".repeat(20_000),
    });
    span.addEvent("declined", { "card.kind": "debit", "tries": 3 });
    span.recordException(new RangeError("no funds"));
    span.addLink({
      context: {
        traceId: "5b8efff798038103d269b633813fc60c",
        spanId: "eee19b7ec3c1b174",
        traceFlags: TraceFlags.SAMPLED,
      },
      attributes: { "why": "retried" },
    });
    span.setStatus({ code: SpanStatusCode.ERROR, message: "declined" });
  });
  inSpan(checkout, "enqueue", SpanKind.PRODUCER, (enqueue) => {
    inSpan(
      enqueue,
      "consume",
      SpanKind.CONSUMER,
      (consume) => trace.getSpan(consume)!.setStatus({ code: SpanStatusCode.OK }),
    );
  });
  for (let line = 0; line < 120; line++) {
    inSpan(checkout, `line ${line}`, SpanKind.INTERNAL, (inner) => trace.getSpan(inner)!.setAttribute("line", line));
  }
});

const meterProvider = new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 })],
  views: [{ instrumentName: "basket.value", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
});
const meter = meterProvider.getMeter("till", "4.5.6");
const requests = meter.createCounter("requests", { unit: "{request}", description: "Requests served" });
for (const route of ["/carts", "/carts/:id", "/pay"]) requests.add(route.length, { route });
meter.createUpDownCounter("carts.open").add(-2);
const duration = meter.createHistogram("duration", { unit: "s" });
for (const seconds of [0.001, 0.2, 7, 100]) duration.record(seconds, { route: "/pay" });
const basket = meter.createHistogram("basket.value", { unit: "EUR" });
for (const euros of [0, 0.5, 12.75, 1_000_000]) basket.record(euros);
meter.createObservableGauge("temperature").addCallback((result) => result.observe(-3.25, { place: "Kühlraum" }));
meter.createGauge("humidity").record(47);

const loggerProvider = new LoggerProvider({
  resource,
  processors: [new BatchLogRecordProcessor({ exporter: logExporter, maxExportBatchSize: 10 })],
});
const logger = loggerProvider.getLogger("till", "4.5.6");
const inTrace = trace.setSpanContext(context.active(), {
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "00f067aa0ba902b7",
  traceFlags: TraceFlags.SAMPLED,
});
logger.emit({ body: "opened", severityNumber: SeverityNumber.INFO, severityText: "INFO", context: inTrace });
logger.emit({
  body: { cart: 7, items: ["apple", { name: "pear", price: 0.4 }], paid: false },
  severityNumber: SeverityNumber.ERROR4,
  eventName: "cart.abandoned",
  attributes: { bytes: Uint8Array.of(0, 255), nested: { deep: [1, "two"] }, nothing: null },
  timestamp: new Date("2024-02-29T12:00:00.125Z"),
});
for (let line = 0; line < 25; line++) logger.emit({ body: `line ${line}`, attributes: { line } });

await tracerProvider.shutdown();
await meterProvider.shutdown();
await loggerProvider.shutdown();
console.log(JSON.stringify(sent));
if (failures.length > 0) console.error(failures.join("\n"));
Deno.exit(failures.length > 0 ? 1 : 0);
