import assert from "node:assert/strict";
import { History, quantile, type Sample, STEP_MS, STEPS } from "../../src/admin/history.ts";
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
  assert.equal(history.steps().every(({ taken }) => taken === undefined), true);
  history.add(sample(0, 30));
  assert.equal(history.rates().taken.traces, 0);
  history.add(sample(2, 30));
  history.add(sample(4, 30));
  assert.deepEqual([history.rates().taken.traces, history.rates().sent.traces], [30, 15]);
  for (let seconds = 6; seconds <= 60; seconds += 2) history.add(sample(seconds, 30));
  assert.deepEqual([history.rates().taken.traces, history.rates().taken.logs], [30, 0]);
  const steps = history.steps();
  assert.equal(steps.length, STEPS);
  assert.deepEqual(steps.slice(-7).map(({ taken }) => taken), Array(7).fill(30));
  assert.equal(steps.at(-8)?.taken, undefined);
  assert.deepEqual(steps.slice(-2).map(({ queueBytes }) => queueBytes), [58, 60]);
  assert.deepEqual(history.senderRate("shop"), { items: 30, requests: 1 });
  assert.deepEqual(history.senderRate("nobody"), { items: 0, requests: 0 });
});

Deno.test("an hour is kept and no more; what was not sampled is a gap; senders of old steps are forgotten", () => {
  const history = new History([0.001, 0.01]);
  for (let step = 0; step < 2 * STEPS; step++) history.add(sample(step * 10, 5));
  const before = history.steps();
  assert.equal(before.every(({ taken }) => taken === 5), true);
  history.add(sample((2 * STEPS + 9) * 10, 5));
  const after = history.steps();
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
  assert.equal(history.steps().filter(({ queueBytes }) => queueBytes !== undefined).length, 1);
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
