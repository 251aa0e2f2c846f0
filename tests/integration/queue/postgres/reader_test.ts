/** What a take leaves behind that fails, or whose answer is lost. */
import assert from "node:assert/strict";
import { Client } from "../../../../src/postgres/driver.ts";
import { LaneSet } from "../../../../src/queue/lane_set.ts";
import { PostgresFailure } from "../../../../src/queue/postgres/connections.ts";
import { Reader } from "../../../../src/queue/postgres/reader.ts";
import { headOf } from "../../../../src/queue/record_head.ts";
import { within } from "../../../../src/within.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { LIMIT, numberOf, record, settleAll, statsOf, take, takeAll, TestLog } from "../../../queue/records.ts";
import { CuttingProxy } from "../../../support/postgres/cutting_proxy.ts";
import { type Postgres, startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

const TAKE = "FOR UPDATE SKIP LOCKED";

/** Cancels the take that waits for a lock, once there is one. */
async function cancelTake(database: Database): Promise<void> {
  for (;;) {
    const [row] = await database.query(
      `SELECT pg_cancel_backend(pid) AS done FROM pg_stat_activity
         WHERE application_name = 'edgeferry' AND wait_event_type = 'Lock' AND strpos(query, '${TAKE}') > 0`,
    );
    if (row?.done === true) return;
  }
}

function through(proxy: CuttingProxy, server: Postgres, database: Database) {
  return async () => {
    const client = new Client({ ...server.config("relay"), port: proxy.port, database: database.name });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
}

Deno.test("a take that is cancelled is made again, though nobody appends here", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "cancelled");
  await using receiver = await database.open({ role: "receiver" });
  await receiver.append(record(1));
  await using exporter = await database.open({ role: "exporter" });
  const locked = await database.connect("postgres", "locker");
  await locked.query("BEGIN");
  await locked.query("LOCK TABLE edgeferry.deliveries IN ACCESS EXCLUSIVE MODE");
  const taking = take(exporter);
  await cancelTake(database);
  await locked.query("COMMIT");
  await locked.end();
  const deliveries = await taking;
  assert.deepEqual(deliveries.map(numberOf), [1]);
  await settleAll(deliveries);
});

Deno.test("what was taken by a take whose answer was lost is sent all the same, and what is on its way is settled", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "lost_take");
  await using proxy = await CuttingProxy.start(server.port);
  await using receiver = await database.open({ role: "receiver" });
  await receiver.append(record(1));
  const log = new TestLog();
  await using exporter = await database.open({ role: "exporter", connect: through(proxy, server, database), log });
  const first = await take(exporter);
  await receiver.append(record(2));
  const cut = proxy.cutAnswerTo(TAKE);
  const second = takeAll(exporter, 1);
  await cut;
  await settleAll(first);
  assert.match((await log.line(/did not answer a take/)).message, /lease has run out/);
  const deliveries = await second;
  assert.deepEqual(deliveries.map(numberOf), [2]);
  await settleAll(deliveries);
  const stats = await statsOf(exporter);
  assert.deepEqual([stats.records, stats.books.traces.accepted, stats.books.traces.delivered], [0, 6, 6]);
  assertBalanced(stats);
});

/** A statement as the driver is given it. */
interface Asked {
  readonly text: string;
  readonly values?: readonly unknown[];
}

/** Connections that tell where takes begin, and when lanes have been looked at. */
function watched(database: Database) {
  const takes: unknown[] = [];
  let looked = () => {};
  return {
    takes,
    /** Resolves when a look is over that begins from now on. */
    looks: async () => {
      // The first may have begun before.
      for (let look = 0; look < 2; look++) await new Promise<void>((resolve) => looked = resolve);
    },
    connect: async () => {
      const client = await database.connect();
      const query = client.query.bind(client);
      Object.assign(client, {
        query: async (asked: Asked) => {
          const result = await query(asked);
          if (asked.text?.includes(TAKE)) takes.push(asked.values?.[3]);
          if (asked.text?.includes("AS free")) looked();
          return result;
        },
      });
      return client;
    },
  };
}

Deno.test("while a lane drains, each take begins where the queue begins", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "floor");
  await using receiver = await database.open({ role: "receiver" });
  for (let number = 1; number <= 5; number++) await receiver.append(record(number));
  const { takes, looks, connect } = watched(database);
  await using exporter = await database.open({ role: "exporter", connect });
  // Never the whole of it: the lane has always more.
  for (let number = 1; number <= 3; number++) {
    const deliveries = await take(exporter, { recordsMax: 1 });
    assert.deepEqual(deliveries.map(numberOf), [number]);
    await settleAll(deliveries);
    await looks();
  }
  await settleAll(await take(exporter, { recordsMax: 1 }));
  assert.equal(takes.at(-1), 4, `The takes began at ${takes.join(", ")}`);
});

