/** doctor on a fleet's database: each fault of it by its name, each produced here. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { DATABASE_FAULTS } from "../../../src/diagnosis/database_faults.ts";
import { examine, type Report } from "../../../src/doctor/doctor.ts";
import { Client } from "../../../src/postgres/driver.ts";
import { tcp } from "../../support/far_end/tcp.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { folder } from "../../support/files/folder.ts";
import { startProgram } from "../../support/program/program.ts";
import { ROOT } from "../../support/relay/restartable_relay.ts";
import { makeTables } from "../../support/postgres/fleet.ts";
import { startPostgres } from "../../support/postgres/postgres.ts";

type Database = NonNullable<NonNullable<ConfigInput["sending_queue"]>["postgres"]>;

async function doctor(dir: string, postgres: Database, now?: () => Date): Promise<Report> {
  const file = join(dir, "relay.json");
  const config: ConfigInput = {
    role: "receiver",
    receiver: { auth: { insecure: true } },
    sending_queue: { storage: "postgres", postgres },
  };
  await writeFile(file, JSON.stringify(config));
  return await examine({ file, env: { DENO_TLS_CA_STORE: "" }, ...(now === undefined ? {} : { now }) });
}

/** What a server says that is not ready (PostgreSQL 15, 55.7 "ErrorResponse"). */
function errorResponse(code: string, message: string): Uint8Array {
  const fields = new TextEncoder().encode(`SFATAL\0C${code}\0M${message}\0\0`);
  const answer = new Uint8Array(5 + fields.length);
  answer[0] = "E".charCodeAt(0);
  new DataView(answer.buffer).setInt32(1, 4 + fields.length);
  answer.set(fields, 5);
  return answer;
}

