import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeFolder, makeQueueFile, realPathOf, takeLock } from "../../../../src/queue/sqlite/file/lock.ts";

function inFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-lock-"));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

Deno.test("a lock has one holder, and is free again once it is let go", () =>
  inFolder((folder) => {
    const path = join(folder, "queue.db");
    const first = takeLock(path);
    assert.throws(() => takeLock(path), { name: "StorageError", code: "locked" });
    // The one who was refused has not loosened it.
    assert.throws(() => takeLock(path), { code: "locked" });
    first[Symbol.dispose]();
    takeLock(path)[Symbol.dispose]();
    assert.equal(statSync(`${path}.lock`).mode & 0o777, 0o600);
  }));

Deno.test("folders are made for the owner alone; what cannot be made is named", () =>
  inFolder((folder) => {
    const path = join(folder, "a", "b", "queue.db");
    makeFolder(path);
    makeFolder(path);
    makeQueueFile(path);
    for (const made of [join(folder, "a"), join(folder, "a", "b")]) assert.equal(statSync(made).mode & 0o777, 0o700);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    writeFileSync(path, "kept");
    makeQueueFile(path);
    assert.equal(statSync(path).size, 4);
    assert.throws(() => makeFolder(join(path, "c", "queue.db")), {
      code: "unusable",
      message: /^Cannot create folder /,
    });
    assert.throws(() => makeQueueFile(join(folder, "a")), { code: "read_only", message: /^Cannot write queue / });
  }));

Deno.test("a lock whose file is deleted is taken again, and is lost when another relay was faster", () =>
  inFolder((folder) => {
    const path = join(folder, "queue.db");
    const lock = takeLock(path);
    lock.keep();
    rmSync(`${path}.lock`);
    lock.keep();
    assert.throws(() => takeLock(path), { code: "locked" });
    rmSync(`${path}.lock`);
    const other = takeLock(path);
    assert.throws(() => lock.keep(), { code: "locked" });
    other[Symbol.dispose]();
    lock.keep();
    assert.throws(() => takeLock(path), { code: "locked" });
    lock[Symbol.dispose]();
  }));

Deno.test("the real path is one for all symbolic links to the file or its folder, made or not; a circle is refused", () =>
  inFolder((folder) => {
    const real = join(realpathSync(folder), "data", "queue.db");
    mkdirSync(join(folder, "data"));
    symlinkSync(join(folder, "data"), join(folder, "other"));
    symlinkSync("data/queue.db", join(folder, "link.db"));
    symlinkSync("link.db", join(folder, "link2.db"));
    const ways = ["data/queue.db", "other/queue.db", "link.db", "link2.db"].map((way) => join(folder, way));
    assert.deepEqual(ways.map(realPathOf), ways.map(() => real));
    writeFileSync(real, "");
    assert.deepEqual(ways.map(realPathOf), ways.map(() => real));
    symlinkSync("b", join(folder, "a"));
    symlinkSync("a", join(folder, "b"));
    assert.throws(() => realPathOf(join(folder, "a")), { code: "unusable", message: /circle/ });
    assert.throws(() => realPathOf(join(folder, "none", "x")), { code: "unusable", message: /^Cannot find queue / });
  }));
