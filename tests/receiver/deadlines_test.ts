import assert from "node:assert/strict";
import { Deadlines } from "../../src/receiver/deadlines.ts";

Deno.test("deadlines: each one that is not lifted goes off once, in the order in which they were set", async () => {
  const deadlines = new Deadlines(20);
  const seen: number[] = [];
  const all = Promise.withResolvers<void>();
  const started = performance.now();
  for (let index = 0; index < 5; index++) {
    deadlines.set(() => {
      seen.push(index);
      assert.ok(performance.now() - started >= 20, "not before its time");
      if (index === 4) all.resolve();
    });
  }
  await all.promise;
  assert.deepEqual(seen, [0, 1, 2, 3, 4]);
});

Deno.test("deadlines: one that is lifted never goes off, and lifting it again does no harm", async () => {
  const deadlines = new Deadlines(10);
  const last = Promise.withResolvers<void>();
  const lift = deadlines.set(() => assert.fail("it was lifted"));
  const liftLater = deadlines.set(() => assert.fail("it was lifted too"));
  deadlines.set(() => last.resolve());
  lift();
  lift();
  liftLater();
  await last.promise;
});

Deno.test("deadlines: with none left no timer is, and another can be set", async () => {
  // The test runner's sanitizers fail a test that leaves a timer behind.
  const deadlines = new Deadlines(60_000);
  for (let round = 0; round < 3_000; round++) {
    const first = deadlines.set(() => assert.fail());
    const second = deadlines.set(() => assert.fail());
    second();
    first();
  }
  const soon = new Deadlines(1);
  await new Promise<void>((resolve) => soon.set(() => resolve()));
  await new Promise<void>((resolve) => soon.set(() => resolve()));
});

Deno.test("deadlines: one that is set when another goes off is waited for as well", async () => {
  const deadlines = new Deadlines(5);
  const started = performance.now();
  await new Promise<void>((resolve) => deadlines.set(() => deadlines.set(() => resolve())));
  assert.ok(performance.now() - started >= 10);
});

Deno.test("deadlines: a later one is waited for when an earlier one has gone off", async () => {
  const deadlines = new Deadlines(30);
  const lifts: (() => void)[] = [];
  const first = new Promise<void>((resolve) => deadlines.set(() => resolve()));
  for (let index = 0; index < 2_000; index++) lifts.push(deadlines.set(() => assert.fail()));
  for (const lift of lifts) lift();
  await first;
  await new Promise<void>((resolve) => deadlines.set(() => resolve()));
});

Deno.test("deadlines: a timer that is kept serves those that come later, and goes when it is disposed of", async () => {
  using deadlines = new Deadlines(20, { keepTimer: true });
  deadlines.set(() => assert.fail())();
  const started = performance.now();
  await new Promise<void>((resolve) => deadlines.set(() => resolve()));
  assert.ok(performance.now() - started >= 20, "not when the timer was due that it found");
  deadlines.set(() => assert.fail());
});

Deno.test("deadlines: all that still wait are over at once when they are passed, and told so", () => {
  const deadlines = new Deadlines(60_000);
  const seen: [number, boolean][] = [];
  const lift = [0, 1, 2].map((index) => deadlines.set((early) => void seen.push([index, early])));
  lift[1]!();
  deadlines.pass();
  deadlines.pass();
  for (const each of lift) each();
  assert.deepEqual(seen, [[0, true], [2, true]]);
  // No timer is left, and another can be set.
  deadlines.set(() => assert.fail())();
});
