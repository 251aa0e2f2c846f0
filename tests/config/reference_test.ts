import assert from "node:assert/strict";
import { referenceRows, renderReference } from "../../src/config/reference.ts";
import { OPTIONS } from "../../src/config/schema.ts";

Deno.test("every option is in the reference, with its default and variables", () => {
  const rows = referenceRows();
  assert.equal(rows.length, OPTIONS.length);
  const row = rows.find(({ key }) => key === "exporter.timeout");
  assert.deepEqual(row, {
    key: "exporter.timeout",
    type: "duration",
    unit: "ms",
    bounds: "1ms to 10m",
    default: "10s",
    environment: ["EDGEFERRY_EXPORTER_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
    wanted: "a duration such as 200ms, 10s or 1m30s, from 1ms to 10m",
    help: "Time for one attempt, connecting included",
  });
});

Deno.test("the table has five cells a line, and one row for what is the same for each signal", () => {
  const lines = renderReference().trimEnd().split("\n");
  for (const line of lines) assert.equal(line.split(/(?<!\\)\|/).length, 7, line);
  const keys = lines.slice(2).map((line) => /^\| `([^`]+)`/.exec(line)?.[1]);
  assert.equal(new Set(keys).size, keys.length);
  assert.ok(keys.includes("exporter.signals.<signal>.tls.ca_file"));
  for (const { path } of OPTIONS) {
    assert.ok(keys.includes(path.join(".").replace(/signals\.\w+/, "signals.<signal>")), path.join("."));
  }
  assert.match(
    lines.join("\n"),
    /`EDGEFERRY_EXPORTER_SIGNALS_<SIGNAL>_TIMEOUT`<br>`OTEL_EXPORTER_OTLP_<SIGNAL>_TIMEOUT`/,
  );
});
