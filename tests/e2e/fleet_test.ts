/** Several relays on one PostgreSQL: receivers outside, exporters beside the Collector. */
import assert from "node:assert/strict";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { type FarEnd, startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { drained, migrateQueue, startMember } from "../support/postgres/fleet.ts";
import { startPostgres } from "../support/postgres/postgres.ts";

function missing(senders: NumberedSenders, far: FarEnd): string[] {
  const there = new Set(far.receipts.flatMap(({ spans }) => spans.map(({ id }) => id)));
  return [...senders.written].filter((id) => !there.has(id));
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
  await drained(postgres);
  assert.deepEqual(missing(load, far), []);
});
