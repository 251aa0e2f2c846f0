/** The size of the tables: payloads go by whole partitions, whatever still waits in one. */
import assert from "node:assert/strict";
import type { SendingQueue } from "../../../../src/queue/queue.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { numberOf, partBytes, record, settleAll, statsOf, take, takeAll } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

const KIB = 1024;

async function fill(queue: SendingQueue, from: number, count: number): Promise<void> {
  for (let number = from; number < from + count; number += 50) {
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => queue.append(record(number + index, { bytes: 64 * KIB }))),
    );
  }
}

async function drain(queue: SendingQueue, count: number): Promise<void> {
  for (let left = count; left > 0;) {
    const deliveries = await take(queue);
    await settleAll(deliveries);
    left -= deliveries.length;
  }
}

/** As a relay does it; so often as there is something to do. */
async function rotate(database: Database): Promise<void> {
  const client = await database.connect("relay");
  try {
    for (let dropped = 1; dropped > 0;) {
      const { rows: [row] } = await client.query("SELECT edgeferry.rotate() AS dropped");
      dropped = Number(row?.dropped);
    }
  } finally {
    await client.end();
  }
}

async function payloads(database: Database): Promise<{ readonly partitions: number; readonly bytes: number }> {
  const [row] = await database.query(
    `SELECT count(*)::int AS partitions, coalesce(sum(pg_total_relation_size(inhrelid)), 0)::float8 AS bytes
       FROM pg_inherits WHERE inhparent = 'edgeferry.payloads'::regclass`,
  );
  return { partitions: Number(row?.partitions), bytes: Number(row?.bytes) };
}

Deno.test("a backlog that has drained gives its space back; what still waits is moved on, byte for byte", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "rotation");
  const rounds = 4;
  {
    await using queue = await database.open();
    // Held all the time, as a poisoned record is.
    await queue.append(record(1, { signal: "logs", bytes: 100 * KIB }));
    // A snapshot that stays open, as a backup has it: no row may be removed that it could see.
    const backup = await database.connect("postgres");
    await backup.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await backup.query("SELECT count(*) FROM edgeferry.targets");
    for (let round = 0; round < rounds; round++) {
      await fill(queue, 1_000 * round, 1_200);
      const full = await payloads(database);
      assert.ok(full.bytes > 75_000_000, `${full.bytes} bytes hold 75 MiB`);
      await rotate(database);
      await drain(queue, 1_200);
      // Ids have moved on to the next partition: with the next record the drained one is behind.
      await queue.append(record(7, { bytes: 10 }));
      await drain(queue, 1);
      await rotate(database);
    }
    const { partitions, bytes } = await payloads(database);
    assert.ok(bytes < 80_000_000, `${bytes} bytes are left of ${rounds} times 75 MiB`);
    assert.ok(partitions <= 6, `${partitions} partitions are left`);
    await backup.query("COMMIT");
    await backup.end();
    assertBalanced(await statsOf(queue));
  }
  await using again = await database.open();
  const [moved] = await takeAll(again, 1, "logs");
  assert.equal(numberOf(moved!), 1);
  assert.deepEqual(new Uint8Array(moved!.payload), partBytes(1, 0, 100 * KIB));
  await settleAll([moved!]);
  assert.equal((await statsOf(again)).records, 0);
});

Deno.test("a reader of old payloads keeps their partition, and holds up no append", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "reader");
  await using queue = await database.open();
  await fill(queue, 0, 1_200);
  await rotate(database);
  await drain(queue, 1_200);
  const reader = await database.connect("postgres");
  await reader.query("BEGIN");
  await reader.query("SELECT count(*) FROM edgeferry.payloads");
  const before = await payloads(database);
  await rotate(database);
  await queue.append(record(1));
  assert.ok((await payloads(database)).partitions >= before.partitions);
  await reader.query("COMMIT");
  await reader.end();
  await rotate(database);
  assert.ok((await payloads(database)).bytes < 10_000_000);
});
