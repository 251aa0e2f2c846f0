/** What happens to an append whose commit nobody knows the outcome of. */
import assert from "node:assert/strict";
import type { Refusal } from "../../../../src/errors.ts";
import { Client } from "../../../../src/postgres/driver.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { numberOf, record, settleAll, statsOf, takeAll, TestLog } from "../../../queue/records.ts";
import { CuttingProxy } from "../../../support/postgres/cutting_proxy.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

/** In the text of an append, and in the name by which it is called once it is prepared. */
const APPEND = "append_";

/** Until a statement of the server says so. */
async function until(database: Database, condition: string): Promise<void> {
  for (;;) {
    const [row] = await database.query(`SELECT (${condition}) AS done`);
    if (row?.done === true) return;
  }
}

/** Statements that wait for the standby. */
const WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

Deno.test("an answer that is lost on its way is asked for again, and the record is kept once", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "cut");
  await using proxy = await CuttingProxy.start(server.port);
  await using queue = await database.open({
    connect: async () => {
      const client = new Client({ ...server.config("relay"), port: proxy.port, database: database.name });
      client.on("error", () => {});
      await client.connect();
      return client;
    },
  });
  for (const number of [1, 2, 3]) {
    const cut = proxy.cutAnswerTo(APPEND);
    const appended = queue.append(record(number));
    await cut;
    await appended;
  }
  const deliveries = await takeAll(queue, 3);
  assert.deepEqual(deliveries.map(numberOf), [1, 2, 3]);
  await settleAll(deliveries);
  const stats = await statsOf(queue);
  assert.deepEqual([stats.records, stats.books.traces.accepted, stats.books.traces.delivered], [0, 9, 9]);
  assertBalanced(stats);
});

Deno.test("a commit whose wait for the standby is cancelled is not answered until the standby has it", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "doubt");
  await using standby = await server.standby({ name: "second", synchronous: true });
  await using queue = await database.open();
  await queue.append(record(1));
  standby.freeze();
  let answered = false;
  const appended = queue.append(record(2)).then(() => answered = true);
  await until(database, `EXISTS (SELECT ${WAITING})`);
  const [first] = await database.query(`SELECT query_start::text AS began, pg_cancel_backend(pid) ${WAITING}`);
  // It was committed here, and the driver has been told so; it is repeated, which waits for the standby in its turn.
  await until(database, `EXISTS (SELECT ${WAITING} AND query_start > '${first?.began}')`);
  assert.equal(answered, false);
  standby.thaw();
  await appended;
  const deliveries = await takeAll(queue, 2);
  assert.deepEqual(deliveries.map(numberOf), [1, 2]);
  await settleAll(deliveries);
  const stats = await statsOf(queue);
  assert.deepEqual([stats.books.traces.accepted, stats.books.traces.delivered, stats.records], [6, 6, 0]);
});

Deno.test("past a sender's patience it is refused as unknown, and taken out again when the standby is back", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "lost");
  await using standby = await server.standby({ name: "second", synchronous: true });
  const log = new TestLog();
  await using queue = await database.open({ log });
  await queue.append(record(1));
  standby.freeze();
  const refusals = await Promise.all([2, 3].map((number) =>
    queue.append(record(number)).then(
      () => assert.fail("It was answered without the standby"),
      (error: Refusal) => error,
    )
  ));
  for (const { code, unknown } of refusals) assert.deepEqual([code, unknown], ["storage_failed", true]);
  assert.equal(queue.readiness().ready, false);
  assert.equal((await log.line(/storage failed/)).level, "error");
  standby.thaw();
  // Their senders have been told to send them again.
  await until(
    database,
    `(SELECT count(*) FROM edgeferry.deliveries) = 1 AND (SELECT sum(accepted) FROM (
       SELECT accepted FROM edgeferry.ledger UNION ALL SELECT accepted FROM edgeferry.totals) b) = 3`,
  );
  await queue.append(record(2));
  assert.deepEqual((await takeAll(queue, 2)).map(numberOf), [1, 2]);
  assertBalanced(await statsOf(queue));
});
