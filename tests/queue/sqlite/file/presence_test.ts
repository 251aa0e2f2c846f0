import assert from "node:assert/strict";
import { appendFileSync, copyFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileWatch } from "../../../../src/queue/sqlite/file/presence.ts";
import { folder } from "../../../support/files/folder.ts";

interface Scene {
  readonly path: string;
  readonly watch: FileWatch;
}

function watched(name: string, body: (scene: Scene) => void): void {
  Deno.test(name, async () => {
    await using at = await folder();
    const path = join(at.path, "data.db");
    for (const suffix of ["", "-wal", "-shm", ".mark"]) writeFileSync(path + suffix, "content");
    const watch = new FileWatch(path);
    try {
      assert.equal(watch.look(), "whole");
      body({ path, watch });
    } finally {
      watch.close();
    }
  });
}

/** Another file at the path, as a restored backup is. */
function replace(path: string): void {
  copyFileSync(path, `${path}.other`);
  renameSync(`${path}.other`, path);
}

watched("a file that was deleted is gone, one that was moved can come back", ({ path, watch }) => {
  renameSync(path, `${path}.elsewhere`);
  assert.equal(watch.look(), "moved");
  renameSync(`${path}.elsewhere`, path);
  assert.equal(watch.look(), "whole");
  rmSync(path);
  assert.equal(watch.look(), "deleted");
});

watched("another file at the path is a replaced one, also where the old one has a name left", ({ path, watch }) => {
  renameSync(path, `${path}.elsewhere`);
  writeFileSync(path, "another");
  assert.equal(watch.look(), "replaced");
  assert.equal(watch.isOwn(""), false);
  assert.equal(watch.isOwn("-wal"), true);
});

watched("the WAL, the shared memory and the mark are looked at too", ({ path, watch }) => {
  replace(`${path}.mark`);
  assert.equal(watch.look(), "mark_lost");
  watch.remember(".mark");
  assert.equal(watch.look(), "whole");
  replace(`${path}-shm`);
  assert.equal(watch.look(), "log_lost");
  watch.remember("-shm");
  rmSync(`${path}-wal`);
  assert.equal(watch.look(), "log_lost");
});

watched("what somebody else writes is seen, what the relay writes is not", ({ path, watch }) => {
  appendFileSync(path, "ours");
  watch.written();
  assert.equal(watch.look(), "whole");
  truncateSync(path, 3);
  assert.equal(watch.look(), "written");
  assert.equal(watch.cutShort, true);
});

watched("a folder that is gone, or a file now, is a file that is gone", ({ path, watch }) => {
  const at = join(path, "..");
  rmSync(at, { recursive: true });
  assert.equal(watch.look(), "deleted");
  writeFileSync(at, "no folder");
  assert.equal(watch.look(), "deleted");
});
