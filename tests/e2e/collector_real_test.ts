/** The real Collector as docker-compose.yaml runs it: whom it lets in, what it does to the data, which user it runs as. */
import assert from "node:assert/strict";
import { chown, mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import http2 from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Issued } from "../../src/pki/authority.ts";
import { testCertificates } from "../support/files/certificates.ts";
import {
  collectorConfigFile,
  CollectorStartError,
  type RealCollector,
  startCollector,
} from "../support/tools/collector.ts";
import { opensslCertificates } from "../support/tools/openssl.ts";
import { startSink } from "../support/far_end/sink.ts";

const anotherUid = 10001;

interface Posted {
  status: number;
  retryAfter: string | null;
  body: string;
}

async function post(collector: RealCollector, ca: string, client: Issued | undefined, path: string, body: unknown) {
  using httpClient = Deno.createHttpClient({
    caCerts: [ca],
    ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
  });
  const response = await fetch(collector.httpUrl + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    client: httpClient,
    signal: AbortSignal.timeout(10_000),
  });
  const posted: Posted = {
    status: response.status,
    retryAfter: response.headers.get("retry-after"),
    body: await response.text(),
  };
  return posted;
}

/** The gRPC status of an empty export, which is OK. Rejects where the connection is refused. */
async function exportOverGrpc(collector: RealCollector, ca: string, client: Issued | undefined): Promise<string> {
  const session = http2.connect(`https://${collector.grpcEndpoint}`, {
    ca,
    ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const closed = new Promise<void>((done) => session.once("close", () => done()));
  session.on("error", reject);
  session.on("close", () => reject(new Error("The connection was closed without a gRPC status")));
  const stream = session.request({
    ":method": "POST",
    ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "content-type": "application/grpc",
    "te": "trailers",
  });
  const found = (headers: http2.IncomingHttpHeaders) => {
    if (headers["grpc-status"] !== undefined) resolve(String(headers["grpc-status"]));
  };
  stream.on("error", reject);
  stream.on("response", found);
  stream.on("trailers", found);
  stream.on("close", () => reject(new Error("The stream was closed without a gRPC status")));
  stream.resume();
  // One message: not compressed, of length 0.
  stream.end(new Uint8Array(5));
  try {
    return await promise;
  } finally {
    session.destroy();
    await closed;
  }
}

function trace(name: string) {
  const span = {
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
    name,
    kind: 2,
    startTimeUnixNano: "1544712660000000000",
    endTimeUnixNano: "1544712661000000001",
  };
  return { resourceSpans: [{ resource: {}, scopeSpans: [{ scope: {}, spans: [span] }] }] };
}

const attribute = [{ key: "shop", value: { stringValue: "north" } }];
const time = { startTimeUnixNano: "1544712660000000000", timeUnixNano: "1544712661000000001", attributes: attribute };
const everyKindOfPoint = {
  resourceMetrics: [{
    resource: { attributes: [{ key: "service.name", value: { stringValue: "till" } }] },
    scopeMetrics: [{
      scope: { name: "till-meter", version: "2" },
      metrics: [
        { name: "g", unit: "1", gauge: { dataPoints: [{ ...time, asInt: "9007199254740993" }] } },
        {
          name: "s",
          sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: [{ ...time, asDouble: 0.1 }] },
        },
        {
          name: "h",
          histogram: {
            aggregationTemporality: 1,
            dataPoints: [{
              ...time,
              count: "3",
              sum: 4.5,
              min: 1,
              max: 2,
              bucketCounts: ["1", "2"],
              explicitBounds: [1.5],
            }],
          },
        },
        {
          name: "e",
          exponentialHistogram: {
            aggregationTemporality: 1,
            dataPoints: [{
              ...time,
              count: "18446744073709551615",
              sum: 1,
              scale: -3,
              zeroCount: "2",
              positive: { offset: -7, bucketCounts: ["0", "5"] },
              negative: { offset: 4, bucketCounts: ["6"] },
            }],
          },
        },
        {
          name: "q",
          summary: { dataPoints: [{ ...time, count: "2", sum: 3, quantileValues: [{ quantile: 0.5, value: 1.25 }] }] },
        },
      ],
    }],
  }],
};

Deno.test("the real Collector hands on exactly what it was sent, with env=dev on data points of every kind", async () => {
  await using certs = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certs.dir, sink });

  const request = trace("checkout");
  const spans = request.resourceSpans[0]?.scopeSpans[0]?.spans[0];
  Object.assign(spans ?? {}, {
    parentSpanId: "eee19b7ec3c1b173",
    traceState: "vendor=1",
    flags: 257,
    attributes: [
      { key: "text", value: { stringValue: "Grüße" } },
      { key: "yes", value: { boolValue: true } },
      { key: "whole", value: { intValue: "-9223372036854775808" } },
      { key: "real", value: { doubleValue: 1 } },
      { key: "bytes", value: { bytesValue: "AP8=" } },
      { key: "list", value: { arrayValue: { values: [{ intValue: "1" }, { stringValue: "b" }] } } },
      { key: "map", value: { kvlistValue: { values: [{ key: "k", value: { boolValue: false } }] } } },
    ],
    events: [{ timeUnixNano: "1544712660500000000", name: "paid", attributes: attribute, droppedAttributesCount: 1 }],
    links: [{ traceId: "5b8efff798038103d269b633813fc60d", spanId: "eee19b7ec3c1b175", attributes: attribute }],
    status: { code: 2, message: "declined" },
    droppedEventsCount: 3,
  });
  const posted = await post(collector, certs.ca.certificate, certs.client, "/v1/traces", request);
  // The 200 follows the sink's, so all of it is there now.
  assert.deepEqual(posted, { status: 200, retryAfter: null, body: '{"partialSuccess":{}}' });
  const noResource = { attributes: {}, droppedAttributesCount: 0, schemaUrl: "" };
  assert.deepEqual(sink.spans(), [{
    resource: noResource,
    scope: { ...noResource, name: "", version: "" },
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
    parentSpanId: "eee19b7ec3c1b173",
    traceState: "vendor=1",
    flags: 257,
    name: "checkout",
    kind: 2,
    startTimeUnixNano: 1544712660000000000n,
    endTimeUnixNano: 1544712661000000001n,
    attributes: {
      text: "Grüße",
      yes: true,
      whole: -9223372036854775808n,
      real: 1,
      bytes: Uint8Array.of(0, 255),
      list: [1n, "b"],
      map: { k: false },
    },
    droppedAttributesCount: 0,
    events: [{
      timeUnixNano: 1544712660500000000n,
      name: "paid",
      attributes: { shop: "north" },
      droppedAttributesCount: 1,
    }],
    droppedEventsCount: 3,
    links: [{
      traceId: "5b8efff798038103d269b633813fc60d",
      spanId: "eee19b7ec3c1b175",
      traceState: "",
      flags: 0,
      attributes: { shop: "north" },
      droppedAttributesCount: 0,
    }],
    droppedLinksCount: 0,
    status: { code: 2, message: "declined" },
  }]);

  assert.equal(
    (await post(collector, certs.ca.certificate, certs.client, "/v1/metrics", everyKindOfPoint)).status,
    200,
  );
  const points = sink.dataPoints();
  assert.deepEqual(points.map((point) => point.attributes), Array(5).fill({ shop: "north", env: "dev" }));
  assert.deepEqual(points.map((point) => [point.metric.name, point.kind]), [
    ["g", "gauge"],
    ["s", "sum"],
    ["h", "histogram"],
    ["e", "exponentialHistogram"],
    ["q", "summary"],
  ]);
  const [gauge, sum, histogram, exponential, summary] = points;
  assert.ok(gauge?.kind === "gauge" && gauge.value === 9007199254740993n);
  assert.equal(gauge.metric.unit, "1");
  assert.equal(gauge.timeUnixNano, 1544712661000000001n);
  assert.deepEqual(gauge.resource.attributes, { "service.name": "till" });
  assert.deepEqual([gauge.scope.name, gauge.scope.version], ["till-meter", "2"]);
  assert.ok(sum?.kind === "sum" && sum.value === 0.1 && sum.monotonic && sum.temporality === 2);
  assert.ok(histogram?.kind === "histogram" && histogram.count === 3n && histogram.sum === 4.5);
  assert.deepEqual([histogram.min, histogram.max, histogram.bucketCounts, histogram.explicitBounds], [1, 2, [1n, 2n], [
    1.5,
  ]]);
  assert.ok(exponential?.kind === "exponentialHistogram" && exponential.count === 18446744073709551615n);
  assert.deepEqual([exponential.scale, exponential.zeroCount, exponential.positive, exponential.negative], [-3, 2n, {
    offset: -7,
    bucketCounts: [0n, 5n],
  }, { offset: 4, bucketCounts: [6n] }]);
  assert.ok(summary?.kind === "summary" && summary.count === 2n && summary.sum === 3);
  assert.deepEqual(summary.quantiles, [{ quantile: 0.5, value: 1.25 }]);

  const log = {
    resourceLogs: [{
      scopeLogs: [{
        logRecords: [{
          timeUnixNano: "1",
          observedTimeUnixNano: "2",
          severityNumber: 9,
          severityText: "INFO",
          eventName: "opened",
          body: { stringValue: "shop opened" },
          attributes: attribute,
          flags: 1,
          traceId: "5b8efff798038103d269b633813fc60c",
          spanId: "eee19b7ec3c1b174",
        }],
      }],
    }],
  };
  assert.equal((await post(collector, certs.ca.certificate, certs.client, "/v1/logs", log)).status, 200);
  assert.deepEqual(sink.logRecords(), [{
    resource: noResource,
    scope: { ...noResource, name: "", version: "" },
    timeUnixNano: 1n,
    observedTimeUnixNano: 2n,
    severityNumber: 9,
    severityText: "INFO",
    eventName: "opened",
    body: "shop opened",
    // The transform processor is for data points: nothing is added here.
    attributes: { shop: "north" },
    droppedAttributesCount: 0,
    flags: 1,
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
  }]);
});

