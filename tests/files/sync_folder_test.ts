import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { syncFolder, syncFolderSync } from "../../src/files/sync_folder.ts";

Deno.test("a folder that cannot be synced is an error where a 200 stands on it, and none elsewhere", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sync-"));
  syncFolderSync(folder);
  await syncFolder(folder);
  await rm(folder, { recursive: true });
  assert.throws(() => syncFolderSync(folder), { code: "ENOENT" });
  await syncFolder(folder);
});
