import assert from "node:assert/strict";
import { appendedAt, ClockSteps } from "../../../src/queue/sqlite/clock_steps.ts";
import { TestClock } from "../records.ts";

Deno.test("a clock that was set makes nothing that was there older or younger", () => {
  const clock = new TestClock();
  const steps = new ClockSteps(clock.now, clock.steady);
  const first = clock.ms;
  clock.ms += 60_000;
  assert.equal(steps.look(1), undefined, "time passes");
  clock.step(3_600_000);
  assert.deepEqual(steps.look(1), { afterId: 1, ms: 3_600_000 });
  assert.equal(steps.look(1), undefined, "it is told once");
  const second = clock.ms;
  clock.step(-7_200_000);
  assert.deepEqual(steps.look(2), { afterId: 2, ms: -7_200_000 });
  const ages = [[1, first], [2, second], [3, clock.ms]].map(([id, at]) => clock.ms - steps.appendedAt(id!, at!));
  assert.deepEqual(ages, [60_000, 0, 0]);
});

Deno.test("a clock that is slewed, or late by less than a second, is not set", () => {
  const clock = new TestClock();
  const steps = new ClockSteps(clock.now, clock.steady);
  for (let second = 0; second < 100; second++) {
    clock.step(500);
    clock.ms += 1_000;
    assert.equal(steps.look(1), undefined);
  }
});

Deno.test("steps of earlier runs count", () => {
  const clock = new TestClock();
  const steps = new ClockSteps(clock.now, clock.steady);
  steps.restore([{ afterId: 5, ms: 1_000 }, { afterId: 9, ms: 20_000 }]);
  assert.deepEqual([5, 6, 10].map((id) => steps.appendedAt(id, 0)), [21_000, 20_000, 0]);
  assert.equal(appendedAt([], 1, 7), 7);
});
