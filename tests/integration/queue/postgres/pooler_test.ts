/** Behind PgBouncer in transaction mode, where each transaction may be on another connection of the server's. */
import assert from "node:assert/strict";
import { Client } from "../../../../src/postgres/driver.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { LIMIT, numberOf, record, settleAll, statsOf } from "../../../queue/records.ts";
import { startPgBouncer } from "../../../support/postgres/pgbouncer.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

Deno.test("two relays and a function share one connection of the server, where each would prepare its append", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "pooled");
  await using pooler = await startPgBouncer(server, 1);
  const connect = async () => {
    const client = new Client({ ...server.config("relay"), port: pooler.port, database: database.name });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
  await using one = await database.open({ connect });
  await using two = await database.open({ connect });
  await using receiver = await database.open({ connect, role: "receiver", background: false, connectionsMax: 1 });
  const queues = [one, two, receiver];
  const numbers = Array.from({ length: 60 }, (_, number) => number);
  for (let from = 0; from < numbers.length; from += queues.length) {
    await Promise.all(queues.map((queue, index) => queue.append(record(from + index))));
  }
  const abort = new AbortController();
  const seen: number[] = [];
  const takers = [one, two].map(async (queue) => {
    while (seen.length < numbers.length) {
      const deliveries = await queue.take({ ...LIMIT, recordsMax: 5 }, abort.signal);
      seen.push(...deliveries.map(numberOf));
      await settleAll(deliveries);
    }
    abort.abort();
  });
  await Promise.all(takers);
  assert.deepEqual(seen.sort((a, b) => a - b), numbers);
  const stats = await statsOf(one);
  assert.deepEqual([stats.records, stats.books.traces.delivered], [0, 3 * numbers.length]);
  assertBalanced(stats);
});
