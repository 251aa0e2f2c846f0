/** Several relays on one PostgreSQL: receivers outside, exporters beside the Collector. */
import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { type FarEnd, startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import {
  databaseVariables,
  drained,
  makeTables,
  migrateQueue,
  queueCommand,
  startMember,
} from "../support/postgres/fleet.ts";
import { startPostgres } from "../support/postgres/postgres.ts";

/** What a relay tells of the others is a few seconds old. */
const TOLD_MS = 60_000;

function missing(senders: NumberedSenders, far: FarEnd): string[] {
  const there = new Set(far.receipts.flatMap(({ spans }) => spans.map(({ id }) => id)));
  return [...senders.written].filter((id) => !there.has(id));
}

const textOf = async (url: string): Promise<string> => await (await fetch(url)).text();

/** Resolves when the page says it. */
async function told(page: string, words: RegExp): Promise<void> {
  const until = performance.now() + TOLD_MS;
  for (let text = await textOf(page); !words.test(text); text = await textOf(page)) {
    assert(performance.now() < until, text);
    await after(500);
  }
}

Deno.test("receivers answer 200 without a way to the Collector, exporters send; a killed one of each loses nothing", async () => {
  await using certs = await testCertificates();
  await using postgres = await startPostgres();
  assert.match(
    (await migrateQueue(postgres)).join("\n"),
    /Made the queue's tables, version 1\nRole relay may use them/,
  );
  assert.match((await migrateQueue(postgres)).join("\n"), /have version 1 already/);
  await using far = await startEmbeddedFarEnd(certs, certs.dir);
  const member = (role: "receiver" | "exporter") =>
    startMember({ role, certs, collectorUrl: far.url, url: postgres.url("relay") });
  await using first = await member("receiver");
  await using second = await member("receiver");
  await using sender = await member("exporter");
  await using other = await member("exporter");
  assert(sender.lines.every((line) => !/ Receiving /.test(line)), "An exporter has no receiver");

  // Each tells of all that live, as of a few seconds ago, and of the promise.
  const page = /page=(\S+)/.exec(await first.line(/ page=/))![1]!;
  await told(page, /Live: (\S+ \((receiver|exporter)\)(, )?){4}\./);
  for (const line of ['relays{role="receiver"} 2', 'relays{role="exporter"} 2', 'durability{kept_by="disk"} 1']) {
    assert((await textOf(`${page}metrics`)).includes(`edgeferry_fleet_${line}`), line);
  }

  let turn = 0;
  const urls = [() => first.url, () => second.url];
  const load = new NumberedSenders({
    seed: 18,
    url: () => (urls[turn++ % urls.length] ?? urls[0]!)(),
    senders: 4,
    spansMax: 8,
    poisoned: 0,
  });
  await load.answered(100);
  await other.kill();
  await load.answered(200);
  await second.kill();
  urls.pop();
  await load.answered(300);
  await load.stop();
  const variables = databaseVariables(postgres.url("relay"));
  const stats = JSON.parse((await queueCommand(["stats", "--json"], variables)).join("\n"));
  assert.deepEqual([stats.balanced, stats.path], [true, `postgres://127.0.0.1:${postgres.port}/edgeferry`]);
  assert.equal(stats.relays.length, 4);
  await drained(postgres);
  assert.deepEqual(missing(load, far), []);
});

Deno.test("the primary is lost for good under load, its synchronous standby promoted: what was answered 200 arrives", async () => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const primary = stack.use(await startPostgres());
  await migrateQueue(primary);
  const standby = stack.use(await primary.standby({ name: "second", synchronous: true }));
  const far = stack.use(await startEmbeddedFarEnd(certs, certs.dir));
  const url = primary.url("relay").replace(`:${primary.port}/`, `:${primary.port},127.0.0.1:${standby.port}/`);
  const relay = stack.use(await startMember({ role: "both", certs, collectorUrl: far.url, url }));
  const load = new NumberedSenders({ seed: 7, url: () => relay.url, senders: 4, spansMax: 8, poisoned: 0 });
  await load.answered(100);
  await primary.kill();
  // Nothing can be kept while there is none that takes writes.
  const before = load.answered200;
  await standby.promote();
  await load.answered(before + 100);
  await load.stop();
  await drained(standby);
  assert.deepEqual(missing(load, far), []);
});

Deno.test("a relay that has no way to the Collector leaves what it has taken to one that has", async () => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const postgres = stack.use(await startPostgres());
  await makeTables(postgres);
  const far = stack.use(await startEmbeddedFarEnd(certs, certs.dir));
  const url = postgres.url("relay");
  const able = stack.use(await startMember({ role: "both", certs, collectorUrl: far.url, url }));
  const unable = stack.use(await startMember({ role: "both", certs, collectorUrl: "https://localhost:9", url }));
  let turn = 0;
  const relays = [able, unable] as const;
  const load = new NumberedSenders({
    seed: 6,
    url: () => relays[turn++ % 2 === 0 ? 0 : 1].url,
    senders: 4,
    spansMax: 8,
    poisoned: 0,
  });
  await load.answered(200);
  // It lives on, so that its lease sets nothing free.
  await unable.line(/Nothing that this relay sends arrives, and others live/);
  await load.answered(load.answered200 + 100);
  await load.stop();
  await drained(postgres);
  assert.deepEqual(missing(load, far), []);
});

Deno.test("a relay starts while its database is away: 503 until it is there, and 200 only where it keeps what it commits", async () => {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const postgres = stack.use(await startPostgres());
  await makeTables(postgres);
  await postgres.set("fsync", "off");
  await postgres.stop();
  const far = stack.use(await startEmbeddedFarEnd(certs, certs.dir));
  const relay = stack.use(
    await startMember({ role: "both", certs, collectorUrl: far.url, url: postgres.url("relay") }),
  );
  const page = /page=(\S+)/.exec(await relay.line(/ Started, and not ready yet /))![1]!;
  const post = () =>
    fetch(`${relay.url}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ name: "kept" }] }] }] }),
    });
  const refused = await post();
  assert.equal(refused.status, 503);
  assert.match(refused.headers.get("retry-after") ?? "", /^[1-5]$/);
  assert.match(await refused.text(), /database cannot be used yet/);
  const health = await fetch(`${page}readyz`);
  assert.equal(health.status, 503);
  assert.match(await health.text(), /has not been opened yet, and it is tried again: .*cannot be reached/);

  // It comes, and would lose what it commits.
  await postgres.start();
  await told(`${page}readyz`, /fsync is off/);
  const unsafe = await post();
  assert.equal(unsafe.status, 503, await unsafe.text());
  await postgres.set("fsync", "on");
  await relay.line(/ The queue is in PostgreSQL /);
  const taken = await post();
  assert.equal(taken.status, 200, await taken.text());
  await drained(postgres);
  assert.equal(far.receipts.length, 1);
});
