import assert from "node:assert/strict";
import { Refusal } from "../../src/errors.ts";
import { Shipment } from "../../src/exporter/shipment.ts";
import type { Delivery, PartOutcome } from "../../src/queue/queue.ts";

function deliveryOf(id: number, parts: number, settled: (readonly PartOutcome[])[], until?: number): Delivery {
  return {
    id,
    target: 1,
    signal: "traces",
    encoding: "gzip",
    mergeable: true,
    enqueuedAt: 0,
    payload: new Uint8Array(parts),
    parts: Array.from({ length: parts }, () => ({ sender: "s", items: 1, bytes: 1, inflatedBytes: 1 })),
    ...(until === undefined ? {} : { until }),
    settle: (outcomes) => {
      settled.push(outcomes);
      return Promise.resolve();
    },
  };
}

Deno.test("a record is settled once each of its parts has met something, before the others", async () => {
  const settled: (readonly PartOutcome[])[] = [];
  const shipment = new Shipment([deliveryOf(1, 2, settled), deliveryOf(2, 1, settled)]);
  const [first, second, third] = shipment.pieces;
  shipment.set(second!, { kind: "delivered" });
  assert.equal(settled.length, 0);
  shipment.set(third!, { kind: "delivered" });
  assert.equal(settled.length, 1);
  assert(shipment.has(second!) && !shipment.has(first!));
  shipment.setRest({ kind: "retry", cause: "503", afterMs: 7 });
  assert.deepEqual(settled[1], [{ kind: "retry", cause: "503", afterMs: 7 }, { kind: "delivered" }]);
  await shipment.settled();
});

Deno.test("the parts of a record that wait, wait as long as the first of them", () => {
  const settled: (readonly PartOutcome[])[] = [];
  const shipment = new Shipment([deliveryOf(1, 3, settled)]);
  const [first, second, third] = shipment.pieces;
  shipment.set(first!, { kind: "retry", cause: "alone", afterMs: 5_000 });
  shipment.set(second!, { kind: "delivered" });
  shipment.set(third!, { kind: "retry", cause: "503", afterMs: 20 });
  assert.deepEqual(settled[0]!.map((outcome) => outcome.kind === "retry" ? outcome.afterMs : 0), [20, 0, 20]);
});

Deno.test("a queue that is closed is no defect; anything else that a settle throws is", async () => {
  const closed = { ...deliveryOf(1, 1, []), settle: () => Promise.reject(new Refusal("shutting_down", "closed")) };
  const shipment = new Shipment([closed]);
  shipment.setRest({ kind: "delivered" });
  await shipment.settled();
  const broken = new Shipment([{ ...closed, settle: () => Promise.reject(new RangeError("parts")) }]);
  broken.setRest({ kind: "delivered" });
  await assert.rejects(broken.settled(), RangeError);
});

Deno.test("those who wait end it with the first of them", () => {
  const shipment = new Shipment([deliveryOf(1, 1, [], 900), deliveryOf(2, 1, [], 400), deliveryOf(3, 1, [])]);
  assert.equal(shipment.until(), 400);
  assert.equal(shipment.until([shipment.pieces[2]!]), Infinity);
});
