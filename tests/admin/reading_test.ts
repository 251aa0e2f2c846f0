import assert from "node:assert/strict";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { Reading, sampleOf } from "../../src/admin/reading.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { MetricCollector } from "../support/relay/telemetry.ts";

Deno.test("a sample is what the instruments say", async () => {
  const reader = new MetricCollector();
  const metrics = createMetrics(new MeterProvider({ readers: [reader] }));
  metrics.accepted("traces", 5, "shop");
  metrics.accepted("logs", 2, "shop");
  metrics.accepted("logs", 1, "web");
  metrics.sent("traces", { items: 4, requests: 1, bytes: 10, durationMs: 1 });
  metrics.appended("traces", 3);
  metrics.appended("logs", 4);
  const reading = new Reading((await reader.collect()).resourceMetrics);
  const { taken, sent, latency, senders, queueBytes, at } = sampleOf(reading, 7);
  assert.deepEqual([at, queueBytes], [7, 0]);
  assert.deepEqual(taken, { traces: 5, metrics: 0, logs: 3, profiles: 0 });
  assert.deepEqual(sent, { traces: 4, metrics: 0, logs: 0, profiles: 0 });
  assert.deepEqual([...senders], [["shop", { items: 7, requests: 2 }], ["web", { items: 1, requests: 1 }]]);
  assert.equal(latency.reduce((sum, count) => sum + count), 2);
  assert.equal(latency[3], 2, "both are between 2.5 and 5 ms");
});
