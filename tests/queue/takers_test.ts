import assert from "node:assert/strict";
import { Takers, type Timers } from "../../src/queue/takers.ts";
import { NEVER, TestClock } from "./records.ts";

/** Timers that go off when the test has time pass. */
class HandTimers implements Timers {
  ms = 0;
  started = 0;
  readonly #running = new Map<() => void, number>();

  now(): number {
    return this.ms;
  }

  start(run: () => void, ms: number): () => void {
    this.started += 1;
    const start = () => run();
    this.#running.set(start, this.ms + ms);
    return () => this.#running.delete(start);
  }

  get running(): number[] {
    return [...this.#running.values()];
  }

  /** Has time pass; resolves when what went off has done what it does. */
  async pass(ms: number, clock?: TestClock): Promise<void> {
    this.ms += ms;
    if (clock !== undefined) clock.ms += ms;
    for (const [run, at] of [...this.#running]) {
      if (at > this.ms) continue;
      this.#running.delete(run);
      run();
    }
    await turn();
  }
}

/** Every promise reaction that is due has run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

function scene(poll?: () => Promise<void>) {
  const clock = new TestClock();
  const timers = new HandTimers();
  const takers = new Takers({ now: clock.now, timers, ...(poll === undefined ? {} : { poll }) });
  const woken: string[] = [];
  const wait = (name: string, of: "traces" | "logs", dueAt?: number, signal = NEVER) =>
    void takers.wait(of, signal, dueAt).then(() => woken.push(name));
  return { clock, timers, takers, woken, wait };
}

Deno.test("a taker is woken with those of its signal, by an abort, or with all", async () => {
  const { takers, woken, wait } = scene();
  const abort = new AbortController();
  wait("a", "traces");
  wait("b", "logs");
  wait("c", "logs", undefined, abort.signal);
  takers.wake("traces");
  await turn();
  assert.deepEqual(woken, ["a"]);
  abort.abort();
  await turn();
  assert.deepEqual(woken, ["a", "c"]);
  wait("d", "traces");
  takers.wake();
  await turn();
  assert.deepEqual(woken, ["a", "c", "b", "d"]);
  takers.wake();
  await turn();
  assert.equal(woken.length, 4, "each once");
});

Deno.test("without a poll only what is due sets a timer", async () => {
  const { clock, timers, takers, woken, wait } = scene();
  wait("a", "traces");
  assert.deepEqual(timers.running, []);
  wait("b", "traces", clock.ms + 5_000);
  assert.deepEqual(timers.running, [5_000]);
  await timers.pass(4_999, clock);
  assert.deepEqual(woken, []);
  await timers.pass(1, clock);
  assert.deepEqual(woken, ["a", "b"]);
  takers.close();
});

Deno.test("all share one timer: one that goes off sooner stays, one that would be late is replaced", async () => {
  const { clock, timers, takers, woken, wait } = scene();
  wait("a", "traces", clock.ms + 500);
  wait("b", "traces", clock.ms + 900);
  assert.equal(timers.started, 1);
  wait("c", "logs", clock.ms + 100);
  assert.deepEqual([timers.started, timers.running], [2, [100]]);
  takers.wake();
  await turn();
  wait("d", "traces", clock.ms + 300);
  assert.equal(timers.started, 2, "the one that is running goes off before");
  await timers.pass(100, clock);
  assert.deepEqual(woken, ["a", "b", "c", "d"], "an idle look costs less than a timer at each commit");
});

Deno.test("while somebody waits there is a poll a second, and then everybody looks", async () => {
  let polls = 0;
  let polled = () => {};
  const { clock, timers, takers, woken, wait } = scene(() => {
    polls += 1;
    return new Promise((resolve) => polled = resolve);
  });
  wait("a", "traces");
  assert.deepEqual(timers.running, [1_000]);
  await timers.pass(1_000, clock);
  assert.deepEqual([polls, woken.length], [1, 0], "the poll is under way");
  polled();
  await turn();
  assert.deepEqual(woken, ["a"]);
  // What is due sooner is looked at without another poll.
  wait("b", "traces", clock.ms + 200);
  await timers.pass(200, clock);
  assert.deepEqual([polls, woken], [1, ["a", "b"]]);
  wait("c", "traces");
  await timers.pass(1_000, clock);
  assert.equal(polls, 2);
  polled();
  await turn();
  assert.deepEqual(woken, ["a", "b", "c"]);
  await timers.pass(10_000, clock);
  assert.equal(polls, 2, "nobody waits");
  takers.close();
});

Deno.test("the end wakes all and leaves no timer", async () => {
  const { timers, takers, woken, wait } = scene(() => Promise.resolve());
  wait("a", "traces");
  wait("b", "logs");
  takers.close();
  await turn();
  assert.deepEqual([woken, timers.running], [["a", "b"], []]);
});
