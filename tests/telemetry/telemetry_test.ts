import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { SpanKind, trace } from "@opentelemetry/api";
import { Hono } from "hono";
import { CertificateError, ConfigError } from "../../src/errors.ts";
import type { DecodedMessage } from "../../src/otlp/decode.ts";
import { instrument } from "../../src/telemetry/instrument.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { startTelemetry, type TelemetryOptions } from "../../src/telemetry/telemetry.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { type EndpointRequest, startMtlsEndpoint } from "../support/far_end/mtls_endpoint.ts";
import { MetricCollector } from "../support/relay/telemetry.ts";

/** An endpoint, and a telemetry that exports to it when told to end: no timer fires within a test. */
async function setup() {
  const stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const endpoint = stack.use(await startMtlsEndpoint(certificates));
  const tls = {
    ca: certificates.ca.certificate,
    cert: certificates.client.certificate,
    key: certificates.client.key,
  };
  const lines: string[] = [];
  const start = (options: Partial<TelemetryOptions> = {}) => {
    const telemetry = stack.use(startTelemetry({
      serviceName: "checkout",
      exporter: { endpoint: endpoint.url, tls },
      spanDelayMs: 3_600_000,
      metricIntervalMs: 3_600_000,
      log: createLog({ write: (line) => lines.push(line.slice(25)) }),
      ...options,
    }));
    const app = new Hono();
    instrument(app, telemetry);
    app.get("/users/:id", (c) => c.text("hello"));
    return { telemetry, app };
  };
  return { certificates, endpoint, tls, lines, start, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

interface Span {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly parentSpanId?: string;
}

function requestsTo(path: string, requests: readonly EndpointRequest[]): readonly EndpointRequest[] {
  return requests.filter((request) => request.path === path);
}

function spansOf(requests: readonly EndpointRequest[]): Span[] {
  return requestsTo("/v1/traces", requests).flatMap(({ message }) =>
    (message as unknown as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }).resourceSpans
      .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
  );
}

function metricNames(requests: readonly EndpointRequest[]): string[] {
  return requestsTo("/v1/metrics", requests).flatMap(({ message }) =>
    (message as unknown as { resourceMetrics: { scopeMetrics: { metrics: { name: string }[] }[] }[] }).resourceMetrics
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics.map(({ name }) => name)))
  ).sort();
}

/** The string attributes of the only resource. */
function resourceOf(message: DecodedMessage): Record<string, string> {
  const [resource] = Object.values(message)[0] as unknown as {
    resource: { attributes: { key: string; value: { stringValue: string } }[] };
  }[];
  return Object.fromEntries(
    (resource?.resource.attributes ?? []).map(({ key, value }) => [key, value.stringValue]),
  );
}

Deno.test("spans and metrics of a Hono app reach the Collector over mutual TLS, each once", async () => {
  await using t = await setup();
  const { telemetry, app } = t.start({
    serviceVersion: "1.2.3",
    resourceAttributes: { "deployment.environment.name": "dev" },
  });
  for (let i = 0; i < 3; i++) await app.request(`/users/${i}`);
  await telemetry.stop();
  assert.deepEqual(t.endpoint.requests.map(({ path }) => path).sort(), ["/v1/metrics", "/v1/traces"]);
  assert.deepEqual(spansOf(t.endpoint.requests).map(({ name }) => name), Array(3).fill("GET /users/:id"));
  // OTLP counts kinds from 1.
  assert.ok(spansOf(t.endpoint.requests).every(({ kind }) => kind === SpanKind.SERVER + 1));
  assert.deepEqual(metricNames(t.endpoint.requests), ["http.server.active_requests", "http.server.request.duration"]);
  const [first, second] = t.endpoint.requests.map(({ message }) => resourceOf(message));
  assert.deepEqual(first, second);
  assert.equal(first?.["service.name"], "checkout");
  assert.equal(first["service.version"], "1.2.3");
  assert.equal(first["deployment.environment.name"], "dev");
  assert.match(first["service.instance.id"] ?? "", /^[0-9a-f-]{36}$/);
  assert.equal(first["telemetry.sdk.name"], "opentelemetry");
  assert.ok(t.endpoint.requests.every(({ peer }) => peer === "client-app"));
  assert.deepEqual(t.lines, []);
});

