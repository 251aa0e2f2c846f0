/** What waits for one target becomes another's, while a relay settles it. */
import assert from "node:assert/strict";
import { postgresInspector } from "../../../../src/queue/postgres/inspect.ts";
import { record, settleAll, take } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

const LEFT =
  `SELECT sum(records)::int AS records, sum(bytes)::int AS bytes, sum(queued)::int AS queued, sum(accepted)::int AS accepted,
    (SELECT coalesce(sum(bytes), 0)::int FROM (SELECT bytes FROM edgeferry.sender_ledger UNION ALL SELECT bytes FROM edgeferry.sender_totals) s) AS senders
  FROM (SELECT records, bytes, queued, accepted FROM edgeferry.ledger
    UNION ALL SELECT records, bytes, queued, accepted FROM edgeferry.totals) books`;

Deno.test("a record that its other target ends with while it is moved there leaves nothing in the books", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "moved_twice");
  const targets = [{ name: "one", required: true }, { name: "two", required: true }];
  await using queue = await database.open({ targets });
  const [one, two] = [queue.target("one"), queue.target("two")];
  await queue.append(record(1, { targets: [one, two] }));
  const deliveries = await take(queue, { target: two });
  const locker = await database.connect("postgres", "locker");
  await locker.query("BEGIN");
  await locker.query({ text: "SELECT FROM edgeferry.deliveries WHERE target = $1 FOR UPDATE", values: [one] });
  const inspector = postgresInspector({ path: "it", connect: () => database.connect("relay", "mover") });
  const moving = inspector.move("one", "two");
  for (;;) {
    const [row] = await database.query(
      "SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE application_name = 'mover' AND wait_event_type = 'Lock'",
    );
    if (row?.waiting === 1) break;
  }
  await settleAll(deliveries);
  await locker.query("COMMIT");
  await locker.end();
  assert.equal((await moving).records, 1);
  const [left] = await database.query(LEFT);
  assert.deepEqual(left, { records: 0, bytes: 0, queued: 0, accepted: 3, senders: 0 });
});

Deno.test("what is given up of a record that was cut down counts for its sender as what was left", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "given_up");
  await using queue = await database.open();
  await queue.append(record(1, { parts: 2 }));
  const [delivery] = await take(queue);
  // The reason is the Collector's, and may hold anything.
  await delivery!.settle([{ kind: "dead", reason: "bad\0data", status: 400 }, {
    kind: "retry",
    afterMs: 600_000,
    cause: "busy",
  }]);
  const inspector = postgresInspector({ path: "it", connect: () => database.connect("relay", "mover") });
  const [letter] = await inspector.list({ limit: 10 });
  assert.equal(letter?.reason, "bad\ufffddata");
  const [name] = await database.query("SELECT name FROM edgeferry.targets");
  assert.deepEqual(await inspector.abandon(String(name?.name)), { records: 1, items: 3, deadLetters: 0 });
  const [left] = await database.query(LEFT);
  assert.deepEqual(left, { records: 0, bytes: 0, queued: 0, accepted: 6, senders: 0 });
});
