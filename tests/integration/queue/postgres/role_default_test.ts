/** A role whose sessions begin with synchronous_commit = off: what is answered is on the disk all the same. */
import assert from "node:assert/strict";
import { record } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

Deno.test("an append is flushed when it resolves, whatever the role's default, and outlives SIGKILL of the server", async () => {
  // What nobody waits for is written by the WAL writer, which is to come too late here.
  await using server = await startPostgres({ settings: { wal_writer_delay: "10s", bgwriter_delay: "10s" } });
  const database = await Database.make(server, "lazy");
  await server.query("ALTER ROLE relay SET synchronous_commit = off");
  await database.query("CREATE TABLE public.control (n int); GRANT INSERT ON public.control TO relay");
  const lazy = await database.connect("relay");
  assert.equal((await lazy.query("SHOW synchronous_commit")).rows[0]?.["synchronous_commit"], "off");
  const positions = async () => {
    const [row] = await database.query(
      "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() AS flushed, pg_current_wal_insert_lsn()::text AS at",
    );
    return row;
  };
  const queue = await database.open({ role: "receiver", background: false });
  for (let number = 0; number < 10; number++) {
    const before = await positions();
    await queue.append(record(number));
    const after = await positions();
    assert.notEqual(after?.["at"], before?.["at"]);
    assert.equal(after?.["flushed"], true);
  }
  // The same server, and a statement that does not say how durable it is to be.
  await lazy.query("INSERT INTO public.control VALUES (1)");
  assert.equal((await positions())?.["flushed"], false);
  await server.kill();
  await queue[Symbol.asyncDispose]();
  await lazy.end().catch(() => {});
  await server.start();
  assert.deepEqual(await database.query("SELECT count(*)::int AS n FROM edgeferry.deliveries"), [{ n: 10 }]);
  assert.deepEqual(await database.query("SELECT count(*)::int AS n FROM public.control"), [{ n: 0 }]);
});
