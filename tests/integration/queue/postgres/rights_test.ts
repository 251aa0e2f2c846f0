/** What the role of the relays needs: all that is given to it, and each right of it. */
import assert from "node:assert/strict";
import { openPostgresQueueWhenThere } from "../../../../src/queue/postgres/late_queue.ts";
import { checkRights } from "../../../../src/queue/postgres/schema.ts";
import { StorageError } from "../../../../src/queue/storage_error.ts";
import { TestLog } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

Deno.test("a role that lacks one right of those that it needs opens no queue, and the right is named", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "rights");
  const tables = (await database.query(
    "SELECT relname FROM pg_class WHERE relnamespace = 'edgeferry'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
  )).map(({ relname }) => String(relname));
  assert(tables.includes("payloads") && tables.includes("dead_letters"), tables.join());
  const rights = [
    ...tables.flatMap((table) =>
      ["SELECT", "INSERT", "UPDATE", "DELETE"].map((privilege) => ({
        right: `${privilege} ON edgeferry.${table}`,
        named: `${privilege} on ${table}`,
      }))
    ),
    { right: "USAGE ON SEQUENCE edgeferry.record_ids", named: "USAGE on record_ids" },
    { right: "EXECUTE ON FUNCTION edgeferry.rotate()", named: "EXECUTE on rotate()" },
  ];
  const relay = await database.connect();
  const owner = await database.connect("owner");
  try {
    for (const { right, named } of rights) {
      await owner.query(`REVOKE ${right} FROM relay`);
      await assert.rejects(
        checkRights(relay),
        (error) => error instanceof StorageError && error.code === "no_rights" && error.state.endsWith(`: ${named}`),
        named,
      );
      await owner.query(`GRANT ${right} TO relay`);
    }
    await checkRights(relay);
    await owner.query("REVOKE INSERT ON edgeferry.payloads FROM relay");
    await assert.rejects(
      openPostgresQueueWhenThere({
        bytesMax: 1 << 30,
        deadLetterBytesMax: 1 << 20,
        log: new TestLog(),
        name: "rights",
        connect: () => database.connect(),
      }),
      /lacks rights: INSERT on payloads; run `queue migrate` as the owner/,
    );
    await owner.query("REVOKE ALL ON ALL TABLES IN SCHEMA edgeferry FROM relay");
    await assert.rejects(checkRights(relay), /lacks rights: (\w+ on \w+, ){3}\w+ on \w+ and \d+ more; run/);
  } finally {
    await relay.end();
    await owner.end();
  }
});
