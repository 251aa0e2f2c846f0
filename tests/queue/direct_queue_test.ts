import assert from "node:assert/strict";
import { openDirectQueue } from "../../src/queue/direct_queue.ts";
import { openQueue } from "../../src/queue/open.ts";
import { queueContract } from "./contract.ts";
import { LIMIT, NEVER, numberOf, record, settleAll, statsOf, take, takeAll } from "./records.ts";

queueContract({
  name: "none",
  cost: ({ payload }) => payload.length,
  claims: { durable: false, merges: false, shared: false },
  open: ({ folder: path, ...settings }) => openQueue({ storage: "none", path, ...settings }),
});

Deno.test("none: a record that nobody took in time is withdrawn", async () => {
  await using queue = openDirectQueue({ bytesMax: 1000, waitMs: 20 });
  await assert.rejects(queue.append(record(1)), {
    code: "upstream_unavailable",
    message: /did not answer within 20 ms/,
  });
  const { records, bytes } = await statsOf(queue);
  assert.deepEqual({ records, bytes }, { records: 0, bytes: 0 });
  const appended = queue.append(record(2));
  const deliveries = await take(queue);
  assert.deepEqual(deliveries.map(numberOf), [2]);
  await settleAll(deliveries);
  await appended;
});

Deno.test("none: a sender whose time ran out while its record is on its way is told so; the record still settles", async () => {
  await using queue = openDirectQueue({ bytesMax: 1000, waitMs: 20 });
  const appended = assert.rejects(queue.append(record(1)), {
    code: "upstream_unavailable",
    retryAfterS: 1,
    spread: false,
  });
  const deliveries = await take(queue);
  await appended;
  assert.equal((await statsOf(queue)).inFlight, 1);
  await settleAll(deliveries);
  assert.equal((await statsOf(queue)).inFlight, 0);
});

Deno.test("none: as many as may wait do, and no more", async () => {
  await using queue = openDirectQueue({ bytesMax: 1 << 20, recordsMax: 2 });
  const appends = [queue.append(record(1)), queue.append(record(2))];
  await assert.rejects(queue.append(record(3)), { code: "queue_full", message: /2 requests wait/ });
  await settleAll(await takeAll(queue, 2));
  await Promise.all(appends);
});

Deno.test("none: a take within one record returns one, so that a partial success reaches the sender that it belongs to", async () => {
  await using queue = openDirectQueue({ bytesMax: 1 << 20 });
  const appends = [queue.append(record(1)), queue.append(record(2))];
  const first = await queue.take({ ...LIMIT, recordsMax: 1 }, NEVER);
  const second = await queue.take({ ...LIMIT, recordsMax: 1 }, NEVER);
  assert.deepEqual([first.length, second.length], [1, 1]);
  await settleAll(second, { kind: "delivered", rejected: 1, message: "one is late" });
  await settleAll(first, { kind: "delivered", rejected: 0, message: "deprecated field" });
  assert.deepEqual(await Promise.all(appends), [
    { partialSuccess: { rejected: 0, message: "deprecated field" } },
    { partialSuccess: { rejected: 1, message: "one is late" } },
  ]);
});

Deno.test("none: what waits is taken together, of one encoding, within the limits; one that is not mergeable alone", async () => {
  await using queue = openDirectQueue({ bytesMax: 1 << 20 });
  const bytes = record(1).payload.length;
  const appends = [
    queue.append(record(1)),
    queue.append(record(2, { encoding: "identity" })),
    queue.append(record(3)),
    queue.append(record(4)),
    queue.append({ ...record(5), mergeable: false }),
    queue.append(record(6)),
  ];
  const runs: number[][] = [];
  while (runs.flat().length < 6) {
    const deliveries = await queue.take({ ...LIMIT, bytesMax: bytes * 2 }, NEVER);
    runs.push(deliveries.map(({ id }) => id));
    await settleAll(deliveries, { kind: "delivered" });
  }
  assert.deepEqual(runs, [[1, 3], [2], [4], [5], [6]]);
  await Promise.all(appends);
});

Deno.test("none: of a shared request each sender is warned, and the books have what was rejected", async () => {
  await using queue = openDirectQueue({ bytesMax: 1 << 20 });
  const appends = [queue.append(record(1, { items: 10 })), queue.append(record(2, { items: 10 }))];
  const [first, second] = await queue.take(LIMIT, NEVER);
  await first!.settle([{ kind: "delivered", rejected: 3, message: "some were rejected", shared: true }]);
  await second!.settle([{ kind: "delivered", message: "some were rejected", shared: true }]);
  const warning = { partialSuccess: { rejected: 0, message: "some were rejected" } };
  assert.deepEqual(await Promise.all(appends), [warning, warning]);
  const { accepted, delivered, rejectedByCollector } = (await statsOf(queue)).books.traces;
  assert.deepEqual([accepted, delivered, rejectedByCollector], [20, 17, 3]);
});

Deno.test("none: each delivery says until when its sender waits", async () => {
  await using queue = openDirectQueue({ bytesMax: 1 << 20, waitMs: 5_000, elapsed: () => 1_000 });
  const appended = queue.append(record(1));
  const [delivery] = await take(queue);
  assert.equal(delivery!.until, 6_000);
  await settleAll([delivery!]);
  await appended;
});

Deno.test("none: of a record with some parts dead the sender is told by a partial success", async () => {
  await using queue = openDirectQueue({ bytesMax: 1 << 20 });
  const appended = queue.append(record(1, { parts: 2, items: 10 }));
  const [delivery] = await take(queue);
  await delivery!.settle([{ kind: "delivered" }, { kind: "dead", reason: "bad", items: 4 }]);
  assert.deepEqual(await appended, { partialSuccess: { rejected: 4, message: "bad" } });
  const { accepted, delivered, rejectedByCollector } = (await statsOf(queue)).books.traces;
  assert.deepEqual([accepted, delivered, rejectedByCollector], [20, 16, 4]);
});
