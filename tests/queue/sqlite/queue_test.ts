import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import type { Refusal } from "../../../src/errors.ts";
import { queueStats } from "../../../src/queue/sqlite/inspect.ts";
import { openQueue } from "../../../src/queue/open.ts";
import { RECORD_BYTES } from "../../../src/queue/cost.ts";
import { MarkFile } from "../../../src/queue/sqlite/file/mark.ts";
import { assertBalanced } from "../contract.ts";
import { fill, inFolder, range, ready, startWriter } from "./scene.ts";
import { LIMIT, numberOf, record, settleAll, statsOf, take, takeAll } from "../records.ts";

inFolder("the folder is made for its owner alone, and so is the file", async ({ folder, log }) => {
  const path = join(folder, "a", "b", "queue.db");
  await using queue = await openQueue({ storage: "sqlite", path, bytesMax: 1000, deadLetterBytesMax: 1000, log });
  await queue.append(record(1));
  assert.equal(statSync(join(folder, "a")).mode & 0o777, 0o700);
  assert.equal(statSync(join(folder, "a", "b")).mode & 0o777, 0o700);
  for (const file of readdirSync(join(folder, "a", "b"))) {
    assert.equal(statSync(join(folder, "a", "b", file)).mode & 0o077, 0, file);
  }
});

inFolder("appends of one turn share one transaction", async ({ open }) => {
  // The second transaction would fail: there is none until the next turn.
  await using queue = await open({ faults: [{ point: "begun", nth: 2, act: "io_error" }] });
  await fill(queue, 0, 500);
  await assert.rejects(queue.append(record(500)), { code: "storage_failed" });
});

inFolder("settles join the transaction of appends", async ({ open }) => {
  // A queue of its own: after a failure storage is tried by a transaction, at a time that no test knows.
  await using queue = await open({ faults: [{ point: "begun", nth: 3, act: "io_error" }] });
  await fill(queue, 0, 500);
  const deliveries = await takeAll(queue, 500);
  await Promise.all([settleAll(deliveries.slice(0, 200)), fill(queue, 502, 700)]);
  await assert.rejects(queue.append(record(701)), { code: "storage_failed" });
});

inFolder("what is taken and not settled has a bound, by which no signal waits for another's", async ({ open }) => {
  await using queue = await open({ takenBytesMax: 2_000_000 });
  // Larger than what a read fetches: such payloads are loaded when they are taken.
  for (const number of [1, 2, 3]) await queue.append(record(number, { bytes: 1_500_000 }));
  await queue.append(record(4, { signal: "logs", bytes: 1_000 }));
  await queue.append(record(5, { signal: "metrics", bytes: 5_000_000 }));
  const first = await takeAll(queue, 2);
  assert.deepEqual(first.map(numberOf), [1, 2]);
  const third = takeAll(queue, 1);
  const large = takeAll(queue, 1, "metrics");
  assert.deepEqual((await takeAll(queue, 1, "logs")).map(numberOf), [4]);
  const waiting = Symbol("still waiting");
  const state = (work: Promise<unknown>) => Promise.race([work, Promise.resolve(waiting)]);
  assert.deepEqual([await state(third), await state(large)], [waiting, waiting]);
  await settleAll(first);
  const [one, two] = [await third, await large];
  assert.deepEqual([...one, ...two].map(numberOf), [3, 5]);
  await settleAll([...one, ...two]);
  assertBalanced(await statsOf(queue));
});

inFolder("the books can be checked against the rows by any SQLite", async ({ open, path }) => {
  await using queue = await open();
  await fill(queue, 0, 20);
  const deliveries = await takeAll(queue, 20);
  await settleAll(deliveries.slice(0, 5));
  await settleAll(deliveries.slice(5, 8), { kind: "dead", reason: "bad", status: 400 });
  using beside = disposable(new DatabaseSync(path, { readOnly: true }));
  const row = (text: string) => ({ ...beside.db.prepare(text).get() });
  assert.deepEqual(
    row(`SELECT count(*) n, sum(items) items, sum(bytes + length(parts) + ${RECORD_BYTES}) bytes FROM records`),
    {
      ...row("SELECT sum(records) n, sum(queued) items, sum(bytes) bytes FROM books"),
    },
  );
  assert.deepEqual(
    row("SELECT count(*) n, sum(items) items, sum(bytes) bytes FROM dead_letters"),
    row("SELECT dead_records n, (SELECT sum(dead) FROM books) items, dead_bytes bytes FROM meta"),
  );
  assert.deepEqual(
    row("SELECT count(*) n FROM books WHERE accepted <> delivered + rejected + dead + expired + queued"),
    {
      n: 0,
    },
  );
});

