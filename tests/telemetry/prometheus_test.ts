/** The metrics as Prometheus reads them. `promtool` is Prometheus's own parser and linter. */
import assert from "node:assert/strict";
import { INSTRUMENTS } from "../../src/telemetry/metrics.ts";
import { instrumentRows, prometheusName, renderInstruments } from "../../src/telemetry/prometheus.ts";
Deno.test("names have the unit in words and _total for a counter, each once", () => {
  const name = (unit: string, kind: "counter" | "gauge" | "histogram", of = "edgeferry_x") =>
    prometheusName(of, { unit, kind });
  assert.equal(name("{item}", "counter"), "edgeferry_x_total");
  assert.equal(name("By", "gauge"), "edgeferry_x_bytes");
  assert.equal(name("s", "histogram"), "edgeferry_x_seconds");
  assert.equal(name("d", "gauge", "edgeferry_days_left"), "edgeferry_days_left");
  assert.equal(name("s", "histogram", "http.server.request.duration"), "http_server_request_duration_seconds");
});

Deno.test("the reference has each instrument of the table", () => {
  const lines = renderInstruments().trimEnd().split("\n");
  assert.equal(lines.length, 2 + Object.keys(INSTRUMENTS).length);
  assert.deepEqual(instrumentRows().map(({ name }) => name), Object.keys(INSTRUMENTS));
  assert.equal(
    lines.find((line) => line.includes("`edgeferry_queue_size`")),
    "| `edgeferry_queue_size` | `edgeferry_queue_size_bytes` | gauge | `By` | - | Bytes queued, those in flight included: payloads, and what each record costs beside |",
  );
});
