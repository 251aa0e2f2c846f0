import assert from "node:assert/strict";
import { Evidence, FICKLE_MS } from "../../src/exporter/evidence.ts";

Deno.test("a refusal is proven by what was sent after it alone, however late the answer to the others came", () => {
  const evidence = new Evidence(false);
  const first = evidence.send();
  const refused = evidence.send();
  const occasion = { sentBefore: evidence.sent };
  assert.equal(occasion.sentBefore, refused);
  // It was under way when the refusal came.
  evidence.took(first, "s", undefined);
  assert.equal(evidence.takenSince(occasion, "s"), false);
  evidence.took(evidence.send(), "another", undefined);
  assert.equal(evidence.takenSince(occasion, "s"), true);
});

Deno.test("an endpoint that tells senders apart proves nothing of one by another", () => {
  const evidence = new Evidence(true);
  evidence.send();
  const occasion = { sentBefore: evidence.sent };
  evidence.took(evidence.send(), "a", undefined);
  assert.deepEqual([evidence.takenSince(occasion, "a"), evidence.takenSince(occasion, "b")], [true, false]);
});

Deno.test("of several endpoints each is proven by itself", () => {
  const evidence = new Evidence(false);
  const occasion = { sentBefore: evidence.sent, by: "first" };
  evidence.took(evidence.send(), "s", "second");
  assert.equal(evidence.takenSince(occasion, "s"), false);
  assert.equal(evidence.takenSince({ sentBefore: 0 }, "s"), true, "somebody took it");
  evidence.took(evidence.send(), "s", "first");
  assert.equal(evidence.takenSince(occasion, "s"), true);
  assert.equal(evidence.lastTaken("s", "second"), 1);
});

Deno.test("the number of senders that are remembered has a bound", () => {
  const evidence = new Evidence(true);
  for (let each = 0; each <= 20_000; each++) evidence.took(evidence.send(), `s${each}`, undefined);
  assert.equal(evidence.lastTaken("s0"), 0);
  assert.equal(evidence.lastTaken("s1"), 2);
  assert.equal(evidence.lastTaken("s20000"), 20_001);
});

Deno.test("an endpoint that took what it had refused is fickle for ten minutes", () => {
  let now = 0;
  const evidence = new Evidence(false, () => now);
  assert.equal(evidence.fickle, false);
  evidence.contradicted();
  now += FICKLE_MS - 1;
  assert.equal(evidence.fickle, true);
  now += 1;
  assert.equal(evidence.fickle, false);
});