inFolder("a drained backlog gives its space back", async ({ open, path }) => {
  const queue = await open();
  await fill(queue, 0, 800, 64_000);
  await queue[Symbol.asyncDispose]();
  const full = statSync(path).size;
  assert.ok(full > 48_000_000);
  await using again = await open();
  for (let left = 800; left > 0;) {
    const deliveries = await take(again);
    await settleAll(deliveries);
    left -= deliveries.length;
  }
  while (statSync(path).size > full / 2) await statsOf(again);
});

// --- who may open it

inFolder(
  "a second relay in another process is refused while the first lives, kill -9 frees the lock",
  async ({ open, path }) => {
    await using writer = await startWriter(path, 0);
    await writer.accepted(1);
    await assert.rejects(open(), {
      name: "StorageError",
      code: "locked",
      message: /another relay has it open; stop that one/,
    });
    await writer.kill();
    const queue = await open();
    await queue[Symbol.asyncDispose]();
  },
);

inFolder("a queue of a newer version is refused, and left as it is", async ({ open, path }) => {
  await (await open())[Symbol.asyncDispose]();
  sql(path, "PRAGMA user_version = 99");
  await assert.rejects(open(), {
    code: "newer_version",
    message: /version is 99, this edgeferry knows 4; run the newer/,
  });
  sql(path, "PRAGMA user_version = 4");
  await (await open())[Symbol.asyncDispose]();
});

inFolder("a SQLite file of another program is refused", async ({ open, path }) => {
  sql(path, "CREATE TABLE theirs (a); PRAGMA user_version = 1");
  await assert.rejects(open(), { code: "not_a_queue", message: /of another program; set sending_queue.path/ });
});

inFolder("a read-only file is refused with the remedy", async ({ open, folder, path }) => {
  await (await open())[Symbol.asyncDispose]();
  const refused = { name: "StorageError", code: "read_only", message: /read-only|writable/ };
  if (process.getuid?.() !== 0) {
    chmodSync(path, 0o400);
    return await assert.rejects(open(), refused);
  }
  // Modes do not bind root; a read-only mount does.
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", folder]);
  try {
    await (await open())[Symbol.asyncDispose]();
    execFileSync("mount", ["-o", "remount,ro", folder]);
    await assert.rejects(open(), refused);
  } finally {
    execFileSync("umount", [folder]);
  }
});

// --- kill -9

inFolder("kill -9 at any moment: every record that was accepted is there, once, in order", async ({ open, path }) => {
  const accepted: number[] = [];
  for (let round = 0; round < 4; round++) {
    await using writer = await startWriter(path, round * 1_000_000);
    await writer.accepted(50 + round * 400);
    accepted.push(...await writer.kill());
  }
  await using queue = await open();
  const { records } = await statsOf(queue);
  const there = (await takeAll(queue, records)).map(numberOf);
  assert.equal(new Set(there).size, there.length);
  assert.deepEqual(there, [...there].sort((a, b) => a - b));
  assert.deepEqual(accepted.filter((number) => !there.includes(number)), []);
  assertBalanced(await statsOf(queue));
});

for (const point of ["begun", "written", "committed", "marked"] as const) {
  inFolder(`kill -9 at the point "${point}" of a transaction loses nothing accepted`, async ({ open, path, log }) => {
    const writer = await startWriter(path, 0, [{ point, nth: 20, act: "kill" }]);
    const accepted = await writer.ended;
    assert.ok(accepted.length > 0);
    await using queue = await open();
    const { records } = await statsOf(queue);
    const there = (await takeAll(queue, records)).map(numberOf);
    assert.deepEqual(accepted.filter((number) => !there.includes(number)), []);
    // Before the commit the transaction is gone, after it it is there, answered or not.
    const durable = point === "committed" || point === "marked";
    assert.equal(there.length > accepted.length, durable);
    assert.deepEqual(log.lines, []);
    assertBalanced(await statsOf(queue));
  });
}

// --- storage that fails

