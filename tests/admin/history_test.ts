import assert from "node:assert/strict";
import { History, quantile, rangeNamed, RANGES, type Sample, STEP_MS, STEPS } from "../../src/admin/history.ts";
import { bySignal } from "../../src/signal.ts";

const START = 1_000 * STEP_MS;

/** A relay that takes `items` a second of one sender. */
function sample(seconds: number, items: number, more: Partial<Sample> = {}): Sample {
  return {
    at: START + seconds * 1_000,
    taken: bySignal((signal) => signal === "traces" ? items * seconds : 0),
    sent: bySignal((signal) => signal === "traces" ? items * seconds / 2 : 0),
    queueBytes: seconds,
    oldestS: 0,
    latency: [seconds, 0, 0],
    senders: new Map([["shop", { items: items * seconds, requests: seconds }]]),
    ...more,
  };
}

Deno.test("rates count from the first sample on, and the last of each step is kept", () => {
  const history = new History([0.001, 0.01]);
  assert.equal(history.view("1h").steps.every(({ taken }) => taken === undefined), true);
  history.add(sample(0, 30));
  assert.equal(history.rates().taken.traces, 0);
  history.add(sample(2, 30));
  history.add(sample(4, 30));
  assert.deepEqual([history.rates().taken.traces, history.rates().sent.traces], [30, 15]);
  for (let seconds = 6; seconds <= 60; seconds += 2) history.add(sample(seconds, 30));
  assert.deepEqual([history.rates().taken.traces, history.rates().taken.logs], [30, 0]);
  const steps = history.view("1h").steps;
  assert.equal(steps.length, 15 * 6);
  assert.deepEqual(steps.slice(-7).map(({ taken }) => taken), Array(7).fill(30));
  assert.equal(steps.at(-8)?.taken, undefined);
  assert.deepEqual(steps.slice(-2).map(({ queueBytes }) => queueBytes), [58, 60]);
  assert.deepEqual(history.senderRate("shop"), { items: 30, requests: 1 });
  assert.deepEqual(history.senderRate("nobody"), { items: 0, requests: 0 });
});

Deno.test("an hour is kept and no more; what was not sampled is a gap; senders of old steps are forgotten", () => {
  const history = new History([0.001, 0.01]);
  for (let step = 0; step < 2 * STEPS; step++) history.add(sample(step * 10, 5));
  assert.equal(history.snapshot().fine.length, STEPS);
  const before = history.view("1h").steps;
  assert.equal(before.every(({ taken }) => taken === 5), true);
  history.add(sample((2 * STEPS + 9) * 10, 5));
  const after = history.view("1h").steps;
  assert.equal(after.filter(({ taken }) => taken === undefined).length, 9);
  assert.equal(after.at(-1)?.taken, 5);
  // The samples within a minute have their senders; others are of no use.
  assert.deepEqual(history.senderRate("shop"), { items: 0, requests: 0 });
  history.add(sample((2 * STEPS + 10) * 10, 5));
  assert.deepEqual(history.senderRate("shop"), { items: 5, requests: 1 });
});

Deno.test("a clock that was set back begins the hour anew", () => {
  const history = new History([0.001, 0.01]);
  history.add(sample(100, 5));
  history.add(sample(110, 5));
  history.add(sample(20, 5));
  assert.equal(history.view("1h").steps.filter(({ queueBytes }) => queueBytes !== undefined).length, 1);
});

Deno.test("latency is that of the last minute, from the histogram's buckets", () => {
  const history = new History([0.001, 0.01]);
  history.add(sample(0, 1, { latency: [1_000, 0, 0] }));
  assert.deepEqual(history.latency(), { count: 0, p50S: undefined, p99S: undefined });
  history.add(sample(10, 1, { latency: [1_050, 50, 0] }));
  assert.deepEqual(history.latency(), { count: 100, p50S: 0.001, p99S: 0.001 + (0.01 - 0.001) * 49 / 50 });
  history.add(sample(80, 1, { latency: [1_050, 50, 3] }));
  assert.deepEqual(history.latency(), { count: 0, p50S: undefined, p99S: undefined });
});

Deno.test("quantiles as PromQL has them", () => {
  assert.equal(quantile(0.5, [0, 0, 0], [1, 2]), undefined);
  assert.equal(quantile(0.5, [4, 0, 0], [1, 2]), 0.5);
  assert.equal(quantile(0.5, [0, 4, 0], [1, 2]), 1.5);
  assert.equal(quantile(0.99, [1, 0, 9], [1, 2]), 2, "beyond the highest bound");
});

Deno.test("a longer range has fewer, longer steps: the mean of rates, the highest of the rest", () => {
  const history = new History([0.001, 0.01]);
  const hours = (count: number) => count * STEPS;
  for (let step = 0; step <= hours(7); step++) history.add(sample(step * 10, 5, { queueBytes: step % 7 }));
  const { offered } = history.view("15min");
  assert.deepEqual(offered, ["15min", "1h", "6h", "24h"]);
  for (const [range, stepMs] of [["15min", 10_000], ["1h", 10_000], ["6h", 120_000], ["24h", 240_000]] as const) {
    const view = history.view(range);
    assert.deepEqual([view.range, view.stepMs, view.steps.length * view.stepMs], [range, stepMs, RANGES[range].ms]);
  }
  const six = history.view("6h").steps;
  assert(six.every(({ taken, queueBytes }) => taken === 5 && queueBytes !== undefined));
  assert.equal(six.at(-2)?.queueBytes, 6);
  const day = history.view("24h").steps;
  assert.equal(day.filter(({ taken }) => taken !== undefined).length, 7 * 15 + 1);
});

Deno.test("ranges that show no more than a shorter one are not offered", () => {
  const history = new History([0.001, 0.01]);
  assert.deepEqual(history.view("24h"), { ...history.view("15min") });
  for (let step = 0; step <= 100; step++) history.add(sample(step * 10, 5));
  assert.deepEqual(history.view("15min").offered, ["15min", "1h"]);
  assert.equal(history.view("24h").range, "1h");
  assert.deepEqual([rangeNamed("6h"), rangeNamed("7h"), rangeNamed(undefined)], ["6h", "1h", "1h"]);
});

Deno.test("what another relay has kept stands before what this one samples, with a gap in between", () => {
  const before = new History([0.001, 0.01]);
  for (let step = 0; step < 50; step++) before.add(sample(step * 10, 5));
  const after = new History([0.001, 0.01]);
  // Its counters begin at 0 again.
  const restarted = (step: number) => sample(step * 10, 5, { taken: bySignal(() => (step - 60) * 10) });
  after.add(restarted(60));
  after.restore(before.snapshot(), START + 600_000);
  after.add(restarted(61));
  after.add(restarted(62));
  const steps = after.view("1h").steps.map(({ taken }) => taken).slice(-63);
  assert.deepEqual(steps.slice(1, 50), Array(49).fill(5));
  assert.deepEqual(steps.slice(50), [...Array(11).fill(undefined), 4, 4]);
  const stale = new History([0.001, 0.01]);
  stale.add(sample(0, 5, { at: START + 2 * 86_400_000 }));
  stale.restore(before.snapshot(), START + 2 * 86_400_000);
  assert.equal(stale.snapshot().coarse.length, 1, "what is older than a day is left out");
  const future = new History([0.001, 0.01]);
  future.restore(before.snapshot(), START - 600_000);
  assert.deepEqual(future.snapshot(), { fine: [], coarse: [] });
});
