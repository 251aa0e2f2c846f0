/** Appends that are repeated or taken back. */
import assert from "node:assert/strict";
import { Client } from "../../../../src/postgres/driver.ts";
import type { Refusal } from "../../../../src/errors.ts";
import { costOfRow, encodeParts } from "../../../../src/queue/record_head.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { record, statsOf } from "../../../queue/records.ts";
import { CuttingProxy } from "../../../support/postgres/cutting_proxy.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

Deno.test("an append that was committed is not refused for the room that it takes itself", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "room");
  await using proxy = await CuttingProxy.start(server.port);
  const { payload, parts } = record(1);
  await using queue = await database.open({
    role: "receiver",
    bytesMax: costOfRow(payload.length, encodeParts(parts)) + 1,
    connect: async () => {
      const client = new Client({ ...server.config("relay"), port: proxy.port, database: database.name });
      client.on("error", () => {});
      await client.connect();
      return client;
    },
  });
  const cut = proxy.cutAnswerTo("INSERT INTO edgeferry.appends");
  const appended = queue.append(record(1));
  await cut;
  await appended;
  const stats = await statsOf(queue);
  assert.deepEqual([stats.records, stats.books.traces.accepted], [1, 3]);
});

Deno.test("a refused append that is committed while it is taken back is taken back all the same", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "taken_back");
  await using standby = await server.standby({ name: "second", synchronous: true });
  await using queue = await database.open();
  standby.freeze();
  const refusal = await queue.append(record(1)).then(() => assert.fail("It was answered"), (error: Refusal) => error);
  assert.equal(refusal.unknown, true);
  for (;;) {
    const [row] = await database.query(
      `SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, 'edgeferry.appends') > 0`,
    );
    if (Number(row?.waiting) > 0) break;
  }
  standby.thaw();
  // Its sender sends it again; what stayed would be this relay's for as long as it lives, and never sent.
  for (;;) {
    const [row] = await database.query(
      `SELECT (SELECT count(*) FROM edgeferry.appends) - (SELECT count(*) FROM edgeferry.deliveries) AS gone`,
    );
    if (Number(row?.gone) === 1) break;
  }
  const stats = await statsOf(queue);
  assert.equal(stats.records, 0);
  assertBalanced(stats);
});