for (const act of ["io_error", "disk_full"] as const) {
  for (const point of ["begun", "written", "committed"] as const) {
    inFolder(
      `${act} at "${point}": the appends are refused, none is kept, and the queue goes on`,
      async ({ open, log }) => {
        const queue = await open({ faults: [{ point, nth: 2, act }] });
        await fill(queue, 0, 10);
        const refused = await Promise.allSettled(range(10, 20).map((number) => queue.append(record(number))));
        for (const result of refused) {
          assert.equal(result.status, "rejected");
          assert.equal((result.reason as Refusal).code, "storage_failed");
        }
        if (act === "disk_full") {
          assert.match((refused[0] as PromiseRejectedResult).reason.message, /disk is full; free space/);
        }
        assert.equal((await log.line(/storage failed/)).level, "error");
        assert.equal(queue.readiness().ready, false);
        // After an I/O error the next append tries at once; after a full disk the reserve must be back.
        if (act === "disk_full") await ready(queue);
        await fill(queue, 20, 30);
        assert.equal(queue.readiness().ready, true);
        assert.deepEqual((await takeAll(queue, 20)).map(numberOf), [...range(0, 10), ...range(20, 30)]);
        assertBalanced(await statsOf(queue));
        await queue[Symbol.asyncDispose]();
        await using again = await open();
        assert.equal((await statsOf(again)).records, 20);
        assertBalanced(await statsOf(again));
      },
    );
  }
}

for (const act of ["io_error", "crash"] as const) {
  for (const point of ["begun", "written", "committed", "marked"] as const) {
    inFolder(`${act} at "${point}" of a settle: it is tried again until it is written`, async ({ open, log }) => {
      await using queue = await open({ faults: [{ point, nth: 1, act, only: "settle" }] });
      await fill(queue, 0, 10);
      const deliveries = await takeAll(queue, 10);
      await settleAll(deliveries.slice(0, 6));
      const stats = await statsOf(queue);
      assert.equal(stats.records, 4);
      assert.equal(stats.inFlight, 4);
      assert.equal(stats.books.traces.delivered, 18);
      assertBalanced(stats);
      assert.equal((await log.line(/storage failed/)).level, "error");
      await settleAll(deliveries.slice(6), { kind: "dead", reason: "bad" });
      assert.deepEqual((await statsOf(queue)).deadLetters, { records: 4, bytes: 2000 });
      assertBalanced(await statsOf(queue));
    });
  }
}

for (const point of ["begun", "written", "committed", "marked"] as const) {
  inFolder(
    `a Worker that crashes at "${point}" is replaced; what it was about to accept is refused`,
    async ({ open, log }) => {
      await using queue = await open({ faults: [{ point, nth: 2, act: "crash" }] });
      await fill(queue, 0, 10);
      const results = await Promise.allSettled(range(10, 20).map((number) => queue.append(record(number))));
      assert.ok(results.every((result) => result.status === "rejected" && result.reason.code === "storage_failed"));
      await assert.rejects(queue.append(record(99)), { code: "storage_failed", message: /thread ended by an error/ });
      assert.equal((await log.line(/thread ended/)).level, "error");
      await ready(queue);
      await fill(queue, 20, 30);
      assert.deepEqual((await takeAll(queue, 20)).map(numberOf), [...range(0, 10), ...range(20, 30)]);
      const stats = await statsOf(queue);
      assert.equal(stats.records, 20);
      assertBalanced(stats);
    },
  );
}

inFolder("a file that may grow no further: refused, nothing kept, and settles make room", async ({ open }) => {
  await using queue = await open({ fileBytesMax: 24 << 20 });
  await fillsUpAndRecovers(queue);
});

inFolder("a disk that is full: refused, nothing kept, and settles make room", async ({ folder, log }) => {
  const mounted = process.getuid?.() === 0;
  if (mounted) execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", folder]);
  try {
    await using queue = await openQueue({
      storage: "sqlite",
      path: join(folder, "queue.db"),
      bytesMax: 1 << 28,
      deadLetterBytesMax: 1 << 20,
      log,
      // Without the right to mount, SQLite's own bound gives the same error at the same place.
      ...(mounted ? {} : { fileBytesMax: 24 << 20 }),
    });
    await fillsUpAndRecovers(queue);
  } finally {
    if (mounted) execFileSync("umount", [folder]);
  }
});

