/** docs/deploy/fleet.md from a clone and a database to two relays, one killed: each block as it stands there, with this test's ports. */
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { dirname, join } from "node:path";
import { numberedRequest } from "../support/bodies/numbered_spans.ts";
import { Random } from "../support/bodies/requests.ts";
import { startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { docBlock } from "../support/files/docs.ts";
import { folder } from "../support/files/folder.ts";
import { drained } from "../support/postgres/fleet.ts";
import { startPostgres } from "../support/postgres/postgres.ts";
import { send, tree } from "../support/postgres/processes.ts";
import { startProgram } from "../support/program/program.ts";
import { ROOT } from "../support/relay/restartable_relay.ts";
import { freePort } from "../support/tools/collector.ts";

const PAGE = "deploy/fleet.md";
const REQUESTS = 60;

Deno.test("the newcomer's path to two relays on one database, one of them killed", async () => {
  await using stack = new AsyncDisposableStack();
  const postgres = stack.use(await startPostgres());
  const { path: clone } = stack.use(await folder());
  for (const name of ["deno.json", "deno.lock", "src", "config/relay.yaml"]) {
    await cp(join(ROOT, name), join(clone, name), { recursive: true });
  }

  // A server that has none of it yet.
  await postgres.query("DROP OWNED BY relay; DROP ROLE relay");
  await postgres.query("DROP DATABASE edgeferry", [], "postgres", "postgres");
  await postgres.query("DROP ROLE owner", [], "postgres", "postgres");
  const passwords = (text: string) =>
    (["owner", "relay"] as const).reduce(
      (all, role) => all.replaceAll(`${role}-password`, postgres.password(role)),
      text,
    );
  for (const statement of (await docBlock(PAGE, "sql", /CREATE ROLE relay/)).split(";").filter((each) => each.trim())) {
    await postgres.query(passwords(statement), [], "postgres", "postgres");
  }

  const ports = { 4321: await freePort(), 4322: await freePort(), 9466: await freePort(), 9467: await freePort() };
  const here = (text: string) =>
    Object.entries({ ...ports, 5432: postgres.port })
      .reduce((all, [port, own]) => all.replaceAll(`127.0.0.1:${port}`, `127.0.0.1:${own}`), passwords(text));
  const prepare = here(await docBlock(PAGE, "bash", /queue migrate/));
  const variables: Record<string, string> = { PATH: [dirname(Deno.execPath()), Deno.env.get("PATH")].join(":") };
  const run = (lines: string) => startProgram({ command: "bash", args: ["-euc", lines], cwd: clone, env: variables });

  const collector = (await docBlock(PAGE, "bash", /certs init/)).trim().split("\n");
  assert.deepEqual(collector, ["deno task certs init", "deno task collector"]);
  const certs = stack.use(run(collector[0]!));
  assert.equal((await certs.ended).code, 0, certs.lines.join("\n"));
  // In place of the second line: the same Collector, which tells this test what it takes, on a port of its own.
  const far = stack.use(await startEmbeddedFarEnd({ dir: join(clone, "certs") }, clone));
  variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = far.url;

  const prepared = stack.use(run(`${prepare}\necho "token $TOKEN"`));
  assert.equal((await prepared.ended).code, 0, prepared.lines.join("\n"));
  const token = prepared.out.map((line) => /^token (\S+)$/.exec(line)?.[1]).find(Boolean);
  assert(token !== undefined, prepared.lines.join("\n"));
  for (const line of prepare.split("\n")) {
    const [, name, value] = /^export (\w+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) variables[name] = value;
  }

  const starts = here(await docBlock(PAGE, "bash", /^EDGEFERRY_RECEIVER_HTTP_ENDPOINT=/)).trim().split("\n");
  assert.equal(starts.length, 2);
  const relays = starts.map((line) => {
    const [, own] = /^(.*) deno task start &$/.exec(line) ?? [];
    assert(own !== undefined, line);
    return stack.use(run(`export ${own}\nexec deno task start`));
  });
  for (const relay of relays) await relay.line(/ Ready /);

  const sent = stack.use(run(`TOKEN=${token}\n${here(await docBlock(PAGE, "bash", /task send/))}`));
  assert.equal((await sent.ended).code, 0, sent.lines.join("\n"));
  assert.equal(sent.out.filter((line) => /^traces +accepted$/.test(line)).length, 2, sent.lines.join("\n"));
  const named = sent.out.map((line) => /^\S+\[(\d+)\] +both .* lives /.exec(line)?.[1]).filter((pid) =>
    pid !== undefined
  );
  assert.equal(new Set(named).size, 2, sent.lines.join("\n"));
  const processes = tree(relays[1]!.pid);
  const victim = named.map(Number).find((pid) => processes.includes(pid));
  assert(victim !== undefined, `${named.join()}: none is a process of the second relay, ${processes.join()}`);

  const random = new Random(18);
  const written = new Set<string>();
  for (let number = 0; number < REQUESTS; number++) {
    const { body, headers, ids } = numberedRequest(random, `guide-${number}`, 3, undefined);
    if (number === REQUESTS / 2) {
      send(victim, "SIGKILL");
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
  const stats = stack.use(run("deno task queue stats"));
  assert.equal((await stats.ended).code, 0, stats.lines.join("\n"));
  assert.match(stats.out.join("\n"), /The books balance/);
  assert.match(stats.out.join("\n"), /both .* (lives|gone)/);
});
