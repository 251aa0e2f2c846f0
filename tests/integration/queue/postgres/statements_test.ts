import assert from "node:assert/strict";
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
  for (const [name, text] of Object.entries(statements).filter(([name]) => name !== "ALL_BOOKS")) {
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
