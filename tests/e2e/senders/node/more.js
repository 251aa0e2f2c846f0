const { SeverityNumber } = require("@opentelemetry/api-logs");
const { OTLPLogExporter: GrpcLogExporter } = require("@opentelemetry/exporter-logs-otlp-grpc");
const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-proto");
const { OTLPMetricExporter: GrpcMetricExporter } = require("@opentelemetry/exporter-metrics-otlp-grpc");
const { OTLPMetricExporter } = require("@opentelemetry/exporter-metrics-otlp-proto");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");

/** Exports 6 data points and 5 log records by gRPC to `endpoint`, and by HTTP to `control`. */
async function sendMore({ resource, endpoint, metadata, control }) {
  await sendMetrics(resource, [
    new GrpcMetricExporter({ url: endpoint, metadata }),
    new OTLPMetricExporter({ url: `${control}/v1/metrics` }),
  ]);
  await sendLogs(resource, [
    new GrpcLogExporter({ url: endpoint, metadata }),
    new OTLPLogExporter({ url: `${control}/v1/logs` }),
  ]);
}

/** Hands one collection to all of them, so that all have the same times. */
function fanOut(exporters) {
  return {
    export(metrics, done) {
      let left = exporters.length;
      let worst = { code: 0 };
      for (const exporter of exporters) {
        exporter.export(metrics, (result) => {
          if (result.code !== 0) worst = result;
          if (--left === 0) done(worst);
        });
      }
    },
    forceFlush: async () => void await Promise.all(exporters.map((each) => each.forceFlush())),
    shutdown: async () => void await Promise.all(exporters.map((each) => each.shutdown())),
  };
}

async function sendMetrics(resource, exporters) {
  const provider = new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter: fanOut(exporters) })],
  });
  const meter = provider.getMeter("outage", "4.5.6");
  const requests = meter.createCounter("requests", { unit: "{request}", description: "Grüße, 世界" });
  for (const route of ["/carts", "/carts/:id", "/pay"]) requests.add(route.length, { route });
  meter.createUpDownCounter("carts.open").add(-2.5, { kinds: ["a", "b"] });
  const duration = meter.createHistogram("duration", { unit: "s" });
  for (const seconds of [0.001, 0.2, 7, 100]) duration.record(seconds);
  meter.createGauge("temperature").record(-3.25, { place: "Kühlraum" });
  await provider.shutdown();
}

async function sendLogs(resource, exporters) {
  const provider = new LoggerProvider({
    resource,
    processors: exporters.map((exporter) => new BatchLogRecordProcessor({ exporter })),
  });
  const logger = provider.getLogger("outage", "4.5.6");
  const bodies = ["opened", 0.1, Uint8Array.of(0, 255), [1, true], { cart: 7, items: ["apple"] }];
  for (const [number, body] of bodies.entries()) {
    logger.emit({
      severityNumber: SeverityNumber.INFO + number,
      severityText: "words",
      eventName: "cart.abandoned",
      timestamp: Date.now(),
      body,
      attributes: { number },
    });
  }
  await provider.shutdown();
}

module.exports = { sendMore };
