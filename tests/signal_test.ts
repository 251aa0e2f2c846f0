import assert from "node:assert/strict";
import { SIGNAL_NAMES, type SignalName, signalOf, SIGNALS } from "../src/signal.ts";

Deno.test("each signal has the path and the names of the specification", () => {
  assert.deepEqual(SIGNALS.map(({ name, path, item, rejectedField }) => [name, path, item, rejectedField]), [
    ["traces", "/v1/traces", "span", "rejectedSpans"],
    ["metrics", "/v1/metrics", "data point", "rejectedDataPoints"],
    ["logs", "/v1/logs", "log record", "rejectedLogRecords"],
    ["profiles", "/v1development/profiles", "profile", "rejectedProfiles"],
  ]);
  assert.deepEqual(SIGNALS.map(({ grpcPath }) => grpcPath), [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
  ]);
  assert.deepEqual(SIGNAL_NAMES, ["traces", "metrics", "logs", "profiles"]);
});

Deno.test("a signal is found by its name alone", () => {
  for (const name of SIGNAL_NAMES) assert.equal(signalOf(name).name, name);
  assert.throws(() => signalOf("entities" as SignalName), RangeError);
});
