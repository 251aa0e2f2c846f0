import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import {
  dropDeadLetters,
  groupDeadLetters,
  listDeadLetters,
  queueStats,
  readDeadLetter,
  replayDeadLetters,
} from "../../../src/queue/sqlite/inspect.ts";
import { costOfRow, encodeParts } from "../../../src/queue/record_head.ts";
import { openQueue } from "../../../src/queue/open.ts";
import type { Delivery } from "../../../src/queue/queue.ts";
import { assertBalanced } from "../contract.ts";
import { queueThread } from "../../support/threads/queue_threads.ts";
import { numberOf, partBytes, record, settleAll, statsOf, take, takeAll, TestLog } from "../records.ts";

function inspected(name: string, body: (path: string, open: typeof openAt) => Promise<void>): void {
  Deno.test(`inspect: ${name}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "edgeferry-inspect-"));
    try {
      await body(join(folder, "queue.db"), openAt);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

function openAt(path: string, bytesMax = 1 << 20) {
  const log = new TestLog();
  return openQueue({ storage: "sqlite", path, bytesMax, deadLetterBytesMax: 1 << 20, log, startThread: queueThread });
}

/** Appends `count` records with two parts each, of which the second dies. */
async function bury(queue: Awaited<ReturnType<typeof openQueue>>, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, number) => queue.append(record(number, { parts: 2 }))));
  const outcomesOf = ({ id }: Delivery) =>
    [{ kind: "delivered" }, { kind: "dead", reason: `words for ${id}`, status: 400 }] as const;
  await Promise.all((await takeAll(queue, count)).map((delivery) => delivery.settle(outcomesOf(delivery))));
}

inspected("stats are those of the relay that runs", async (path, open) => {
  await using queue = await open(path);
  await bury(queue, 3);
  await queue.append(record(9));
  const own = await statsOf(queue);
  const seen = queueStats(path);
  assert.deepEqual(
    { records: seen.records, bytes: seen.bytes, bytesMax: seen.bytesMax, oldestAt: seen.oldestAt, books: seen.books },
    { records: own.records, bytes: own.bytes, bytesMax: own.bytesMax, oldestAt: own.oldestAt, books: own.books },
  );
  assert.deepEqual(seen.deadLetters, { ...own.deadLetters, bytesMax: 1 << 20 });
  assert.equal(seen.balanced, true);
});

inspected("books that do not balance are told", async (path, open) => {
  await (await open(path))[Symbol.asyncDispose]();
  const db = new DatabaseSync(path);
  db.exec("UPDATE books SET delivered = 1 WHERE signal = 'logs'");
  db.close();
  assert.equal(queueStats(path).balanced, false);
});

inspected("dead letters are listed oldest first, by signal, with the words that condemned them", async (path, open) => {
  await using queue = await open(path);
  await bury(queue, 3);
  await queue.append(record(5, { signal: "logs" }));
  await settleAll(await takeAll(queue, 1, "logs"), { kind: "dead", reason: "no" });
  const letters = listDeadLetters(path, { limit: 10 });
  assert.deepEqual(letters.map(({ reason }) => reason), ["words for 1", "words for 2", "words for 3", "no"]);
  const { sender, status, signal, items, bytes, encoding } = letters[0]!;
  assert.deepEqual({ sender, status, signal, items, bytes, encoding }, {
    sender: "sender-1",
    status: 400,
    signal: "traces",
    items: 3,
    bytes: 32,
    encoding: "gzip",
  });
  assert.equal(letters[3]!.status, undefined);
  assert.equal(listDeadLetters(path, { limit: 2 }).length, 2);
  assert.deepEqual(listDeadLetters(path, { limit: 10, signal: "logs" }).map(({ reason }) => reason), ["no"]);
});

inspected("a replay reaches a taker that waits, and appends go on under it", async (path, open) => {
  await using queue = await open(path);
  await bury(queue, 300);
  const taking = take(queue);
  const progress: number[] = [];
  const replay = replayDeadLetters(path, { onProgress: ({ replayed, total }) => progress.push(replayed / total) });
  const appends = Array.from({ length: 20 }, (_, number) => queue.append(record(1000 + number)));
  assert.deepEqual(await replay, { replayed: 300, left: 0, unknown: [], stoppedBy: undefined });
  await Promise.all(appends);
  assert.ok(progress.length >= 3 && progress.at(-1) === 1);
  const deliveries = await taking;
  while (deliveries.length < 320) deliveries.push(...await take(queue));
  assert.deepEqual(
    deliveries.map(numberOf).sort((a, b) => a - b),
    [
      ...Array.from({ length: 300 }, (_, number) => number),
      ...Array.from({ length: 20 }, (_, number) => 1000 + number),
    ],
  );
  const replayed = deliveries.filter((delivery) => numberOf(delivery) < 1000);
  for (const delivery of replayed) {
    assert.deepEqual(new Uint8Array(delivery.payload), partBytes(numberOf(delivery), 1));
  }
  const ids = deliveries.map(({ id }) => id);
  assert.deepEqual(ids, [...ids].sort((a, b) => a - b));
  await settleAll(deliveries);
  const stats = await statsOf(queue);
  assert.deepEqual([stats.records, stats.deadLetters.records], [0, 0]);
  assertBalanced(stats);
});

inspected("a replay by id takes these alone, and names those that are not there", async (path, open) => {
  await using queue = await open(path);
  await bury(queue, 3);
  assert.deepEqual(await replayDeadLetters(path, { ids: [2, 77] }), {
    replayed: 1,
    left: 0,
    unknown: [77],
    stoppedBy: undefined,
  });
  assert.deepEqual(listDeadLetters(path, { limit: 9 }).map(({ id }) => id), [1, 3]);
  assert.deepEqual((await take(queue)).map(numberOf), [1]);
});

inspected("a replay stops at the queue's bound", async (path, open) => {
  const { payload, parts } = record(1);
  await using queue = await open(path, 3 * costOfRow(payload.length, encodeParts(parts)) + 50);
  for (const number of [1, 2, 3, 4]) {
    await queue.append(record(number));
    await settleAll(await takeAll(queue, 1), { kind: "dead", reason: "no" });
  }
  const { replayed, left, stoppedBy } = await replayDeadLetters(path);
  assert.deepEqual({ replayed, left, stoppedBy }, { replayed: 3, left: 1, stoppedBy: "queue_full" });
  assert.equal(queueStats(path).balanced, true);
});

inspected("room among the dead letters frees what was held for want of it", async (path) => {
  await using queue = await openQueue({
    storage: "sqlite",
    path,
    bytesMax: 1 << 20,
    deadLetterBytesMax: 32,
    log: new TestLog(),
  });
  for (const number of [1, 2]) await queue.append(record(number));
  await settleAll(await takeAll(queue, 2), { kind: "dead", reason: "no" });
  assert.equal(queueStats(path).held, 1);
  await replayDeadLetters(path);
  const again = await takeAll(queue, 2);
  assert.deepEqual(again.map(numberOf).sort(), [1, 2]);
  await settleAll(again);
  assert.equal(queueStats(path).held, 0);
  assertBalanced(await statsOf(queue));
});

inspected("what is no queue is refused by name", async (path, open) => {
  assert.throws(() => queueStats(path), { code: "missing", message: /no such file; name the relay's/ });
  await assert.rejects(replayDeadLetters(path), { code: "missing" });
  writeFileSync(path, "");
  assert.throws(() => queueStats(path), { code: "not_a_queue", message: /is empty/ });
  writeFileSync(path, "rubbish, ".repeat(1000));
  assert.throws(() => listDeadLetters(path, { limit: 1 }), { code: "unusable", message: /damaged or no database/ });
  rmSync(path);
  await (await open(path))[Symbol.asyncDispose]();
  const db = new DatabaseSync(path);
  db.exec("PRAGMA user_version = 7");
  db.close();
  assert.throws(() => queueStats(path), { code: "newer_version" });
});

inspected("dead letters are grouped by sender, signal and reason, the newest group first", async (path, open) => {
  await using queue = await open(path);
  await bury(queue, 2);
  for (const number of [5, 6]) {
    await queue.append(record(number, { signal: "logs" }));
    await settleAll(await takeAll(queue, 1, "logs"), { kind: "dead", reason: "no" });
  }
  const { groups, groupsMore, ungrouped } = groupDeadLetters(path, { limit: 2 });
  assert.deepEqual([groups.length, groupsMore, ungrouped], [2, 1, 0]);
  const { firstAt, lastAt, ...newest } = groups[0]!;
  assert.deepEqual(newest, {
    sender: "sender-0",
    signal: "logs",
    reason: "no",
    status: undefined,
    records: 2,
    items: 6,
    bytes: 64,
  });
  assert(firstAt <= lastAt);
});

inspected("a relay that runs counts what has been dropped beside it", async (path, open) => {
  await using queue = await open(path);
  await bury(queue, 3);
  assert.deepEqual(await dropDeadLetters(path, { reason: "words for 2" }), { dropped: 1, unknown: [] });
  assert.equal(queueStats(path).deadLetters.records, 2);
  await bury(queue, 1);
  assert.deepEqual((await queue.stats()).deadLetters, { records: 3, bytes: 96 });
  assertBalanced(await queue.stats());
  assert.deepEqual(readDeadLetter(path, 1)?.payload, partBytes(0, 1));
  assert.equal(readDeadLetter(path, 2), undefined);
});
