/**
 * Senders as they are found in the world, through the relay, to the real Collector. Each sends everything twice: to the relay, and
 * straight to a second Collector of the same configuration, the control. What the two Collectors hand on is the same to the
 * last field, or the relay has changed it.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../../src/signal.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { type RealCollector, startCollector } from "../support/tools/collector.ts";
import { type Counts, countsOf, type Held, held, sorted } from "../support/far_end/held.ts";
import { runProgram } from "../support/program/program.ts";
import { python } from "../support/tools/python.ts";
import { STOCK_GRPC_SDKS } from "../support/tools/stock_sdks.ts";
import { booksIn, type Engine, ENGINES, startRelayProcess } from "../support/relay/relay.ts";
import { type SinkPoint, startSink } from "../support/far_end/sink.ts";
import { everyField } from "./senders/every_field.ts";
import { checkFastApi, FASTAPI_SENDS, startFastApi, useFastApi } from "./senders/fastapi.ts";

const senders = fileURLToPath(new URL("senders/", import.meta.url));
const root = fileURLToPath(new URL("../../", import.meta.url));

/** What OTLP/HTTP over plain HTTP needs of config/collector.yaml. */
const PLAIN_HTTP = "receivers: { otlp: { protocols: { http: { tls: null } } } }";
const ARRIVAL_MS = 30_000;

/** Two Collectors with a sink each; the relay is in front of the first. */
async function scene(engine: Engine) {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const sink = stack.use(startSink());
  const controlSink = stack.use(startSink());
  const [collector, control] = await Promise.all([
    startCollector({ certsDir: certificates.dir, sink }),
    startCollector({ certsDir: certificates.dir, sink: controlSink, config: PLAIN_HTTP }),
  ]);
  stack.use(collector);
  stack.use(control);
  const relay = stack.use(
    await startRelayProcess({
      engine,
      collectorUrl: collector.httpUrl,
      certsDir: certificates.dir,
      config: { receiver: { grpc: { endpoint: "127.0.0.1:0" } } },
    }),
  );
  const grpcUrl = await relay.grpcUrl();
  const controlUrl = `http://127.0.0.1:${control.httpPort}`;
  const kept = stack.move();
  const total: Counts = { spans: 0, dataPoints: 0, logRecords: 0 };

  return {
    certificates,
    relay,
    grpcUrl,
    sink,
    controlUrl,
    /** For a sender that takes the variables of the OpenTelemetry specification. */
    environment: (service: string): Record<string, string> => ({
      OTEL_SERVICE_NAME: service,
      OTEL_EXPORTER_OTLP_ENDPOINT: relay.url,
      OTEL_EXPORTER_OTLP_HEADERS: `Authorization=Bearer%20${relay.token}`,
      CONTROL_URL: controlUrl,
    }),
    /** Waits for all that a service has sent; it is what the control holds, with nothing missing, added or changed. */
    async same(service: string, sent: Counts): Promise<Held> {
      const complete = ({ spans, dataPoints, logRecords }: Counts) =>
        spans >= sent.spans && dataPoints >= sent.dataPoints && logRecords >= sent.logRecords;
      await Promise.all(
        [sink, controlSink].map((end) => end.waitFor(() => complete(countsOf(held(end, service))), ARRIVAL_MS)),
      );
      const arrived = held(sink, service);
      const expected = held(controlSink, service);
      assert.deepEqual(countsOf(arrived), sent);
      assert.deepEqual(countsOf(expected), sent);
      assert.deepEqual(sorted(arrived.spans), sorted(expected.spans));
      assert.deepEqual(sorted(arrived.dataPoints), sorted(expected.dataPoints));
      assert.deepEqual(sorted(arrived.logRecords), sorted(expected.logRecords));
      for (const point of arrived.dataPoints) assert.equal(point.attributes["env"], "dev");
      total.spans += sent.spans;
      total.dataPoints += sent.dataPoints;
      total.logRecords += sent.logRecords;
      return arrived;
    },
    total,
    async [Symbol.asyncDispose]() {
      await kept.disposeAsync();
    },
  };
}

function parseCounts(lines: readonly string[]): Counts {
  const counts: Counts = JSON.parse(lines.at(-1) ?? "{}");
  assert(counts.spans > 0, `The sender said what it sent: ${lines.join("\n")}`);
  return counts;
}

