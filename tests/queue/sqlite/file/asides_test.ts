import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import {
  asideName,
  finishSetAside,
  markSalvaged,
  pendingAsides,
  setAside,
} from "../../../../src/queue/sqlite/file/asides.ts";
import { folder } from "../../../support/files/folder.ts";

const NOW = Date.UTC(2026, 10, 24, 2, 51, 42);

Deno.test("files are set aside together under a dated name, never over another, and are pending oldest first", async () => {
  await using at = await folder();
  const path = join(at.path, "queue.db");
  for (const content of ["one", "two"]) {
    writeFileSync(path, content);
    writeFileSync(`${path}-wal`, `${content}-wal`);
    const aside = asideName(path, "damaged", NOW);
    setAside(path, aside);
    assert.equal(readFileSync(aside, "utf8"), content);
    assert.equal(readFileSync(`${aside}-wal`, "utf8"), `${content}-wal`);
  }
  assert.deepEqual(readdirSync(at.path).sort(), [
    "queue.db.damaged-20261124T025142Z",
    "queue.db.damaged-20261124T025142Z-2",
    "queue.db.damaged-20261124T025142Z-2-wal",
    "queue.db.damaged-20261124T025142Z-wal",
  ]);
  writeFileSync(asideName(path, "rescued", NOW - 1000), "");
  for (const name of ["queue.db.salvaged-20261124T025142Z", "queue.db.rescued-20261124T025142Z.part", "other.db"]) {
    writeFileSync(join(at.path, name), "");
  }
  mkdirSync(join(at.path, "queue.db.damaged-by-hand"));
  assert.deepEqual(pendingAsides(path).map((aside) => basename(aside)), [
    "queue.db.rescued-20261124T025141Z",
    "queue.db.damaged-20261124T025142Z",
    "queue.db.damaged-20261124T025142Z-2",
  ]);
});

Deno.test("a set-aside that was cut off after its first rename is finished; a WAL without a database is kept", async () => {
  await using at = await folder();
  const path = join(at.path, "queue.db");
  const aside = asideName(path, "damaged", NOW);
  writeFileSync(aside, "database");
  writeFileSync(`${path}-wal`, "its wal");
  writeFileSync(`${path}.mark`, "its mark");
  assert.equal(finishSetAside(path, NOW), undefined);
  assert.equal(readFileSync(`${aside}-wal`, "utf8"), "its wal");
  assert.equal(readFileSync(`${aside}.mark`, "utf8"), "its mark");

  // SQLite deletes a WAL that it finds beside an empty file.
  writeFileSync(path, "");
  writeFileSync(`${path}-wal`, "nobody's");
  const orphan = finishSetAside(path, NOW);
  assert.equal(readFileSync(orphan!, "utf8"), "nobody's");

  // What a rescued copy was made of is in it, and would destroy it.
  const copy = asideName(path, "rescued", NOW + 1000);
  writeFileSync(copy, "a copy");
  writeFileSync(`${path}-wal`, "in the copy");
  writeFileSync(`${path}.mark`, "its mark");
  assert.equal(finishSetAside(path, NOW), undefined);
  assert.equal(existsSync(`${path}-wal`), false);
  assert.equal(existsSync(`${copy}-wal`), false);
  assert.equal(readFileSync(`${copy}.mark`, "utf8"), "its mark");

  writeFileSync(path, "a database");
  writeFileSync(`${path}-wal`, "of this one");
  assert.equal(finishSetAside(path, NOW), undefined);
  assert.equal(readFileSync(`${path}-wal`, "utf8"), "of this one");
});

Deno.test("what has been moved is evidence and kept; the relay's own copy is not", async () => {
  await using at = await folder();
  const path = join(at.path, "queue.db");
  const damaged = asideName(path, "damaged", NOW);
  writeFileSync(damaged, "evidence");
  writeFileSync(`${damaged}-wal`, "more");
  assert.equal(readFileSync(markSalvaged(path, damaged, true, NOW)!, "utf8"), "evidence");
  for (const complete of [false, true]) {
    const copy = asideName(path, "rescued", NOW);
    writeFileSync(copy, "copy");
    assert.equal(markSalvaged(path, copy, complete, NOW) === undefined, complete);
  }
  assert.deepEqual(pendingAsides(path), []);
  assert.equal(readdirSync(at.path).length, 3);
});
