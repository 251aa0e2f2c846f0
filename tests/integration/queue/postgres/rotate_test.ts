/** Nothing that waits loses its payload with a partition, whoever touches it at that moment. */
import assert from "node:assert/strict";
import type { Client } from "../../../../src/postgres/driver.ts";
import { numberOf, partBytes, record, take } from "../../../queue/records.ts";
import { type Postgres, startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

/** Ids are those of the next partition from now on. */
async function skipPartition(database: Database): Promise<void> {
  await database.query(
    "SELECT setval('edgeferry.record_ids', ((last_value >> 20) + 1) << 20, false) FROM edgeferry.record_ids",
  );
}

/** Partitions that one rotation has dropped. */
async function dropped(client: Client): Promise<number> {
  const { rows: [row] } = await client.query("SELECT edgeferry.rotate() AS dropped");
  return Number(row?.dropped);
}

/** Resolves when a rotation waits for a lock. */
async function rotationWaits(database: Database): Promise<void> {
  for (;;) {
    const [row] = await database.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%rotate()%' AND pid <> pg_backend_pid()`,
    );
    if (row?.n === 1) return;
  }
}

async function scene(server: Postgres, name: string) {
  const database = await Database.make(server, name);
  // Time enough for a test to come in between.
  await database.query("ALTER FUNCTION edgeferry.rotate() SET lock_timeout = '20s'");
  return database;
}

Deno.test("a record that is moved to another target while its partition goes keeps its payload", async () => {
  await using server = await startPostgres();
  const database = await scene(server, "moved");
  const targets = [{ name: "one", required: true }, { name: "two", required: true }];
  {
    await using queue = await database.open({ role: "receiver", targets });
    await queue.append(record(1, { targets: [queue.target("one")], bytes: 1000 }));
  }
  await skipPartition(database);
  const mover = await database.connect("postgres", "mover");
  await mover.query("BEGIN");
  await mover.query("UPDATE edgeferry.deliveries SET target = 2 WHERE target = 1");
  const rotator = await database.connect("relay", "rotator");
  const rotated = dropped(rotator);
  await rotationWaits(database);
  await mover.query("COMMIT");
  assert.equal(await rotated, 0);
  assert.equal(await dropped(rotator), 1);
  await Promise.all([mover.end(), rotator.end()]);
  await using queue = await database.open({ targets });
  const [delivery] = await take(queue, { target: queue.target("two") });
  assert.equal(numberOf(delivery!), 1);
  assert.deepEqual(new Uint8Array(delivery!.payload), partBytes(1, 0, 1000));
});

Deno.test("a role whose transactions keep their snapshot loses no payload to a rotation", async () => {
  await using server = await startPostgres();
  const database = await scene(server, "isolated");
  await database.query("ALTER ROLE relay SET default_transaction_isolation = 'repeatable read'");
  await using queue = await database.open({ role: "receiver" });
  // An append that is committed while the rotation waits for it.
  const appender = await database.connect("postgres", "appender");
  await appender.query("BEGIN");
  await appender.query("LOCK TABLE edgeferry.payloads IN ROW EXCLUSIVE MODE");
  await skipPartition(database);
  const rotator = await database.connect("relay", "rotator");
  const rotated = dropped(rotator).then(() => "rotated", (error: Error) => error.message);
  assert.match(await rotated, /read committed/);
  await rotator.query("BEGIN ISOLATION LEVEL READ COMMITTED");
  const again = dropped(rotator);
  await rotationWaits(database);
  await appender.query(`INSERT INTO edgeferry.payloads VALUES (1, '[["a",3,32,128]]', 'abc')`);
  await appender.query(
    `INSERT INTO edgeferry.deliveries (target, signal, encoding, mergeable, record, items, bytes, cost, inflated_bytes, enqueued_at, shared)
       VALUES (1, 0, 0, true, 1, 3, 32, 100, 128, clock_timestamp(), false)`,
  );
  await appender.query("COMMIT");
  assert.equal(await again, 1);
  await rotator.query("COMMIT");
  const [row] = await database.query(
    "SELECT p.payload::text AS payload FROM edgeferry.deliveries d JOIN edgeferry.payloads p ON p.id = coalesce(d.payload, d.record)",
  );
  assert.equal(row?.payload, "\\x616263");
  // The relay's own rotation says so of itself.
  await queue.append(record(2));
  await Promise.all([appender.end(), rotator.end()]);
});

Deno.test("a backlog of large payloads is not written again and again", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "large");
  await using queue = await database.open({ role: "receiver", background: false });
  for (let number = 0; number < 24; number++) await queue.append(record(number, { bytes: 1 << 20 }));
  await skipPartition(database);
  const rotator = await database.connect("relay", "rotator");
  const wal = async () => Number((await database.query("SELECT pg_current_wal_insert_lsn() - '0/0' AS wal"))[0]?.wal);
  assert.equal(await dropped(rotator), 0);
  const before = await wal();
  for (let turn = 0; turn < 3; turn++) {
    await skipPartition(database);
    // The one that was skipped is empty, and may go.
    await dropped(rotator);
  }
  assert.ok(await wal() - before < 4 << 20, "24 MiB were written again");
  await rotator.end();
});
