/**
 * src/deploy.ts and src/serve.ts as receivers on PostgreSQL, behind PgBouncer in transaction mode: 200 after the commit, one connection,
 * nothing done between requests, and nothing lost where the host freezes or kills an instance.
 */
import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { numberedRequest } from "../support/bodies/numbered_spans.ts";
import { Random } from "../support/bodies/requests.ts";
import { startEmbeddedFarEnd, startRealFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { databaseVariables, drained, migrateQueue, startMember } from "../support/postgres/fleet.ts";
import { startPgBouncer } from "../support/postgres/pgbouncer.ts";
import { type Postgres, startPostgres } from "../support/postgres/postgres.ts";
import { DEPLOY, SERVE, startDeployed } from "../support/relay/deployed.ts";

const REQUESTS = 20;

async function items(postgres: Postgres): Promise<number> {
  const [row] = await postgres.query("SELECT coalesce(sum(items), 0)::int AS items FROM edgeferry.deliveries");
  return Number(row?.["items"]);
}

/** When a connection of the relays' has last begun or ended anything. */
async function lastUsed(postgres: Postgres): Promise<unknown> {
  const [row] = await postgres.query(
    "SELECT max(state_change)::text AS at FROM pg_stat_activity WHERE usename = 'relay'",
  );
  return row?.["at"];
}

/** A relay that works between requests looks after the queue each second. */
const IDLE_MS = 3_000;

Deno.test("instances on a database need no way to the Collector, and lose nothing frozen or killed", async () => {
  await using certs = await testCertificates();
  await using postgres = await startPostgres();
  await migrateQueue(postgres);
  // Two connections of the server for two instances, which each have one of PgBouncer's.
  await using bouncer = await startPgBouncer(postgres, 2);
  const env = databaseVariables(bouncer.url("relay"));
  const random = new Random(18);
  const sent = new Set<string>();
  let count = 0;
  const requests = (prefix: string) =>
    Array.from({ length: REQUESTS }, (_, index) => numberedRequest(random, `${prefix}-${index}`, 3, undefined));
  {
    await using deployed = await startDeployed(DEPLOY, env);
    await using served = await startDeployed(SERVE, env);
    for (const [instance, prefix] of [[deployed, "deploy"], [served, "serve"]] as const) {
      for (const request of requests(prefix)) {
        const answer = await instance.send(request);
        assert.equal(answer.status, 200, await answer.text());
        for (const id of request.ids) sent.add(id);
        count += request.ids.length;
        // Not before it is committed.
        if (prefix === "deploy") assert.equal(await items(postgres), count);
      }
    }
    const [connected] = await postgres.query(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'relay' AND datname = 'edgeferry'",
    );
    assert(Number(connected?.["n"]) <= 2, `${connected?.["n"]} connections for two instances`);

    // Frozen with requests on their way; the sender gives none of them up.
    deployed.program.signal("SIGSTOP");
    const late = requests("frozen");
    const answers = late.map((request) => deployed.send(request));
    // Of the instance that runs, and is asked for nothing, nothing comes.
    const before = await lastUsed(postgres);
    await after(IDLE_MS);
    assert.equal(await lastUsed(postgres), before);
    deployed.program.signal("SIGCONT");
    for (const [index, answer] of answers.entries()) {
      const response = await answer;
      assert.equal(response.status, 200, await response.text());
      for (const id of late[index]!.ids) sent.add(id);
    }

    // Killed right behind an answer.
    for (const request of requests("killed").slice(0, 5)) {
      const answer = await served.send(request);
      assert.equal(answer.status, 200, await answer.text());
      for (const id of request.ids) sent.add(id);
    }
    await served.kill();
  }
  await using far = await startEmbeddedFarEnd(certs, certs.dir);
  await using _exporter = await startMember({
    role: "exporter",
    certs,
    collectorUrl: far.url,
    url: postgres.url("relay"),
  });
  await drained(postgres);
  const there = new Set(far.receipts.flatMap(({ spans }) => spans.map(({ id }) => id)));
  assert.deepEqual([...sent].filter((id) => !there.has(id)), []);
});

for (const out of ["http/protobuf", "grpc"] as const) {
  const collector = out === "grpc" ? "the real Collector over gRPC" : "an embedded Collector";
  Deno.test(`what instances took is held while ${collector} refuses all data and takes empty requests, and comes once`, async () => {
    await using certs = await testCertificates();
    await using postgres = await startPostgres();
    await migrateQueue(postgres);
    await using deployed = await startDeployed(DEPLOY, databaseVariables(postgres.url("relay")));
    await using far = out === "grpc" ? await startRealFarEnd(certs) : await startEmbeddedFarEnd(certs, certs.dir);
    await far.trouble(out === "grpc" ? { kind: "status", status: 400 } : { kind: "refuses_data" });
    await using exporter = await startMember({
      role: "exporter",
      certs,
      collectorUrl: out === "grpc" ? far.grpcUrl! : far.url,
      url: postgres.url("relay"),
      settings: {
        exporter: { protocol: out, retry_on_failure: { initial_interval: "100ms", max_interval: "1s" } },
      },
    });
    const random = new Random(14);
    const sent = new Set<string>();
    for (let count = 0; count < REQUESTS; count++) {
      const request = numberedRequest(random, `held-${count}`, 3, undefined);
      const answer = await deployed.send(request);
      assert.equal(answer.status, 200, await answer.text());
      for (const id of request.ids) sent.add(id);
    }
    await exporter.line(/refuses_everything/);
    assert.equal(far.receipts.length, 0);
    await far.trouble(undefined);
    await drained(postgres);
    const there = far.receipts.flatMap(({ spans }) => spans.map(({ id }) => id));
    assert.deepEqual(there.toSorted(), [...sent].toSorted());
    const [books] = await postgres.query("SELECT count(*)::int AS dead FROM edgeferry.dead_letters");
    assert.equal(books?.["dead"], 0);
  });
}
