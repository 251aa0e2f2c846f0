import assert from "node:assert/strict";
import { DrainRate } from "../../src/queue/drain_rate.ts";
import { TestClock } from "./records.ts";

Deno.test("the drain rate is that of the bytes settled lately, and Retry-After follows from it", () => {
  const clock = new TestClock();
  const rate = new DrainRate(clock.now);
  for (let second = 0; second < 120; second++) {
    clock.ms += 1000;
    rate.note(50_000);
  }
  assert.ok(Math.abs(rate.bytesPerS() - 50_000) < 2500, `${rate.bytesPerS()}`);
  assert.equal(rate.retryAfterS(500_000), 10);
  assert.equal(rate.retryAfterS(1), 1);
  assert.equal(rate.retryAfterS(1e12), 300);
  // The Collector stops: the answer grows, until nothing is known any more.
  clock.ms += 60_000;
  const later = rate.retryAfterS(500_000);
  assert.ok(later > 10 && later <= 300, `${later}`);
  clock.ms += 3_600_000;
  assert.equal(rate.retryAfterS(500_000), 30);
});

Deno.test("soon after the start the rate is not held to be lower than it is", () => {
  const clock = new TestClock();
  const rate = new DrainRate(clock.now);
  assert.equal(rate.retryAfterS(1000), 30);
  for (let second = 0; second < 5; second++) {
    clock.ms += 1000;
    rate.note(10_000);
  }
  assert.ok(Math.abs(rate.bytesPerS() - 10_000) < 1500, `${rate.bytesPerS()}`);
});

Deno.test("a clock set back does not make the past heavier", () => {
  const clock = new TestClock();
  const rate = new DrainRate(clock.now);
  clock.ms += 30_000;
  rate.note(30_000);
  const before = rate.bytesPerS();
  clock.ms -= 3_600_000;
  assert.ok(rate.bytesPerS() < before * 40);
  assert.ok(rate.retryAfterS(1) >= 1);
});
