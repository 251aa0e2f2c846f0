/** Transactions that touch the same rows: none waits for one that waits for it, and where PostgreSQL ends one, it is made again. */
import assert from "node:assert/strict";
import { Client } from "../../../../src/postgres/driver.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { LIMIT, NEVER, record, settleAll, statsOf, TestLog } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

const TARGETS = [{ name: "first", required: true }, { name: "second", required: true }];

/** A relay whose plans are of one kind, so that the test knows in which order it would come to rows. */
async function relayWith(database: Database, plans: string, log: TestLog) {
  return await database.open({
    targets: TARGETS,
    log,
    connect: async () => {
      const client = new Client({ ...database.server.config("relay"), database: database.name, options: plans });
      client.on("error", () => {});
      await client.connect();
      return client;
    },
  });
}

/** Resolves when so many statements wait for a lock. */
async function waiting(database: Database, count: number): Promise<void> {
  for (;;) {
    const [row] = await database.query(
      "SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    );
    if (row?.waiting === count) return;
  }
}

Deno.test("two relays that settle the same records for different targets wait for each other in one order", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "settles");
  const log = new TestLog();
  await using receiver = await database.open({ role: "receiver", targets: TARGETS, log });
  await Promise.all([1, 2, 3, 4, 5].map((number) => receiver.append(record(number, { targets: [1, 2] }))));
  // One comes to them by the index, in order; the other as they lie in the table, which is the other way round.
  await database.query(
    `DO $$ BEGIN
      CREATE TEMP TABLE turned AS SELECT * FROM edgeferry.shared;
      TRUNCATE edgeferry.shared;
      INSERT INTO edgeferry.shared SELECT * FROM turned ORDER BY record DESC;
    END $$`,
  );
  await using one = await relayWith(database, "-c enable_hashjoin=off -c enable_mergejoin=off", log);
  await using other = await relayWith(database, "-c enable_nestloop=off -c enable_mergejoin=off", log);
  const firsts = await one.take(LIMIT, NEVER);
  const seconds = await other.take({ ...LIMIT, target: 2 }, NEVER);
  assert.deepEqual([firsts.length, seconds.length], [5, 5]);
  const between = await database.connect("postgres", "test");
  await between.query("BEGIN");
  await between.query({ text: "SELECT FROM edgeferry.shared WHERE record = $1 FOR UPDATE", values: [firsts[2]!.id] });
  const settled = Promise.all([settleAll(firsts), settleAll(seconds)]);
  await waiting(database, 2);
  await between.query("COMMIT");
  await between.end();
  await settled;
  const stats = await statsOf(receiver);
  assert.equal(stats.records, 0);
  assertBalanced(stats);
  assert.deepEqual(server.lines.filter((line) => line.includes("deadlock")), []);
  assert.deepEqual(log.lines, []);
});

Deno.test("an outcome whose transaction PostgreSQL ends for a deadlock is written at once, without an ERROR", async () => {
  await using server = await startPostgres({ settings: { deadlock_timeout: "3s" } });
  const database = await Database.make(server, "loser");
  const log = new TestLog();
  await using queue = await database.open({ targets: TARGETS, log });
  for (const number of [1, 2]) await queue.append(record(number, { targets: [1, 2] }));
  const deliveries = await queue.take(LIMIT, NEVER);
  const [low, high] = deliveries.map(({ id }) => id);
  const other = await database.connect("postgres", "test");
  // The one that looks for a deadlock is the one that is ended: this one never looks.
  await other.query("SET deadlock_timeout = '1h'");
  await other.query("BEGIN");
  const lock = (id: number | undefined) =>
    other.query({ text: "SELECT FROM edgeferry.shared WHERE record = $1 FOR UPDATE", values: [id] });
  await lock(high);
  const settled = settleAll(deliveries);
  await waiting(database, 1);
  // Given when the other has been ended.
  await lock(low);
  await other.query("COMMIT");
  await other.end();
  await settled;
  assert.ok(server.lines.some((line) => line.includes("deadlock detected")));
  assert.deepEqual(log.lines, []);
  const stats = await statsOf(queue);
  assert.deepEqual([stats.books.traces.delivered, stats.books.traces.queued], [6, 0]);
  assertBalanced(stats);
});