async function fillsUpAndRecovers(queue: Awaited<ReturnType<typeof openQueue>>): Promise<void> {
  const accepted: number[] = [];
  for (let number = 0;; number++) {
    assert.ok(number < 1000, "the disk never got full");
    try {
      await queue.append(record(number, { bytes: 100_000 }));
      accepted.push(number);
    } catch (error) {
      assert.equal((error as Refusal).code, "storage_failed");
      assert.match((error as Refusal).message, /disk is full; free space there or lower sending_queue.queue_size/);
      break;
    }
  }
  assert.ok(accepted.length > 10);
  assert.equal(queue.readiness().ready, false);
  // In turns: what is taken and not settled has a bound in memory.
  const taken: number[] = [];
  while (taken.length < accepted.length) {
    const deliveries = await takeAll(queue, 1);
    taken.push(...deliveries.map(numberOf));
    await settleAll(deliveries);
  }
  assert.deepEqual(taken, accepted);
  await ready(queue);
  await queue.append(record(5000, { bytes: 20_000 }));
  assert.deepEqual((await takeAll(queue, 1)).map(numberOf), [5000]);
  assertBalanced(await statsOf(queue));
}

// --- damage

inFolder(
  "records lost from the end of the log are an ERROR with their count, and the books balance",
  async ({ open, path, log }) => {
    await using writer = await startWriter(path, 0);
    await writer.accepted(300);
    await writer.kill();
    const wal = `${path}-wal`;
    // What it was killed behind the commit of and before the mark of is in the log, and was answered to nobody.
    const before = markedRecords(path);
    // A bad checksum in the middle: SQLite takes the frames before it for the whole log.
    const middle = Math.floor(statSync(wal).size / 2);
    const fd = openSync(wal, "r+");
    writeSync(fd, new Uint8Array(64).fill(0xa5), 0, 64, middle);
    closeSync(fd);

    await using queue = await open();
    const line = await log.line(/damaged/);
    const { records, books } = await statsOf(queue);
    assert.ok(records < before && records > 0);
    assert.equal(line.level, "error");
    assert.equal(line.fields.records, before - records);
    assert.equal(line.fields.traces, (before - records) * 3);
    assert.equal(books.traces.queued, records * 3);
    assertBalanced(await statsOf(queue));
    // Their ids are not given out again.
    const there = await takeAll(queue, records);
    await queue.append(record(1));
    const [next] = await takeAll(queue, 1);
    assert.equal(next!.id, there.at(-1)!.id + (before - records) + 1);
  },
);

inFolder("a damaged page: the file is set aside and the rest of it salvaged", async ({ open, folder, path, log }) => {
  const queue = await open();
  await fill(queue, 0, 400, 1000);
  const deliveries = await takeAll(queue, 400);
  await settleAll(deliveries.slice(0, 10));
  await settleAll(deliveries.slice(10, 15), { kind: "dead", reason: "bad", status: 400 });
  const before = await statsOf(queue);
  await queue[Symbol.asyncDispose]();
  damagePages(path, [30, 31]);

  await using again = await open();
  await log.line(/set aside/);
  const { fields, level } = await log.line(/Salvage .* ended/);
  assert.equal(level, "error");
  const after = await statsOf(again);
  assert.ok(after.records >= 350 && after.records < 385, `${after.records} salvaged`);
  assert.equal(fields.lost, 385 - after.records);
  assert.deepEqual(after.deadLetters, before.deadLetters);
  assert.equal(after.books.traces.delivered, before.books.traces.delivered);
  assertBalanced(after);
  const aside = readdirSync(folder).filter((name) => /^queue\.db\.salvaged-\d{8}T\d{6}Z$/.test(name));
  assert.equal(aside.length, 1);
  const taken = await takeAll(again, after.records);
  assert.equal(new Set(taken.map(numberOf)).size, after.records);
  for (const delivery of taken) {
    assert.ok(numberOf(delivery) >= 15 && numberOf(delivery) < 400);
    assert.ok(delivery.id > deliveries.at(-1)!.id);
  }
});

inFolder("damage that is met while it runs is handled like that at start", async ({ open, log }) => {
  await using queue = await open({ faults: [{ point: "begun", nth: 2, act: "corrupt" }] });
  await fill(queue, 0, 50);
  await fill(queue, 50, 100);
  await log.line(/Salvage .* 50 records moved, 0 lost/);
  const there = (await takeAll(queue, 100)).map(numberOf);
  assert.deepEqual(there.sort((a, b) => a - b), range(0, 100));
  assertBalanced(await statsOf(queue));
});

inFolder("a file cut short is salvaged", async ({ open, path, log }) => {
  const queue = await open();
  await fill(queue, 0, 400, 1000);
  await queue[Symbol.asyncDispose]();
  truncateSync(path, Math.floor(statSync(path).size / 2 / 4096) * 4096);
  await using again = await open();
  const { fields } = await log.line(/Salvage .* ended/);
  const { records } = await statsOf(again);
  assert.ok(records > 50 && records < 400, `${records} salvaged`);
  assert.equal(fields.lost, 400 - records);
  await again.append(record(1000));
  assertBalanced(await statsOf(again));
});