Deno.test("the real Collector lets in a client of its CA and refuses all others, over HTTP and gRPC", async (t) => {
  await using certs = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certs.dir, sink });

  await t.step("HTTP: ours", async () => {
    assert.equal((await post(collector, certs.ca.certificate, certs.client, "/v1/traces", trace("in"))).status, 200);
    assert.deepEqual(sink.spans().map((span) => span.name), ["in"]);
  });
  await t.step("gRPC: ours", async () => {
    assert.equal(await exportOverGrpc(collector, certs.ca.certificate, certs.client), "0");
  });
  const refused: [string, Issued | undefined, RegExp][] = [
    ["no certificate", undefined, /client didn't provide a certificate/],
    ["one of another CA", certs.otherClient, /certificate signed by unknown authority/],
    ["one of another CA with the name of ours", certs.namesakeClient, /candidate authority certificate .*MyRootCA/],
    ["an expired one", certs.expiredClient, /certificate has expired or is not yet valid/],
    ["one for servers", certs.wrongUsageClient, /incompatible key usage/],
  ];
  for (const [name, client, reason] of refused) {
    await t.step(`HTTP: ${name}`, async () => {
      const requests = sink.requests.length;
      await assert.rejects(post(collector, certs.ca.certificate, client, "/v1/traces", trace("out")), TypeError);
      assert.equal(sink.requests.length, requests);
      await collector.waitForLog(reason);
    });
    await t.step(`gRPC: ${name}`, async () => {
      await assert.rejects(exportOverGrpc(collector, certs.ca.certificate, client));
    });
  }
  await t.step("HTTP: ours, afterwards", async () => {
    assert.equal(
      (await post(collector, certs.ca.certificate, certs.client, "/v1/traces", trace("in again"))).status,
      200,
    );
    assert.deepEqual(sink.spans().map((span) => span.name), ["in", "in again"]);
  });
});

