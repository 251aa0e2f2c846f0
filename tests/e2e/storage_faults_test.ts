/** What becomes of the promise when the disk fails: full, read-only, an error of its own, damage, somebody else's. */
import assert from "node:assert/strict";
import { mkdir, open, readdir, readFile, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { type FarEnd, startEmbeddedFarEnd } from "../support/far_end/far_end.ts";
import { post } from "../support/bodies/numbered_senders.ts";
import { numberedRequest } from "../support/bodies/numbered_spans.ts";
import { countRows, readBooks } from "../support/relay/queue_file.ts";
import { Random } from "../support/bodies/requests.ts";
import { RestartableRelay } from "../support/relay/restartable_relay.ts";
import { mountSmallDisk } from "../support/tools/small_disk.ts";
import { injectAtSync } from "../support/tools/strace.ts";
import { drained } from "./crash_oracle.ts";

const asRoot = { ignore: Deno.uid() !== 0 };
const away = { kind: "status", status: 503 } as const;

/** Ids of all intact spans that have arrived. */
function arrived(farEnd: FarEnd): Set<string> {
  return new Set(farEnd.receipts.flatMap(({ spans }) => spans.filter(({ intact }) => intact).map(({ id }) => id)));
}

/** Posts `count` requests one after the other; the ids that were answered 200. Fails on any other answer. */
async function fill(relay: RestartableRelay, random: Random, prefix: string, count: number): Promise<string[]> {
  using client = Deno.createHttpClient({});
  const written: string[] = [];
  for (let number = 0; number < count; number++) {
    const request = numberedRequest(random, `${prefix}${number}`, 10);
    assert.equal(await post(relay.url, request, client), 200);
    written.push(...request.ids);
  }
  return written;
}

/** Resolves when all of these have arrived. The far end is another process, so that it can only be looked at. */
async function farEndHas(farEnd: FarEnd, ids: readonly string[]): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const there = arrived(farEnd);
    if (ids.every((id) => there.has(id))) return;
    assert(Date.now() < deadline, `${there.size} of ${ids.length} have arrived`);
    await delay(50);
  }
}

function assertBalanced(path: string): void {
  const books = readBooks(path);
  assert.equal(books.accepted, books.delivered + books.rejected + books.dead + books.expired + books.queued);
  assert.deepEqual(countRows(path), { queued: books.queued, records: books.records, dead: books.dead });
}

Deno.test("a full disk: 503 with Retry-After, nothing lost, and on it goes when there is room", asRoot, async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await farEnd.trouble(away);
  await using disk = await mountSmallDisk("size=22m");
  await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url, queueDir: disk.dir });
  using client = Deno.createHttpClient({});
  const random = new Random(51);
  const written: string[] = [];
  const refused: string[] = [];
  // On past the first refusal: whatever still fits may be taken, and must be kept.
  for (let number = 0, full = 0; full < 20; number++) {
    const request = numberedRequest(random, `full${number}`, 20);
    const response = await fetch(`${relay.url}/v1/traces`, {
      method: "POST",
      body: request.body,
      headers: request.headers,
      client,
    });
    const said = await response.text();
    if (response.status === 200) {
      written.push(...request.ids);
      continue;
    }
    full++;
    refused.push(...request.ids);
    assert.equal(response.status, 503);
    assert(Number(response.headers.get("retry-after")) >= 1);
    assert.match(said, /disk is full; free space there or lower sending_queue\.queue_size/);
  }
  assert(written.length > 500, `${written.length} spans were taken`);
  await relay.line(/ERROR The queue's storage failed: .*disk is full/);

  // A crash with a full disk, and a start on it.
  await relay.kill();
  await relay.start();
  await disk.remount("size=64m");
  written.push(...await fill(relay, random, "again", 20));
  await farEnd.trouble(undefined);
  await drained(relay, 30_000);
  assert.deepEqual(arrived(farEnd), new Set(written));
  assert.equal(refused.some((id) => arrived(farEnd).has(id)), false);
  await relay.stop();
  assertBalanced(relay.queuePath);
});

Deno.test(
  "a full disk frees itself: the Collector takes what is queued, and senders are let in again",
  asRoot,
  async () => {
    await using certs = await testCertificates();
    await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
    await farEnd.trouble(away);
    await using disk = await mountSmallDisk("size=22m");
    await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url, queueDir: disk.dir });
    using client = Deno.createHttpClient({});
    const random = new Random(52);
    const written: string[] = [];
    for (let full = false, number = 0; !full; number++) {
      const request = numberedRequest(random, `full${number}`, 20);
      const status = await post(relay.url, request, client);
      if (status === 200) written.push(...request.ids);
      else full = true;
    }
    await farEnd.trouble(undefined);
    await drained(relay, 30_000);
    written.push(...await fill(relay, random, "after", 20));
    await drained(relay, 30_000);
    assert.deepEqual(arrived(farEnd), new Set(written));
    await relay.stop();
    assertBalanced(relay.queuePath);
  },
);

