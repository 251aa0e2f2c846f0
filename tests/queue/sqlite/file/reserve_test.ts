import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Reserve } from "../../../../src/queue/sqlite/file/reserve.ts";

Deno.test("a reserve takes real space, gives it up, and is taken over from the last run", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-reserve-"));
  try {
    const path = join(folder, "queue.db.reserve");
    const reserve = new Reserve(path);
    assert.equal(reserve.held, false);
    assert.equal(reserve.give(), false);
    assert.equal(reserve.take(), true);
    assert.equal(statSync(path).size, 16 * 1024 * 1024);
    assert.equal(statSync(path).mode & 0o777, 0o600);

    const next = new Reserve(path);
    assert.equal(next.take(), true);
    assert.equal(next.give(), true);
    assert.equal(next.held, false);
    assert.equal(existsSync(path), false);

    assert.equal(reserve.give(), false);
    assert.equal(reserve.take(), true);
    truncateSync(path, 100);
    assert.equal(new Reserve(path).take(), true);
    assert.equal(statSync(path).size, 16 * 1024 * 1024);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("a reserve that finds no room says so and leaves nothing behind", () => {
  const reserve = new Reserve("/nonexistent/queue.db.reserve");
  assert.equal(reserve.take(), false);
  assert.equal(reserve.held, false);
});
