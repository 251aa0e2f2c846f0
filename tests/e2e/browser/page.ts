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
interface Element {
  textContent: string;
  append(...children: Element[]): void;
  setAttribute(name: string, value: string): void;
}
interface Page {
  readonly document: { title: string; readonly body: Element; createElement(name: string): Element };
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

/** What a page can learn of why it was refused: the relay's answer, or no more than that the browser withheld it. */
async function reason(): Promise<string> {
  try {
    const response = await fetch(`${relay}/v1/traces`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: "{}",
    });
    const { message } = await response.json();
    return `${response.status}: ${message}`;
  } catch (error) {
    return String(error);
  }
}

/** For the screenshot: a row for each thing that matters. */
function show(rows: readonly (readonly [string, string])[]): void {
  const table = document.createElement("table");
  table.setAttribute("style", "font: 16px/1.6 sans-serif; margin: 24px; border-collapse: collapse");
  for (const [name, value] of rows) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    const cell = document.createElement("td");
    head.textContent = name;
    head.setAttribute("style", "text-align: left; padding-right: 24px; vertical-align: top; color: #555");
    cell.textContent = value;
    row.append(head, cell);
    table.append(row);
  }
  document.body.append(table);
}

const WAYS: Readonly<Record<string, string>> = {
  header: "Authorization: Bearer …, by the stock exporter",
  url: "?access_token=…, by the stock exporter",
  beacon: "?access_token=…, by navigator.sendBeacon",
};

const outcome = how === "beacon" ? beacon() : await stock();
show([
  ["page", location.origin],
  ["relay", relay],
  ["token", WAYS[how] ?? how],
  ["service.name", service],
  ["outcome", outcome],
  ...(outcome === "failed" ? [["because", await reason()] as const] : []),
]);
document.title = outcome;
