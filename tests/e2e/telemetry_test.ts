/** What the relay tells about itself, as it arrives at the real Collector: by mutual TLS, and never through the queue. */
import assert from "node:assert/strict";
import { testCertificates } from "../support/files/certificates.ts";
import { startCollector } from "../support/tools/collector.ts";
import { held } from "../support/far_end/held.ts";
import { ENGINES, startRelayProcess } from "../support/relay/relay.ts";
import { type SinkPoint, startSink } from "../support/far_end/sink.ts";
import { everyField } from "./senders/every_field.ts";

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN_ID = "b7ad6b7169203331";
const SAMPLED = { traceparent: `00-${TRACE_ID}-${CALLER_SPAN_ID}-01` };
const NOT_SAMPLED = { traceparent: `00-${TRACE_ID}-${CALLER_SPAN_ID}-00` };

const plain = (value: unknown) => JSON.stringify(value, (_, part) => typeof part === "bigint" ? Number(part) : part);

const VARIANTS = [
  { what: "", otelDeno: false, protocol: "http/protobuf" },
  { what: ", OTEL_DENO=true", otelDeno: true, protocol: "http/protobuf" },
  { what: ", over gRPC", otelDeno: false, protocol: "grpc" },
] as const;

for (const engine of ENGINES) {
  for (const { what, otelDeno, protocol } of VARIANTS) {
    Deno.test(`the relay's own telemetry, storage: ${engine}${what}`, async () => {
      await using certificates = await testCertificates();
      await using sink = startSink();
      await using collector = await startCollector({ certsDir: certificates.dir, sink });
      await using relay = await startRelayProcess({
        engine,
        collectorUrl: protocol === "grpc" ? `https://${collector.grpcEndpoint}` : collector.httpUrl,
        config: { exporter: { protocol } },
        certsDir: certificates.dir,
        env: otelDeno ? { OTEL_DENO: "true" } : {},
      });
      if (otelDeno) await relay.line(/"level":"warn".*OTEL_DENO is on/);

      const ask = async (method: string, path: string, headers: Record<string, string>, body?: string) => {
        const answer = await fetch(relay.url + path, { method, headers, ...(body === undefined ? {} : { body }) });
        await answer.body?.cancel();
        return answer.status;
      };
      const json = { "content-type": "application/json", "x-api-key": relay.token };
      const query = "?api_key=hidden-in-the-query";
      const statuses: number[] = [];
      await everyField.send(async (path, body) => {
        statuses.push(await ask("POST", path + query, { ...json, ...SAMPLED }, body));
      }, "sender");
      statuses.push(await ask("POST", `/v1/traces${query}`, { ...json, ...SAMPLED }, "{"));
      statuses.push(await ask("GET", "/v1/logs", SAMPLED));
      statuses.push(await ask("POST", `/unknown/path${query}`, { ...json, ...SAMPLED }, "{}"));
      statuses.push(await ask("PURGE", "/v1/logs", SAMPLED));
      statuses.push(
        await ask("POST", "/v1/traces", { authorization: "Bearer hidden-in-the-header", ...SAMPLED }, "{}"),
      );
      statuses.push(await ask("POST", "/v1/traces", { ...json, ...NOT_SAMPLED }, "{}"));
      assert.deepEqual(statuses, [200, 200, 200, 400, 405, 404, 405, 401, 200]);

      // What is left is exported at the end.
      assert.equal((await relay.stop()).code, 0, relay.log().join("\n"));
      const own = held(sink, "edgeferry");
      // One span a sampled request and no other: not one about the requests that carried these.
      assert.deepEqual(
        own.spans.map(({ name, kind, attributes }) => [
          name,
          kind,
          attributes["http.request.method"],
          attributes["http.route"],
          Number(attributes["http.response.status_code"]),
        ]),
        [
          ["POST /v1/traces", 2, "POST", "/v1/traces", 200],
          ["POST /v1/metrics", 2, "POST", "/v1/metrics", 200],
          ["POST /v1/logs", 2, "POST", "/v1/logs", 200],
          ["POST /v1/traces", 2, "POST", "/v1/traces", 400],
          ["GET /v1/logs", 2, "GET", "/v1/logs", 405],
          ["POST", 2, "POST", undefined, 404],
          ["HTTP /v1/logs", 2, "_OTHER", "/v1/logs", 405],
          ["POST /v1/traces", 2, "POST", "/v1/traces", 401],
        ],
      );
      for (const span of own.spans) {
        assert.deepEqual([span.traceId, span.parentSpanId], [TRACE_ID, CALLER_SPAN_ID]);
        assert.equal(span.resource.attributes["service.name"], "edgeferry");
      }
      const durations = own.dataPoints.filter(({ metric }) => metric.name === "http.server.request.duration");
      assert.deepEqual(countsByRoute(durations), {
        "POST /v1/traces 200": 2,
        "POST /v1/metrics 200": 1,
        "POST /v1/logs 200": 1,
        "POST /v1/traces 400": 1,
        "GET /v1/logs 405": 1,
        "POST (none) 404": 1,
        "_OTHER /v1/logs 405": 1,
        "POST /v1/traces 401": 1,
      });
      for (const point of own.dataPoints) assert.equal(point.attributes["env"], "dev");
      for (const point of durations) assert.equal(point.metric.unit, "s");
      // Secrets and what a caller can choose freely are in none of it, the log included. The log alone names an unknown path.
      assert(!plain([own.spans, own.dataPoints]).includes("unknown/path"));
      for (const hidden of ["hidden", relay.token, "PURGE /"]) {
        assert(!plain([own.spans, own.dataPoints]).includes(hidden), hidden);
        assert(!relay.log().some((line) => line.includes(hidden)), hidden);
      }
    });
  }
}

/** Requests by method, route and status. */
function countsByRoute(points: readonly SinkPoint[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const point of points) {
    const { attributes } = point;
    const names = ["http.request.method", "http.route", "http.response.status_code"];
    const key = names.map((name) => attributes[name] ?? "(none)").join(" ");
    assert(point.kind === "histogram" && !(key in counts), key);
    counts[key] = Number(point.count);
  }
  return counts;
}
