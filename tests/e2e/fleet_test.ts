/** Several relays on one PostgreSQL: receivers outside, exporters beside the Collector. */
import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { type FarEnd, startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { databaseVariables, drained, migrateQueue, queueCommand, startMember } from "../support/postgres/fleet.ts";
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
