import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileChanged, replaceFile, textOf } from "../../src/files/replace.ts";

Deno.test("a file is replaced as a whole with its mode, and not over what somebody else has written", async () => {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-replace-"));
  try {
    const path = join(dir, "file");
    assert.equal(await textOf(path), undefined);
    await replaceFile(path, "one", { mode: 0o600, from: { text: undefined } });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await writeFile(path, "theirs");
    await assert.rejects(replaceFile(path, "two", { mode: 0o600, from: { text: "one" } }), FileChanged);
    await assert.rejects(replaceFile(path, "two", { mode: 0o600, from: { text: undefined } }), FileChanged);
    assert.equal(await readFile(path, "utf8"), "theirs");
    await replaceFile(path, "two", { mode: 0o644, from: { text: "theirs" } });
    assert.equal(await readFile(path, "utf8"), "two");
    assert.equal((await stat(path)).mode & 0o777, 0o644);
    assert.deepEqual(await readdir(dir), ["file"], "nothing temporary is left");
    await assert.rejects(replaceFile(join(path, "below"), "x", { mode: 0o600 }), /ENOTDIR/);
  } finally {
    await rm(dir, { recursive: true });
  }
});
