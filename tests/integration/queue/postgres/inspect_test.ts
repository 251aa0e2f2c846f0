/** The queue in PostgreSQL from outside, while a relay uses it. */
import assert from "node:assert/strict";
import type { SendingQueue, TargetSettings } from "../../../../src/queue/queue.ts";
import { postgresInspector } from "../../../../src/queue/postgres/inspect.ts";
import { assertBalanced } from "../../../queue/contract.ts";
import { numberOf, partBytes, record, settleAll, statsOf, take, takeAll } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

const EU: TargetSettings = { name: "eu", required: true };
const US: TargetSettings = { name: "us", required: true };

const inspectorOf = (database: Database) =>
  postgresInspector({ path: `postgres://127.0.0.1/${database.name}`, connect: () => database.connect("relay") });

/** Appends `count` records with two parts each, of which the second dies. */
async function bury(queue: SendingQueue, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, number) => queue.append(record(number, { parts: 2 }))));
  for (const delivery of await takeAll(queue, count)) {
    await delivery.settle([{ kind: "delivered" }, {
      kind: "dead",
      reason: `words for ${numberOf(delivery)}`,
      status: 400,
    }]);
  }
}

Deno.test("a queue in PostgreSQL from outside", async (t) => {
  await using server = await startPostgres();
  let count = 0;
  const step = (name: string, body: (database: Database) => Promise<void>) =>
    t.step(name, async () => await body(await Database.make(server, `inspected_${count++}`)));

  await step("stats are those of the relay that runs, which is named", async (database) => {
    await using queue = await database.open({ name: "one" });
    await bury(queue, 3);
    await queue.append(record(9));
    const own = await statsOf(queue);
    const inspector = inspectorOf(database);
    const seen = await inspector.stats();
    assert.deepEqual(
      { records: seen.records, bytes: seen.bytes, bytesMax: seen.bytesMax, books: seen.books, balanced: seen.balanced },
      { records: own.records, bytes: own.bytes, bytesMax: own.bytesMax, books: own.targets[0]?.books, balanced: true },
    );
    assert.deepEqual(seen.deadLetters, { ...own.deadLetters, bytesMax: 1 << 20 });
    const [relay, ...others] = await inspector.relays();
    assert.deepEqual([relay?.name, relay?.role, relay?.alive, relay?.owns, others.length], ["one", "both", true, 1, 0]);
  });

  await step("dead letters are listed, read and grouped", async (database) => {
    await using queue = await database.open();
    await bury(queue, 3);
    const inspector = inspectorOf(database);
    const letters = await inspector.list({ limit: 10 });
    assert.deepEqual(letters.map(({ reason }) => reason).sort(), ["words for 0", "words for 1", "words for 2"]);
    assert.equal((await inspector.list({ limit: 2 })).length, 2);
    assert.equal((await inspector.list({ limit: 9, reason: "for 1" })).length, 1);
    assert.equal((await inspector.list({ limit: 9, signal: "logs" })).length, 0);
    const [{ id, reason }] = letters as [typeof letters[number]];
    const read = await inspector.read(id);
    assert.deepEqual(read?.payload, partBytes(Number(reason.split(" ").at(-1)), 1));
    assert.equal(await inspector.read(77_777), undefined);
    const { groups, groupsMore } = await inspector.group({ limit: 2 });
    assert.deepEqual([groups.length, groupsMore, groups[0]?.records], [2, 1, 1]);
  });

  await step("a replay reaches a taker that waits, for the target alone that set it aside", async (database) => {
    await using queue = await database.open({ targets: [EU, US] });
    const us = queue.target("us");
    await queue.append(record(1, { targets: [queue.target("eu"), us] }));
    await settleAll(await take(queue, { target: us }), { kind: "dead", reason: "no" });
    await settleAll(await take(queue, { target: queue.target("eu") }));
    const taking = take(queue, { target: us });
    assert.deepEqual(await inspectorOf(database).replay({}), {
      replayed: 1,
      left: 0,
      unknown: [],
      stoppedBy: undefined,
    });
    const deliveries = await taking;
    assert.deepEqual(deliveries.map(numberOf), [1]);
    await settleAll(deliveries);
    const stats = await statsOf(queue);
    assert.deepEqual([stats.records, stats.bytes, stats.deadLetters.records], [0, 0, 0]);
    assertBalanced(stats);
  });

  await step("what does not fit stays a dead letter, and many are replayed in steps", async (database) => {
    await using queue = await database.open({ bytesMax: 100_000 });
    await bury(queue, 300);
    const inspector = inspectorOf(database);
    const progress: number[] = [];
    const onProgress = ({ replayed }: { readonly replayed: number }) => void progress.push(replayed);
    assert.deepEqual(await inspector.replay({ onProgress }), {
      replayed: 300,
      left: 0,
      unknown: [],
      stoppedBy: undefined,
    });
    assert(progress.length >= 3, String(progress));
    await settleAll(await takeAll(queue, 300), { kind: "dead", reason: "again" });
    // What is left takes a few of them.
    for (const bytes of [16_000, 1_000, 300]) {
      while (await queue.append(record(9, { bytes })).then(() => true, () => false));
    }
    await takeAll(queue, 1).then((taken) => settleAll(taken.slice(0, 1)));
    const result = await inspector.replay({});
    assert.equal(result.stoppedBy, "queue_full");
    assert.equal(result.replayed + result.left, 300);
    assert(result.left > 0);
    assert.equal((await inspector.stats()).balanced, true);
  });

  await step("by id, and what is dropped is gone and stays in the books", async (database) => {
    await using queue = await database.open();
    await bury(queue, 3);
    const inspector = inspectorOf(database);
    const ids = (await inspector.list({ limit: 9 })).map(({ id }) => id) as [number, number, number];
    assert.deepEqual(await inspector.replay({ ids: [ids[1], 77_777] }), {
      replayed: 1,
      left: 0,
      unknown: [77_777],
      stoppedBy: undefined,
    });
    assert.deepEqual(await inspector.drop({ ids: [ids[0], 77_777] }), { dropped: 1, unknown: [77_777] });
    const { deadLetters, books, balanced } = await inspector.stats();
    assert.deepEqual([deadLetters.records, books.traces.deadLettered, balanced], [1, 6, true]);
  });

  await step("a machine whose clock is ahead sees the ages that the database sees", async (database) => {
    await using queue = await database.open({ name: "one" });
    await bury(queue, 3);
    const hour = 3_600_000;
    const now = () => Date.now() + hour;
    const inspector = postgresInspector({ path: "", connect: () => database.connect(), now });
    const [relay] = await inspector.relays();
    assert(Math.abs(now() - (relay?.startedAt ?? 0)) < hour / 2, String(relay?.startedAt));
    const older = { diedBefore: now() - hour / 2 };
    assert.deepEqual([await inspector.list({ limit: 9, ...older }), (await inspector.drop(older)).dropped], [[], 0]);
    await database.query(
      "UPDATE edgeferry.dead_letters SET died_at = died_at - interval '1 hour' WHERE reason = 'words for 1'",
    );
    assert.deepEqual((await inspector.list({ limit: 9, ...older })).map(({ reason }) => reason), ["words for 1"]);
    assert.equal((await inspector.replay({ ...older })).replayed, 1);
    assert.equal((await inspector.stats()).deadLetters.records, 2);
  });

  await step("what waits for a target is moved to another, and given to none twice", async (database) => {
    const before = await database.open({ targets: [EU, US] });
    const [eu, us] = [before.target("eu"), before.target("us")];
    for (let number = 0; number < 300; number++) {
      const targets = [[us], [eu, us], [eu]][number % 3]!;
      await before.append(record(number, { targets, signal: number % 2 === 0 ? "traces" : "logs" }));
    }
    await settleAll(await take(before, { target: us, recordsMax: 1 }), { kind: "dead", reason: "bad" });
    await before[Symbol.asyncDispose]();
    const inspector = inspectorOf(database);
    assert.deepEqual(await inspector.move("us", "eu"), { records: 199, items: 597, deadLetters: 1 });
    await using queue = await database.open({ targets: [EU] });
    const seen: number[] = [];
    for (const signal of ["traces", "logs"] as const) {
      const count = signal === "traces" ? 149 : 150;
      const deliveries = [];
      while (deliveries.length < count) deliveries.push(...await take(queue, { target: eu, signal }));
      seen.push(...deliveries.map(numberOf));
      await settleAll(deliveries);
    }
    assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 299 }, (_, index) => index + 1));
    const stats = await statsOf(queue);
    assert.deepEqual([stats.records, stats.bytes], [0, 0]);
    assertBalanced(stats);
    assert.equal((await inspector.stats()).balanced, true);
    await assert.rejects(inspector.move("us", "nowhere"), { code: "missing" });
  });

  await step("what waits for a target is given up and counted; what others wait for stays", async (database) => {
    const queue = await database.open({ targets: [EU, US] });
    const [eu, us] = [queue.target("eu"), queue.target("us")];
    for (let number = 0; number < 30; number++) {
      await queue.append(record(number, { targets: [[us], [eu, us], [eu]][number % 3]! }));
    }
    await queue[Symbol.asyncDispose]();
    const inspector = inspectorOf(database);
    assert.deepEqual(await inspector.abandon("us"), { records: 20, items: 60, deadLetters: 0 });
    const { targets, records, balanced } = await inspector.stats();
    assert.deepEqual([records, balanced], [20, true]);
    const given = targets.find(({ name }) => name === "us");
    assert.deepEqual([given?.records, given?.bytes, given?.books.traces.abandoned], [0, 0, 60]);
    await using again = await database.open({ targets: [EU] });
    await settleAll(await takeAll(again, 20));
    const stats = await statsOf(again);
    assert.deepEqual([stats.records, stats.bytes], [0, 0]);
    assert.equal(again.shares.bytesOf("sender-0"), 0);
  });

  await step("a database without tables, or without rights, says what to run", async () => {
    await server.query("CREATE DATABASE bare OWNER owner");
    const { Client } = await import("../../../../src/postgres/driver.ts");
    const inspector = postgresInspector({
      path: "postgres://127.0.0.1/bare",
      async connect() {
        const client = new Client({ ...server.config("owner"), database: "bare" });
        await client.connect();
        return client;
      },
    });
    await assert.rejects(inspector.stats(), { code: "not_a_queue", message: /queue migrate/ });
    const database = await Database.make(server, "closed");
    await database.query("REVOKE ALL ON SCHEMA edgeferry FROM relay");
    await assert.rejects(inspectorOf(database).stats(), { code: "no_rights", message: /queue migrate. as the owner/ });
  });
});
