import assert from "node:assert/strict";
import { rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../../../src/errors.ts";
import { watchFile } from "../../../src/receiver/senders/tokens_watch.ts";
import { folder } from "../../support/files/folder.ts";

async function scene(intervalMs = 0) {
  const at = await folder();
  const file = join(at.path, "tokens.yaml");
  await writeFile(file, "one");
  const changed: string[] = [];
  const refused: string[] = [];
  const next = { told: Promise.withResolvers<void>() };
  const watch = watchFile(file, "one", {
    intervalMs,
    onChange: (text) => {
      if (text.startsWith("bad")) throw new ConfigError(`Cannot use it: ${text.length} characters`);
      changed.push(text);
      next.told.resolve();
    },
    onRefused: (reason) => {
      refused.push(reason);
      next.told.resolve();
    },
  });
  return {
    file,
    path: at.path,
    changed,
    refused,
    watch,
    next,
    async [Symbol.asyncDispose]() {
      await watch[Symbol.asyncDispose]();
      await at[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a change is handed over, however it came about; a touch is none", async () => {
  await using at = await scene();
  assert.equal(await at.watch.checkNow(), "unchanged");
  await utimes(at.file, new Date(), new Date());
  assert.equal(await at.watch.checkNow(), "unchanged");
  await writeFile(at.file, "two");
  assert.equal(await at.watch.checkNow(), "changed");
  await writeFile(join(at.path, "new"), "three");
  await rename(join(at.path, "new"), at.file);
  assert.equal(await at.watch.checkNow(), "changed");
  await writeFile(join(at.path, "other"), "four");
  await rm(at.file);
  await symlink(join(at.path, "other"), at.file);
  assert.equal(await at.watch.checkNow(), "changed");
  assert.deepEqual(at.changed, ["two", "three", "four"]);
  assert.deepEqual(at.refused, []);
});

Deno.test("what cannot be used is told once, and is forgotten when the old text is back", async () => {
  await using at = await scene();
  await writeFile(at.file, "bad");
  for (let look = 0; look < 3; look++) assert.equal(await at.watch.checkNow(), "refused");
  assert.deepEqual(at.refused, ["Cannot use it: 3 characters"]);
  await writeFile(at.file, "one");
  assert.equal(await at.watch.checkNow(), "unchanged");
  await writeFile(at.file, "bad");
  await at.watch.checkNow();
  assert.equal(at.refused.length, 2);
  await rm(at.file);
  for (let look = 0; look < 3; look++) assert.equal(await at.watch.checkNow(), "refused");
  assert.equal(at.refused.length, 3);
  assert.match(at.refused[2]!, /^Cannot read .*tokens\.yaml: /);
  await writeFile(at.file, "two");
  assert.equal(await at.watch.checkNow(), "changed");
  assert.deepEqual(at.changed, ["two"]);
});

Deno.test("it looks by itself, until it is disposed of", async () => {
  await using at = await scene(1);
  // In one go: a look between the two steps of a write would see an empty file.
  await writeFile(join(at.path, "new"), "two");
  await rename(join(at.path, "new"), at.file);
  await at.next.told.promise;
  assert.deepEqual(at.changed, ["two"]);
  await at.watch[Symbol.asyncDispose]();
  await writeFile(at.file, "three");
  assert.equal(await at.watch.checkNow(), "unchanged");
  assert.deepEqual(at.changed, ["two"]);
});

Deno.test("a file that may be missing is no fault until it has been there", async () => {
  await using at = await folder();
  const file = join(at.path, "tokens.yaml");
  const told: string[] = [];
  await using watch = watchFile(file, undefined, {
    intervalMs: 0,
    onChange: (text) => told.push(text),
    onRefused: (reason) => told.push(reason),
  });
  assert.equal(await watch.checkNow(), "unchanged");
  await writeFile(file, "one");
  assert.equal(await watch.checkNow(), "changed");
  await rm(file);
  assert.equal(await watch.checkNow(), "refused");
  assert.equal(told.length, 2);
});
