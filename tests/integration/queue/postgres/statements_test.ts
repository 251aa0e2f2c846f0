import assert from "node:assert/strict";
import { Floors, snapshotOf } from "../../../../src/queue/postgres/books.ts";
import * as statements from "../../../../src/queue/postgres/statements.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

Deno.test("PostgreSQL compiles none of the statements, which costs more than it gives: what they do is small", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "plans");
  const client = await database.connect("owner");
  // As a backlog leaves it: pages that nothing is in, which the planner counts. Who looks after tables analyses this one, and not the small ones.
  await client.query(`INSERT INTO edgeferry.deliveries
      (record, enqueued_at, inflated_bytes, target, items, bytes, cost, signal, encoding, mergeable, shared)
    SELECT n, now(), 1, 1, 1, 1, 1, n % 2, 0, true, false FROM generate_series(1, 100000) n`);
  await client.query("DELETE FROM edgeferry.deliveries WHERE record < 99960");
  await client.query("ANALYZE edgeferry.deliveries");
  await client.query("SET plan_cache_mode = force_generic_plan");
  const compiled: string[] = [];
  let planned = 0;
  // What is no whole statement is part of the others.
  for (const [name, text] of Object.entries(statements)) {
    if (typeof text !== "string" || !/^(WITH|SELECT|INSERT) /.test(text)) continue;
    const count = Math.max(0, ...[...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number)));
    await client.query(`PREPARE ${name} AS ${text}`);
    const { rows } = await client.query(
      `EXPLAIN EXECUTE ${name}${count === 0 ? "" : `(${Array(count).fill("NULL").join(", ")})`}`,
    );
    if (rows.some((row) => Object.values(row).some((line) => String(line).startsWith("JIT:")))) compiled.push(name);
    planned++;
  }
  await client.end();
  assert(planned > 10);
  assert.deepEqual(compiled, []);
});

Deno.test("a look at the totals does not go through what has gone behind an open snapshot, once it has seen where lanes begin", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "floors");
  const client = await database.connect("owner");
  await client.query("INSERT INTO edgeferry.targets (name) VALUES ('default')");
  await client.query(`INSERT INTO edgeferry.deliveries
      (record, enqueued_at, inflated_bytes, target, items, bytes, cost, signal, encoding, mergeable, shared)
    SELECT n, now(), 1, 1, 1, 1, 1, 0, 0, true, false FROM generate_series(1, 50000) n`);
  const backup = await database.connect("postgres");
  await backup.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  await backup.query("SELECT count(*) FROM edgeferry.deliveries");
  await client.query("DELETE FROM edgeferry.deliveries WHERE record < 49990");
  const floors = new Floors();
  const look = async (now: number) => {
    const values = [null, floors.parameter(now)];
    const { rows: [row] } = await client.query({ text: statements.STATS, values });
    const { rows: [explained] } = await client.query({
      text: `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${statements.STATS}`,
      values,
    });
    const snapshot = snapshotOf(row ?? {});
    floors.learn(snapshot.firsts);
    const pages = Number(
      /"Shared Hit Blocks": (\d+)/.exec(JSON.stringify(explained).replaceAll(/\s*:\s*/g, ": "))?.[1],
    );
    return { pages, firsts: snapshot.firsts.map(({ record }) => record), oldestMs: snapshot.oldestMs };
  };
  const whole = await look(0);
  assert.deepEqual(whole.firsts, [49_990]);
  assert(whole.oldestMs !== undefined && whole.oldestMs >= 0);
  const next = await look(1_000);
  assert.deepEqual(next.firsts, [49_990]);
  assert(next.pages * 10 < whole.pages, `${next.pages} pages are looked at, and ${whole.pages} without a floor`);
  // Nothing is left, and the floor stands; a sweep finds what has a lower id.
  await client.query("DELETE FROM edgeferry.deliveries");
  assert((await look(2_000)).pages * 10 < whole.pages);
  await client.query(`INSERT INTO edgeferry.deliveries
      (record, enqueued_at, inflated_bytes, target, items, bytes, cost, signal, encoding, mergeable, shared)
    VALUES (7, now(), 1, 1, 1, 1, 1, 0, 0, true, false)`);
  assert.deepEqual((await look(3_000)).firsts, []);
  assert.deepEqual((await look(10_000)).firsts, [7]);
  await backup.end();
  await client.end();
});
