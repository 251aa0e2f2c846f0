import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { makeQueueFile } from "../../../../src/queue/sqlite/file/lock.ts";
import { MarkFile } from "../../../../src/queue/sqlite/file/mark.ts";
import { FileWatch } from "../../../../src/queue/sqlite/file/presence.ts";
import { Routes } from "../../../../src/queue/sqlite/file/routes.ts";
import { Salvage } from "../../../../src/queue/sqlite/file/salvage.ts";
import { CHECKPOINT_PAGES, openDatabase } from "../../../../src/queue/sqlite/file/schema.ts";
import { type Open, prepareStatements } from "../../../../src/queue/sqlite/file/statements.ts";
import { Upkeep } from "../../../../src/queue/sqlite/file/upkeep.ts";
import { folder } from "../../../support/files/folder.ts";

const PAGE_BYTES = 4096;

interface Scene {
  readonly path: string;
  readonly open: Open;
  readonly upkeep: Upkeep;
  readonly warnings: string[];
  /** Writes so many pages in one transaction, beside the queue's tables. */
  write(pages: number): void;
  /** The upkeep's clock stands still but for this. */
  pass(ms: number): void;
}

function withFile(name: string, body: (scene: Scene) => void | Promise<void>): void {
  Deno.test(name, async () => {
    await using at = await folder();
    const path = join(at.path, "queue.db");
    makeQueueFile(path);
    const db = openDatabase(path);
    const mark = new MarkFile(`${path}.mark`);
    const watch = new FileWatch(path);
    try {
      db.exec("CREATE TABLE filling (a)");
      const totals = { records: 0, bytes: 0, deadRecords: 0, deadBytes: 0, held: 0, lastId: 0 };
      const open: Open = {
        db,
        sql: prepareStatements(db),
        mark,
        watch,
        routes: new Routes(db),
        identity: 1,
        nextId: 1,
        dataVersion: 0,
        totals: { ...totals, targets: {} },
        salvage: undefined,
      };
      const warnings: string[] = [];
      let nowMs = 1_000;
      const upkeep = new Upkeep(path, (message) => warnings.push(message), () => nowMs);
      const write = (pages: number) => {
        db.exec(`INSERT INTO filling VALUES (zeroblob(${pages * PAGE_BYTES}))`);
        upkeep.committed([{
          targets: [1],
          skipped: [],
          signal: "traces",
          encoding: "gzip",
          mergeable: true,
          items: 1,
          bytes: pages * PAGE_BYTES,
          cost: pages * PAGE_BYTES,
          inflatedBytes: 0,
          enqueuedAt: 0,
          parts: "[]",
          payload: { offset: 0 },
          giveBack: false,
        }]);
      };
      await body({ path, open, upkeep, warnings, write, pass: (ms) => void (nowMs += ms) });
    } finally {
      mark.close();
      db.close();
      watch.close();
    }
  });
}

/** No file to salvage from. */
const none = () => assert.fail("there is nothing to salvage");

/** Pages of the WAL that are not in the database yet. */
function uncopied({ sql }: Open): number {
  const { log, checkpointed } = sql.walState.get() as { log: number; checkpointed: number };
  return log - checkpointed;
}

withFile("a WAL is copied into the database once it is full", ({ open, upkeep, write }) => {
  upkeep.takeReserve();
  write(CHECKPOINT_PAGES / 2);
  upkeep.step(open, none);
  assert(uncopied(open) >= CHECKPOINT_PAGES / 2);
  write(CHECKPOINT_PAGES / 2);
  assert.equal(upkeep.step(open, none), undefined);
  assert.equal(uncopied(open), 0);
});

withFile(
  "after little has been written the questions wait, and after nothing none are asked",
  ({ open, upkeep, write }) => {
    upkeep.takeReserve();
    write(CHECKPOINT_PAGES);
    upkeep.step(open, none);
    assert.equal(upkeep.step(open, none), undefined);
    write(1);
    const waitMs = upkeep.step(open, none);
    assert(waitMs !== undefined && waitMs > 0 && waitMs <= 100, `${waitMs}`);
  },
);

