/** A relay that cannot send, and others that can. */
import assert from "node:assert/strict";
import { assertBalanced } from "../../../queue/contract.ts";
import { numberOf, record, settleAll, statsOf, take, takeAll, TestLog } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

/** Longer than anybody keeps what it cannot send. */
const LONG_MS = 60_000;

Deno.test("what a relay owns and cannot send is another's while it lives, and its own again when its way is open", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "stand_back");
  let passed = 0;
  const log = new TestLog();
  await using unable = await database.open({ name: "unable", log, steady: () => performance.now() + passed });
  await using able = await database.open({ name: "able", role: "exporter" });
  await unable.append(record(1));
  const [first] = await take(unable);
  await unable.append(record(2));
  await unable.append(record(3, { signal: "logs" }));
  unable.reaches("traces", 1, false);
  passed += LONG_MS;
  const [second] = await take(able);
  assert.equal(numberOf(second!), 2);
  // What was on its way stays until it is settled.
  await settleAll([first!], { kind: "retry", cause: "no way" });
  const [again] = await take(able);
  assert.equal(numberOf(again!), 1);
  assert.match((await log.line(/others live/)).message, /is theirs to send, too/);
  // What comes meanwhile is nobody's: a relay that can send has it at once.
  await unable.append(record(4));
  const [fourth] = await take(able);
  assert.equal(numberOf(fourth!), 4);
  await settleAll([second!, again!, fourth!]);
  // The other signal arrives, and is not given away.
  const [logs] = await take(unable, { signal: "logs" });
  assert.equal(numberOf(logs!), 3);
  await settleAll([logs!]);
  unable.reaches("traces", 1, true);
  await unable.append(record(5));
  await unable.append(record(6));
  await settleAll(await takeAll(unable, 2));
  const stats = await statsOf(able);
  assert.equal(stats.records, 0);
  assertBalanced(stats);
});

Deno.test("where nobody else sends, a relay keeps what it owns", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "alone");
  let passed = 0;
  let looks = 0;
  const looked = Promise.withResolvers<void>();
  const log = new TestLog();
  await using _receiver = await database.open({ name: "receiver", role: "receiver" });
  await using unable = await database.open({
    name: "unable",
    log,
    steady: () => performance.now() + passed,
    connect: async () => {
      const client = await database.connect();
      const query = client.query.bind(client);
      Object.defineProperty(client, "query", {
        value: (asked: Parameters<typeof query>[0]) => {
          // Each look comes after what the one before it has done.
          if (JSON.stringify(asked).includes("role <> 'receiver'") && ++looks === 2) looked.resolve();
          return query(asked);
        },
      });
      return client;
    },
  });
  await unable.append(record(1));
  unable.reaches("traces", 1, false);
  passed += LONG_MS;
  await looked.promise;
  const [own] = await take(unable);
  assert.equal(numberOf(own!), 1);
  await settleAll([own!]);
  assert.deepEqual(log.lines, []);
});