inFolder(
  "a file that is no database is set aside, and what the mark says was in it is told",
  async ({ open, folder, path, log }) => {
    const queue = await open();
    await fill(queue, 0, 12);
    await queue[Symbol.asyncDispose]();
    writeFileSync(path, "not a database at all, ".repeat(1000));
    await using again = await open();
    const { fields } = await log.line(/Salvage .* ended/);
    assert.equal(fields.lost, 12);
    assert.equal(
      readFileSync(join(folder, readdirSync(folder).find((name) => /salvaged-\w+$/.test(name))!), "utf8")[0],
      "n",
    );
    await again.append(record(1));
    const [delivery] = await takeAll(again, 1);
    assert.equal(delivery!.id, 13);
  },
);

inFolder("a queue's file that has vanished is told, with what was in it", async ({ open, path, log }) => {
  const queue = await open();
  await fill(queue, 0, 12);
  await queue[Symbol.asyncDispose]();
  rmSync(path);
  await using again = await open();
  const { fields, level } = await log.line(/not the one of the last run/);
  assert.equal(level, "error");
  assert.equal(fields.records, 12);
  await again.append(record(1));
});

inFolder("a salvage that was cut off by kill -9 goes on at the next start", async ({ open, path, log, folder }) => {
  const queue = await open();
  await fill(queue, 0, 3000, 8000);
  await queue[Symbol.asyncDispose]();
  damagePages(path, [Math.floor(statSync(path).size / 4096 / 2)]);
  // The writer's first transactions are those of the salvage's first steps.
  await using writer = await startWriter(path, 1_000_000);
  await writer.accepted(3);
  await writer.kill();
  const half = queueRows(path);
  await using again = await open();
  await log.line(/Salvage .* ended/);
  const { records } = await statsOf(again);
  assert.ok(half <= records);
  const there = (await takeAll(again, records)).map(numberOf).filter((number) => number < 1_000_000);
  assert.equal(new Set(there).size, there.length);
  assert.ok(there.length > 2980, `${there.length} salvaged`);
  assert.equal(readdirSync(folder).filter((name) => /salvaged-\w+$/.test(name)).length, 1);
  assertBalanced(await statsOf(again));
});

// --- support

function damagePages(path: string, pages: readonly number[]): void {
  const fd = openSync(path, "r+");
  for (const page of pages) writeSync(fd, new Uint8Array(4096).fill(0xa5), 0, 4096, (page - 1) * 4096);
  closeSync(fd);
}

function sql(path: string, text: string): void {
  using beside = disposable(new DatabaseSync(path));
  beside.db.exec(text);
}

function queueRows(path: string): number {
  return queueStats(path).records;
}

/** Records queued as the mark has them. */
function markedRecords(path: string): number {
  const mark = new MarkFile(`${path}.mark`);
  try {
    return mark.read()!.records;
  } finally {
    mark.close();
  }
}

function disposable(db: DatabaseSync): Disposable & { db: DatabaseSync } {
  return { db, [Symbol.dispose]: () => db.close() };
}

inFolder("records of a linger are taken together once they are enough, or old enough", async ({ open }) => {
  await using queue = await open();
  const taken = take(queue, { linger: { bytesMin: 250, ms: 3_600_000 } });
  let resolved = false;
  taken.then(() => resolved = true);
  for (let number = 0; number < 2; number++) await queue.append(record(number, { bytes: 100 }));
  assert.equal(resolved, false);
  await queue.append(record(2, { bytes: 100 }));
  const deliveries = await taken;
  assert.deepEqual(deliveries.map(numberOf), [0, 1, 2]);
  await settleAll(deliveries);

  await queue.append(record(3, { bytes: 100 }));
  const alone = await take(queue, { linger: { bytesMin: 250, ms: 30 } });
  assert.deepEqual(alone.map(numberOf), [3]);
  assert.ok(Date.now() - alone[0]!.enqueuedAt >= 30);
  await settleAll(alone);
  assertBalanced(await statsOf(queue));
});