Deno.test("an fsync that fails: 503, nothing of it is kept, and the next answer stands on a new connection", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url });
  const random = new Random(53);
  using client = Deno.createHttpClient({});
  {
    await using _strace = await injectAtSync(relay.pid, `${relay.queuePath}-wal`, "error=EIO");
    assert.equal(await post(relay.url, numberedRequest(random, "failed", 10), client), 503);
  }
  await relay.line(/ERROR The queue's storage failed: .*disk I\/O error; check its disk/);
  const written = await fill(relay, random, "after", 3);
  await relay.kill();
  await relay.start();
  await drained(relay, 20_000);
  assert.deepEqual(arrived(farEnd), new Set(written));
  assertBalanced(relay.queuePath);
});

Deno.test("an fsync that does not come back: it is told everywhere, and a stop has an end all the same", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url });
  const random = new Random(59);
  const written = await fill(relay, random, "before", 3);
  await drained(relay, 20_000);
  using client = Deno.createHttpClient({});
  await using strace = await injectAtSync(relay.pid, `${relay.queuePath}-wal`, "delay_enter=60000000");
  const hanging = post(relay.url, numberedRequest(random, "hanging", 10), client);
  await relay.line(/ERROR The queue's storage has not answered for \d+ s: a write to .* hangs; check its disk/);
  assert.equal(await hanging, 503);
  const refused = numberedRequest(random, "refused", 10);
  assert.equal(await post(relay.url, refused, client), 503, "at once, and not when the sender gives up");
  const before = performance.now();
  relay.signal("SIGTERM");
  await relay.line(/INFO {2}Stopped/);
  // shutdown.grace is 8 s.
  assert(performance.now() - before < 20_000, `${performance.now() - before} ms`);
  // The thread that strace holds is not the relay's any more.
  await strace[Symbol.asyncDispose]();
  await relay.ended();
  assert.deepEqual(arrived(farEnd), new Set(written));
});

Deno.test("a read-only folder: it does not start, and says why", asRoot, async () => {
  await using certs = await testCertificates();
  await using disk = await mountSmallDisk("size=1m,ro");
  await using relay = await RestartableRelay.prepare({
    certs,
    collectorUrl: "https://localhost:9",
    queueDir: disk.dir,
  });
  const { code } = await relay.launch().ended;
  assert.equal(code, 1);
  assert.match(relay.lines.join("\n"), /Cannot \w+ queue \S+queue\.db: .*(read-only|Read-only).*; .*writable/);
});

Deno.test("two relays on one file: the second does not start, and the first goes on", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await using first = await RestartableRelay.start({ certs, collectorUrl: farEnd.url });
  await using second = await RestartableRelay.prepare({ certs, collectorUrl: farEnd.url, queueDir: first.queueDir });
  const { code } = await second.launch().ended;
  assert.equal(code, 1);
  assert.match(
    second.lines.join("\n"),
    /Cannot open queue \S+: another relay has it open; stop that one or set another sending_queue\.path/,
  );
  const written = await fill(first, new Random(54), "first", 3);
  await drained(first, 20_000);
  assert.deepEqual(arrived(farEnd), new Set(written));
  // And when the first is gone, however it went, the second may.
  await first.kill();
  await second.start();
});

/** A relay that was killed with records in its queue. */
async function killedWithBacklog(certs: TestCertificates, farEnd: FarEnd, requests: number) {
  await farEnd.trouble(away);
  const relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url });
  const written = await fill(relay, new Random(55), "backlog", requests);
  await relay.kill();
  await farEnd.trouble(undefined);
  return { relay, written };
}

