import assert from "node:assert/strict";
import { RunningTime } from "../../../src/queue/sqlite/running_time.ts";

Deno.test("time goes on from tick to tick, and no further than the next tick should be", () => {
  let now = 5_000;
  const time = new RunningTime(1_000, () => now);
  assert.equal(time.ms, 0);
  now += 400;
  assert.equal(time.ms, 400);
  time.tick();
  now += 1_000;
  assert.equal(time.ms, 1_400);
  now += 3_600_000;
  assert.equal(time.ms, 1_400, "the thread does not run");
  time.tick();
  assert.equal(time.ms, 1_400);
  now += 250;
  assert.equal(time.ms, 1_650);
});