/** What every run of sdk.ts and sdk.py has in it, whichever encoding it went by. */
function checkShop({ spans, dataPoints, logRecords }: Held): void {
  const span = (name: string) => {
    const found = spans.filter((candidate) => candidate.name === name);
    assert.equal(found.length, 1, name);
    return found[0]!;
  };
  const checkout = span("checkout");
  const charge = span("charge");
  assert.equal(spans.length, 124);
  assert.equal(new Set(spans.map(({ spanId }) => spanId)).size, 124);
  for (const { traceId, traceState } of spans) {
    assert.equal(traceId, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert.equal(traceState, "vendor=value,other=1");
  }
  assert.equal(checkout.parentSpanId, "00f067aa0ba902b7");
  assert.equal(charge.parentSpanId, checkout.spanId);
  assert.equal(span("line 119").parentSpanId, checkout.spanId);
  assert.equal(span("consume").parentSpanId, span("enqueue").spanId);
  // SERVER 2, CLIENT 3, PRODUCER 4, CONSUMER 5, INTERNAL 1.
  assert.deepEqual(["checkout", "charge", "enqueue", "consume", "line 0"].map((name) => span(name).kind), [
    2,
    3,
    4,
    5,
    1,
  ]);
  assert.deepEqual(charge.status, { code: 2, message: "declined" });
  assert.equal(span("consume").status.code, 1);
  assert.equal(charge.attributes["text"], "Grüße, 世界 🛒");
  assert.equal(charge.attributes["real"], 0.1);
  assert.deepEqual(charge.attributes["wholes"], [1n, 2n, 3n]);
  assert.equal(String(charge.attributes["long"]).length, 20_000);
  assert.deepEqual(charge.events.map(({ name }) => name), ["declined", "exception"]);
  assert.deepEqual(charge.events[0]?.attributes, { "card.kind": "debit", "tries": 3n });
  assert.equal(charge.links[0]?.spanId, "eee19b7ec3c1b174");
  assert.deepEqual(charge.links[0]?.attributes, { why: "retried" });
  assert.equal(checkout.scope.version, "4.5.6");
  assert.equal(checkout.scope.schemaUrl, "https://opentelemetry.io/schemas/1.41.0");

  const points = Map.groupBy(dataPoints, (point) => point.metric.name);
  const kinds = Object.fromEntries([...points].map(([name, [first]]) => [name, first?.kind]));
  assert.deepEqual(kinds, {
    "requests": "sum",
    "carts.open": "sum",
    "duration": "histogram",
    "basket.value": "exponentialHistogram",
    "temperature": "gauge",
    "humidity": "gauge",
  });
  assert.deepEqual(
    points.get("requests")?.map((point) => [point.attributes, point.kind === "sum" && Number(point.value)]),
    ["/carts", "/carts/:id", "/pay"].map((route) => [{ route, env: "dev" }, route.length]),
  );
  const [duration] = points.get("duration") ?? [];
  assert(duration?.kind === "histogram");
  assert.deepEqual([duration.count, duration.sum, duration.min, duration.max], [4n, 107.201, 0.001, 100]);
  const [basket] = points.get("basket.value") ?? [];
  assert(basket?.kind === "exponentialHistogram");
  assert.deepEqual([basket.count, basket.zeroCount], [4n, 1n]);
  const [temperature] = points.get("temperature") ?? [];
  assert(temperature?.kind === "gauge" && temperature.value === -3.25);
  assert.deepEqual(temperature.attributes, { place: "Kühlraum", env: "dev" });

  assert.equal(logRecords.length, 27);
  const opened = logRecords.find(({ body }) => body === "opened");
  assert.deepEqual([opened?.traceId, opened?.spanId, opened?.severityNumber], [
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    9,
  ]);
  const abandoned = logRecords.find(({ eventName }) => eventName === "cart.abandoned");
  assert.deepEqual(abandoned?.body, { cart: 7n, items: ["apple", { name: "pear", price: 0.4 }], paid: false });
  assert.deepEqual(abandoned?.attributes["bytes"], Uint8Array.of(0, 255));
}

for (const engine of ENGINES) {
  Deno.test(`senders through a relay with storage: ${engine}`, async (t) => {
    await using scenery = await scene(engine);
    const { relay, grpcUrl, sink, same, environment, total } = scenery;

    const jsRuns = [["protobuf", "gzip"], ["protobuf", "none"], ["json", "gzip"], ["json", "none"]] as const;
    for (const [protocol, compression] of jsRuns) {
      await t.step(`JS SDK, ${protocol}, compression ${compression}`, async () => {
        const service = `js ${protocol} ${compression}`;
        const sent = parseCounts(
          await runProgram({
            command: Deno.execPath(),
            args: ["run", "--allow-net", "--allow-env", "--allow-sys", "--allow-read", `${senders}sdk.ts`],
            cwd: root,
            env: { ...environment(service), PROTOCOL: protocol, OTEL_EXPORTER_OTLP_COMPRESSION: compression },
          }),
        );
        checkShop(await same(service, sent));
      });
    }

    for (const compression of ["none", "gzip", "deflate"]) {
      await t.step(`Python SDK, compression ${compression}`, async () => {
        const service = `python ${compression}`;
        const sent = parseCounts(
          await runProgram({
            command: await python(),
            args: [`${senders}sdk.py`],
            cwd: root,
            env: { ...environment(service), OTEL_EXPORTER_OTLP_COMPRESSION: compression, PYTHONDONTWRITEBYTECODE: "1" },
          }),
        );
        checkShop(await same(service, sent));
      });
    }

    for (const compression of ["none", "gzip"]) {
      await t.step(`Python SDK by gRPC, compression ${compression}`, async () => {
        const service = `python grpc ${compression}`;
        const sent = parseCounts(
          await runProgram({
            command: await python(),
            args: [`${senders}sdk.py`],
            cwd: root,
            env: {
              ...environment(service),
              OTEL_EXPORTER_OTLP_ENDPOINT: grpcUrl,
              OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
              OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer%20${relay.token}`,
              // Its gRPC exporters know no "none", which is what they do anyway.
              ...(compression === "none" ? {} : { OTEL_EXPORTER_OTLP_COMPRESSION: compression }),
              PYTHONDONTWRITEBYTECODE: "1",
            },
          }),
        );
        checkShop(await same(service, sent));
      });
    }

    for (const sdk of ["go", "java", "node"] as const) {
      await t.step(`${sdk} SDK by gRPC`, async () => {
        const service = `${sdk} grpc`;
        const { command, args } = await STOCK_GRPC_SDKS[sdk]();
        await runProgram({
          command,
          args: [...args],
          cwd: root,
          env: {
            OTEL_SERVICE_NAME: service,
            PROTOCOL: "grpc",
            ENDPOINT: grpcUrl,
            CONTROL: scenery.controlUrl,
            TOKEN: relay.token,
            SPANS: "30",
            INTERVAL_MS: "1",
            OTEL_BSP_SCHEDULE_DELAY: "100",
            OTEL_EXPORTER_OTLP_COMPRESSION: sdk === "java" ? "gzip" : "none",
          },
        });
        const { dataPoints, logRecords } = await same(service, { spans: 30, dataPoints: 6, logRecords: 5 });
        const kinds = new Map(dataPoints.map(({ metric, kind }) => [metric.name, kind]));
        assert.deepEqual([...kinds].sort(), [
          ["carts.open", "sum"],
          ["duration", "histogram"],
          ["requests", "sum"],
          ["temperature", "gauge"],
        ]);
        assert.deepEqual(logRecords.map(({ severityNumber }) => severityNumber).sort(), [10, 11, 12, 13, 9]);
      });
    }

    await t.step("a FastAPI app with its instrumentation", async () => {
      await using app = await startFastApi(environment("fastapi"), { cwd: root });
      await useFastApi(app);
      checkFastApi(await same("fastapi", FASTAPI_SENDS));
    });

    await t.step("every field of OTLP, as JSON by fetch", async () => {
      const sent = await everyField.send(async (path, body) => {
        const headers = { "content-type": "application/json" };
        const to = (base: string, more: Record<string, string>) =>
          fetch(base + path, { method: "POST", headers: { ...headers, ...more }, body });
        const answers = await Promise.all(
          [
            to(relay.url, { "x-api-key": relay.token }),
            to(scenery.controlUrl, {}),
          ] as const,
        );
        assert.deepEqual(answers.map(({ status }) => status), [200, 200]);
        assert.deepEqual([await answers[0].text(), answers[0].headers.get("content-type")], ["{}", "application/json"]);
        await answers[1].text();
      }, "fetch");
      everyField.check(await same("fetch", sent));
    });

    const exporters = [["otlp_http", "agent", relay.url], ["otlp_grpc", "agent by gRPC", grpcUrl]] as const;
    for (const [exporter, service, url] of exporters) {
      await t.step(`a second Collector's ${exporter} exporter`, async () => {
        await using agent = await startCollector({
          certsDir: scenery.certificates.dir,
          config: [PLAIN_HTTP, exportTo(exporter, url, relay.token, scenery.controlUrl)],
        });
        const sent = await everyField.send(async (path, body) => {
          const headers = { "content-type": "application/json" };
          const answer = await fetch(`http://127.0.0.1:${agent.httpPort}${path}`, { method: "POST", headers, body });
          assert.equal(answer.status, 200, await answer.text());
        }, service);
        everyField.check(await same(service, sent));
        noErrors(agent);
      });
    }

    await t.step("the books balance", async () => {
      const { code } = await relay.stop();
      assert.equal(code, 0, relay.log().join("\n"));
      // Nothing came late, or twice.
      const all = held(sink, "edgeferry");
      assert.deepEqual({
        spans: sink.spans().length - all.spans.length,
        dataPoints: sink.dataPoints().length - all.dataPoints.length,
        logRecords: sink.logRecords().length,
      }, total);
      const accepted = { traces: total.spans, metrics: total.dataPoints, logs: total.logRecords, profiles: 0 };
      // The relay's own counters, which it has exported at its end.
      assert.deepEqual(counted(all.dataPoints, "edgeferry_receiver_accepted_items"), accepted);
      assert.deepEqual(counted(all.dataPoints, "edgeferry_exporter_sent_items"), accepted);
      assert.deepEqual(
        all.dataPoints.filter(({ metric }) => metric.name === "edgeferry_receiver_refused_requests"),
        [],
      );
      if (engine === "none") return;
      const nothingElse = { rejectedByCollector: 0, deadLettered: 0, expired: 0, abandoned: 0, queued: 0 };
      assert.deepEqual(booksIn(relay.queuePath), {
        traces: { accepted: accepted.traces, delivered: accepted.traces, ...nothingElse },
        metrics: { accepted: accepted.metrics, delivered: accepted.metrics, ...nothingElse },
        logs: { accepted: accepted.logs, delivered: accepted.logs, ...nothingElse },
        profiles: { accepted: 0, delivered: 0, ...nothingElse },
      });
    });
  });
}

/** The last value of a counter of the relay, by signal. */
function counted(points: readonly SinkPoint[], name: string): Record<SignalName, number> {
  const counts = bySignal(() => 0);
  for (const point of points) {
    const signal = SIGNAL_NAMES.find((known) => known === point.attributes["signal"]);
    if (point.metric.name !== name || point.kind !== "sum" || signal === undefined) continue;
    counts[signal] = Math.max(counts[signal], Number(point.value));
  }
  return counts;
}

/** The pipelines of a Collector that sends to the relay as its documentation says, and to the control. */
function exportTo(exporter: "otlp_http" | "otlp_grpc", relayUrl: string, token: string, controlUrl: string): string {
  const exporters = `exporters: [${exporter}/relay, otlp_http/control]`;
  const tls = exporter === "otlp_grpc" ? ", tls: { insecure: true }" : "";
  return `
exporters:
  ${exporter}/relay: { endpoint: "${relayUrl}", headers: { authorization: "Bearer ${token}" }${tls} }
  otlp_http/control: { endpoint: "${controlUrl}" }
service:
  pipelines:
    traces: { ${exporters} }
    metrics: { processors: [], ${exporters} }
    logs: { ${exporters} }
`;
}

function noErrors(collector: RealCollector): void {
  assert.deepEqual(collector.logs().split("\n").filter((line) => /"level":"(error|warn)"/.test(line)), []);
}
