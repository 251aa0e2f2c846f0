/** A relay's queue while its database is away at the start. */
import assert from "node:assert/strict";
import { Refusal } from "../../../../src/errors.ts";
import { ConnectError } from "../../../../src/postgres/connect_error.ts";
import { openPostgresQueueWhenThere } from "../../../../src/queue/postgres/late_queue.ts";
import type { PostgresQueueSettings } from "../../../../src/queue/postgres/settings.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { NEVER, numberOf, record, settleAll, statsOf, take, TestLog } from "../../../queue/records.ts";
import { releasesAll } from "../../../support/owners.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

function settingsOn(database: Database, more: Partial<PostgresQueueSettings> = {}): PostgresQueueSettings {
  return {
    bytesMax: 1 << 30,
    deadLetterBytesMax: 1 << 20,
    log: new TestLog(),
    name: "late",
    connect: async () => {
      try {
        return await database.connect();
      } catch (error) {
        // As the relay's connector has it.
        throw new ConnectError("unreachable", "127.0.0.1", { cause: error });
      }
    },
    ...more,
  };
}

const isStorageFailed = (error: unknown): boolean => error instanceof Refusal && error.code === "storage_failed";

Deno.test("until the database is there senders are refused and takers wait; then both are served by the same numbers", () =>
  releasesAll(async () => {
    await using server = await startPostgres();
    const database = await Database.make(server, "late");
    await server.stop();
    const log = new TestLog();
    const there = Promise.withResolvers<void>();
    const targets = [{ name: "eu", required: true }, { name: "us", required: true }];
    await using queue = await openPostgresQueueWhenThere(settingsOn(database, { log, targets }), there.resolve);
    const [eu, us] = [queue.target("eu"), queue.target("us")];
    assert.throws(() => queue.target("asia"), RangeError);
    assert.equal(queue.admits([us], 10)?.code, "storage_failed");
    await assert.rejects(queue.append(record(1, { targets: [us] })), isStorageFailed);
    assert.match(queue.readiness().reason ?? "", /has not been opened yet, and it is tried again: .*cannot be reached/);
    assert.deepEqual(log.lines.map(({ level }) => level), ["error"]);
    const empty = await statsOf(queue);
    assert.deepEqual([empty.records, empty.targets.map(({ id, name }) => [id, name])], [0, [[eu, "eu"], [us, "us"]]]);
    // Who waits already is served, and who has given up takes nothing.
    const given = new AbortController();
    const none = queue.take(
      { signal: "traces", target: us, bytesMax: 1, inflatedBytesMax: 1, recordsMax: 1 },
      given.signal,
    );
    given.abort();
    assert.deepEqual(await none, []);
    const taking = take(queue, { target: us });
    taking.catch(() => {});

    await server.start();
    await there.promise;
    assert.deepEqual(queue.readiness(), { ready: true });
    assert.equal(queue.admits([eu, us], 10), undefined);
    await queue.append(record(7, { targets: [us] }));
    const deliveries = await taking;
    assert.deepEqual(deliveries.map((each) => [numberOf(each), each.target]), [[7, us]]);
    await settleAll(deliveries);
    const stats = await statsOf(queue);
    assertBalanced(stats);
    assert.deepEqual(stats.targets.map(({ id, books }) => [id, books.traces.delivered]), [[eu, 0], [us, 3]]);
  }));

Deno.test("what no waiting mends is a fault at once: no tables, no rights, and whatever the connector says of settings", async () => {
  await using server = await startPostgres();
  await server.query("CREATE DATABASE bare OWNER owner");
  const bare = Database.on(server, "bare");
  await assert.rejects(openPostgresQueueWhenThere(settingsOn(bare)), /has no tables of a queue; run `queue migrate`/);
  const database = await Database.make(server, "whole");
  await database.query("REVOKE ALL ON SCHEMA edgeferry FROM relay");
  await assert.rejects(
    openPostgresQueueWhenThere(settingsOn(database)),
    /permission denied for schema edgeferry; run `queue migrate` as the owner/,
  );
  for (const code of ["wrong_password", "not_durable", "untrusted", "no_database"] as const) {
    const connect = () => Promise.reject(new ConnectError(code, "127.0.0.1"));
    await assert.rejects(openPostgresQueueWhenThere(settingsOn(database, { connect })), ConnectError);
  }
});

Deno.test("a database that comes and does not keep the promise opens nothing, until it does", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "unsafe");
  const faults = ["starting", "not_durable", "wrong_password"] as const;
  let asked = 0;
  const told = Promise.withResolvers<void>();
  const there = Promise.withResolvers<void>();
  const connect = () => {
    const code = faults[asked++];
    if (asked === faults.length) told.resolve();
    return code === undefined ? database.connect() : Promise.reject(new ConnectError(code, "127.0.0.1"));
  };
  await using queue = await openPostgresQueueWhenThere(settingsOn(database, { connect }), there.resolve);
  await told.promise;
  await assert.rejects(queue.append(record(1)), isStorageFailed);
  await there.promise;
  await queue.append(record(1, { targets: [queue.target("default")] }));
});

Deno.test("without background work an append opens it, and nothing else does; a closed one opens nothing", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "frozen");
  let away = true;
  let asked = 0;
  const connect = () => {
    asked++;
    return away ? Promise.reject(new ConnectError("unreachable", "127.0.0.1")) : database.connect();
  };
  let now = 0;
  const steady = () => now;
  const settings = settingsOn(database, { connect, role: "receiver", background: false, connectionsMax: 1, steady });
  {
    await using queue = await openPostgresQueueWhenThere(settings);
    const targets = [queue.target("default")];
    assert.equal(queue.admits(targets, 10), undefined);
    // It has failed a moment ago, and is not asked again.
    await assert.rejects(queue.append(record(1, { targets })), isStorageFailed);
    assert.equal(asked, 1);
    now += 1_000;
    await assert.rejects(queue.append(record(1, { targets })), isStorageFailed);
    assert.equal(asked, 2);
    away = false;
    now += 1_000;
    await Promise.all([1, 2].map((number) => queue.append(record(number, { targets }))));
    assert.equal((await statsOf(queue)).records, 2);
  }
  away = true;
  const closed = await openPostgresQueueWhenThere(settingsOn(database, { connect }));
  const taking = closed.take({ signal: "logs", target: -1, bytesMax: 1, inflatedBytesMax: 1, recordsMax: 1 }, NEVER);
  const refused = assert.rejects(taking, /closed/);
  await closed[Symbol.asyncDispose]();
  await refused;
  const before = asked;
  await assert.rejects(closed.append(record(1)), (error) => error instanceof Refusal && error.code === "shutting_down");
  assert.equal(asked, before);
});
