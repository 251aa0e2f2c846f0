import assert from "node:assert/strict";
import { Breaker, type Permit } from "../../src/exporter/breaker.ts";

const NEVER = new AbortController().signal;

/** A breaker on a clock that stands still until it is moved. */
function breaker(options: { random?: number; initialMs?: number; maxMs?: number } = {}) {
  const clock = { ms: 1_000 };
  const made = new Breaker({
    initialMs: options.initialMs ?? 1_000,
    maxMs: options.maxMs ?? 30_000,
    random: () => options.random ?? 0.5,
    now: () => clock.ms,
  });
  return { breaker: made, clock };
}

/** Whether a promise is settled after all that is due now has run. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const { promise: turn, resolve } = Promise.withResolvers<"turn">();
  setTimeout(resolve, 0, "turn");
  return await Promise.race([promise, turn]) === "turn";
}

async function admitted(breaker: Breaker): Promise<Permit> {
  const permit = await breaker.admit(NEVER);
  assert(permit);
  return permit;
}

Deno.test("the backoff doubles from the initial to the longest, and half of it is random", async () => {
  for (const [random, share] of [[0, 0.5], [0.5, 0.75], [0.999_999, 1]] as const) {
    const { breaker: made, clock } = breaker({ random });
    for (const backoff of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      const waitMs = made.failed(await admitted(made));
      assert.equal(Math.round(waitMs), Math.round(backoff * share));
      clock.ms += waitMs;
    }
    assert.equal(made.failures, 7);
  }
});

Deno.test("a wait that the Collector asks for is the least, and a fault that lasts waits longest at once", async () => {
  const { breaker: made, clock } = breaker();
  assert.equal(made.failed(await admitted(made), 5_000), 5_000);
  clock.ms += 5_000;
  assert.equal(made.failed(await admitted(made), 10), 1_500);
  clock.ms += 1_500;
  assert.equal(made.failed(await admitted(made), undefined, true), 22_500);
});

Deno.test("while there is less time the waits are shorter; what the Collector asks for and faults that last stay", async () => {
  const clock = { ms: 0 };
  let most = Infinity;
  const made = new Breaker({
    initialMs: 1_000,
    maxMs: 30_000,
    mostMs: () => most,
    random: () => 1 - Number.EPSILON,
    now: () => clock.ms,
  });
  const fail = async (atLeastMs?: number, slow?: boolean) => {
    const waitMs = made.failed(await admitted(made), atLeastMs, slow);
    clock.ms += waitMs;
    return Math.round(waitMs);
  };
  for (const expected of [1_000, 2_000, 4_000, 8_000]) assert.equal(await fail(), expected);
  most = 2_000;
  assert.deepEqual([await fail(), await fail(7_000), await fail(undefined, true)], [2_000, 7_000, 30_000]);
  most = Infinity;
  assert.equal(await fail(), 30_000);
});

Deno.test("closed it lets all go; open none; after the wait one, until it is known what came of it", async () => {
  const { breaker: made, clock } = breaker({ initialMs: 1, maxMs: 1 });
  const [first] = [await admitted(made), await admitted(made), await admitted(made)];
  const waitMs = made.failed(first);
  clock.ms += waitMs;
  const probe = await admitted(made);
  const second = made.admit(NEVER);
  const third = made.admit(NEVER);
  assert(await isPending(Promise.race([second, third])));
  assert.equal(made.succeeded(probe), 1);
  assert.deepEqual([await second, await third], [{ epoch: 1 }, { epoch: 1 }]);
  assert.equal(made.failures, 0);
});

Deno.test("it opens by real time", async () => {
  const made = new Breaker({ initialMs: 40, maxMs: 40, random: () => 0 });
  const started = performance.now();
  made.failed(await admitted(made));
  await admitted(made);
  assert(performance.now() - started >= 19);
});

Deno.test("a failed probe opens it anew, and the next wait is longer", async () => {
  const { breaker: made, clock } = breaker();
  clock.ms += made.failed(await admitted(made));
  const probe = await admitted(made);
  const next = made.admit(AbortSignal.abort());
  assert.equal(made.failed(probe), 1_500);
  assert.equal(await next, undefined);
  assert.equal(made.failures, 2);
});

Deno.test("requests that were under way when it opened tell nothing new", async () => {
  const { breaker: made, clock } = breaker();
  const [first, late, later, latest] = [
    await admitted(made),
    await admitted(made),
    await admitted(made),
    await admitted(made),
  ];
  assert.equal(made.failed(first), 750);
  clock.ms += 700;
  assert.equal(made.failed(late), 50, "the rest of the wait");
  assert.equal(made.failures, 1);
  assert.equal(made.succeeded(later), 0, "an answer from before does not close it");
  assert.equal(made.failures, 1);
  clock.ms += 50;
  const probe = await admitted(made);
  made.failed(latest, 9_000);
  assert.equal(made.failures, 1);
  const another = new AbortController();
  const waiting = made.admit(another.signal);
  assert(await isPending(waiting), "and does not let a second probe out");
  made.succeeded(probe);
  assert.deepEqual(await waiting, { epoch: 1 });
  another.abort();
});

Deno.test("one that fails when the breaker has closed again waits by itself", async () => {
  const { breaker: made, clock } = breaker();
  const [first, late] = [await admitted(made), await admitted(made)];
  clock.ms += made.failed(first);
  made.succeeded(await admitted(made));
  assert.equal(made.failed(late), 750);
  assert.equal(made.failed(late, 7_000), 7_000);
  assert.equal(made.failures, 0);
  await admitted(made);
});

Deno.test("a probe of which nothing came makes room for another", async () => {
  const { breaker: made, clock } = breaker();
  clock.ms += made.failed(await admitted(made));
  const probe = await admitted(made);
  const next = made.admit(NEVER);
  assert(await isPending(next));
  made.release(probe);
  assert.deepEqual(await next, { epoch: 1 });
  // Released twice, or late: the probe that is out now is another.
  made.release(probe);
  const third = made.admit(AbortSignal.timeout(5));
  assert.equal(await third, undefined);
});

Deno.test("those who wait are let off by an abort, and leave no timer", async () => {
  const { breaker: made } = breaker();
  made.failed(await admitted(made));
  const abort = new AbortController();
  const waiting = made.admit(abort.signal);
  assert(await isPending(waiting));
  abort.abort();
  assert.equal(await waiting, undefined);
});

Deno.test("who may not wait goes at once, open or not", async () => {
  const { breaker: made } = breaker();
  made.failed(await admitted(made));
  assert.equal(made.succeeded(made.pass()), 1);
});

Deno.test("a wait that is hastened ends at once; one request goes, and the others wait for it", async () => {
  const { breaker: made } = breaker();
  made.failed(await admitted(made));
  const first = made.admit(NEVER);
  const second = made.admit(NEVER);
  assert(await isPending(first));
  made.hasten();
  const permit = await Promise.race([first, second]);
  assert(permit);
  assert(await isPending(Promise.all([first, second])));
  assert.equal(made.succeeded(permit), 1);
  await Promise.all([first, second]);
  made.hasten();
  assert.equal(made.failures, 0);
});
