/** The tables' versions in a fleet of two: expand first, contract when nobody older lives. */
import assert from "node:assert/strict";
import {
  checkSchema,
  migrate,
  MIGRATIONS,
  SCHEMA_VERSION,
  schemaState,
} from "../../../../src/queue/postgres/schema.ts";
import { numberOf, record, settleAll, take } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { databaseVariables, queueCommand } from "../../../support/postgres/fleet.ts";
import { Database } from "./scene.ts";

const NEXT = SCHEMA_VERSION + 1;
const AFTER = NEXT + 1;
/** What a later edgeferry may bring: a column that older relays need not know, then its like without which newer ones cannot do. */
const EXPANDED = [...MIGRATIONS, {
  usableFrom: SCHEMA_VERSION,
  sql: "ALTER TABLE edgeferry.deliveries ADD COLUMN more int; CREATE TABLE edgeferry.added (n int)",
}];
const CONTRACTED = [...EXPANDED, { usableFrom: NEXT, sql: "ALTER TABLE edgeferry.relays ADD COLUMN more int" }];

Deno.test("relays go on while the tables grow, and what would break them waits until they are gone", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "versions");
  const run = async (migrations: typeof MIGRATIONS) => {
    const client = await database.connect("owner");
    try {
      return await migrate(client, { relayRole: "relay", migrations });
    } finally {
      await client.end();
    }
  };
  const state = async () => {
    const client = await database.connect();
    try {
      await checkSchema(client);
      return await schemaState(client);
    } finally {
      await client.end();
    }
  };
  {
    // A receiver owns nothing, and counts all the same.
    await using receiver = await database.open({ role: "receiver" });
    await receiver.append(record(1));
    // Two at once: one does it, the other finds it done.
    const both = await Promise.all([run(EXPANDED), run(EXPANDED)]);
    assert.deepEqual(both.map(({ from }) => from).sort(), [SCHEMA_VERSION, NEXT]);
    assert.deepEqual(await state(), { version: NEXT, usableFrom: SCHEMA_VERSION });
    await receiver.append(record(2));
    // What came with it is the relays' to use, too.
    const [may] = await database.query("SELECT has_table_privilege('relay', 'edgeferry.added', 'INSERT') AS may");
    assert.equal(may?.["may"], true);
    await assert.rejects(run(CONTRACTED), {
      code: "older_version",
      message: new RegExp(
        `1 relays of version ${SCHEMA_VERSION} run, .* need ${NEXT}; bring the relays up to date first`,
      ),
    });
    assert.deepEqual(await state(), { version: NEXT, usableFrom: SCHEMA_VERSION });
    await using exporter = await database.open({ role: "exporter" });
    const deliveries = [];
    while (deliveries.length < 2) deliveries.push(...await take(exporter));
    assert.deepEqual(deliveries.map(numberOf), [1, 2]);
    await settleAll(deliveries);
  }
  // A step that fails leaves everything as it was.
  const broken = [...EXPANDED, {
    usableFrom: NEXT,
    sql: "CREATE TABLE edgeferry.half (n int); SELECT 1 / 0",
  }];
  await assert.rejects(run(broken), { code: "unusable", message: /division by zero; see the database's log/ });
  const [half] = await database.query("SELECT to_regclass('edgeferry.half') AS half");
  assert.deepEqual([half?.["half"], await state()], [null, { version: NEXT, usableFrom: SCHEMA_VERSION }]);

  assert.deepEqual(await run(CONTRACTED), { from: NEXT, to: AFTER });
  await assert.rejects(database.open(), {
    code: "newer_version",
    message: new RegExp(`version ${AFTER}, which needs a relay of version ${NEXT}, and this one has ${SCHEMA_VERSION}`),
  });
  await assert.rejects(run(MIGRATIONS), { code: "newer_version", message: /run a newer edgeferry/ });
});

Deno.test("who is not the owner, and a role that is not there, are named with the remedy, and change nothing", async () => {
  await using server = await startPostgres();
  const variables = databaseVariables(server.url("relay"));
  const told = async (...words: string[]) => {
    const error = await queueCommand(["migrate", ...words], variables).then(() => undefined, (error: unknown) => error);
    return String(error);
  };
  // Without --url it is the relays' role, which may not make tables.
  const stranger = await told();
  assert.match(stranger, /Cannot migrate the queue: permission denied for database edgeferry; name the owner .*--url/);
  const nobody = await told("--url", server.url("owner"), "--grant", "nobody");
  assert.match(nobody, /Cannot migrate the queue: role "nobody" does not exist; create the role, .*--grant/);
  for (const text of [stranger, nobody]) assert.doesNotMatch(text, /\n\s+at /);
  assert.deepEqual(await server.query("SELECT to_regnamespace('edgeferry') AS made"), [{ made: null }]);
});
