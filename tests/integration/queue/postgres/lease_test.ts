/** Leases when the server is lost, or another with another clock takes its place. */
import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { numberOf, record, settleAll, take } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

Deno.test("a lease that ends later than any is given was given by a clock that was ahead: what it owns is free", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "ahead");
  await using receiver = await database.open({ role: "receiver" });
  await receiver.append(record(1));
  await database.query(
    `WITH dead AS (
       INSERT INTO edgeferry.relays (relay, name, role, version, started_at, alive_until)
         VALUES (gen_random_uuid(), 'dead', 'exporter', 1, clock_timestamp(), clock_timestamp() + interval '10 min') RETURNING id
     ) UPDATE edgeferry.deliveries SET owner = dead.id FROM dead`,
  );
  await using exporter = await database.open({ role: "exporter" });
  const deliveries = await take(exporter);
  assert.deepEqual(deliveries.map(numberOf), [1]);
  await settleAll(deliveries);
});

Deno.test("the number of a lease outlives a crash of the server, whatever the role's default, and is not given again", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "numbers");
  await database.query("ALTER ROLE relay SET synchronous_commit = off");
  await using _first = await database.open({ name: "first" });
  await server.kill();
  await server.start();
  const rows = await database.query("SELECT id FROM edgeferry.relays WHERE name = 'first'");
  assert.equal(rows.length, 1);
});

Deno.test("each relay that lives prolongs its lease, whatever its role", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "prolonged");
  await using stack = new AsyncDisposableStack();
  const roles = ["both", "exporter", "receiver"] as const;
  for (const role of roles) stack.use(await database.open({ role, name: role }));
  const ends = async () =>
    new Map(
      (await database.query("SELECT name, alive_until::text AS until FROM edgeferry.relays"))
        .map((row) => [row["name"], row["until"]]),
    );
  const first = await ends();
  const waiting = new Set<string>(roles);
  // A lease that nobody prolongs has run out by then.
  for (const until = performance.now() + 25_000; waiting.size > 0; await after(200)) {
    assert(performance.now() < until, `not prolonged: ${[...waiting].join()}`);
    const now = await ends();
    for (const role of roles) if (now.get(role) !== first.get(role)) waiting.delete(role);
  }
});

Deno.test("what another has taken meanwhile is his: the settle of who had it before has no effect in the database", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "fenced");
  await using frozen = await database.open({ role: "exporter" });
  await using receiver = await database.open({ role: "receiver" });
  await receiver.append(record(1));
  await receiver.append(record(2));
  const deliveries = [];
  while (deliveries.length < 2) deliveries.push(...await take(frozen));
  // As it is when a relay wakes between its look at its lease and its statement.
  await database.query(
    `WITH another AS (
       INSERT INTO edgeferry.relays (relay, name, role, version, started_at, alive_until)
         VALUES (gen_random_uuid(), 'another', 'exporter', 1, clock_timestamp(), clock_timestamp() + interval '25 s') RETURNING id
     ) UPDATE edgeferry.deliveries SET owner = another.id FROM another`,
  );
  const [delivered, dead] = deliveries;
  await settleAll([delivered!]);
  await settleAll([dead!], { kind: "dead", reason: "no" });
  const [left] = await database.query(
    `SELECT (SELECT count(*) FROM edgeferry.deliveries)::int AS waiting, (SELECT count(*) FROM edgeferry.dead_letters)::int AS dead,
       (SELECT coalesce(sum(delivered + b.dead), 0) FROM (
         SELECT delivered, dead FROM edgeferry.ledger UNION ALL SELECT delivered, dead FROM edgeferry.totals) b)::int AS booked`,
  );
  assert.deepEqual(left, { waiting: 2, dead: 0, booked: 0 });
});
