import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, type ReadableSpan } from "@opentelemetry/sdk-trace-base";
import { encodeStatus, encodeSuccess } from "../../src/otlp/response.ts";
import { metricExporter, type OtlpTarget, traceExporter } from "../../src/telemetry/exporter.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { USER_AGENT } from "../../src/version.ts";
import { type Pair, testCertificates } from "../support/files/certificates.ts";
import { startMtlsEndpoint } from "../support/far_end/mtls_endpoint.ts";
import { MetricCollector, SpanCollector } from "../support/relay/telemetry.ts";

function clientOf(ca: Pair, client: Pair): Deno.HttpClient {
  return Deno.createHttpClient({ caCerts: [ca.certificate], cert: client.certificate, key: client.key });
}

function spansNamed(...names: string[]): ReadableSpan[] {
  const processor = new SpanCollector();
  const tracer = new BasicTracerProvider({ spanProcessors: [processor] }).getTracer("test");
  for (const name of names) tracer.startSpan(name).end();
  return processor.spans;
}

/** An endpoint and an exporter of traces that posts to it. */
async function setup(options: Partial<OtlpTarget> = {}) {
  const stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const endpoint = stack.use(await startMtlsEndpoint(certificates));
  const client = clientOf(certificates.ca, certificates.client);
  stack.defer(() => client.close());
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line.slice(25)) });
  const stop = new AbortController();
  const target: OtlpTarget = {
    url: `${endpoint.url}/v1/traces`,
    fetch: (url, init) => fetch(url, { ...init, client }),
    ...options,
  };
  const exporter = traceExporter(target, log, stop.signal);
  const send = (...names: string[]): Promise<ExportResult> =>
    new Promise((resolve) => exporter.export(spansNamed(...names), resolve));
  return {
    certificates,
    endpoint,
    target,
    log,
    lines,
    stop,
    exporter,
    send,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The names of the spans in a traces request. */
function spanNames(message: unknown): string[] {
  const { resourceSpans } = message as {
    resourceSpans: { scopeSpans: { spans: { name: string }[] }[] }[];
  };
  return resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans.map(({ name }) => name)));
}

Deno.test("spans are posted as gzipped protobuf over mutual TLS, with a User-Agent that names us", async () => {
  await using t = await setup({ headers: { "x-tenant": "shop", "content-type": "text/plain" } });
  assert.deepEqual(await t.send("first", "second"), { code: ExportResultCode.SUCCESS });
  assert.equal(t.endpoint.requests.length, 1);
  const request = t.endpoint.requests[0]!;
  assert.equal(request.method, "POST");
  assert.equal(request.path, "/v1/traces");
  assert.equal(request.peer, "client-app");
  assert.equal(request.headers["content-type"], "application/x-protobuf");
  assert.equal(request.headers["content-encoding"], "gzip");
  assert.equal(request.headers["x-tenant"], "shop");
  assert.equal(request.headers["traceparent"], undefined);
  assert.equal(request.headers["user-agent"], USER_AGENT);
  assert.deepEqual(spanNames(request.message), ["first", "second"]);
  assert.deepEqual(t.lines, []);
});

Deno.test("compression can be off", async () => {
  await using t = await setup({ compression: "none" });
  await t.send("plain");
  const request = t.endpoint.requests[0]!;
  assert.equal(request.headers["content-encoding"], undefined);
  assert.deepEqual(spanNames(request.message), ["plain"]);
});

