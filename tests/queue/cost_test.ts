import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { costOf, costOfPart, memoryOf, RECORD_BYTES } from "../../src/queue/cost.ts";
import { openDatabase } from "../../src/queue/sqlite/file/schema.ts";
import { costOfRow } from "../../src/queue/record_head.ts";

Deno.test("a tiny record costs what its row takes on the disk, and at most half as much again", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-cost-"));
  try {
    const path = join(folder, "queue.db");
    const parts = '[["checkout",1,2,2]]';
    const count = 50_000;
    const db = openDatabase(path);
    const insert = db.prepare(
      "INSERT INTO records VALUES (?, 0, 'profiles', 'gzip', 0, 1, 2, 2, 1700000000000, ?, ?, 1)",
    );
    db.exec("BEGIN");
    for (let id = 1; id <= count; id++) insert.run(id, parts, new Uint8Array(2));
    db.exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    db.close();
    const taken = statSync(path).size / count;
    const cost = costOf(2, parts.length);
    assert.ok(taken <= cost && cost < taken * 1.5, `${taken} bytes on the disk, ${cost} counted`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

Deno.test("the file and the relay count the same characters, whatever a sender is called", () => {
  const db = new DatabaseSync(":memory:");
  try {
    for (const sender of ["checkout", "käse", "日本", "🦀🦀"]) {
      const parts = JSON.stringify([[sender, 1, 2, 3]]);
      const counted = db.prepare(`SELECT 10 + length(?) + ${RECORD_BYTES} AS cost`).get(parts);
      assert.equal(costOfRow(10, parts), counted?.cost, sender);
    }
  } finally {
    db.close();
  }
});

Deno.test("a part counts for its sender at least what it costs alone, and more in memory than on the disk", () => {
  const parts = JSON.stringify([["a sender with quite a long name", 1_000, 20_000, 90_000]]);
  assert.ok(costOfPart(20_000) >= costOf(20_000, parts.length));
  assert.ok(memoryOf(2, parts.length) > costOf(2, parts.length));
});
