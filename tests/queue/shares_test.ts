import assert from "node:assert/strict";
import { costOfPart } from "../../src/queue/cost.ts";
import { Shares } from "../../src/queue/shares.ts";

Deno.test("what a sender has is what came less what left, never below nothing", () => {
  const shares = new Shares(() => 0);
  const cost = costOfPart(0);
  shares.add([{ sender: "a", bytes: 10 }, { sender: "b", bytes: 1 }, { sender: "a", bytes: 5 }]);
  assert.deepEqual(["a", "b", "c"].map((id) => shares.bytesOf(id)), [15 + 2 * cost, 1 + cost, 0]);
  shares.remove([{ sender: "a", bytes: 10 }, { sender: "b", bytes: 7 }]);
  assert.deepEqual(["a", "b"].map((id) => shares.bytesOf(id)), [5 + cost, 0]);
  shares.replace([{ sender: "b", bytes: 3 }]);
  assert.deepEqual(["a", "b"].map((id) => shares.bytesOf(id)), [0, 3]);
});

Deno.test("when a share drains is told from the sender's own rate", () => {
  let now = 0;
  const shares = new Shares(() => now);
  assert.equal(shares.secondsFor("nobody", 100), undefined, "nothing is known");
  shares.add([{ sender: "fast", bytes: 100_000 }, { sender: "slow", bytes: 100_000 }]);
  for (let second = 0; second < 60; second++) {
    now += 1_000;
    // What a part costs beside its payload drains with it.
    shares.remove([{ sender: "fast", bytes: 1_000 - costOfPart(0) }, { sender: "slow", bytes: 10 - costOfPart(0) }]);
  }
  assert.ok(Math.abs(shares.secondsFor("fast", 10_000)! - 10) <= 1);
  assert.ok(Math.abs(shares.secondsFor("slow", 1_000)! - 100) <= 10);
});

Deno.test("of many senders those with nothing queued are forgotten", () => {
  const shares = new Shares(() => 0);
  shares.add([{ sender: "kept", bytes: 1 }]);
  for (let index = 0; index < 5_000; index++) {
    shares.add([{ sender: `s${index}`, bytes: 1 }]);
    shares.remove([{ sender: `s${index}`, bytes: 1 }]);
  }
  assert.equal(shares.bytesOf("kept"), costOfPart(1));
});
