/** The metrics as Prometheus reads them. `promtool` is Prometheus's own parser and linter. */
import assert from "node:assert/strict";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { prometheusText } from "../../../src/telemetry/prometheus.ts";
import { promtool } from "../../support/tools/promtool.ts";
import { MetricCollector } from "../../support/relay/telemetry.ts";

async function text(report: (metrics: ReturnType<typeof createMetrics>) => void): Promise<string> {
  const reader = new MetricCollector();
  report(createMetrics(new MeterProvider({ readers: [reader] })));
  return prometheusText((await reader.collect()).resourceMetrics);
}

Deno.test("counters, gauges and histograms are written so that promtool takes them", async () => {
  const page = await text((metrics) => {
    metrics.accepted("traces", 5, 'sh"op\\\n');
    metrics.refused("queue_full", undefined);
    metrics.appended("logs", 3);
    metrics.observeReceiver(() => ({ inFlightBytes: 7, connections: undefined }));
    metrics.observeCertificates(() => [{ role: "ca", subject: "CN=CA", fingerprintSha256: "AB:CD", daysLeft: 9 }]);
  });
  assert.match(page, /^edgeferry_receiver_accepted_items_total\{signal="traces"\} 5$/m);
  assert.match(page, /^edgeferry_sender_accepted_items_total\{sender="sh\\"op\\\\\\n",signal="traces"\} 5$/m);
  assert.match(page, /^edgeferry_receiver_in_flight_size_bytes 7$/m);
  assert.match(page, /^edgeferry_queue_append_duration_seconds_bucket\{signal="logs",le="0.005"\} 1$/m);
  assert.match(page, /^# TYPE edgeferry_receiver_refused_requests_total counter$/m);
  assert(!page.includes("edgeferry_receiver_connections"), "what nobody can tell is left out");
  const { ok, words } = await promtool(["check", "metrics"], page);
  // Whole days are what people speak of; Prometheus would have seconds.
  assert.equal(words, 'edgeferry_certificate_days_left use base unit "seconds" instead of "days"');
  assert(!ok);
  const broken = await promtool(["check", "metrics"], page + "edgeferry_x{ 1\n");
  assert.match(broken.words, /error while linting: text format parsing error/);
});
