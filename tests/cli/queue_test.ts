import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configFrom } from "../../src/config/load.ts";
import { FaultFound } from "../../src/cli/io.ts";
import { queueCommand } from "../../src/cli/queue.ts";
import { openQueue } from "../../src/queue/open.ts";
import { record, settleAll, take, TestLog } from "../queue/records.ts";
import { recorder } from "../support/relay/recorder.ts";

async function withQueue(body: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-cli-queue-"));
  try {
    const path = join(folder, "queue.db");
    const log = new TestLog();
    await using queue = await openQueue({
      storage: "sqlite",
      path,
      bytesMax: 1 << 20,
      deadLetterBytesMax: 1 << 20,
      log,
    });
    await queue.append(record(1, { items: 5 }));
    await queue.append(record(2));
    const [first, second] = await take(queue);
    await settleAll([first!], { kind: "dead", reason: "bad\u001b[31m id", status: 400 });
    await settleAll([second!], { kind: "retry", cause: "503" });
    await body(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(path: string, ...argv: string[]) {
  const { io, out, err } = recorder();
  await queueCommand(io, () => Promise.resolve({ path, redaction: configFrom({}).redaction })).parseAsync(argv, {
    from: "user",
  });
  return { out: out.join("\n"), err: err.join("\n") };
}

Deno.test("queue stats prints the books, and JSON", () =>
  withQueue(async (path) => {
    const { out } = await run(path, "stats");
    assert.match(out, /Queued: 1 records, 151 B of 1\.0 MiB, the oldest [\d.]+ s old/);
    assert.match(out, /Dead letters: 1, 32 B of 1\.0 MiB/);
    assert.match(out, /^spans +8 +0 +0 +5 +0 +3$/m);
    const json = JSON.parse((await run("nowhere", "stats", "--json", "--path", path)).out);
    assert.equal(json.records, 1);
    assert.equal(json.balanced, true);
    assert.equal(json.books.traces.deadLettered, 5);
  }));

Deno.test("queue dead-letters prints each with its words, without control characters", () =>
  withQueue(async (path) => {
    const { out } = await run(path, "dead-letters");
    assert.match(out, /^ 1 .* traces +sender-0 +5 +32 +400 +bad \[31m id$/m);
    assert.equal((await run(path, "dead-letters", "--signal", "logs")).out, "No dead letters");
    assert.equal(JSON.parse((await run(path, "dead-letters", "--json")).out)[0].reason, "bad\u001b[31m id");
    await assert.rejects(run(path, "dead-letters", "--limit", "0"), { code: "commander.invalidArgument" });
    await assert.rejects(run(path, "dead-letters", "--signal", "spans"), { code: "commander.invalidArgument" });
  }));

Deno.test("queue replay moves what is named, with progress", () =>
  withQueue(async (path) => {
    await assert.rejects(run(path, "replay"), { code: "commander.error" });
    await assert.rejects(run(path, "replay", "1", "--all"), { code: "commander.error" });
    await assert.rejects(
      run(path, "replay", "9"),
      (error) => error instanceof FaultFound && /id 9/.test(error.message),
    );
    const { out, err } = await run(path, "replay", "--all");
    assert.equal(out, "Replayed 1 dead letter");
    assert.equal(err, "Replayed 1 of 1");
    assert.deepEqual(JSON.parse((await run(path, "replay", "--all", "--json")).out), {
      replayed: 0,
      left: 0,
      unknown: [],
    });
  }));

Deno.test("a missing queue is a fault that was found, by name", async () => {
  await assert.rejects(run("/nonexistent/queue.db", "stats"), (error) => {
    assert.ok(error instanceof FaultFound);
    assert.match(error.message, /Cannot read queue \/nonexistent\/queue.db: there is no such file/);
    return true;
  });
});
