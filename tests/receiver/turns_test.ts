import assert from "node:assert/strict";
import { Turns } from "../../src/receiver/turns.ts";

/** Work that takes its time on a clock of the test, and an event loop that goes round when it is told. */
function scene() {
  const clock = { ms: 0 };
  const rounds: (() => void)[] = [];
  const done: string[] = [];
  const turns = new Turns({ now: () => clock.ms, goRound: (then) => void rounds.push(then) });
  const work = (name: string, ms: number) => () => {
    clock.ms += ms;
    done.push(name);
    return name;
  };
  return {
    turns,
    done,
    rounds,
    run: (sender: string, name: string, ms: number) => turns.run(sender, work(name, ms)),
    goRound: () => rounds.splice(0).forEach((then) => then()),
  };
}

Deno.test("little work is done at once, and the event loop is not asked for", () => {
  const { run, rounds } = scene();
  for (let index = 0; index < 4; index++) assert.equal(run("a", `a${index}`, 0.1), `a${index}`);
  assert.equal(rounds.length, 0);
});

Deno.test("beyond a slice work waits, and each sender has its turn however much one has waiting", async () => {
  const { run, done, goRound } = scene();
  const all = [];
  for (let index = 0; index < 60; index++) all.push(run("noisy", `noisy${index}`, 3));
  // Two were within the first slice.
  assert.deepEqual(done, ["noisy0", "noisy1"]);
  all.push(run("quiet", "quiet", 0.1));
  goRound();
  assert.deepEqual(done.slice(2), ["noisy2", "quiet", "noisy3"], "one of each, until the slice is over");
  for (let round = 0; round < 40; round++) goRound();
  assert.equal(done.length, 61);
  assert.deepEqual(await Promise.all(all), [...Array.from({ length: 60 }, (_, index) => `noisy${index}`), "quiet"]);
  assert.equal(run("noisy", "again", 1), "again", "when nothing waits, at once");
});

Deno.test("what the work throws is its sender's alone", async () => {
  const { turns, run, goRound, done } = scene();
  run("a", "a", 5);
  const failing = turns.run("a", () => {
    throw new RangeError("bad");
  });
  const next = run("a", "next", 1);
  const rejected = assert.rejects(Promise.resolve(failing), RangeError);
  for (let round = 0; round < 3; round++) goRound();
  await rejected;
  assert.equal(await next, "next");
  assert.deepEqual(done, ["a", "next"]);
  assert.throws(() => {
    const fresh = new Turns();
    void fresh.run("a", () => {
      throw new RangeError("bad");
    });
  }, RangeError);
});

Deno.test("on the real event loop, what another has sent meanwhile is served between two slices", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const busy = (name: string) => () => {
    const end = performance.now() + 3;
    while (performance.now() < end);
    order.push(name);
  };
  const noisy = Array.from({ length: 20 }, (_, index) => turns.run("noisy", busy(`noisy${index}`)));
  const quiet = new Promise<void>((resolve) => {
    setTimeout(() => resolve(turns.run("quiet", () => void order.push("quiet"))), 0);
  });
  await Promise.all([...noisy, quiet]);
  assert.equal(order.length, 21);
  assert.ok(order.indexOf("quiet") < 10, order.join(" "));
});
