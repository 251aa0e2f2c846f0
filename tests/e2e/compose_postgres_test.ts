/** The profile `postgres` of docker-compose.yaml: what its services are given, and their commands on a real PostgreSQL. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { addToken, newSecret } from "../../src/receiver/senders/tokens_file.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startSink } from "../support/far_end/sink.ts";
import { type Program, startProgram } from "../support/program/program.ts";
import { startPostgres } from "../support/postgres/postgres.ts";
import { freePort, startCollector } from "../support/tools/collector.ts";
import { composeFile, layOut, load, rootFolder, type Service, service } from "../support/tools/compose.ts";
import { runTool } from "../support/tools/tool.ts";

const RELAYS = ["receiver-1", "receiver-2", "exporter"] as const;

Deno.test("the services of the profile are pinned, wait for each other, and have what they need and no more", async () => {
  const project = await load(composeFile, "postgres");
  const postgres = service(project, "postgres");
  assert.match(postgres.image, /^postgres:\d+\.\d+$/);
  assert.equal(postgres.ports, undefined);
  assert.deepEqual(postgres.volumes?.map(({ type, target }) => [type, target]), [
    ["bind", "/docker-entrypoint-initdb.d/roles.sh"],
    ["volume", "/var/lib/postgresql/data"],
  ]);
  assert.deepEqual(postgres.healthcheck?.test.slice(0, 2), ["CMD", "pg_isready"]);
  const migrate = service(project, "queue-migrate");
  assert.deepEqual(migrate.depends_on?.["postgres"], { condition: "service_healthy", required: true });
  for (const name of RELAYS) {
    const relay = service(project, name);
    assert.equal(relay.image, migrate.image);
    assert.deepEqual(relay.depends_on?.["queue-migrate"], {
      condition: "service_completed_successfully",
      required: true,
    });
    assert.deepEqual([relay.read_only, relay.cap_drop, relay.user], [true, ["ALL"], "1234:5678"]);
    const flags = (relay.command ?? []).filter((word) => word.startsWith("-"));
    for (const open of ["-A", "--allow-net", "--allow-read", "--allow-write"]) assert(!flags.includes(open), open);
    assert(!flags.some((flag) => flag.startsWith("--allow-write")), "no relay has a disk");
    assert((relay.ports ?? []).every(({ host_ip }) => host_ip === "127.0.0.1"));
  }
  for (const name of ["receiver-1", "receiver-2"]) {
    const receiver = service(project, name);
    assert(!Object.keys(receiver.environment ?? {}).some((key) => key.startsWith("OTEL_")), name);
    assert(!(receiver.volumes ?? []).some(({ source }) => relative(rootFolder, source).startsWith("certs")), name);
  }
  assert.deepEqual(service(project, "exporter").ports?.map(({ target }) => target), [9464]);
});

Deno.test("its commands, with what is mounted and permitted, carry a span from a receiver to the Collector", async () => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certs.dir, sink }));
  const postgres = stack.use(await startPostgres());
  // As the image does it, but for the role that is there already.
  await postgres.query("DROP OWNED BY relay; DROP ROLE relay");
  await runTool("sh", [join(rootFolder, "config/postgres-roles.sh")], {
    env: {
      RELAY_PASSWORD: postgres.password("relay"),
      POSTGRES_USER: "postgres",
      POSTGRES_DB: "edgeferry",
      PGHOST: "127.0.0.1",
      PGPORT: String(postgres.port),
      PGPASSWORD: postgres.password("postgres"),
    },
  });
  const project = await load(composeFile, "postgres");
  const token = newSecret();
  const start = async (name: string) => {
    const of: Service = service(project, name);
    const [port, adminPort] = [await freePort(), await freePort()];
    const here = (text: string) =>
      text.replaceAll("0.0.0.0:4319", `127.0.0.1:${port}`)
        .replaceAll("0.0.0.0:9464", `127.0.0.1:${adminPort}`)
        .replaceAll("@postgres:5432", `@localhost:${postgres.port}`)
        .replaceAll("postgres:5432", `localhost:${postgres.port}`)
        .replaceAll("otel-collector:4318", `localhost:${collector.httpPort}`);
    const folder = await layOut(of, certs.dir);
    stack.defer(() => rm(folder, { recursive: true }));
    await addToken(join(folder, "config/tokens.yaml"), { id: "shop", secret: token });
    const own = {
      EDGEFERRY_SENDING_QUEUE_POSTGRES_PASSWORD: postgres.password(name === "queue-migrate" ? "owner" : "relay"),
    };
    const variables = Object.entries(of.environment ?? {}).map(([key, value]) => [key, here(value)]);
    const program: Program = stack.use(startProgram({
      command: Deno.execPath(),
      args: (of.command ?? []).map(here),
      cwd: folder,
      env: { ...Object.fromEntries(variables), ...own },
    }));
    return { program, url: `http://127.0.0.1:${port}`, admin: `http://127.0.0.1:${adminPort}` };
  };
  const migrated = (await start("queue-migrate")).program;
  assert.equal((await migrated.ended).code, 0, migrated.lines.join("\n"));
  assert.match(migrated.lines.join("\n"), /Role relay may use them/);
  const relays = [];
  for (const name of RELAYS) {
    const relay = await start(name);
    await relay.program.line(/ Ready /);
    const ready = await fetch(`${relay.admin}/readyz`);
    assert.equal(ready.status, 200, await ready.text());
    relays.push(relay);
  }
  for (const [index, { url }] of relays.slice(0, 2).entries()) {
    const span = {
      traceId: "5b8efff798038103d269b633813fc60c",
      spanId: `eee19b7ec3c1b17${index}`,
      name: `from-${index}`,
    };
    const answer = await fetch(`${url}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
    });
    assert.deepEqual([answer.status, await answer.json()], [200, {}]);
  }
  await sink.waitFor(() => [0, 1].every((index) => sink.spans().some(({ name }) => name === `from-${index}`)));
  for (const { program } of relays) {
    assert.equal((await program.stop()).code, 0, program.lines.join("\n"));
    assert.doesNotMatch(program.lines.join("\n"), /NotCapable|Requires \w+ access|ERROR/);
  }
});
