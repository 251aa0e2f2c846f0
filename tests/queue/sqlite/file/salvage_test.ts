import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openQueue } from "../../../../src/queue/open.ts";
import { Salvage } from "../../../../src/queue/sqlite/file/salvage.ts";
import { record, settleAll, take, TestLog } from "../../records.ts";

async function inFolder(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-salvage-"));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

Deno.test("a salvage reads rows and dead letters in bounded steps, leaves out rubbish, and goes on where it stopped", () =>
  inFolder(async (folder) => {
    const path = join(folder, "queue.db");
    const queue = await openQueue({
      storage: "sqlite",
      path,
      bytesMax: 1 << 20,
      deadLetterBytesMax: 1 << 20,
      log: new TestLog(),
    });
    for (let number = 0; number < 10; number++) await queue.append(record(number, { bytes: 100 }));
    await settleAll(await take(queue, { recordsMax: 2 }), { kind: "dead", reason: "bad", status: 400 });
    await queue[Symbol.asyncDispose]();
    const db = new DatabaseSync(path);
    db.exec("UPDATE records SET parts = 'rubbish' WHERE id = 5; UPDATE records SET payload = x'00' WHERE id = 6");
    db.close();

    const ids: number[] = [];
    let letters = 0;
    let after = 0;
    let moved = 0;
    for (let done = false; !done;) {
      const salvage = new Salvage(path, after, moved);
      assert.equal(salvage.expected, 8);
      assert.equal(salvage.lastId(), 10);
      const step = salvage.next(250, 10_000);
      assert.ok(step.records.length <= 3);
      ids.push(...step.records.map(({ id }) => id));
      letters += step.deadLetters.length;
      ({ after, moved } = salvage);
      done = step.done;
      salvage.close();
    }
    assert.deepEqual(ids, [3, 4, 7, 8, 9, 10]);
    assert.equal(moved, 6);
    assert.equal(letters, 2);
  }));

Deno.test("of a file that is no database nothing is salvaged, in little time", () =>
  inFolder((folder) => {
    const path = join(folder, "queue.db");
    writeFileSync(path, "rubbish, ".repeat(1000));
    const salvage = new Salvage(path, 0, 0);
    assert.equal(salvage.expected, undefined);
    let steps = 0;
    while (!salvage.next(1000, 1000).done) assert.ok(++steps < 100);
    assert.equal(salvage.moved, 0);
    salvage.close();
  }));
