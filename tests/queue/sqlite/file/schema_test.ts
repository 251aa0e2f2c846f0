import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { openQueue } from "../../../../src/queue/open.ts";
import { replayDeadLetters } from "../../../../src/queue/sqlite/inspect.ts";
import { MIGRATIONS, openBeside, openDatabase } from "../../../../src/queue/sqlite/file/schema.ts";
import { folder } from "../../../support/files/folder.ts";
import { assertBalanced } from "../../contract.ts";
import { numberOf, settleAll, takeAll, TestLog } from "../../records.ts";

Deno.test("a queue of an older version is migrated step by step, with what is in it; a step that fails changes nothing", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-schema-"));
  try {
    const path = join(folder, "queue.db");
    const first = openDatabase(path);
    first.exec("UPDATE meta SET next_id = 77");
    first.close();

    const added = ["ALTER TABLE meta ADD COLUMN colour TEXT", "UPDATE meta SET colour = 'red'"];
    assert.throws(() => openDatabase(path, [...MIGRATIONS, added[0]!, "UPDATE nowhere SET a = 1"]), /no such table/);
    const unchanged = openBeside(path, { readOnly: true });
    assert.equal(unchanged.prepare("SELECT * FROM meta").get()?.colour, undefined);
    unchanged.close();

    const second = openDatabase(path, [...MIGRATIONS, ...added]);
    const { next_id, colour } = second.prepare("SELECT next_id, colour FROM meta").get()!;
    assert.deepEqual([next_id, colour], [77, "red"]);
    assert.equal(second.prepare("PRAGMA user_version").get()?.user_version, MIGRATIONS.length + 2);
    second.close();
    assert.throws(() => openDatabase(path), { code: "newer_version" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a queue from before there were profiles has its books, and theirs beside them", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-schema-"));
  try {
    const path = join(folder, "queue.db");
    const before = openDatabase(path, MIGRATIONS.slice(0, 1));
    const signals = (db: typeof before) => db.prepare("SELECT signal FROM books").all().map(({ signal }) => signal);
    assert.deepEqual(signals(before), ["logs", "metrics", "traces"]);
    before.exec("UPDATE books SET accepted = 5, queued = 5 WHERE signal = 'logs'");
    before.close();
    assert.throws(() => openBeside(path, { readOnly: true }), { code: "older_version" });

    const now = openDatabase(path);
    assert.deepEqual(signals(now), ["logs", "metrics", "profiles", "traces"]);
    const logs = now.prepare("SELECT accepted, queued FROM books WHERE signal = 'logs'").get();
    assert.deepEqual([logs?.accepted, logs?.queued], [5, 5]);
    now.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a connection of the relay syncs each commit and leaves the WAL to the worker", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-schema-"));
  try {
    const db = openDatabase(join(folder, "queue.db"));
    const pragma = (name: string) => Object.values(db.prepare(`PRAGMA ${name}`).get()!)[0];
    assert.deepEqual(
      ["journal_mode", "synchronous", "wal_autocheckpoint", "page_size", "auto_vacuum"].map(pragma),
      ["wal", 2, 0, 4096, 2],
    );
    db.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a file of version 2, with records in flight, dead letters and one held for want of room, goes on as it was", async () => {
  await using at = await folder();
  const path = join(at.path, "queue.db");
  // Made by the edgeferry of that version, and killed: 12 records of two parts, 8 of traces and 4 of logs.
  writeFileSync(path, gunzipSync(readFileSync(join(import.meta.dirname!, "version_2.db.gz"))));
  await using queue = await openQueue({
    storage: "sqlite",
    path,
    bytesMax: 1 << 20,
    deadLetterBytesMax: 1 << 20,
    log: new TestLog(),
  });
  const stats = await queue.stats();
  assertBalanced(stats);
  assert.deepEqual([stats.records, stats.deadLetters], [9, { records: 3, bytes: 180 }]);
  const [target] = stats.targets;
  assert.deepEqual([target!.name, target!.records, target!.deadLetters], ["default", 9, stats.deadLetters]);
  const { accepted, delivered, deadLettered, queued } = target!.books.traces;
  assert.deepEqual([accepted, delivered, deadLettered, queued], [48, 15, 9, 24]);
  assert.deepEqual(stats.books.logs, { accepted: 24, finished: 0, queued: 24 });

  const traces = await takeAll(queue, 5);
  assert.deepEqual(traces.map(numberOf).sort((a, b) => a - b), [3, 4, 5, 6, 7]);
  const logs = await takeAll(queue, 4, "logs");
  assert.deepEqual(logs.map(numberOf), [8, 9, 10, 11]);
  await settleAll([...traces, ...logs]);
  const { replayed } = await replayDeadLetters(path);
  assert.equal(replayed, 3);
  await settleAll(await takeAll(queue, 3));
  const after = await queue.stats();
  assertBalanced(after);
  assert.deepEqual([after.records, after.bytes, after.deadLetters.records], [0, 0, 0]);
  assert.equal(after.targets[0]!.books.traces.delivered, 48);
});