Deno.test("the real Collector takes the certificates that openssl makes by certs/README.md", async () => {
  const certsDir = await opensslCertificates();
  const read = (name: string) => Deno.readTextFile(join(certsDir, name));
  const [ca, certificate, key] = await Promise.all([read("ca.crt"), read("client.crt"), read("client.key")]);
  await using collector = await startCollector({ certsDir });
  assert.equal((await post(collector, ca, { certificate, key }, "/v1/traces", trace("RSA"))).status, 200);
  assert.equal(await exportOverGrpc(collector, ca, { certificate, key }), "0");
  await assert.rejects(post(collector, ca, undefined, "/v1/traces", trace("out")), TypeError);
});

Deno.test("the real Collector's answer follows the sink's", async () => {
  await using certs = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certs.dir, sink });
  const send = (name: string) => post(collector, certs.ca.certificate, certs.client, "/v1/traces", trace(name));

  // Others come out changed: 502 and 504 as 503, 405 and 413 as 500; and a Retry-After never comes through.
  const statuses = [503, 429, 500, 400, 401, 403, 404];
  for (const status of statuses) {
    sink.answerNext(1, { status, retryAfter: "7", message: "not now" });
    const posted = await send(`told ${status}`);
    assert.deepEqual([posted.status, posted.retryAfter], [status, null]);
  }
  assert.deepEqual(sink.spans(), []);
  assert.deepEqual(sink.requests.map((request) => request.answered.status), statuses);

  sink.answerNext(1, { status: 200, partialSuccess: { rejected: 1, message: "too old" } });
  assert.equal((await send("in part")).status, 200);
  await collector.waitForLog(/Partial success response.*too old/);

  await sink.stop();
  assert.equal((await send("to nobody")).status, 503);
});

