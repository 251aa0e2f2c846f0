import assert from "node:assert/strict";
import type { PartOutcome } from "../../src/queue/queue.ts";
import { longestRetryMs, settlementOf } from "../../src/queue/outcomes.ts";

const parts = [{ items: 3, bytes: 20 }, { items: 5, bytes: 30 }];
const delivered: PartOutcome = { kind: "delivered" };
const retry: PartOutcome = { kind: "retry", cause: "away" };

Deno.test("a row all of whose parts have arrived is done; no part has more rejected than it has items", () => {
  assert.deepEqual(settlementOf(parts, [delivered, delivered]), { kind: "done", rejected: 0 });
  assert.deepEqual(
    settlementOf(parts, [{ kind: "delivered", rejected: 9 }, { kind: "delivered", rejected: 2 }]),
    { kind: "done", rejected: 5 },
  );
});

Deno.test("a row of which all is to be sent again stays as it is", () => {
  assert.equal(settlementOf(parts, [retry, retry]), undefined);
});

Deno.test("anything else is told part by part", () => {
  const dead: PartOutcome = { kind: "dead", reason: "bad", status: 400 };
  assert.deepEqual(settlementOf(parts, [{ kind: "delivered", rejected: 1, message: "one" }, retry]), {
    kind: "parts",
    bytes: 50,
    outcomes: [{ kind: "delivered", rejected: 1 }, { kind: "retry" }],
  });
  assert.deepEqual(settlementOf(parts, [dead, dead]), { kind: "parts", bytes: 50, outcomes: [dead, dead] });
});

Deno.test("a part of which some is left is told, though nothing else has met its end", () => {
  const remains = { rest: { payload: new Uint8Array(3), items: 1, inflatedBytes: 9 } };
  assert.deepEqual(settlementOf(parts, [retry, { ...retry, remains }]), {
    kind: "parts",
    bytes: 50,
    outcomes: [{ kind: "retry" }, { kind: "retry", remains }],
  });
});

Deno.test("what is to be sent again waits for the part that is to wait longest", () => {
  assert.equal(longestRetryMs([delivered, retry]), 0);
  assert.equal(longestRetryMs([{ ...retry, afterMs: 10 }, delivered, { ...retry, afterMs: 700 }, retry]), 700);
});