Deno.test("flush exports what is there, also within a request, and its posts are no part of any trace", async () => {
  await using t = await setup();
  const { telemetry, app } = t.start();
  app.get("/flush", async (c) => {
    await telemetry.flush();
    return c.text("done");
  });
  await app.request("/users/1");
  await app.request("/flush");
  assert.deepEqual(spansOf(t.endpoint.requests).map(({ name }) => name), ["GET /users/:id"]);
  await telemetry.stop();
  assert.deepEqual(spansOf(t.endpoint.requests).map(({ name }) => name), ["GET /users/:id", "GET /flush"]);
  for (const { headers } of t.endpoint.requests) assert.equal(headers["traceparent"], undefined);
});

Deno.test("a finished span waits no longer than spanDelayMs, and metrics no longer than their interval", async () => {
  await using t = await setup();
  const { app } = t.start({ spanDelayMs: 1, metricIntervalMs: 20 });
  await app.request("/users/1");
  const { requests } = t.endpoint;
  while (spansOf(requests).length < 1 || requestsTo("/v1/metrics", requests).length < 2) {
    await t.endpoint.arrived(requests.length + 1);
  }
});

Deno.test("the sampling ratio is for traces that begin here; a caller's decision holds", async () => {
  await using t = await setup();
  const { telemetry, app } = t.start({ samplingRatio: 0 });
  for (let i = 0; i < 10; i++) await app.request("/users/1");
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  await app.request("/users/1", { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
  await telemetry.stop();
  const spans = spansOf(t.endpoint.requests);
  assert.deepEqual(spans.map((span) => [span.traceId, span.parentSpanId]), [[traceId, "b7ad6b7169203331"]]);
});

Deno.test("a signal left out is not exported; a caller's traceparent is passed on all the same", async () => {
  await using t = await setup();
  const client = Deno.createHttpClient({ caCerts: [t.tls.ca], cert: t.tls.cert, key: t.tls.key });
  const target = {
    url: `${t.endpoint.url}/other/v1/metrics`,
    fetch: (url: string, init: RequestInit) => fetch(url, { ...init, client }),
  };
  const { telemetry, app } = t.start({ exporter: { metrics: target } });
  app.get("/trace", (c) => c.text(trace.getActiveSpan()?.spanContext().traceId ?? "none"));
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const answer = await app.request("/trace", { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
  assert.equal(await answer.text(), traceId);
  await telemetry.stop();
  client.close();
  assert.deepEqual(t.endpoint.requests.map(({ path }) => path), ["/other/v1/metrics"]);
});

Deno.test("a reader of the caller's own sees the metrics too, also when none are exported", async () => {
  await using t = await setup();
  const reader = new MetricCollector();
  const { app } = t.start({ exporter: {}, metricReaders: [reader] });
  await app.request("/users/1");
  assert.ok((await reader.byName()).has("http.server.request.duration"));
});

Deno.test("shutdown is bounded when the Collector does not answer, and a second one is the same", async () => {
  await using t = await setup();
  const exporter = { endpoint: t.endpoint.url, tls: t.tls, timeoutMs: 3_600_000 };
  const { telemetry, app } = t.start({ exporter, shutdownMs: 100 });
  t.endpoint.answer("hang", "hang");
  await app.request("/users/1");
  await Promise.all([telemetry.stop(), telemetry.stop()]);
  const { length } = t.endpoint.requests;
  assert.ok(length <= 2);
  await telemetry.flush();
  assert.equal(t.endpoint.requests.length, length);
});

Deno.test("a Collector that is down costs telemetry and a line each, never a request", async () => {
  await using t = await setup();
  const { telemetry, app } = t.start({
    exporter: { endpoint: t.endpoint.url, tls: t.tls, timeoutMs: 100 },
  });
  await t.endpoint[Symbol.asyncDispose]();
  assert.equal((await app.request("/users/1")).status, 200);
  await telemetry.flush();
  await app.request("/users/1");
  await telemetry.stop();
  assert.deepEqual(t.lines.map((line) => line.split(" url=")[0]).sort(), [
    "WARN  Own metrics were dropped, a batch of data points",
    "WARN  Own traces were dropped, a batch of spans",
  ]);
});

Deno.test("what cannot be used is refused at start, by name", async () => {
  await using t = await setup();
  const { tls } = t;
  const other = t.certificates.otherClient.key;
  const exporter = (endpoint: string, more: object = {}) => ({ exporter: { endpoint, tls, ...more } });
  const cases: readonly [Partial<TelemetryOptions>, RegExp, typeof ConfigError | typeof CertificateError][] = [
    [{ samplingRatio: 1.5 }, /^Cannot use samplingRatio 1\.5: /, ConfigError],
    [{ samplingRatio: NaN }, /^Cannot use samplingRatio NaN: /, ConfigError],
    [{ metricIntervalMs: 0 }, /^Cannot use metricIntervalMs 0: /, ConfigError],
    [{ shutdownMs: Infinity }, /^Cannot use shutdownMs Infinity: /, ConfigError],
    [exporter("localhost:4318"), /^Cannot use exporter\.endpoint localhost:4318: it is not a URL/, ConfigError],
    [exporter("http://localhost:4318"), /nothing is encrypted there; make it https:/, ConfigError],
    [
      exporter(t.endpoint.url, { tls: { ...tls, ca: "certs/ca.crt" } }),
      /exporter\.tls\.ca: .* not its path$/,
      CertificateError,
    ],
    [exporter(t.endpoint.url, { tls: { ...tls, key: "" } }), /exporter\.tls\.key: it holds no PEM/, CertificateError],
    [
      exporter(t.endpoint.url, { tls: { ...tls, key: other } }),
      /^Cannot use exporter\.tls: .*KeyMismatch/,
      CertificateError,
    ],
  ];
  for (const [options, message, type] of cases) {
    assert.throws(
      () => t.start(options),
      (error) => error instanceof type && message.test(error.message),
      String(message),
    );
  }
});

/** Those of `deno task example`. */
const PERMISSIONS = ["--allow-net", "--allow-read", "--allow-env", "--allow-sys"];

/** Starts a program of the tests with the environment given; it is killed if it still runs when disposed of. */
function run(file: string, env: Record<string, string>) {
  const child = spawn(Deno.execPath(), ["run", ...PERMISSIONS, new URL(file, import.meta.url).pathname], {
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { pid } = child;
  assert.ok(pid !== undefined);
  let output = "";
  let changed = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
      changed.resolve();
      changed = Promise.withResolvers();
    });
  }
  let running = true;
  const closed = once(child, "close").then(() => {
    running = false;
    changed.resolve();
  });
  return {
    output: () => output,
    async said(pattern: RegExp): Promise<RegExpMatchArray> {
      for (;;) {
        const match = output.match(pattern);
        if (match !== null) return match;
        if (!running) throw new Error(`It ended without ${pattern}: ${output}`);
        await changed.promise;
      }
    },
    // Not child.kill: Deno then reports the signal and not the exit code, also of a program that ended by itself.
    kill: (signal: NodeJS.Signals) => process.kill(pid, signal),
    async ended(): Promise<number | null> {
      await closed;
      return child.exitCode;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      if (running) process.kill(pid, "SIGKILL");
      await closed;
    },
  };
}

Deno.test("with OTEL_DENO=true it says so, and exports all the same through its own providers", async () => {
  await using t = await setup();
  await using program = run("../support/program/otel_deno_app.ts", {
    OTEL_DENO: "true",
    OTEL_EXPORTER_OTLP_PROTOCOL: "console",
    ENDPOINT: t.endpoint.url,
    CA: t.tls.ca,
    CERT: t.tls.cert,
    KEY: t.tls.key,
  });
  assert.equal(await program.ended(), 0, program.output());
  assert.match(program.output(), /WARN {2}OTEL_DENO is on: /);
  assert.match(program.output(), /warnings: 1/);
  const spans = spansOf(t.endpoint.requests);
  // Sampled by the caller: the one server span and the handler's child. Deno's own spans are not among them.
  assert.deepEqual(spans.map(({ name, traceId }) => [name, traceId]), [
    ["work", "0af7651916cd43dd8448eb211c80319c"],
    ["GET /x", "0af7651916cd43dd8448eb211c80319c"],
  ]);
  assert.equal(spans[1]?.parentSpanId, "b7ad6b7169203331");
  assert.ok(metricNames(t.endpoint.requests).includes("http.server.request.duration"));
  for (const { headers } of t.endpoint.requests) assert.equal(headers["traceparent"], undefined);
});

Deno.test("the example app exports over mutual TLS and ends with 0 on SIGINT", async () => {
  await using t = await setup();
  await using program = run("../examples/hono_app.ts", {
    PORT: "0",
    OTEL_EXPORTER_OTLP_ENDPOINT: t.endpoint.url,
    OTEL_EXPORTER_OTLP_CERTIFICATE: t.certificates.ca.certificateFile,
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: t.certificates.client.certificateFile,
    OTEL_EXPORTER_OTLP_CLIENT_KEY: t.certificates.client.keyFile,
  });
  const [url] = await program.said(/http:\/\/127\.0\.0\.1:\d+\//);
  const answer = await fetch(`${url}hello/world`);
  assert.equal(await answer.text(), "Hello world\n");
  program.kill("SIGINT");
  assert.equal(await program.ended(), 0, program.output());
  assert.deepEqual(spansOf(t.endpoint.requests).map(({ name }) => name), ["GET /hello/:name"]);
  assert.equal(resourceOf(t.endpoint.requests[0]!.message)["service.name"], "checkout");
});

Deno.test("collecting in between takes nothing from what is exported, whatever its temporality", async () => {
  for (const preference of ["cumulative", "delta", "lowmemory"]) {
    process.env["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"] = preference;
    const bodies: number[] = [];
    try {
      await using telemetry = startTelemetry({
        serviceName: "test",
        exporter: {
          metrics: {
            url: "http://collector.example/v1/metrics",
            compression: "none",
            fetch: (_url, init) => {
              bodies.push((init.body as Uint8Array).length);
              return Promise.resolve(new Response(null, { headers: { "content-type": "application/x-protobuf" } }));
            },
          },
        },
      });
      const meter = telemetry.meterProvider.getMeter("test");
      const histogram = meter.createHistogram("test.duration");
      histogram.record(1);
      const count = async () => {
        const { scopeMetrics } = await telemetry.collect();
        return scopeMetrics.flatMap(({ metrics }) => metrics).map(({ dataPoints }) => {
          const value = dataPoints[0]?.value;
          return typeof value === "object" && "count" in value ? value.count : value;
        });
      };
      assert.deepEqual(await count(), [1], preference);
      histogram.record(1);
      assert.deepEqual(await count(), [2], preference);
      await telemetry.flush();
      // An empty delta would have no point, and be some 60 bytes less.
      assert.equal(bodies.length, 1, preference);
      await telemetry.flush();
      assert.equal(bodies[1] === bodies[0], preference === "cumulative", preference);
      assert.deepEqual(await count(), [2], preference);
    } finally {
      delete process.env["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"];
    }
  }
});
