/**
 * A service with the stock OpenTelemetry JS SDK on Node. It makes SPANS spans, one each INTERVAL_MS, named by their number, and exports
 * them to ENDPOINT with TOKEN, by PROTOCOL (grpc; else http/protobuf), and where CONTROL is set there too, by HTTP, and metrics and logs as
 * well. Everything else is as the SDK has it.
 */
const { Metadata } = require("@grpc/grpc-js");
const grpc = require("@opentelemetry/exporter-trace-otlp-grpc");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { defaultResource, resourceFromAttributes } = require("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { sendMore } = require("./more.js");

const { CONTROL, ENDPOINT, PROTOCOL, TOKEN, SPANS, INTERVAL_MS } = process.env;

function exporterOf() {
  const authorization = `Bearer ${TOKEN}`;
  if (PROTOCOL !== "grpc") {
    return new OTLPTraceExporter({ url: `${ENDPOINT}/v1/traces`, headers: { Authorization: authorization } });
  }
  return new grpc.OTLPTraceExporter({ url: ENDPOINT, metadata: metadataOf(authorization) });
}

function metadataOf(authorization) {
  const metadata = new Metadata();
  metadata.set("authorization", authorization);
  return metadata;
}

async function main() {
  const exporters = [exporterOf(), ...(CONTROL ? [new OTLPTraceExporter({ url: `${CONTROL}/v1/traces` })] : [])];
  const resource = defaultResource().merge(
    resourceFromAttributes({ "service.name": process.env.OTEL_SERVICE_NAME ?? "outage" }),
  );
  const provider = new BasicTracerProvider({
    resource,
    spanProcessors: exporters.map((exporter) => new BatchSpanProcessor(exporter)),
  });
  const tracer = provider.getTracer("outage");
  for (let number = 0; number < Number(SPANS); number++) {
    tracer.startSpan(`node ${number};`).end();
    if (number === 0) console.log("sending");
    await new Promise((resolve) => setTimeout(resolve, Number(INTERVAL_MS)));
  }
  await provider.shutdown();
  if (CONTROL) {
    await sendMore({ resource, endpoint: ENDPOINT, metadata: metadataOf(`Bearer ${TOKEN}`), control: CONTROL });
  }
  console.log("done");
}

main();
