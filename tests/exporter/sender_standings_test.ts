/** What is remembered of senders that an endpoint tells apart. */
import assert from "node:assert/strict";
import { SenderStandings } from "../../src/exporter/sender_standings.ts";

function standings(tryingMax = 10) {
  let now = 0;
  const own = new SenderStandings({ initialMs: 1_000, maxMs: 8_000 }, tryingMax, () => now, () => 1);
  return { own, later: (ms: number) => void (now += ms) };
}

Deno.test("a sender that is refused waits, longer each time, and nobody else does", () => {
  const { own, later } = standings();
  for (const waitMs of [1_000, 2_000, 4_000, 8_000, 8_000]) {
    assert.equal(own.refused("a"), waitMs);
    assert.equal(own.leftMs("a"), waitMs);
    assert.equal(own.leftMs("b"), 0);
    later(waitMs);
    assert.equal(own.leftMs("a"), 0);
  }
  own.taken("a");
  assert.equal(own.refused("a"), 1_000);
});

Deno.test("what several requests under way at once are refused counts once, and the longest wait that is asked for holds", () => {
  const { own, later } = standings();
  own.refused("a");
  assert.equal(own.refused("a"), 1_000);
  assert.equal(own.refused("a", 5_000), 5_000);
  assert.equal(own.refusalsOf("a"), 1);
  later(5_000);
  assert.equal(own.refused("a"), 2_000);
});

Deno.test("those that are not refused come first, then who has waited longest", () => {
  const { own } = standings();
  assert.deepEqual(own.inOrder(["a", "b", "c"]), ["a", "b", "c"]);
  own.refused("b");
  own.refused("a");
  assert.deepEqual(own.inOrder(["a", "b", "c"]), ["c", "b", "a"]);
  own.taken("a");
  assert.deepEqual(own.inOrder(["a", "b", "c"]), ["a", "c", "b"]);
});

Deno.test("a failure is a sender's own once others have been taken between two of them", () => {
  const { own } = standings();
  assert.equal(own.failed("a", 7), false);
  assert.equal(own.failed("a", 7), false);
  assert.equal(own.failed("a", 8), true);
  own.taken("a");
  assert.equal(own.isGuilty("a"), false);
  assert.equal(own.failed("a", 9), false);
});

Deno.test("of a sender that is refused one request is under way at once, and of others as many as there are", () => {
  const { own, later } = standings();
  own.tries("b");
  own.refused("a");
  later(1_000);
  assert.equal(own.leftMs("a"), 0);
  const ended = own.tries("a");
  assert.equal(own.leftMs("a"), 1_000);
  assert.equal(own.leftMs("b"), 0);
  assert.equal(own.refused("a"), 2_000, "its answer is news");
  ended();
  later(2_000);
  assert.equal(own.leftMs("a"), 0);
});

Deno.test("another identity is tried at once", () => {
  const { own } = standings();
  own.refused("a");
  own.hasten();
  assert.equal(own.leftMs("a"), 0);
});

Deno.test("of many senders those are forgotten first that are not refused", () => {
  const { own } = standings();
  own.refused("a");
  for (let index = 0; index < 10_000; index++) own.taken(`s${index}`);
  assert.equal(own.refusalsOf("a"), 1);
});

Deno.test("of all senders that are refused so many requests are under way as may be, and others are not counted", () => {
  const { own, later } = standings(1);
  own.refused("a");
  own.refused("b");
  later(1_000);
  own.tries("c");
  assert.equal(own.trying, 0);
  const ended = own.tries("a");
  assert.equal(own.trying, 1);
  assert.deepEqual(["a", "b", "c"].map((sender) => own.leftMs(sender)), [1_000, 1_000, 0]);
  ended();
  assert.equal(own.trying, 0);
  assert.deepEqual(["a", "b", "c"].map((sender) => own.leftMs(sender)), [0, 0, 0]);
});