Deno.test("each fault of the database is named by doctor, and a sound one passes", async () => {
  await using stack = new AsyncDisposableStack();
  const { path: dir } = stack.use(await folder());
  const certs = stack.use(await testCertificates());
  const postgres = stack.use(await startPostgres());
  const url = postgres.url("relay");
  const produced = new Set<string>();
  const note = async (expected: string, database: Database, now?: () => Date): Promise<Report> => {
    const report = await doctor(dir, database, now);
    const found = [...report.faults, ...report.warnings];
    assert.deepEqual(found, [`database_${expected}`], JSON.stringify(report.checks, null, 1));
    for (const code of found) produced.add(code);
    assert.doesNotMatch(JSON.stringify(report), /-Pw7|Hunter2/);
    return report;
  };
  const stateOf = (report: Report, id: string) => report.checks.find((check) => check.id === id)?.status;

  await note("tables", { url });
  await makeTables(postgres, false);
  await note("rights", { url });
  await makeTables(postgres);
  await postgres.query("REVOKE INSERT ON edgeferry.ledger FROM relay");
  const lacking = await note("rights", { url });
  assert.match(JSON.stringify(lacking), /lacks rights: INSERT on ledger"/);
  await postgres.query("GRANT INSERT ON edgeferry.ledger TO relay");
  for (
    const [change, back, missing] of [
      [
        "RENAME TO others",
        "ALTER TABLE edgeferry.others RENAME TO appends",
        /relation ..?edgeferry.appends..? does not exist/,
      ],
      ["RENAME COLUMN at TO since", "ALTER TABLE edgeferry.appends RENAME COLUMN since TO at", /column ..?at..? /],
    ] as const
  ) {
    await postgres.query(`ALTER TABLE edgeferry.appends ${change}`);
    assert.match(JSON.stringify(await note("tables", { url })), missing);
    await postgres.query(back);
  }
  const holder = new Client(postgres.config("postgres"));
  holder.on("error", () => {});
  await holder.connect();
  await holder.query("BEGIN");
  await holder.query("LOCK TABLE edgeferry.meta IN ACCESS EXCLUSIVE MODE");
  await note("silent", { url });
  await holder.end();
  const sound = await doctor(dir, { url });
  assert.deepEqual([sound.ok, sound.faults, sound.warnings], [true, [], []], JSON.stringify(sound.checks, null, 1));
  assert.deepEqual(sound.checks.map(({ id }) => id).filter((id) => id.startsWith("database_")), [
    "database_dns",
    "database_port",
    "database_tls",
    "database_role",
    "database_settings",
    "database_tables",
    "database_room",
    "database_clock",
  ]);
  assert.match(
    sound.checks.find(({ id }) => id === "database_settings")?.evidence.join("\n") ?? "",
    /lost disk .*\n.*lost standby.*\n.*lost region/i,
  );
  await note("clock", { url }, () => new Date(Date.now() + 3_600_000));
  await postgres.query("UPDATE edgeferry.meta SET bytes_max = 1000");
  await postgres.query("INSERT INTO edgeferry.ledger (target, signal, bytes) VALUES (1, 0, 950)");
  await note("full", { url });
  await postgres.query("UPDATE edgeferry.meta SET bytes_max = 0");

  const wrong = await note("wrong_password", { url: url.replace("relay-Pw7", "Hunter2") });
  assert.deepEqual(
    ["database_tls", "database_role", "database_settings"].map((id) => stateOf(wrong, id)),
    ["ok", "fault", "skipped"],
  );
  await note("no_password", { url: url.replace(":relay-Pw7", "") });
  await note("no_database", { url: url.replace("/edgeferry", "/nothing") });
  await note("unknown_host", { url: url.replace("127.0.0.1", "no-such-host.invalid"), tls: { insecure: true } });
  await note("unreachable", { url: url.replace(String(postgres.port), "1") });
  {
    await using program = startProgram({
      command: Deno.execPath(),
      args: [
        ...["run", "--allow-read", "--allow-env", "--deny-net", "--no-prompt", "--config", join(ROOT, "deno.json")],
        ...[join(ROOT, "src/main.ts"), "doctor", "--json", "--config", join(dir, "relay.json")],
      ],
      cwd: dir,
      env: { DENO_TLS_CA_STORE: "" },
    });
    await program.ended;
    const report: Report = JSON.parse(program.out.join("\n"));
    assert.deepEqual(report.faults, ["database_not_permitted"]);
    produced.add("database_not_permitted");
  }
  await note("no_tls", { url: `${url}?sslmode=require` });
  await postgres.query("CREATE ROLE stranger LOGIN PASSWORD 'stranger-Pw7'");
  await note("role_refused", { url: url.replace("relay:relay-Pw7", "stranger:stranger-Pw7") });
  await postgres.query("ALTER ROLE relay CONNECTION LIMIT 0");
  await note("too_many_connections", { url });
  await postgres.query("ALTER ROLE relay CONNECTION LIMIT -1");
  const starting = await tcp(
    stack,
    (socket) => socket.once("data", () => socket.end(errorResponse("57P03", "the database system is starting up"))),
  );
  await note("starting", { url: url.replace(String(postgres.port), String(starting)) });
  const another = await tcp(stack, (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  await note("failed", { url: url.replace(String(postgres.port), String(another)) });

  await postgres.set("full_page_writes", "off");
  await note("power_cut", { url });
  await postgres.set("fsync", "off");
  await note("not_durable", { url });
  await note("unchecked", { url, durability: "managed" });
  const standby = stack.use(await postgres.standby({ name: "second", synchronous: true }));
  await note("memory_only", { url });
  await note("read_only", { url: standby.url("relay") });

  const secured = stack.use(await startPostgres({ tls: { server: certs.server, clientCa: certs.ca } }));
  const named = secured.url("relay").replace("127.0.0.1", "localhost");
  await note("client_certificate", { url: named, tls: { ca_file: certs.ca.certificateFile } });
  await note("untrusted", { url: named, tls: { ca_file: certs.otherCa.certificateFile } });

  assert.deepEqual([...produced].sort(), DATABASE_FAULTS.map(({ code }) => code).sort());
});
