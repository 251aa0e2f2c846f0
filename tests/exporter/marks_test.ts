import assert from "node:assert/strict";
import { type Mark, Marks } from "../../src/exporter/marks.ts";
import { piecesOf } from "../../src/exporter/payload.ts";
import type { Delivery } from "../../src/queue/queue.ts";

function deliveryOf(id: number, parts: number): Delivery {
  return {
    id,
    target: 1,
    signal: "traces",
    encoding: "gzip",
    mergeable: true,
    enqueuedAt: 0,
    payload: new Uint8Array(parts),
    parts: Array.from({ length: parts }, () => ({ sender: "s", items: 1, bytes: 1, inflatedBytes: 1 })),
    settle: () => Promise.resolve(),
  };
}

const DOUBTED: Mark = { kind: "doubted", sentBefore: 0, failures: 1 };
const APART: Mark = { kind: "apart", sentBefore: 0, failures: 1, dueAt: 5 };

Deno.test("marks move up with the parts that stay, and leave with those that are settled", () => {
  const marks = new Marks();
  assert(marks.none);
  const delivery = deliveryOf(7, 4);
  const [, second, , fourth] = piecesOf(delivery);
  marks.set(second!, DOUBTED);
  marks.set(fourth!, APART);
  assert.deepEqual([marks.none, marks.apart, marks.of(second!), marks.of(fourth!)], [false, 1, DOUBTED, APART]);
  marks.settle(delivery, [
    { kind: "delivered" },
    { kind: "retry", cause: "503" },
    { kind: "dead", reason: "no" },
    { kind: "retry", cause: "503" },
  ]);
  const [first, last] = piecesOf(deliveryOf(7, 2));
  assert.deepEqual([marks.of(first!), marks.of(last!), marks.apart], [DOUBTED, APART, 1]);
  marks.settle(deliveryOf(7, 2), [{ kind: "delivered" }, { kind: "delivered" }]);
  assert.deepEqual([marks.none, marks.apart], [true, 0]);
});

Deno.test("another mark takes the place of the one before, and the number of records has a bound", () => {
  const marks = new Marks();
  const [piece] = piecesOf(deliveryOf(1, 1));
  marks.set(piece!, APART);
  marks.set(piece!, DOUBTED);
  assert.equal(marks.apart, 0);
  for (let id = 2; id <= 50_001; id++) marks.set(piecesOf(deliveryOf(id, 1))[0]!, APART);
  assert.equal(marks.of(piece!), undefined, "the first is forgotten");
  assert.equal(marks.apart, 50_000);
});
