import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Alarm } from "../../../src/queue/alarm.ts";
import type { Fault } from "../../../src/queue/sqlite/injected_faults.ts";
import { Connection, TICK_MS } from "../../../src/queue/sqlite/connection.ts";
import { makeQueueFile } from "../../../src/queue/sqlite/file/lock.ts";
import { packCommit, rowOf } from "../../../src/queue/sqlite/packing.ts";
import { record, TestLog } from "../records.ts";

type Event = "opened" | "retry" | "replaced";

interface Scene {
  readonly connection: Connection;
  readonly log: TestLog;
  readonly events: Event[];
  /** Resolves when the event comes next. */
  next(event: Event): Promise<void>;
  /** One transaction of one record. */
  commit(number: number): Promise<number>;
}

function connected(name: string, faults: readonly Fault[], body: (scene: Scene) => Promise<void>): void {
  Deno.test(name, async () => {
    const folder = mkdtempSync(join(tmpdir(), "edgeferry-connection-"));
    const path = join(folder, "queue.db");
    const log = new TestLog();
    const events: Event[] = [];
    const waiting: { event: Event; resolve: () => void }[] = [];
    const tell = (event: Event) => {
      events.push(event);
      for (const each of waiting) if (each.event === event) each.resolve();
    };
    const settings = {
      path,
      bytesMax: 1 << 20,
      deadLetterBytesMax: 1 << 20,
      fileBytesMax: undefined,
      targets: ["default"],
    };
    const connection = new Connection(settings, new Alarm(log, Date.now), {
      opened: () => tell("opened"),
      news: () => {},
      retry: () => tell("retry"),
      replaced: () => tell("replaced"),
    });
    try {
      makeQueueFile(path);
      await connection.open(faults);
      await body({
        connection,
        log,
        events,
        next: (event) => new Promise((resolve) => waiting.push({ event, resolve })),
        commit: async (number) => {
          const { payload, ...made } = record(number);
          const row = { parts: made.parts, payload, op: rowOf(made, number) };
          const { message, transfer } = packCommit([row], [], () => false, number);
          return (await connection.ask("commit", message, transfer)).firstId;
        },
      });
      connection.close();
      if (!connection.ended) await connection.ask("close", {});
    } finally {
      connection.close();
      connection.end();
      rmSync(folder, { recursive: true });
    }
  });
}

connected("storage that failed is tried again until a transaction is made, and told of once", [], async (scene) => {
  const { connection, log, next } = scene;
  assert.equal(connection.trouble, undefined);
  for (let time = 0; time < 3; time++) {
    const retry = next("retry");
    connection.failed("the disk is full");
    assert.equal(connection.trouble, "the disk is full");
    await retry;
  }
  assert.equal(await scene.commit(1), 1);
  connection.wellAgain();
  assert.equal(connection.trouble, undefined);
  assert.deepEqual(log.lines.map(({ level, message }) => [level, message]), [
    ["error", "The queue's storage failed: the disk is full"],
  ]);
});

connected(
  "a Worker that ends is replaced, and the records that were disowned do not stay",
  [{ point: "committed", nth: 2, act: "crash" }],
  async ({ connection, commit, events, log, next }) => {
    await commit(1);
    const replaced = next("replaced");
    await assert.rejects(commit(2), /thread ended by an error/);
    assert.equal(connection.ended, true);
    // Its commit had been made: the row is there, and nobody was told so.
    connection.disown([{ id: 2, enqueuedAt: 2, bytes: 32 }]);
    await log.line(/thread ended by an error/);
    await replaced;
    assert.deepEqual(events, ["opened", "opened", "replaced"]);
    assert.deepEqual([connection.ended, connection.trouble], [false, undefined]);
    assert.equal((await connection.ask("stats", {})).totals.records, 1);
    assert.equal(await commit(3), 3, "no id names two records");
  },
);

connected("once it is closing nothing is tried again", [], async ({ connection, events, log }) => {
  connection.failed("an I/O error");
  connection.close();
  connection.questionFailed(new Error("a read failed"));
  assert.equal(connection.trouble, "an I/O error");
  connection.failed("a commit failed");
  await connection.ask("stats", {});
  connection.end();
  assert.deepEqual(events, ["opened"]);
  assert.equal(log.lines.length, 1);
  await assert.rejects(connection.ask("stats", {}), { code: "unusable" });
});

Deno.test("storage hangs when an answer is due for 3 s; time in which the thread that asks did not run is not storage's", async () => {
  let now = 0;
  const settings = {
    path: "/data/queue.db",
    bytesMax: 1,
    deadLetterBytesMax: 1,
    fileBytesMax: undefined,
    targets: ["default"],
  };
  const silent = { postMessage: () => {}, terminate: () => {} } as unknown as Worker;
  const connection = new Connection(
    settings,
    new Alarm(new TestLog(), Date.now),
    { opened: () => {}, news: () => {}, retry: () => {}, replaced: () => {} },
    () => silent,
    () => now,
  );
  const asked = assert.rejects(connection.ask("stats", {}), { code: "unusable" });
  now += 1_000;
  connection.tick();
  assert.deepEqual([connection.waitMs, connection.hung], [1_000, undefined]);
  // The process is frozen: storage has had no turn either, or its answer has not been heard yet.
  now += 60_000;
  assert.deepEqual([connection.waitMs, connection.hung], [1_000 + TICK_MS, undefined]);
  connection.tick();
  assert.equal(connection.hung, undefined);
  now += 999;
  assert.equal(connection.hung, undefined);
  now += 1;
  assert.equal(
    connection.hung,
    "The queue's storage has not answered for 3 s: a write to /data/queue.db hangs; check its disk",
  );
  connection.end();
  await asked;
});
