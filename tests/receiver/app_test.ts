import assert from "node:assert/strict";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";
import { ATTR_NETWORK_PROTOCOL_VERSION } from "@opentelemetry/semantic-conventions";
import { Refusal } from "../../src/errors.ts";
import { SIGNALS } from "../../src/signal.ts";
import { instrument } from "../../src/telemetry/instrument.ts";
import {
  assertRefused,
  makeReceiver,
  MEDIA_TYPES,
  ONE_SPAN,
  ONE_SPAN_PROTOBUF,
  PROTOBUF,
  testEachWay,
  WAYS_IN,
  wrap,
} from "../support/relay/receiver.ts";
import { MetricCollector, SpanCollector } from "../support/relay/telemetry.ts";

const both = MEDIA_TYPES;

testEachWay("another method is 405 with Allow, on every signal, in the request's encoding", async (receiver) => {
  const { post, app, told } = receiver();
  for (const { path, name } of SIGNALS) {
    for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      for (const type of both) {
        const response = await post(null, { path, method, type });
        assert.equal(response.headers.get("allow"), "POST");
        await assertRefused(response, 405, new RegExp(`^Method not allowed on ${path}; use POST$`), type);
        assert.deepEqual(told.pop(), { kind: "refused", code: "method_not_allowed", signal: name, sender: undefined });
      }
    }
    const head = await app.request(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("allow"), await head.text()], [405, "POST", ""]);
  }
});

testEachWay(
  "a sender that speaks gRPC to this port is told what to set, and the path that it asked for is told",
  async (receiver) => {
    const paths: (string | undefined)[] = [];
    const { post } = receiver({
      events: {
        accepted: () => {},
        unrecognised: () => {},
        redacted: () => {},
        failed: () => {},
        refused: ({ path, refusal: { code } }) => void paths.push(code === "not_found" ? path : code),
      },
    });
    const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const answer = await post("x", { path: `${path}?access_token=secret`, type: "application/grpc+proto" });
    await assertRefused(
      answer,
      404,
      /^This port speaks OTLP\/HTTP, not gRPC; set the sender's protocol to http\/protobuf/,
    );
    await assertRefused(await post("x", { path: "/v1/trace" }), 404, /^No such path/);
    assert.deepEqual(paths, [path, "/v1/trace"]);
  },
);

Deno.test("own spans and metrics are the same on each way in", async () => {
  const seen = await Promise.all(WAYS_IN.map(async (way) => {
    await using stack = new AsyncDisposableStack();
    const collector = new SpanCollector();
    const reader = new MetricCollector();
    const { post } = makeReceiver(way, stack, {
      allowedOrigins: ["https://app.example"],
      append: ({ items }) =>
        items === 2 ? Promise.resolve({}) : Promise.reject(new Refusal("queue_full", "The queue is full")),
    }, (app) =>
      instrument(app, {
        tracerProvider: new BasicTracerProvider({ spanProcessors: [collector] }),
        meterProvider: new MeterProvider({ readers: [reader] }),
        server: { address: "relay.example", port: 4319 },
      }));
    const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const origin = "https://app.example";
    await post(ONE_SPAN, { traceparent: parent, "user-agent": "sdk/1" });
    await post(ONE_SPAN_PROTOBUF, { type: PROTOBUF, path: "/v1/traces?access_token=x" });
    await post(wrap(1, new Uint8Array(0)), { type: PROTOBUF });
    await post("{", { path: "/v1/logs", origin });
    await post(null, { method: "OPTIONS", type: "", origin });
    await post(null, { method: "OPTIONS", type: "", origin: "https://evil.example" });
    await post(null, { method: "PUT", path: "/v1/metrics" });
    await post("x", { path: "/elsewhere/secret" });
    const spans = collector.spans.map(({ name, kind, attributes, status, parentSpanContext }) => {
      // A web `Request` does not tell it.
      const { [ATTR_NETWORK_PROTOCOL_VERSION]: _, ...told } = attributes;
      return { name, kind, attributes: told, status, parent: parentSpanContext?.spanId };
    });
    const metrics = [...(await reader.byName()).entries()].map(([name, { dataPoints }]) => [
      name,
      dataPoints.map(({ attributes, value }) => [attributes, typeof value === "object" ? value.count : value]),
    ]);
    return { spans, metrics };
  }));
  assert.equal(seen[0]!.spans.length, 8);
  assert.deepEqual(seen[0]!.spans.map(({ name }) => name), [
    "POST /v1/traces",
    "POST /v1/traces",
    "POST /v1/traces",
    "POST /v1/logs",
    "OPTIONS /v1/traces",
    "OPTIONS /v1/traces",
    "PUT /v1/metrics",
    "POST",
  ]);
  assert.equal(seen[0]!.spans[0]!.parent, "b7ad6b7169203331");
  assert.equal(seen[0]!.metrics.length, 2);
  for (const other of seen.slice(1)) assert.deepEqual(other, seen[0]);
});