Deno.test("metrics are posted the same way, cumulative unless the variable says otherwise", async () => {
  await using t = await setup();
  const reader = new MetricCollector();
  new MeterProvider({ readers: [reader] }).getMeter("test").createCounter("sold", { unit: "{item}" }).add(3);
  const { resourceMetrics } = await reader.collect();
  const exporter = metricExporter({ ...t.target, url: `${t.endpoint.url}/v1/metrics` }, t.log, t.stop.signal);
  const result = await new Promise<ExportResult>((resolve) => exporter.export(resourceMetrics, resolve));
  assert.equal(result.code, ExportResultCode.SUCCESS);
  const text = JSON.stringify(t.endpoint.requests[0]?.message);
  assert.match(text, /"name":"sold","unit":"\{item\}","sum":\{"dataPoints":\[\{[^[]*"asDouble":3/);
  assert.match(text, /"aggregationTemporality":2/);
});

Deno.test("the client is asked for at each attempt, so that a swapped identity is taken up", async () => {
  await using t = await setup();
  const rotated = await t.certificates.issueClient("rotated");
  const clients = [t.certificates.client, rotated].map((pair) => clientOf(t.certificates.ca, pair));
  let attempts = 0;
  const exporter = traceExporter(
    { ...t.target, fetch: (url, init) => fetch(url, { ...init, client: clients[attempts++]! }) },
    t.log,
    t.stop.signal,
  );
  t.endpoint.answer({ status: 503, headers: { "retry-after": "0" } });
  const result = await new Promise<ExportResult>((resolve) => exporter.export(spansNamed("x"), resolve));
  for (const client of clients) client.close();
  assert.equal(result.code, ExportResultCode.SUCCESS);
  assert.deepEqual(
    t.endpoint.requests.map(({ fingerprint }) => fingerprint),
    [t.certificates.client, rotated].map(({ certificate }) => new X509Certificate(certificate).fingerprint256),
  );
});

for (const status of [429, 502, 503, 504]) {
  Deno.test(`${status} is tried again after Retry-After, with the same batch`, async () => {
    await using t = await setup();
    t.endpoint.answer(
      { status, headers: { "retry-after": "0" } },
      { status, headers: { "retry-after": new Date(Date.now() - 1_000).toUTCString() } },
    );
    assert.equal((await t.send("kept")).code, ExportResultCode.SUCCESS);
    assert.deepEqual(t.endpoint.requests.map(({ message }) => spanNames(message)), [["kept"], ["kept"], ["kept"]]);
    assert.deepEqual(t.lines, []);
  });
}

for (const status of [400, 401, 404, 413, 500]) {
  Deno.test(`${status} is not tried again, and the Collector's words are in the log`, async () => {
    await using t = await setup();
    t.endpoint.answer({ status, body: encodeStatus("application/x-protobuf", { code: 3, message: "not like this" }) });
    const result = await t.send("x");
    assert.equal(result.code, ExportResultCode.FAILED);
    assert.equal(result.error?.message, `HTTP ${status}: not like this`);
    assert.equal(t.endpoint.requests.length, 1);
    assert.deepEqual(t.lines, [
      `WARN  Own traces were dropped, a batch of spans url=${t.endpoint.url}/v1/traces cause="HTTP ${status}: not like this"\n`,
    ]);
  });
}

Deno.test("a redirect is not followed", async () => {
  await using t = await setup();
  t.endpoint.answer({ status: 307, headers: { location: "/elsewhere" } });
  assert.equal((await t.send("x")).error?.message, "HTTP 307");
  assert.deepEqual(t.endpoint.requests.map(({ path }) => path), ["/v1/traces"]);
});

Deno.test("a Retry-After beyond the batch's time ends it at once", async () => {
  await using t = await setup();
  t.endpoint.answer({ status: 503, headers: { "retry-after": "3600" } });
  assert.equal((await t.send("x")).error?.message, "HTTP 503");
  assert.equal(t.endpoint.requests.length, 1);
});

Deno.test("a Collector that does not answer costs the batch's time and no more", async () => {
  await using t = await setup({ timeoutMs: 200 });
  t.endpoint.answer("hang");
  const result = await t.send("x");
  assert.equal(result.code, ExportResultCode.FAILED);
  assert.match(result.error?.message ?? "", /^No answer within \d+ ms$/);
});

Deno.test("a Collector that is down is one line a minute, and one more when it is back", async () => {
  // Shorter than the first backoff: a refused connection is then not tried again.
  await using t = await setup({ timeoutMs: 700 });
  const { port } = t.endpoint;
  await t.endpoint[Symbol.asyncDispose]();
  for (let i = 0; i < 3; i++) assert.equal((await t.send("lost")).code, ExportResultCode.FAILED);
  assert.equal(t.lines.length, 1);
  assert.match(t.lines[0] ?? "", /^WARN {2}Own traces were dropped.*refused/i);
  await using back = await startMtlsEndpoint(t.certificates, port);
  assert.equal((await t.send("found")).code, ExportResultCode.SUCCESS);
  assert.equal((await t.send("found")).code, ExportResultCode.SUCCESS);
  assert.deepEqual(t.lines.slice(1), [`INFO  Own traces reach the Collector again url=${back.url}/v1/traces\n`]);
});

Deno.test("a server of another CA is refused, and the reason is in the log", async () => {
  await using t = await setup();
  const client = clientOf(t.certificates.otherCa, t.certificates.client);
  const exporter = traceExporter(
    { ...t.target, timeoutMs: 200, fetch: (url, init) => fetch(url, { ...init, client }) },
    t.log,
    t.stop.signal,
  );
  const result = await new Promise<ExportResult>((resolve) => exporter.export(spansNamed("x"), resolve));
  client.close();
  assert.equal(result.code, ExportResultCode.FAILED);
  assert.match(t.lines[0] ?? "", /UnknownIssuer/);
  assert.deepEqual(t.endpoint.requests, []);
});

Deno.test("a partial success is not sent again, and is said", async () => {
  await using t = await setup();
  const body = encodeSuccess("traces", "application/x-protobuf", { rejected: 2, message: "too old" });
  t.endpoint.answer({ status: 200, body });
  assert.equal((await t.send("a", "b", "c")).code, ExportResultCode.SUCCESS);
  assert.equal(t.endpoint.requests.length, 1);
  assert.deepEqual(t.lines, ['WARN  The Collector took own traces only in part rejected=2 reason="too old"\n']);
});

Deno.test("an answer without end is cut at 4 MiB, and the next batch goes out", async () => {
  let bytesRead = 0;
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      bytesRead += 65_536;
      controller.enqueue(new Uint8Array(65_536).fill(0x61));
    },
    cancel: () => void (cancelled = true),
  });
  await using t = await setup({ fetch: () => Promise.resolve(new Response(endless, { status: 400 })) });
  assert.equal((await t.send("x")).code, ExportResultCode.FAILED);
  assert.ok(cancelled);
  assert.ok(bytesRead < 5 * 1024 * 1024);
  assert.ok((t.lines[0]?.length ?? 0) < 2_500);
});

Deno.test("stop ends a wait between attempts and a request under way", async () => {
  await using t = await setup({ timeoutMs: 600_000 });
  t.endpoint.answer({ status: 503, headers: { "retry-after": "300" } }, "hang");
  const waiting = t.send("waits");
  await t.endpoint.arrived(1);
  const hanging = t.send("hangs");
  await t.endpoint.arrived(2);
  t.stop.abort();
  for (const result of await Promise.all([waiting, hanging])) assert.equal(result.code, ExportResultCode.FAILED);
});

Deno.test("too many batches at once fail the next one and hold no more", async () => {
  const release = Promise.withResolvers<Response>();
  let calls = 0;
  await using t = await setup({
    fetch: () => {
      calls++;
      return release.promise;
    },
  });
  const results = Array.from({ length: 9 }, () => t.send("x"));
  const last = await results[8];
  assert.match(last?.error?.message ?? "", /Concurrent export limit reached/);
  release.resolve(new Response());
  const codes = (await Promise.all(results)).map(({ code }) => code);
  assert.deepEqual(codes, [...Array(8).fill(ExportResultCode.SUCCESS), ExportResultCode.FAILED]);
  assert.equal(calls, 8);
});
