import assert from "node:assert/strict";
import { BINARY, Chart, DECIMAL, sinceKnown, TEMPORAL } from "../../src/admin/page_charts.tsx";
import { STEP_MS, STEPS } from "../../src/admin/history.ts";

function drawn(values: readonly (number | undefined)[]): string {
  const hour = [...Array(STEPS - values.length).fill(undefined), ...values];
  return String(Chart({
    title: "Queue",
    now: "3",
    series: [{ name: "Bytes", values: hour }],
    axis: { format: String, topMin: 1, top: DECIMAL },
    stepMs: STEP_MS,
  }));
}

Deno.test("axes end at round numbers", () => {
  assert.deepEqual([0.4, 1, 3, 7, 11, 1_200].map(DECIMAL), [0.5, 1, 5, 10, 20, 2_000]);
  assert.deepEqual([1_024, 1_500, 700 * 1_024, 5 << 20].map(BINARY), [1_024, 2_048, 1_048_576, 8 << 20]);
  assert.deepEqual([0.003, 8, 12, 50, 70, 500, 4_000, 90_000].map(TEMPORAL), [
    0.005,
    10,
    15,
    60,
    120,
    600,
    7_200,
    172_800,
  ]);
});

Deno.test("a chart says in words what it shows", () => {
  const label = (values: readonly (number | undefined)[]) => /aria-label="([^"]+)"/.exec(drawn(values))?.[1];
  assert.equal(label([]), "Queue over the last 1 h. Bytes: nothing yet");
  assert.equal(label([2, 9, 3]), "Queue over the last 1 h. Bytes: now 3, lowest 2, highest 9");
});

Deno.test("the line ends now, at its height, and has a gap where nothing is known", () => {
  const line = (values: readonly (number | undefined)[]) => /class="line" d="([^"]*)"/.exec(drawn(values))?.[1];
  assert.equal(line([]), "");
  assert.equal(line([0, 5, 10]), "M357 96.0L358 48.0L359 0.0");
  assert.equal(line([5, undefined, 10]), "M356 48.0h1M358 0.0h1");
});

Deno.test("a relay that has just started fills its charts: from what is known on, in round minutes", () => {
  const steps = (known: number) => [...Array(STEPS - known).fill(undefined), ...Array(known).fill(1)];
  const shown = (known: number) => sinceKnown(steps(known), STEP_MS, (value) => value !== undefined).length;
  const [five, ten, hour] = [5 * 6, 10 * 6, 60 * 6];
  assert.deepEqual([0, 1, five, five + 1, 46 * 6, STEPS].map(shown), [five, five, five, ten, hour, hour]);
  // A gap is no start.
  const gap = steps(40).map((value, index) => index === STEPS - 20 ? undefined : value);
  assert.equal(sinceKnown(gap, STEP_MS, (value) => value !== undefined).length, ten);
  const chart = String(Chart({
    title: "Queue",
    now: "3",
    series: [{ name: "Bytes", values: [...Array(five - 2).fill(undefined), 0, 1] }],
    axis: { format: String, topMin: 1, top: DECIMAL },
    stepMs: STEP_MS,
  }));
  assert.match(chart, /viewBox="0 0 29 96"[\s\S]*over the last 5 min[\s\S]*class="line" d="M28 96\.0L29 0\.0"/);
  assert.match(chart, />5 min ago</);
});

Deno.test("of two lines that are mostly the same the first is drawn broad, under the second", () => {
  const chart = String(Chart({
    title: "Items",
    now: "3",
    series: [{ name: "taken", values: [1, 2] }, { name: "sent on", values: [1, 2] }],
    overlaid: true,
    axis: { format: String, topMin: 1, top: DECIMAL },
    stepMs: STEP_MS,
  }));
  assert.match(chart, /class="under">taken[\s\S]*class="second">sent on[\s\S]*class="line broad"[\s\S]*class="line2"/);
});

Deno.test("a long range is told in days", () => {
  const values = Array.from({ length: 360 }, () => 1);
  const chart = String(Chart({
    title: "Queue",
    now: "3",
    series: [{ name: "Bytes", values }],
    axis: { format: String, topMin: 1, top: DECIMAL },
    stepMs: 240_000,
  }));
  assert.match(chart, />1 d ago</);
});
