import assert from "node:assert/strict";
import type { Figures } from "./measure.ts";
import { costTable, type Results, summary } from "./results.ts";

const figures = (cpuUs: number): Figures => ({
  cpuUs,
  spanCpuUs: cpuUs / 10,
  requestsPerSecond: 1,
  p50Ms: 1,
  p99Ms: cpuUs / 5,
  rssMiB: 100,
  wireBytes: 1,
});

Deno.test("a run is kept as medians, to three digits", () => {
  const { a } = summary({ a: [figures(1), figures(123.456), figures(1_000)] });
  assert.equal(a?.cpuUs, 123);
  assert.equal(a?.p99Ms, 24.7);
});

Deno.test("a table has a row for each subject that was measured, with its way in where details are wanted", () => {
  const results: Results = {
    measured: "2026-01-31",
    cores: 2,
    connections: 64,
    rounds: 5,
    warmRequests: 20_000,
    countedRequests: 20_000,
    coldRequests: 2_000,
    columns: { "gzip:10": { ours: figures(80.4), theirs: figures(200) }, "gzip:100": { ours: figures(190) } },
  };
  const rows = {
    theirs: { title: "theirs", wayIn: "net/http" },
    ours: { title: "**ours**", wayIn: "node:http" },
    absent: { title: "absent", wayIn: "-" },
  };
  assert.equal(
    costTable(results, rows, true),
    `| us of CPU a request | way in | 10 spans, gzip | 100 spans, gzip | p99 ms | peak RSS MiB |
| --- | --- | --- | --- | --- | --- |
| theirs | net/http | 200 | - | 40 | 100 |
| **ours** | node:http | **80** | **190** | 16 - 38 | 100 |`,
  );
  assert.ok(!costTable(results, rows, false).includes("node:http"));
});