withFile(
  "of what was freed 17 MiB are kept for reuse and the rest is given back",
  ({ path, open, upkeep, write, pass }) => {
    upkeep.takeReserve();
    write(10_000);
    open.db.exec("DELETE FROM filling");
    const free = () => Number(open.sql.freePages.get()?.freelist_count);
    assert(free() >= 10_000);
    let steps = 0;
    // As the Worker does it, with nothing else to do.
    for (let ms = upkeep.step(open, none); ms !== undefined; ms = upkeep.step(open, none)) {
      steps += 1;
      pass(ms);
    }
    assert(free() <= 4_352 && free() > 4_000, `${free()} pages are free`);
    assert(steps >= (10_000 - 4_352) / 256, `${steps} steps: none keeps a request waiting`);
    assert(statSync(path).size < 5_000 * PAGE_BYTES);
  },
);

withFile("while much is queued nothing is given back", ({ open, upkeep, write }) => {
  upkeep.takeReserve();
  write(5_000);
  write(6_000);
  open.db.exec("DELETE FROM filling WHERE length(a) > 5500 * 4096");
  assert.equal(upkeep.step(open, none), undefined);
  assert(Number(open.sql.freePages.get()?.freelist_count) >= 6_000);
});

withFile("once the disk has been full appends wait for the reserve, or for room in the file", (scene) => {
  const { path, open, upkeep, write } = scene;
  upkeep.takeReserve();
  assert.equal(upkeep.roomForAppends(open), true);
  assert.equal(upkeep.giveReserve(), true);
  assert.equal(existsSync(`${path}.reserve`), false);
  assert.equal(upkeep.giveReserve(), false);
  assert.equal(upkeep.roomForAppends(open), false, "it is not taken again at once");
  write(9_000);
  open.db.exec("DELETE FROM filling");
  assert.equal(upkeep.roomForAppends(open), true, "they fit into what is free");
  assert.equal(existsSync(`${path}.reserve`), false);
  // Without a reserve all that is free is given back, without a pause; then the reserve is due.
  while (upkeep.step(open, none) !== undefined);
  assert(statSync(path).size < 100 * PAGE_BYTES);
  assert.equal(upkeep.roomForAppends(open), true);
  assert.equal(existsSync(`${path}.reserve`), true);
});

withFile("a salvage goes on before pages are given back, step by step", async ({ open, upkeep, write }) => {
  await using at = await folder();
  const damaged = join(at.path, "damaged.db");
  makeQueueFile(damaged);
  openDatabase(damaged).close();
  const salvage = new Salvage(damaged, 0, 0);
  try {
    upkeep.takeReserve();
    write(10_000);
    open.db.exec("DELETE FROM filling");
    open.salvage = salvage;
    const from: Salvage[] = [];
    assert.equal(upkeep.step(open, (each) => from.push(each) < 2), 0);
    assert.equal(upkeep.step(open, (each) => from.push(each) < 2), undefined);
    assert.deepEqual(from, [salvage, salvage]);
    assert(Number(open.sql.freePages.get()?.freelist_count) >= 10_000);
  } finally {
    salvage.close();
  }
});

withFile(
  "a WAL that a reader elsewhere keeps from being reused is told of, once",
  ({ path, open, upkeep, warnings, write }) => {
    upkeep.takeReserve();
    const reader = new DatabaseSync(path, { readOnly: true });
    try {
      reader.exec("BEGIN");
      reader.prepare("SELECT count(*) FROM filling").get();
      write(66_000);
      upkeep.step(open, none);
      write(CHECKPOINT_PAGES);
      upkeep.step(open, none);
      assert.deepEqual(warnings, [
        "The queue's WAL cannot be reused: another process keeps the file open for reading; end it",
      ]);
      reader.exec("ROLLBACK");
    } finally {
      reader.close();
    }
  },
);
