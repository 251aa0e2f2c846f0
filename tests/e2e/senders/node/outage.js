/**
 * A service with the stock OpenTelemetry JS SDK on Node. It makes SPANS spans, one each INTERVAL_MS, named by their number, and exports
 * them to ENDPOINT with TOKEN. Everything else is as the SDK has it.
 */
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const { ENDPOINT, TOKEN, SPANS, INTERVAL_MS } = process.env;

async function main() {
  const exporter = new OTLPTraceExporter({
    url: `${ENDPOINT}/v1/traces`,
    headers: { Authorization: `Bearer ${TOKEN}` },
  });
  const provider = new BasicTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter)] });
  const tracer = provider.getTracer("outage");
  for (let number = 0; number < Number(SPANS); number++) {
    tracer.startSpan(`node ${number};`).end();
    if (number === 0) console.log("sending");
    await new Promise((resolve) => setTimeout(resolve, Number(INTERVAL_MS)));
  }
  await provider.shutdown();
  console.log("done");
}

main();
