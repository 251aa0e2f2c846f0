/** Connections as the relay makes them, to real servers with one fault each. */
import assert from "node:assert/strict";
import { chmod, copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { configFrom } from "../../../src/config/load.ts";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { ConnectError, type ConnectFault } from "../../../src/postgres/connect_error.ts";
import { Connector } from "../../../src/postgres/connector.ts";
import { databaseSettings } from "../../../src/postgres/settings.ts";
import { createLog, type Log } from "../../../src/telemetry/log.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { folder } from "../../support/files/folder.ts";
import { startPgBouncer } from "../../support/postgres/pgbouncer.ts";
import { startPostgres } from "../../support/postgres/postgres.ts";
import { freePort } from "../../support/tools/collector.ts";

type Input = NonNullable<NonNullable<ConfigInput["sending_queue"]>["postgres"]>;

function connectorFor(postgres: Input, lines: string[] = []): Connector {
  const log: Log = createLog({ write: (line) => void lines.push(line) });
  return new Connector(databaseSettings(configFrom({ sending_queue: { postgres } })), log);
}

async function refusal(postgres: Input): Promise<ConnectError> {
  await using connector = connectorFor(postgres);
  const error = await connector.connect().then(() => undefined, (error: unknown) => error);
  assert(error instanceof ConnectError, `it is ${error}`);
  return error;
}

Deno.test("each reason for no connection has its name, and no message has the password", async () => {
  await using postgres = await startPostgres();
  const url = new URL(postgres.url("relay"));
  const changed = (change: (url: URL) => void): string => {
    const copy = new URL(url);
    change(copy);
    return copy.href;
  };
  await postgres.query("CREATE ROLE stranger LOGIN PASSWORD 'stranger-Pw7'");
  const rows: [ConnectFault, Input][] = [
    ["unknown_host", { url: changed((url) => url.hostname = "no-such-host.invalid"), tls: { insecure: true } }],
    ["unreachable", { url: changed((url) => url.port = "1") }],
    ["no_tls", { url: `${url.href}?sslmode=require` }],
    ["wrong_password", { url: changed((url) => url.password = "Hunter2") }],
    ["no_password", { url: changed((url) => url.password = "") }],
    ["no_database", { url: changed((url) => url.pathname = "/nothing") }],
    ["role_refused", { url: postgres.url("relay").replace("relay:relay-Pw7", "stranger:stranger-Pw7") }],
  ];
  for (const [code, input] of rows) {
    const error = await refusal(input);
    assert.equal(error.code, code, error.message);
    assert.doesNotMatch(error.message, /Hunter2|relay-Pw7/);
  }
});

Deno.test("a server that answers before its data is safe is refused, by its name for it, and at once when it becomes one", async () => {
  await using postgres = await startPostgres();
  const lines: string[] = [];
  await using connector = connectorFor({ url: postgres.url("relay") }, lines);
  const client = await connector.connect();
  assert.equal(connector.server?.facts.fsync, true);
  const lost = new Promise<void>((resolve) => client.on("end", resolve));
  await postgres.set("fsync", "off");
  await connector.check();
  await lost;
  assert(lines.some((line) => /The check of the database failed/.test(line)), lines.join("\n"));
  const error = await refusal({ url: postgres.url("relay") });
  assert.equal(error.code, "not_durable");
  assert.match(error.remedy ?? "", /durability: managed/);

  await using managed = connectorFor({ url: postgres.url("relay"), durability: "managed" });
  await (await managed.connect()).end();

  // A synchronous standby has what the primary's disk may lose.
  await using standby = await postgres.standby({ name: "second", synchronous: true });
  assert.notEqual(standby.port, postgres.port);
  const warned: string[] = [];
  await using copied = connectorFor({ url: postgres.url("relay") }, warned);
  await (await copied.connect()).end();
  assert(warned.some((line) => /fsync = off/.test(line)), warned.join("\n"));
});

Deno.test("of several hosts the one that takes writes is used, also after it has changed", async () => {
  await using primary = await startPostgres();
  await using standby = await primary.standby({ name: "second" });
  assert.equal((await refusal({ url: standby.url("relay") })).code, "read_only");
  const url = primary.url("relay").replace(`:${primary.port}/`, `:${standby.port},127.0.0.1:${primary.port}/`);
  await using connector = connectorFor({ url });
  await (await connector.connect()).end();
  assert.equal(connector.server?.host.port, primary.port);
  await primary.kill();
  await assert.rejects(connector.connect(), ConnectError);
  await standby.promote();
  await (await connector.connect()).end();
  assert.equal(connector.server?.host.port, standby.port);
});

Deno.test("a frozen server costs no more than the time for a connection, and the next host is tried", async () => {
  await using frozen = await startPostgres();
  await using other = await startPostgres();
  frozen.freeze();
  const url = frozen.url("relay").replace(`:${frozen.port}/`, `:${frozen.port},127.0.0.1:${other.port}/`);
  await using connector = connectorFor({ url, connect_timeout: "300ms" });
  await (await connector.connect()).end();
  assert.equal(connector.server?.host.port, other.port);
});

Deno.test("the password is read from its file at each connection", async () => {
  await using postgres = await startPostgres();
  await using dir = await folder();
  const file = join(dir.path, "password.txt");
  const url = postgres.url("relay").replace(":relay-Pw7@", "@");
  await using connector = connectorFor({ url, password_file: file });
  await assert.rejects(connector.connect(), { name: "ConfigError", message: /password_file .*ENOENT/ });
  await writeFile(file, `${postgres.password("relay")}\n`);
  await (await connector.connect()).end();
  await postgres.query("ALTER ROLE relay PASSWORD 'changed-Pw7'");
  await assert.rejects(connector.connect(), { code: "wrong_password" });
  await writeFile(file, "changed-Pw7");
  await (await connector.connect()).end();
});

Deno.test("a password that is only in the driver's own variable is none, whatever the server asks for it by", async () => {
  await using postgres = await startPostgres();
  const url = postgres.url("relay").replace(":relay-Pw7@", "@");
  using stack = new DisposableStack();
  const before = Deno.env.get("PGPASSWORD");
  Deno.env.set("PGPASSWORD", postgres.password("relay"));
  stack.defer(() => before === undefined ? Deno.env.delete("PGPASSWORD") : Deno.env.set("PGPASSWORD", before));
  assert.equal((await refusal({ url })).code, "no_password");
  // Of this form the server's proof is another.
  await postgres.query("SET password_encryption = md5; ALTER ROLE relay PASSWORD 'relay-Pw7'");
  const [row] = await postgres.query("SELECT setting AS file FROM pg_settings WHERE name = 'hba_file'");
  await writeFile(
    String(row?.["file"]),
    "host all postgres 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 md5\n",
  );
  await postgres.set("log_disconnections", "off");
  assert.equal((await refusal({ url })).code, "no_password");
  await using connector = connectorFor({ url: postgres.url("relay") });
  await (await connector.connect()).end();
});

Deno.test("certificates prove both ends, and renewed files are used by the next connection", async () => {
  await using certificates = await testCertificates();
  await using postgres = await startPostgres({ tls: { server: certificates.server, clientCa: certificates.ca } });
  const issued = (name: string) => certificates.issueServer(name, { commonName: name, usages: ["clientAuth"] });
  const relay = await issued("relay");
  const [cert, key, ca] = ["relay-in-use.crt", "relay-in-use.key", "ca-in-use.crt"].map((name) =>
    join(certificates.dir, name)
  ) as [string, string, string];
  const use = async (pair: { certificateFile: string; keyFile: string }) => {
    await copyFile(pair.certificateFile, cert);
    await copyFile(pair.keyFile, key);
    await chmod(key, 0o600);
  };
  await use(relay);
  await copyFile(certificates.ca.certificateFile, ca);
  const url = postgres.url("relay").replace("127.0.0.1", "localhost");
  const lines: string[] = [];
  await using connector = connectorFor({ url, tls: { ca_file: ca, cert_file: cert, key_file: key } }, lines);
  await (await connector.connect()).end();
  assert.deepEqual(connector.expiries().map(({ role }) => role).sort(), ["database_ca", "database_client"]);

  // A change that cannot be used leaves the previous one in use.
  await writeFile(cert, "half a certificate");
  await (await connector.connect()).end();
  assert(lines.some((line) => /Refused a changed certificate for the database/.test(line)), lines.join("\n"));

  // A certificate of another name is shown, and refused: PostgreSQL says of that what it says of a wrong password.
  await use(await issued("another"));
  assert.equal(await connector.connect().catch(({ code }) => code), "wrong_password");
  await use(relay);
  await (await connector.connect()).end();

  const tls = { ca_file: ca };
  assert.equal((await refusal({ url, tls })).code, "client_certificate");
  const strangers = { ca_file: certificates.otherCa.certificateFile, cert_file: cert, key_file: key };
  assert.equal((await refusal({ url, tls: strangers })).code, "untrusted");
});

Deno.test("a server that is named by its address is trusted where its certificate has that address", async () => {
  await using certificates = await testCertificates();
  const tls = { ca_file: certificates.ca.certificateFile };
  {
    await using postgres = await startPostgres({ tls: { server: certificates.server } });
    await using connector = connectorFor({ url: postgres.url("relay"), tls });
    await (await connector.connect()).end();
    const strangers = { ca_file: certificates.otherCa.certificateFile };
    const strange = await refusal({ url: postgres.url("relay"), tls: strangers });
    assert.equal(strange.code, "untrusted", strange.message);
  }
  {
    const now = new Date(Date.now() - 400 * 86_400_000);
    const expired = await certificates.issueServer("expired", { days: 365, now });
    await using postgres = await startPostgres({ tls: { server: expired } });
    const ended = await refusal({ url: postgres.url("relay"), tls });
    assert.equal(ended.code, "untrusted", ended.message);
    assert.match(ended.remedy ?? "", /ca_file .* host .* expired/);
  }
  const elsewhere = await certificates.issueServer("elsewhere", { subjectAltNames: ["localhost", "192.0.2.1"] });
  await using postgres = await startPostgres({ tls: { server: elsewhere } });
  await using connector = connectorFor({ url: postgres.url("relay").replace("127.0.0.1", "localhost"), tls });
  await (await connector.connect()).end();
  assert.equal((await refusal({ url: postgres.url("relay"), tls })).code, "untrusted");
});

Deno.test("a pooler of transactions may stand between", async () => {
  await using postgres = await startPostgres();
  await using bouncer = await startPgBouncer(postgres, 1);
  await using connector = connectorFor({ url: bouncer.url("relay") });
  const clients = [await connector.connect(), await connector.connect()];
  for (const client of clients) await client.end();
  const nobody = await freePort();
  assert.equal(
    (await refusal({ url: bouncer.url("relay").replace(String(bouncer.port), String(nobody)) })).code,
    "unreachable",
  );
});