inFolder("a linger ends with an abort, and with the queue", async ({ open }) => {
  const linger = { bytesMin: 1 << 20, ms: 3_600_000 };
  await using queue = await open();
  await queue.append(record(0));
  const abort = new AbortController();
  const aborted = queue.take({ ...LIMIT, linger }, abort.signal);
  abort.abort();
  assert.deepEqual(await aborted, []);
  const left = take(queue, { linger });
  await Promise.all([assert.rejects(left, /closed/), queue[Symbol.asyncDispose]()]);
});

inFolder("outcomes share a transaction, and are in the file when settle resolves", async ({ path, open }) => {
  {
    await using queue = await open();
    await fill(queue, 0, 50);
    await settleAll(await takeAll(queue, 50));
    const books = queueStats(path).books.traces;
    assert.equal(books.queued, 0);
    assert.equal(books.delivered, books.accepted);
  }
  await using again = await open();
  assert.equal((await statsOf(again)).records, 0);
});

// --- storage that does not answer

inFolder(
  "a commit that hangs is told: readiness, the log, the senders; the queue goes on when it ends",
  async (place) => {
    const { open, log } = place;
    const until = new Int32Array(new SharedArrayBuffer(4));
    await using queue = await open({ faults: [{ point: "written", nth: 2, act: "hang", hangMs: 60_000, until }] });
    await queue.append(record(1));
    const underWay = assert.rejects(queue.append(record(2)), {
      code: "storage_failed",
      unknown: true,
      message: /storage has not answered for \d+ s: a write to .* hangs; check its disk/,
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const waiting = assert.rejects(queue.append(record(3)), { code: "storage_failed", unknown: false });
    const { level } = await log.line(/storage has not answered/);
    assert.equal(level, "error");
    assert.match(queue.readiness().reason!, /storage has not answered/);
    await Promise.all([underWay, waiting]);
    await assert.rejects(queue.append(record(4)), { code: "storage_failed", message: /has not answered/ });
    // What is told of the queue does not wait for it.
    const { records, storageWaitMs } = await statsOf(queue);
    assert.equal(records, 1);
    assert.ok(storageWaitMs >= 3_000);
    Atomics.store(until, 0, 1);
    Atomics.notify(until, 0);
    await ready(queue);
    await queue.append(record(5));
    // The second was told that it may have been kept, and it was.
    assert.deepEqual((await takeAll(queue, 3)).map(numberOf), [1, 2, 5]);
    assertBalanced(await statsOf(queue));
  },
);

inFolder("a queue whose storage hangs closes all the same", async ({ open, log }) => {
  const queue = await open({ faults: [{ point: "written", nth: 1, act: "hang", hangMs: 20_000 }] });
  const appended = assert.rejects(queue.append(record(1)), { code: "storage_failed", unknown: true });
  await log.line(/storage has not answered/);
  await appended;
  const before = performance.now();
  await queue[Symbol.asyncDispose]();
  assert.ok(performance.now() - before < 10_000);
  await log.line(/did not close in time/);
});

inFolder(
  "records whose parts are damaged are sent whole, set aside where they are refused, and hold up nobody",
  async (place) => {
    const { path, open, log } = place;
    const damaged = ["nonsense", "[]", '[["x"]]', '[["sender-0",3,999,5]]', '"text"', "null"];
    {
      await using queue = await open();
      for (const number of range(0, damaged.length + 1)) await queue.append(record(number, { parts: 2 }));
    }
    {
      using db = new DatabaseSync(path);
      for (const [index, parts] of damaged.entries()) {
        db.prepare("UPDATE records SET parts = ? WHERE id = (SELECT min(id) FROM records) + ?").run(parts, index);
      }
    }
    await using queue = await open();
    assert.deepEqual(queue.readiness(), { ready: true });
    const deliveries = await takeAll(queue, damaged.length + 1);
    assert.deepEqual(deliveries.map(numberOf), range(0, damaged.length + 1));
    assert.deepEqual(deliveries.map(({ parts }) => parts.length), [...damaged.map(() => 1), 2]);
    assert.deepEqual(deliveries[0]!.parts[0], { ...deliveries[0]!.parts[0], items: 6, bytes: 64, inflatedBytes: 256 });
    assert.equal((await log.line(/senders is damaged/)).level, "error");
    const [first, ...others] = deliveries;
    await first!.settle([{ kind: "dead", reason: "no", status: 400 }]);
    await settleAll(others);
    const { deadLettered, delivered } = (await statsOf(queue)).books.traces;
    assert.deepEqual([deadLettered, delivered], [6, damaged.length * 6]);
    assertBalanced(await statsOf(queue));
  },
);
