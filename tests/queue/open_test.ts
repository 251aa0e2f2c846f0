import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openQueue } from "../../src/queue/open.ts";
import { TestLog } from "./records.ts";

Deno.test("the settings choose the engine and bound it; only sqlite makes files", async () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-open-"));
  try {
    for (const storage of ["none", "sqlite"] as const) {
      const path = join(folder, storage, "queue.db");
      await using queue = await openQueue({ storage, path, bytesMax: 777, deadLetterBytesMax: 5, log: new TestLog() });
      assert.equal(queue.capabilities.durable, storage === "sqlite");
      assert.equal((await queue.stats()).bytesMax, 777);
      assert.equal(existsSync(path), storage === "sqlite");
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
