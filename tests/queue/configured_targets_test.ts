import assert from "node:assert/strict";
import { ConfiguredTargets } from "../../src/queue/configured_targets.ts";
import { DrainRate } from "../../src/queue/drain_rate.ts";
import { emptyTarget, type Totals } from "../../src/queue/totals.ts";
import { TestLog } from "./records.ts";

const NONE: Totals = { records: 0, bytes: 0, deadRecords: 0, deadBytes: 0, held: 0, lastId: 0, targets: {} };
const drain = new DrainRate(() => 0);

function configured(): ConfiguredTargets {
  const targets = new ConfiguredTargets();
  targets.names = new Map([[1, "eu"], [2, "audit"], [3, "former"]]);
  targets.configure([{ name: "eu", required: true }, { name: "audit", required: false }], 1_000);
  return targets;
}

Deno.test("targets are found by name and by number; others are refused by a RangeError", () => {
  const targets = configured();
  assert.deepEqual([targets.idOf("eu"), targets.idOf("audit"), targets.size], [1, 2, 2]);
  assert.equal(targets.of(2).bytesMax, 500);
  assert.throws(() => targets.idOf("former"), RangeError);
  assert.throws(() => targets.of(3), RangeError);
  assert.throws(() => targets.configure([{ name: "new", required: true }], 1_000), /did not enter target new/);
});

Deno.test("a full target that is not required is left out; a required one, or the only one that is left, refuses", () => {
  const targets = configured();
  const both = [targets.of(1), targets.of(2)];
  const full = (of: typeof both, ...ids: number[]) =>
    targets.fullFor(of, 100, (id) => ids.includes(id) ? 450 : 0, drain);
  assert.deepEqual(full(both), { skipped: [] });
  assert.deepEqual(full(both, 2), { skipped: [2] });
  assert.match(full(both, 1).refusal!.message, /full for eu: 500 bytes/);
  assert.match(full([targets.of(2)], 2).refusal!.message, /full for audit: 500 bytes/);
});

Deno.test("a target that is not configured is told where something waits for it, and stands in the stats", () => {
  const targets = configured();
  const totals: Totals = { ...NONE, targets: { 3: { ...emptyTarget(), records: 2, bytes: 20 } } };
  const log = new TestLog();
  targets.tellForgotten(NONE, log);
  assert.equal(log.lines.length, 0);
  targets.tellForgotten(totals, log);
  assert.match(JSON.stringify(log.lines), /Target former is not configured/);
  targets.of(1).inFlight.traces = 4;
  assert.equal(targets.inFlight, 4);
  assert.deepEqual(targets.stats(NONE, () => 7).map(({ name, configured }) => [name, configured]), [
    ["eu", true],
    ["audit", true],
  ]);
  assert.deepEqual(
    targets.stats(totals, () => 7).map((
      { name, configured, records, bytesMax, inFlight, oldestAt },
    ) => [name, configured, records, bytesMax, inFlight, oldestAt]),
    [["eu", true, 0, 500, 4, 7], ["audit", true, 0, 500, 0, 7], ["former", false, 2, 0, 0, 7]],
  );
});