Deno.test("a damaged WAL: what is before the damage is delivered, what is lost is counted in an ERROR", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  const { relay: killed, written } = await killedWithBacklog(certs, farEnd, 40);
  await using relay = killed;
  const wal = `${relay.queuePath}-wal`;
  const { size } = await stat(wal);
  await using file = await open(wal, "r+");
  await file.write(new Uint8Array(512).fill(0xa5), 0, 512, Math.floor(size * 0.6));

  await relay.start();
  const line = await relay.line(/ERROR The end of the queue's log is damaged: \d+ records/);
  const lostRecords = Number(/damaged: (\d+) records/.exec(line)![1]);
  await drained(relay, 20_000);
  const there = arrived(farEnd);
  // Sequential requests: one record each, ten spans a record.
  assert.equal(written.length - there.size, lostRecords * 10);
  assert(lostRecords > 0 && there.size > 0, `${lostRecords} lost, ${there.size} arrived`);
  // In order: all before the first that is lost are there.
  assert.deepEqual([...there].sort(), written.slice(0, there.size).sort());
  const after = await fill(relay, new Random(56), "after", 5);
  await drained(relay, 20_000);
  assert(after.every((id) => arrived(farEnd).has(id)));
  await relay.stop();
  assertBalanced(relay.queuePath);
});

Deno.test("a WAL that is cut short under the relay: 503 from then on, what is in memory is sent, a restart goes on", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  await farEnd.trouble(away);
  await using relay = await RestartableRelay.start({ certs, collectorUrl: farEnd.url });
  const random = new Random(60);
  const written = await fill(relay, random, "before", 40);
  const wal = `${relay.queuePath}-wal`;
  await truncate(wal, Math.floor((await stat(wal)).size / 2));
  using client = Deno.createHttpClient({});
  // Behind the gap it would be written, and be gone in a crash.
  assert.equal(await post(relay.url, numberedRequest(random, "refused", 10), client), 503);
  await relay.line(
    /ERROR The queue's storage failed: The WAL of the queue's file \S+ was cut short while the relay ran/,
  );
  const { size } = await stat(wal);
  await farEnd.trouble(undefined);
  await farEndHas(farEnd, written);
  assert.equal((await stat(wal)).size, size, "nothing is written behind the gap, outcomes neither");
  await relay.stop();
  await relay.start();
  written.push(...await fill(relay, random, "after", 3));
  await drained(relay, 20_000);
  assert.deepEqual(arrived(farEnd), new Set(written));
  await relay.stop();
  assertBalanced(relay.queuePath);
});

Deno.test("a truncated database: set aside under a dated name, the rest delivered, the loss counted in an ERROR", async () => {
  await using certs = await testCertificates();
  await using farEnd = await startEmbeddedFarEnd(certs, certs.dir);
  const { relay: killed, written } = await killedWithBacklog(certs, farEnd, 120);
  await using relay = killed;
  // Closed once in order, so that all is in the database and the WAL is empty.
  await farEnd.trouble(away);
  await relay.start();
  await relay.stop();
  await farEnd.trouble(undefined);
  const { size } = await stat(relay.queuePath);
  await truncate(relay.queuePath, Math.floor(size * 0.6 / 4096) * 4096);

  await relay.start();
  await relay.line(/ERROR The queue's file is damaged/);
  const ended = await relay.line(/Salvage of the damaged queue ended/);
  await drained(relay, 20_000);
  const lostRecords = Number(/moved, (\d+) lost/.exec(ended)![1]);
  const there = arrived(farEnd);
  assert.equal(written.length - there.size, lostRecords * 10, ended);
  assert(lostRecords > 0 && there.size > 0 && ended.includes("ERROR"), ended);
  assert(written.filter((id) => there.has(id)).length === there.size);
  const aside = (await readdir(relay.queueDir)).filter((name) => /^queue\.db\.salvaged-\d{8}T\d{6}Z$/.test(name));
  assert.equal(aside.length, 1);
  assert.equal((await stat(join(relay.queueDir, aside[0]!))).size, Math.floor(size * 0.6 / 4096) * 4096);
  const after = await fill(relay, new Random(57), "after", 5);
  await drained(relay, 20_000);
  assert(after.every((id) => arrived(farEnd).has(id)));
  await relay.stop();
  assertBalanced(relay.queuePath);
});

Deno.test("a file of another kind is not taken for a queue, nor touched", async () => {
  await using certs = await testCertificates();
  await using relay = await RestartableRelay.prepare({ certs, collectorUrl: "https://localhost:9" });
  await mkdir(relay.queueDir);

  const db = new DatabaseSync(relay.queuePath);
  db.exec("CREATE TABLE guests (name TEXT); INSERT INTO guests VALUES ('Ada')");
  db.close();
  const before = await readFile(relay.queuePath);
  const { code } = await relay.launch().ended;
  assert.equal(code, 1);
  assert.match(relay.lines.join("\n"), /it is a SQLite file of another program; set sending_queue\.path/);
  assert.deepEqual(await readFile(relay.queuePath), before);
});
