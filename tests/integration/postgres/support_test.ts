/** The servers that the tests of the fleet stand on do what those tests rely on. */
import assert from "node:assert/strict";
import { Client } from "../../../src/postgres/driver.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { startPgBouncer } from "../../support/postgres/pgbouncer.ts";
import { startPostgres } from "../../support/postgres/postgres.ts";

Deno.test("a database keeps what it committed through SIGKILL, and its roles have what they are to have", async () => {
  await using postgres = await startPostgres();
  const [first] = await postgres.query("SELECT current_setting('fsync') AS fsync, current_user AS who", [], "relay");
  assert.deepEqual(first, { fsync: "on", who: "relay" });
  await assert.rejects(postgres.query("CREATE TABLE t (n int)", [], "relay"), { code: "42501" });
  await postgres.query("CREATE SCHEMA s; CREATE TABLE s.t (n int); INSERT INTO s.t VALUES (7)", [], "owner");
  await postgres.kill();
  await assert.rejects(postgres.query("SELECT 1"));
  await postgres.start();
  assert.deepEqual(await postgres.query("SELECT n FROM s.t", [], "owner"), [{ n: 7 }]);
  await postgres.stop();
  await postgres.start();
  await postgres.set("fsync", "off");
  assert.deepEqual(await postgres.query("SELECT current_setting('fsync') AS fsync"), [{ fsync: "off" }]);
});

Deno.test("a frozen database answers when it is thawed", async () => {
  await using postgres = await startPostgres();
  const client = new Client(postgres.config("relay"));
  await client.connect();
  postgres.freeze();
  let answered = false;
  const answer = client.query("SELECT 1 AS one").then(({ rows }) => {
    answered = true;
    return rows;
  });
  // Another server's answer takes longer than the frozen one's would.
  await using other = await startPostgres();
  await other.query("SELECT 1");
  assert.equal(answered, false);
  postgres.thaw();
  assert.deepEqual(await answer, [{ one: 1 }]);
  await client.end();
});

Deno.test("a synchronous standby has what was committed, and is the primary once promoted", async () => {
  await using primary = await startPostgres();
  await using standby = await primary.standby({ name: "second", synchronous: true });
  await primary.query("CREATE SCHEMA s; CREATE TABLE s.t (n int); INSERT INTO s.t VALUES (7)", [], "owner");
  await assert.rejects(standby.query("CREATE TABLE s.u (n int)", [], "owner"), { code: "25006" });
  await primary.kill();
  await standby.promote();
  await standby.query("INSERT INTO s.t VALUES (8)", [], "owner");
  assert.deepEqual(await standby.query("SELECT n FROM s.t ORDER BY n", [], "owner"), [{ n: 7 }, { n: 8 }]);
});

Deno.test("PgBouncer hands a connection of the server's to another client after each transaction", async () => {
  await using postgres = await startPostgres();
  await using bouncer = await startPgBouncer(postgres, 1);
  const clients = [new Client(bouncer.url("relay")), new Client(bouncer.url("relay"))];
  for (const client of clients) await client.connect();
  const backends = await Promise.all(
    clients.map(async (client) => (await client.query("SELECT pg_backend_pid() AS pid")).rows[0]?.["pid"]),
  );
  assert.equal(backends[0], backends[1]);
  for (const client of clients) await client.end();
});

Deno.test("with TLS a client needs the certificate of its role", async () => {
  await using certificates = await testCertificates();
  const { ca, server } = certificates;
  const client = await certificates.issueServer("relay", { commonName: "relay", usages: ["clientAuth"] });
  await using postgres = await startPostgres({ tls: { server, clientCa: ca } });
  await assert.rejects(postgres.query("SELECT 1", [], "relay"), { code: "28000" });
  const connected = new Client({
    ...postgres.config("relay"),
    host: "localhost",
    ssl: { ca: ca.certificate, cert: client.certificate, key: client.key },
  });
  await connected.connect();
  const { rows } = await connected.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
  assert.deepEqual(rows, [{ ssl: true }]);
  await connected.end();
});