Deno.test("the real Collector can be frozen, thawed, killed and started again at its address", async () => {
  await using certs = await testCertificates();
  await using sink = startSink();
  const first = await startCollector({ certsDir: certs.dir, sink });
  try {
    first.signal("SIGSTOP");
    const waiting = post(first, certs.ca.certificate, certs.client, "/v1/traces", trace("through the frost"));
    first.signal("SIGCONT");
    assert.equal((await waiting).status, 200);
    first.signal("SIGKILL");
    assert.equal((await first.exited).signal, "SIGKILL");
    await assert.rejects(post(first, certs.ca.certificate, certs.client, "/v1/traces", trace("lost")), TypeError);
  } finally {
    await first.stop();
  }
  await using second = await startCollector({
    certsDir: certs.dir,
    sink,
    httpPort: first.httpPort,
    grpcPort: first.grpcPort,
  });
  assert.equal(second.httpUrl, first.httpUrl);
  assert.equal((await post(first, certs.ca.certificate, certs.client, "/v1/traces", trace("back"))).status, 200);
  assert.deepEqual(sink.spans().map((span) => span.name), ["through the frost", "back"]);

  second.signal("SIGSTOP");
  await second.stop();
  assert.equal((await second.exited).success, true);
});

Deno.test("the real Collector's health is answered in plain HTTP", async () => {
  await using certs = await testCertificates();
  await using collector = await startCollector({ certsDir: certs.dir });
  const answer = await fetch(collector.healthUrl);
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).status, "Server available");
});

Deno.test("the real Collector takes its configuration twice, as Compose gives it with no profile", async () => {
  await using certs = await testCertificates();
  const again = await Deno.readTextFile(collectorConfigFile);
  await using collector = await startCollector({ certsDir: certs.dir, config: again });
  assert.equal((await post(collector, certs.ca.certificate, certs.client, "/v1/traces", trace("once"))).status, 200);
  await collector.waitForLog(/"msg":"Traces".*"spans":1/);
});

Deno.test("without a sink, the real Collector prints what it received", async () => {
  await using certs = await testCertificates();
  await using collector = await startCollector({ certsDir: certs.dir, env: { DEBUG_VERBOSITY: "detailed" } });
  assert.equal(
    (await post(collector, certs.ca.certificate, certs.client, "/v1/metrics", everyKindOfPoint)).status,
    200,
  );
  await collector.waitForLog(/env: Str\(dev\)/);
});

Deno.test("as another user, the real Collector runs with a key of its own and names one it cannot read", {
  ignore: Deno.uid() !== 0,
}, async (t) => {
  await using certs = await testCertificates();
  const key = certs.server.keyFile;
  assert.equal((await stat(key)).mode & 0o777, 0o600);

  await t.step("the key is of Compose's UID", async () => {
    await chown(key, anotherUid, anotherUid);
    await using collector = await startCollector({ certsDir: certs.dir, uid: anotherUid });
    const status = await Deno.readTextFile(`/proc/${collector.pid}/status`);
    assert.match(status, new RegExp(`^Uid:\\s+${anotherUid}\\s+${anotherUid}`, "m"));
    assert.equal(
      (await post(collector, certs.ca.certificate, certs.client, "/v1/traces", trace("as another user"))).status,
      200,
    );
  });
  await t.step("the key is another's", async () => {
    await chown(key, 1000, 1000);
    await assert.rejects(
      startCollector({ certsDir: certs.dir, uid: anotherUid }),
      (error) => error instanceof CollectorStartError && error.logs.includes(`open ${key}: permission denied`),
    );
  });
});

Deno.test("profile jaeger: what was answered 200 outlives a crash of the Collector and reaches the backend", async () => {
  await using certs = await testCertificates();
  await using sink = startSink();
  const queueDir = await mkdtemp(join(tmpdir(), "edgeferry-queue-"));
  await mkdir(join(queueDir, "queue"));
  const overlay = await Deno.readTextFile(join(collectorConfigFile, "../collector.jaeger.yaml"));
  // The backend is played by a Collector that takes OTLP over gRPC without TLS, as Jaeger does on the Compose network.
  const plainGrpc = "receivers: { otlp: { protocols: { grpc: { tls: null } } } }";
  let backend = await startCollector({ certsDir: certs.dir, sink, config: plainGrpc });
  const { grpcPort } = backend;
  const options = {
    certsDir: certs.dir,
    config: overlay,
    env: { JAEGER_ENDPOINT: `127.0.0.1:${grpcPort}`, QUEUE_DIR: join(queueDir, "queue") },
  };
  const first = await startCollector(options);
  try {
    await backend.stop();
    assert.equal((await post(first, certs.ca.certificate, certs.client, "/v1/traces", trace("kept"))).status, 200);
    first.signal("SIGKILL");
    await first.exited;
    assert.deepEqual(sink.spans(), []);

    backend = await startCollector({ certsDir: certs.dir, sink, config: plainGrpc, grpcPort });
    await using _second = await startCollector(options);
    await sink.waitFor(({ spans }) => spans.call(sink).length > 0, 30_000);
    assert.deepEqual(sink.spans().map((span) => span.name), ["kept"]);
  } finally {
    await first.stop();
    await backend.stop();
    await rm(queueDir, { recursive: true });
  }
});
