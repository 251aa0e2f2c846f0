import { costOfRow, encodeParts } from "../../../../src/queue/record_head.ts";
import { queueContract } from "../../../queue/contract.ts";
import { type Postgres, startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

let server: Postgres | undefined;
const databases = new Map<string, Promise<Database>>();

Deno.test.beforeAll(async () => {
  // It says nothing unless a statement fails: that would be read in one test and waited for in the one before.
  server = await startPostgres({ settings: { log_checkpoints: "off" } });
});
Deno.test.afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
});

/** The database of a test's folder. */
function databaseOf(folder: string): Promise<Database> {
  let database = databases.get(folder);
  if (database === undefined) databases.set(folder, database = Database.make(server!, `contract_${databases.size}`));
  return database;
}

queueContract({
  name: "postgres",
  claims: { durable: true, merges: true, shared: true },
  cost: ({ payload, parts }) => costOfRow(payload.length, encodeParts(parts)),
  open: async ({ folder, steady, ...settings }) => {
    const database = await databaseOf(folder);
    // The database has a clock of its own, which nobody sets when a relay's is set.
    return await database.open({
      ...settings,
      steady,
      databaseNow: () => 1_600_000_000_000 + steady(),
      takenBytesMax: Infinity,
    });
  },
});
