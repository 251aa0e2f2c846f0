import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { historyFileOf, readHistory, writeHistory } from "../../src/admin/history_file.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "edgeferry-history-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const NOTHING = {
  taken: undefined,
  sent: undefined,
  queueBytes: undefined,
  oldestS: undefined,
  p50S: undefined,
  p99S: undefined,
};

Deno.test("what is written is read, to four figures", () =>
  inFolder(async (folder) => {
    const file = historyFileOf(join(folder, "queue.db"));
    const step = { taken: 12.3456789, sent: 0, queueBytes: 1_234_567, oldestS: undefined, p50S: 0.00123456, p99S: 2 };
    await writeHistory(file, { fine: [[7, step]], coarse: [[1, NOTHING]] });
    assert.deepEqual(await readHistory(file), {
      fine: [[7, { ...step, taken: 12.35, queueBytes: 1_235_000, p50S: 0.001235 }]],
      coarse: [[1, NOTHING]],
    });
    assert.deepEqual(await readdir(folder), ["queue.db.history"], "nothing else is left");
  }));

Deno.test("a file that is missing, damaged or of another version is no history", () =>
  inFolder(async (folder) => {
    const file = join(folder, "h");
    assert.equal(await readHistory(file), undefined);
    for (
      const text of ["", "{", "[]", '{"version":2,"fine":[],"coarse":[]}', '{"version":1,"fine":[[1]],"coarse":[]}']
    ) {
      await writeFile(file, text);
      assert.equal(await readHistory(file), undefined, text);
    }
  }));

Deno.test("a file that cannot be written leaves nothing behind", () =>
  inFolder(async (folder) => {
    await assert.rejects(writeHistory(join(folder, "no", "h"), { fine: [], coarse: [] }), /ENOENT/);
    assert.deepEqual(await readdir(folder), []);
  }));
