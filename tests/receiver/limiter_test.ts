import assert from "node:assert/strict";
import { Refusal } from "../../src/errors.ts";
import { Shares } from "../../src/queue/shares.ts";
import { Limiter } from "../../src/receiver/limiter.ts";
import type { Sender, SenderLimits } from "../../src/receiver/senders/sender.ts";

function scene(defaults: SenderLimits = {}) {
  const clock = { now: 0 };
  const shares = new Shares(() => clock.now);
  const limiter = new Limiter({ defaults, queueBytesMax: 1_000, shares, now: () => clock.now });
  return { clock, shares, limiter };
}

const senderOf = (limits?: SenderLimits, id = "edge"): Sender => ({
  id,
  proof: "none",
  signals: new Set(["traces"]),
  ...(limits === undefined ? {} : { limits }),
});

function refused(work: () => unknown): Refusal {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof Refusal, `${error}`);
    return error;
  }
  return assert.fail("let in");
}

Deno.test("requests a second: a second's worth at once, and then one as each token comes", () => {
  const { clock, limiter } = scene();
  const sender = senderOf({ requestsPerSecond: 5 });
  for (let index = 0; index < 5; index++) limiter.enter(sender).leave(true);
  const refusal = refused(() => limiter.enter(sender));
  assert.deepEqual([refusal.code, refusal.status, refusal.retryAfterS], ["throttled", 429, 1]);
  assert.equal(refusal.message, "Sender edge is over its limit of 5 requests a second; retry after 1 s");
  clock.now += 199;
  refused(() => limiter.enter(sender));
  clock.now += 1;
  limiter.enter(sender).leave(true);
  refused(() => limiter.enter(sender));
  clock.now += 60_000;
  for (let index = 0; index < 5; index++) limiter.enter(sender).leave(true);
  refused(() => limiter.enter(sender));
});

Deno.test("Retry-After is true: refused until then, let in from then on", () => {
  const table: [SenderLimits, (limiter: Limiter, sender: Sender) => void, number][] = [
    [{ requestsPerSecond: 0.1 }, (limiter, sender) => limiter.enter(sender).leave(true), 10],
    [{ bytesPerSecond: 100 }, (limiter, sender) => spend(limiter, sender, { bytes: 1_200 }), 12],
    [{ itemsPerSecond: 10 }, (limiter, sender) => spend(limiter, sender, { items: 75 }), 7],
  ];
  for (const [limits, use, seconds] of table) {
    const { clock, limiter } = scene();
    const sender = senderOf(limits);
    use(limiter, sender);
    const { retryAfterS } = refused(() => limiter.enter(sender));
    assert.equal(retryAfterS, seconds);
    clock.now += (retryAfterS! - 1) * 1_000;
    refused(() => limiter.enter(sender));
    clock.now += 1_000;
    limiter.enter(sender).leave(true);
  }
});

function spend(limiter: Limiter, sender: Sender, { bytes = 0, items = 0 }): void {
  const visit = limiter.enter(sender);
  visit.bytes(bytes);
  visit.append(items, 1);
  visit.leave(true);
}

Deno.test("over time the rate holds, however large the batches are", () => {
  const { clock, limiter } = scene();
  const sender = senderOf({ itemsPerSecond: 100 });
  let kept = 0;
  for (; clock.now < 600_000; clock.now += 100) {
    try {
      spend(limiter, sender, { items: 512 });
      kept += 512;
    } catch (error) {
      assert.ok(error instanceof Refusal);
    }
  }
  assert.ok(kept >= 60_000 && kept <= 60_000 + 100 + 512, `${kept}`);
});

Deno.test("of requests that entered together only the first may overdraw", () => {
  const { limiter } = scene();
  const sender = senderOf({ itemsPerSecond: 10, bytesPerSecond: 10 });
  const [first, second] = [limiter.enter(sender), limiter.enter(sender)];
  first.bytes(100);
  assert.match(refused(() => second.bytes(1)).message, /10 bytes a second/);
  first.append(100, 1);
  assert.match(refused(() => second.append(1, 1)).message, /10 items a second/);
  first.leave(true);
  second.leave(false);
});

Deno.test("items that were not kept are given back", () => {
  const { limiter } = scene();
  const sender = senderOf({ itemsPerSecond: 10 });
  const visit = limiter.enter(sender);
  visit.append(500, 1);
  visit.leave(false);
  spend(limiter, sender, { items: 1 });
});

Deno.test("what is refused takes nothing from any bucket", () => {
  const { clock, limiter } = scene();
  const sender = senderOf({ requestsPerSecond: 1, bytesPerSecond: 1 });
  spend(limiter, sender, { bytes: 2 });
  for (let index = 0; index < 100; index++) refused(() => limiter.enter(sender));
  clock.now += 2_000;
  limiter.enter(sender).leave(true);
});

Deno.test("requests under way at once", () => {
  const { limiter } = scene();
  const sender = senderOf({ concurrentRequests: 2 });
  const visits = [limiter.enter(sender), limiter.enter(sender)];
  const refusal = refused(() => limiter.enter(sender));
  assert.deepEqual([refusal.code, refusal.retryAfterS], ["throttled", 1]);
  assert.equal(refusal.message, "Sender edge has 2 requests under way, which is its limit; retry");
  visits[0]!.leave(true);
  limiter.enter(sender).leave(true);
});

