/**
 * The page of the browser test: the stock OpenTelemetry web SDK with its stock exporter, told by the page's address where to
 * send, with which token, and how.
 *
 * The exporter posts by `fetch` with `keepalive`. It falls back to nothing else; `sendBeacon`, which can set no header, is tried by
 * hand.
 */
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { WebTracerProvider } from "@opentelemetry/sdk-trace-web";

/** The part of a browser's globals that is used here; the compiler is given Deno's. */
interface Page {
  readonly document: { title: string; readonly body: { textContent: string } };
  readonly navigator: { sendBeacon(url: string, body: Blob): boolean };
}
const { document, navigator } = globalThis as unknown as Page;

const parameters = new URLSearchParams(location.hash.slice(1));
const service = parameters.get("service") ?? "";
const token = parameters.get("token") ?? "";
const relay = parameters.get("relay") ?? "";
const how = parameters.get("how") ?? "header";

/** What older exporters do where they are given no headers, and pages that are being closed. */
function beacon(): string {
  const span = {
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
    name: "page view",
    startTimeUnixNano: "1700000000000000000",
    endTimeUnixNano: "1700000001000000000",
  };
  const resource = { attributes: [{ key: "service.name", value: { stringValue: service } }] };
  const body = JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] });
  const url = `${relay}/v1/traces?access_token=${token}`;
  return navigator.sendBeacon(url, new Blob([body], { type: "application/json" })) ? "queued" : "failed";
}

async function stock(): Promise<string> {
  const timeoutMillis = 2_000;
  const exporter = new OTLPTraceExporter(
    how === "header"
      ? { url: `${relay}/v1/traces`, headers: { authorization: `Bearer ${token}` }, timeoutMillis }
      : { url: `${relay}/v1/traces?access_token=${token}`, timeoutMillis },
  );
  const provider = new WebTracerProvider({
    resource: resourceFromAttributes({ "service.name": service }),
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  provider.getTracer("page").startSpan("page view").end();
  try {
    await provider.forceFlush();
    return "sent";
  } catch {
    return "failed";
  }
}

const outcome = how === "beacon" ? beacon() : await stock();
document.body.textContent = `${service}: ${outcome}`;
document.title = outcome;
