/** docs/deploy/fleet.md from a clone and a database to two relays, one killed: each block as it stands there, with this test's ports. */
import assert from "node:assert/strict";
import { cp, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { numberedRequest } from "../support/bodies/numbered_spans.ts";
import { Random } from "../support/bodies/requests.ts";
import { startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { docBlock } from "../support/files/docs.ts";
import { folder } from "../support/files/folder.ts";
import { drained } from "../support/postgres/fleet.ts";
import { startPostgres } from "../support/postgres/postgres.ts";
import { signalTree } from "../support/postgres/processes.ts";
import { startProgram } from "../support/program/program.ts";
import { ROOT } from "../support/relay/restartable_relay.ts";
import { freePort } from "../support/tools/collector.ts";

const PAGE = "deploy/fleet.md";
const REQUESTS = 60;

Deno.test("the newcomer's path to two relays on one database, one of them killed", async () => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const postgres = stack.use(await startPostgres());
  const far = stack.use(await startEmbeddedFarEnd(certs, certs.dir));
  const { path: clone } = stack.use(await folder());
  for (const name of ["deno.json", "deno.lock", "src"]) {
    await cp(join(ROOT, name), join(clone, name), { recursive: true });
  }
  await mkdir(join(clone, "config"));

  // This server has an empty database of that name, and the two roles.
  await postgres.query("DROP OWNED BY relay; DROP ROLE relay");
  await postgres.query("DROP DATABASE edgeferry", [], "postgres", "postgres");
  for (const statement of (await docBlock(PAGE, "sql", /CREATE ROLE relay/)).split(";").filter((each) => each.trim())) {
    await postgres.query(statement.replace("relay-password", postgres.password("relay")), [], "postgres", "postgres");
  }

  const ports = { 4321: await freePort(), 4322: await freePort(), 9466: await freePort(), 9467: await freePort() };
  const here = (text: string) =>
    Object.entries({ ...ports, 5432: postgres.port })
      .reduce((all, [port, own]) => all.replaceAll(`127.0.0.1:${port}`, `127.0.0.1:${own}`), text)
      .replaceAll("relay-password", postgres.password("relay")).replaceAll(
        "owner-password",
        postgres.password("owner"),
      );
  const prepare = here(await docBlock(PAGE, "bash", /queue migrate/));
  const run = (lines: string) =>
    startProgram({
      command: "bash",
      args: ["-euc", lines],
      cwd: clone,
      env: {
        PATH: [dirname(Deno.execPath()), Deno.env.get("PATH")].join(":"),
        // The Collector is no part of this page.
        OTEL_EXPORTER_OTLP_ENDPOINT: far.url,
        OTEL_EXPORTER_OTLP_CERTIFICATE: certs.ca.certificateFile,
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: certs.client.certificateFile,
        OTEL_EXPORTER_OTLP_CLIENT_KEY: certs.client.keyFile,
      },
    });
  const prepared = stack.use(run(prepare));
  assert.equal((await prepared.ended).code, 0, prepared.lines.join("\n"));
  const token = prepared.out.map((line) => /^(ef_\S+|[A-Za-z0-9_-]{30,})$/.exec(line.trim())?.[1]).find(Boolean);
  assert(token !== undefined, prepared.lines.join("\n"));

  const variables = prepare.split("\n").filter((line) => line.startsWith("export ")).join("\n");
  const starts = here(await docBlock(PAGE, "bash", /^EDGEFERRY_RECEIVER_HTTP_ENDPOINT=/)).trim().split("\n");
  assert.equal(starts.length, 2);
  const relays = starts.map((line) =>
    stack.use(run(`${variables}\nexport ${line.replace(/ deno task start$/, "")}\nexec deno task start`))
  );
  for (const relay of relays) await relay.line(/ Ready /);

  const random = new Random(18);
  const written = new Set<string>();
  for (let number = 0; number < REQUESTS; number++) {
    const { body, headers, ids } = numberedRequest(random, `guide-${number}`, 3, undefined);
    if (number === REQUESTS / 2) {
      signalTree(relays[1]!.pid, "SIGKILL");
      await relays[1]!.ended;
    }
    const port = number % 2 === 0 || number > REQUESTS / 2 ? ports[4321] : ports[4322];
    const answer: Response = await fetch(`http://127.0.0.1:${port}/v1/traces`, {
      method: "POST",
      headers: { ...headers, authorization: `Bearer ${token}` },
      body,
    });
    assert.equal(answer.status, 200, await answer.text());
    for (const id of ids) written.add(id);
  }
  await drained(postgres);
  const there = new Set(far.receipts.flatMap(({ spans }) => spans.map(({ id }) => id)));
  assert.deepEqual([...written].filter((id) => !there.has(id)), []);
  const stats = stack.use(run(`${variables}\ndeno task queue stats`));
  assert.equal((await stats.ended).code, 0, stats.lines.join("\n"));
  assert.match(stats.out.join("\n"), /The books balance/);
  assert.match(stats.out.join("\n"), /both .* (lives|gone)/);
});
