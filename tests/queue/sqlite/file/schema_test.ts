import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MIGRATIONS, openBeside, openDatabase } from "../../../../src/queue/sqlite/file/schema.ts";

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