Deno.test("a record that is committed after those with higher numbers have gone is taken all the same", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "late");
  await using receiver = await database.open({ role: "receiver" });
  // The number of an append that is under way.
  const [low] = await database.query("SELECT nextval('edgeferry.record_ids')::int AS id");
  for (const number of [1, 2, 3]) await receiver.append(record(number));
  await database.query(
    "CREATE TABLE public.first AS SELECT d.*, p.parts, p.payload AS bytea FROM edgeferry.deliveries d " +
      "JOIN edgeferry.payloads p ON p.id = d.record ORDER BY d.record LIMIT 1",
  );
  const { takes, looks, connect } = watched(database);
  await using exporter = await database.open({ role: "exporter", connect });
  for (const number of [1, 2, 3]) {
    const deliveries = await take(exporter, { recordsMax: 1 });
    assert.deepEqual(deliveries.map(numberOf), [number]);
    await settleAll(deliveries);
    if (number < 3) await looks();
  }
  assert(Number(takes.at(-1)) > Number(low?.["id"]), `The takes began at ${takes.join(", ")}`);
  const taking = take(exporter);
  taking.catch(() => {});
  await database.query(
    `WITH late AS (UPDATE public.first SET record = $1, owner = NULL RETURNING *),
       payload AS (INSERT INTO edgeferry.payloads SELECT record, parts, bytea FROM late),
       booked AS (INSERT INTO edgeferry.ledger (target, signal, accepted, queued, records, bytes)
         SELECT target, signal, items, items, 1, cost FROM late)
     INSERT INTO edgeferry.deliveries (record, enqueued_at, inflated_bytes, target, items, bytes, cost, signal, encoding, mergeable, shared)
       SELECT record, enqueued_at, inflated_bytes, target, items, bytes, cost, signal, encoding, mergeable, shared FROM late`,
    [low?.["id"]],
  );
  // The floor is looked for anew each 10 s.
  assert(await within(taking, 30_000), "it was not taken");
  await settleAll(await taking);
  assertBalanced(await statsOf(exporter));
});

Deno.test("what cannot be read while the lease is lost is others', and not kept to be sent", async () => {
  for (const lost of [false, true]) {
    const lanes = new LaneSet();
    let lease = 1;
    const reader = new Reader({
      connections: {
        run: () => {
          if (lost) lease = 2;
          return Promise.reject(new PostgresFailure("unreachable", "away"));
        },
      },
      lanes,
      steady: () => 0,
      lease: () => lease,
      failed: () => {},
      doubtful: () => {},
      bare: () => {},
    });
    const { parts } = record(1);
    lanes.own(1, headOf(record(1), 0), parts, undefined);
    const run = lanes.take(lanes.of(1, "traces")[0]!, LIMIT);
    assert.equal(run.length, 1);
    assert.deepEqual(await reader.withPayloads(run), []);
    assert.equal(lanes.entries.length, lost ? 0 : 1);
  }
});

Deno.test("records whose parts are damaged are sent whole, set aside where they are refused, and hold up nobody", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "damaged_parts");
  await using receiver = await database.open({ role: "receiver" });
  for (const number of [1, 2, 3]) await receiver.append(record(number, { parts: 2 }));
  await database.query(
    "UPDATE edgeferry.payloads SET parts = 'nonsense' WHERE id = (SELECT min(id) FROM edgeferry.payloads)",
  );
  await database.query(
    `UPDATE edgeferry.payloads SET parts = '[["sender-0",3,999,5]]' WHERE id = (SELECT min(id) + 1 FROM edgeferry.payloads)`,
  );
  const log = new TestLog();
  await using exporter = await database.open({ role: "exporter", log });
  const deliveries = await takeAll(exporter, 3);
  assert.deepEqual(deliveries.map(numberOf), [1, 2, 3]);
  assert.deepEqual(deliveries.map(({ parts }) => parts.length), [1, 1, 2]);
  await log.line(/senders is damaged/);
  const [first, ...others] = deliveries;
  await first!.settle([{ kind: "dead", reason: "no", status: 400 }]);
  await settleAll(others);
  const stats = await statsOf(exporter);
  const { deadLettered, delivered } = stats.books.traces;
  assert.deepEqual([stats.records, deadLettered, delivered], [0, 6, 12]);
  assertBalanced(stats);
});
