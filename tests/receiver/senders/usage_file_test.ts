import type { Sender } from "../../../src/receiver/senders/sender.ts";
import assert from "node:assert/strict";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Usage } from "../../../src/receiver/senders/usage.ts";
import { keepUsage, readUsage, usageFileOf } from "../../../src/receiver/senders/usage_file.ts";
import { folder } from "../../support/files/folder.ts";
import { waitWhile } from "../../support/wait_while.ts";

const sender: Sender = { id: "web", proof: "token 5e884898", signals: new Set(["traces"]) };
const from = { origin: null, address: () => undefined };
const nothing = { failed: (error: unknown) => assert.fail(String(error)) };

Deno.test("what is counted is written when it has changed, at once and at the end, and read by the next", async () => {
  await using at = await folder();
  const file = usageFileOf(join(at.path, "queue.db"));
  assert.equal(file, join(at.path, "queue.db.usage"));
  assert.equal(await readUsage(file), undefined);
  const usage = new Usage();
  {
    await using keeper = keepUsage(usage, file, 0, nothing);
    await keeper.save();
    assert.deepEqual(await readdir(at.path), [], "nothing has been counted");
    usage.accepted(sender, 3, from);
    await Promise.all([keeper.save(), keeper.save()]);
    assert.equal((await readUsage(file))?.tokens[0]?.requests, 1);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    usage.accepted(sender, 3, from);
  }
  assert.equal((await readUsage(file))?.tokens[0]?.requests, 2);
  assert.deepEqual(await readdir(at.path), ["queue.db.usage"]);
  const next = new Usage(await readUsage(file));
  next.accepted(sender, 1, from);
  assert.equal(next.snapshot().tokens[0]?.requests, 3);
});

Deno.test("it is written from time to time", async () => {
  await using at = await folder();
  const file = join(at.path, "queue.db.usage");
  const usage = new Usage();
  await using _keeper = keepUsage(usage, file, 1, nothing);
  usage.accepted(sender, 3, from);
  await waitWhile(async () => (await readUsage(file)) === undefined);
});

Deno.test("a file that cannot be written is told once, and again after it could", async () => {
  await using at = await folder();
  const dir = join(at.path, "data");
  const failures: unknown[] = [];
  const usage = new Usage();
  await using keeper = keepUsage(usage, join(dir, "q.usage"), 0, { failed: (error) => void failures.push(error) });
  const round = async () => {
    usage.accepted(sender, 1, from);
    await keeper.save();
  };
  await round();
  await round();
  assert.equal(failures.length, 1);
  await mkdir(dir);
  await round();
  assert.equal((await readUsage(join(dir, "q.usage")))?.tokens[0]?.requests, 3);
  await rm(dir, { recursive: true });
  await round();
  assert.equal(failures.length, 2);
});

Deno.test("a damaged file is an error that says what to do, and one that cannot be read is one", async () => {
  await using at = await folder();
  const file = join(at.path, "q.usage");
  for (const text of ["", "{", "[]", '{"since":1}', '{"since":1,"until":2,"tokens":[{}]}']) {
    await writeFile(file, text);
    await assert.rejects(readUsage(file), /^Error: Cannot use usage file .*: it is damaged; remove it/);
  }
  await assert.rejects(readUsage(at.path), /^Error: Cannot read usage file/);
});