Deno.test("a share of the queue, with what is on its way there; others still have room", () => {
  const { clock, limiter, shares } = scene({ queueShare: 0.5 });
  const sender = senderOf();
  const visit = limiter.enter(sender);
  visit.append(1, 400);
  const second = limiter.enter(sender);
  assert.match(refused(() => second.append(1, 101)).message, /^Sender edge fills its share of the queue: 400 of 500/);
  second.append(1, 100);
  assert.equal(refused(() => limiter.enter(sender)).code, "queue_full");
  limiter.enter(senderOf(undefined, "other")).append(1, 500);
  shares.add([{ sender: "edge", bytes: 400 }]);
  visit.leave(true);
  second.leave(false);
  clock.now += 30_000;
  shares.remove([{ sender: "edge", bytes: 300 }]);
  const third = limiter.enter(sender);
  const refusal = refused(() => third.append(1, 600));
  assert.equal(
    refusal.retryAfterS,
    9,
    "200 bytes, by what has drained, what a record costs beside its payload included",
  );
  third.append(1, 400);
});

Deno.test("a request larger than the share is let in alone", () => {
  const { limiter } = scene({ queueShare: 0.1 });
  limiter.enter(senderOf()).append(1, 900);
});

Deno.test("one sender's limits are no other's; two tokens of one sender share them; its own go before the defaults", () => {
  const { limiter } = scene({ requestsPerSecond: 1 });
  for (const id of ["a", "b"]) {
    limiter.enter(senderOf(undefined, id));
    refused(() => limiter.enter(senderOf(undefined, id)));
  }
  const generous = senderOf({ requestsPerSecond: 3, bodyBytesMax: 10 }, "c");
  for (let index = 0; index < 3; index++) limiter.enter(generous);
  refused(() => limiter.enter(senderOf({ requestsPerSecond: 3 }, "c")));
  assert.deepEqual([limiter.bodyBytesMax(generous, 100), limiter.bodyBytesMax(generous, 5)], [10, 5]);
  assert.equal(limiter.bodyBytesMax(senderOf(), 100), 100);
});

Deno.test("senders beyond the bound displace idle ones, not those with a request under way", () => {
  const { limiter } = scene({ requestsPerSecond: 1, concurrentRequests: 1 });
  limiter.enter(senderOf(undefined, "busy"));
  for (let index = 0; index < 10_500; index++) limiter.enter(senderOf(undefined, `s${index}`)).leave(true);
  assert.match(refused(() => limiter.enter(senderOf(undefined, "busy"))).message, /under way/);
});

Deno.test("who comes again before the time it was told is held back, and nobody else", async () => {
  const { limiter, clock } = scene();
  const edge = senderOf();
  assert.equal(limiter.holdBack(edge, 1), undefined, "the first time");
  clock.now = 999;
  const held = limiter.holdBack(edge, 1);
  assert.ok(held instanceof Promise);
  assert.equal(limiter.holdBack(senderOf(undefined, "other"), 1), undefined);
  await held;
  clock.now = 2_000;
  assert.equal(limiter.holdBack(edge, 1), undefined, "it has waited");
});

Deno.test("a stop waits for none: what is held back is given at once, and nothing is held back any more", async () => {
  const { limiter } = scene();
  const edge = senderOf();
  limiter.holdBack(edge, 1);
  const held = [limiter.holdBack(edge, 1), limiter.holdBack(edge, 1)];
  assert.ok(held.every((one) => one instanceof Promise));
  let given = 0;
  for (const one of held) void one.then(() => given++);
  limiter.close();
  await Promise.resolve();
  assert.equal(given, 2);
  assert.equal(limiter.holdBack(edge, 1), undefined);
});

Deno.test("so many answers are held back at most", async () => {
  const { limiter } = scene();
  const edge = senderOf();
  const held = Array.from({ length: 600 }, () => limiter.holdBack(edge, 1));
  assert.equal(held.filter((one) => one !== undefined).length, 512);
  await Promise.all(held);
  const again = limiter.holdBack(edge, 1);
  assert.ok(again instanceof Promise);
  await again;
});

Deno.test("ever new names of one kind of proof do not make the limits of another kind forgotten", () => {
  const { limiter } = scene({ requestsPerSecond: 1 });
  const edge = senderOf();
  limiter.enter(edge).leave(true);
  for (let index = 0; index < 10_500; index++) limiter.enter(senderOf(undefined, `jwt:${index}`)).leave(true);
  assert.equal(refused(() => limiter.enter(edge)).code, "throttled");
  // Of its own kind the oldest that is idle is forgotten, so that memory is bounded.
  limiter.enter(senderOf(undefined, "jwt:0")).leave(true);
});

Deno.test("a JWT that names itself as a static token has limits and a share of its own", () => {
  const { limiter, shares } = scene({ concurrentRequests: 1, queueShare: 0.5 });
  const jwt = senderOf(undefined, "jwt:edge");
  limiter.enter(jwt);
  shares.add([{ sender: "jwt:edge", bytes: 900 }]);
  assert.equal(refused(() => limiter.enter(jwt)).code, "throttled");
  limiter.enter(senderOf(undefined, "edge")).append(1, 500);
});
