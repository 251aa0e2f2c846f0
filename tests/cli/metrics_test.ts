import assert from "node:assert/strict";
import { metricsCommand } from "../../src/cli/metrics.ts";
import { INSTRUMENTS } from "../../src/telemetry/metrics.ts";
import { recorder } from "../support/relay/recorder.ts";

Deno.test("every instrument, as a table or as data", async () => {
  const table = recorder();
  await metricsCommand(table.io).parseAsync([], { from: "user" });
  const names = [...table.out.join("\n").matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name);
  assert.deepEqual(names, Object.keys(INSTRUMENTS));
  const terminal = recorder();
  await metricsCommand({ ...terminal.io, isTerminal: true, width: 80 }).parseAsync([], { from: "user" });
  assert.deepEqual(terminal.out.filter((line) => !line.startsWith(" ")), names);
  assert(terminal.out.every((line) => line.length <= 80));
  assert(terminal.out.includes("    edgeferry_exporter_send_duration_seconds at /metrics"));
  const data = recorder();
  await metricsCommand(data.io).parseAsync(["--json"], { from: "user" });
  const rows: { name: string; prometheus: string; unit: string }[] = JSON.parse(data.out.join("\n"));
  assert.deepEqual(rows.map(({ name }) => name), names);
  const duration = rows.find(({ name }) => name === "edgeferry_exporter_send_duration");
  assert.deepEqual([duration?.prometheus, duration?.unit], ["edgeferry_exporter_send_duration_seconds", "s"]);
});
