/**
 * docs/jaeger.md: relay, the real Collector with config/collector.yaml and config/collector.jaeger.yaml as Compose has them, and
 * Jaeger itself, whose query API shows what came.
 */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { booksIn, startRelayProcess } from "../support/relay/relay.ts";
import { collectorConfigFile, startCollector } from "../support/tools/collector.ts";
import { type Jaeger, type JaegerTrace, startJaeger } from "../support/tools/jaeger.ts";

/** Far more than it takes. */
const ARRIVAL_MS = 60_000;

const hex = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes)).toHex();

/** A trace of a shop: a request, and below it a query of its own service. */
function shopping(traceId: string, order: number): string {
  const [root, child] = [hex(8), hex(8)];
  const now = BigInt(Date.now()) * 1_000_000n;
  const at = (ms: number) => String(now + BigInt(ms) * 1_000_000n);
  const resource = (service: string) => ({
    attributes: [{ key: "service.name", value: { stringValue: service } }],
  });
  const attribute = (key: string, value: string | number) => ({
    key,
    value: typeof value === "number" ? { intValue: String(value) } : { stringValue: value },
  });
  return JSON.stringify({
    resourceSpans: [
      {
        resource: resource("checkout"),
        scopeSpans: [{
          spans: [{
            traceId,
            spanId: root,
            name: "POST /orders",
            kind: 2,
            startTimeUnixNano: at(0),
            endTimeUnixNano: at(120),
            attributes: [attribute("http.response.status_code", 201), attribute("order.number", order)],
          }],
        }],
      },
      {
        resource: resource("stock"),
        scopeSpans: [{
          spans: [{
            traceId,
            spanId: child,
            parentSpanId: root,
            name: "reserve",
            kind: 2,
            startTimeUnixNano: at(20),
            endTimeUnixNano: at(90),
            attributes: [attribute("db.system.name", "postgresql")],
          }],
        }],
      },
    ],
  });
}

/** The trace, once all of it is there. */
async function arrived(jaeger: Jaeger, id: string): Promise<JaegerTrace> {
  const deadline = performance.now() + ARRIVAL_MS;
  for (;;) {
    const trace = await jaeger.trace(id);
    if (trace?.spans.length === 2) return trace;
    assert(performance.now() < deadline, `Trace ${id} is not at Jaeger: ${JSON.stringify(trace)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Deno.test("a trace by relay and Collector in Jaeger, with its attributes; an outage of Jaeger loses nothing", async () => {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await folder());
  const certs = stack.use(await testCertificates());
  let jaeger = await startJaeger();
  stack.defer(() => jaeger[Symbol.asyncDispose]());
  const queueDir = join(at.path, "queue");
  await mkdir(queueDir);
  const collector = stack.use(
    await startCollector({
      certsDir: certs.dir,
      config: await readFile(join(collectorConfigFile, "../collector.jaeger.yaml"), "utf8"),
      env: { JAEGER_ENDPOINT: jaeger.otlpEndpoint, QUEUE_DIR: queueDir },
    }),
  );
  const relay = stack.use(
    await startRelayProcess({
      engine: "sqlite",
      collectorUrl: collector.httpUrl,
      certsDir: certs.dir,
      config: {
        telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { enabled: false }, log: { format: "json" } },
      },
    }),
  );
  const send = async (id: string, order: number) => {
    const answer = await fetch(`${relay.url}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${relay.token}` },
      body: shopping(id, order),
    });
    assert.deepEqual([answer.status, await answer.json()], [200, {}]);
  };

  const first = hex(16);
  await send(first, 7);
  const { spans, processes } = await arrived(jaeger, first);
  const named = (name: string) => spans.find(({ operationName }) => operationName === name)!;
  const tag = (name: string, key: string) => named(name).tags.find((each) => each.key === key)?.value;
  assert.deepEqual(spans.map(({ operationName }) => operationName).sort(), ["POST /orders", "reserve"]);
  assert.deepEqual([tag("POST /orders", "order.number"), tag("POST /orders", "http.response.status_code")], [7, 201]);
  assert.equal(tag("reserve", "db.system.name"), "postgresql");
  assert.equal(processes[named("reserve").processID]?.serviceName, "stock");

  // Jaeger is gone; it comes back at its address, with nothing of what it held in memory.
  const otlpPort = Number(jaeger.otlpEndpoint.split(":")[1]);
  await jaeger[Symbol.asyncDispose]();
  const during = Array.from({ length: 20 }, () => hex(16));
  for (const [index, id] of during.entries()) await send(id, index);
  jaeger = await startJaeger({ otlpPort });
  for (const id of during) await arrived(jaeger, id);

  await relay.stop();
  const { accepted, delivered, queued } = booksIn(relay.queuePath).traces;
  assert.deepEqual({ accepted, delivered, queued }, { accepted: 42, delivered: 42, queued: 0 });
});
