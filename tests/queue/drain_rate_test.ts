import assert from "node:assert/strict";
import { DrainRate, noRoom } from "../../src/queue/drain_rate.ts";
import { TestClock } from "./records.ts";

Deno.test("the drain rate is that of the bytes settled lately, and the time until there is room follows from it", () => {
  const clock = new TestClock();
  const rate = new DrainRate(clock.now);
  for (let second = 0; second < 120; second++) {
    clock.ms += 1000;
    rate.note(50_000);
  }
  assert.ok(Math.abs(rate.bytesPerS() - 50_000) < 2500, `${rate.bytesPerS()}`);
  const close = (seconds: number | undefined, expected: number) =>
    assert.ok(Math.abs(seconds! / expected - 1) < 0.05, `${seconds} s, not ${expected}`);
  close(rate.secondsFor(500_000), 10);
  close(rate.secondsFor(1), 0.00002);
  // However long it is: what a sender is told of it is for the receiver to say.
  close(rate.secondsFor(1e12), 2e7);
  // The Collector stops: the answer grows, until nothing is known any more.
  clock.ms += 60_000;
  assert.ok(rate.secondsFor(500_000)! > 60);
  clock.ms += 3_600_000;
  assert.equal(rate.secondsFor(500_000), undefined);
});

Deno.test("soon after the start the rate is not held to be lower than it is", () => {
  const clock = new TestClock();
  const rate = new DrainRate(clock.now);
  assert.equal(rate.secondsFor(1000), undefined);
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
  assert.ok(rate.secondsFor(1)! > 0);
});

Deno.test("a refusal says when there will be room, or that nothing drains", () => {
  const said = (seconds: number | undefined) => {
    const { code, message, retryAfterS } = noRoom("It is full", seconds);
    return [code, message, retryAfterS];
  };
  assert.deepEqual(said(undefined), ["queue_full", "It is full; nothing drains now; retry", 2]);
  assert.deepEqual(said(74.2), ["queue_full", "It is full; there will be room in about 75 s; retry", 75]);
  assert.deepEqual(said(0.01), ["queue_full", "It is full; there will be room in about 1 s; retry", 1]);
});
