import assert from "node:assert/strict";
import { deliveryOf } from "../../src/queue/delivery.ts";
import type { PartOutcome } from "../../src/queue/queue.ts";

const DELIVERED: PartOutcome = { kind: "delivered" };

function scene() {
  const part = { sender: "a", items: 1, bytes: 1, inflatedBytes: 1 };
  const settles: (readonly PartOutcome[])[] = [];
  const delivery = deliveryOf({
    id: 7,
    target: 1,
    enqueuedAt: 0,
    signal: "logs",
    encoding: "gzip",
    mergeable: true,
    parts: [part, part],
  }, {
    payload: () => Uint8Array.of(1, 2),
    settle(outcomes) {
      settles.push(outcomes);
      return Promise.resolve();
    },
  });
  return { delivery, settles };
}

Deno.test("the payload is lent until the settle, and whoever uses it afterwards is told at once", async () => {
  const { delivery } = scene();
  assert.deepEqual(delivery.payload, Uint8Array.of(1, 2));
  const settled = delivery.settle([DELIVERED, DELIVERED]);
  assert.throws(() => delivery.payload, { name: "ReferenceError", message: /^Record 7 has been settled/ });
  await settled;
});

Deno.test("the engine hears one settle, with an outcome for each part", async () => {
  const { delivery, settles } = scene();
  await assert.rejects(delivery.settle([DELIVERED]), {
    name: "RangeError",
    message: "Record 7 has 2 parts, not 1",
  });
  assert.equal(delivery.payload.length, 2, "it is lent on");
  const outcomes = [DELIVERED, DELIVERED];
  await delivery.settle(outcomes);
  await assert.rejects(delivery.settle(outcomes), { message: "Record 7 has been settled before" });
  assert.deepEqual(settles, [outcomes]);
});
