import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SIGNAL_NAMES } from "../../../../src/signal.ts";
import { makeFolder, makeQueueFile } from "../../../../src/queue/sqlite/file/lock.ts";
import type { Books } from "../../../../src/queue/queue.ts";
import type { AppendOp, Replies, SettleOp } from "../../../../src/queue/sqlite/protocol.ts";
import { costOfRow, encodeParts } from "../../../../src/queue/record_head.ts";
import type { PartSettlement } from "../../../../src/queue/outcomes.ts";
import type { TargetTotals } from "../../../../src/queue/totals.ts";
import { SqliteStore } from "../../../../src/queue/sqlite/file/store.ts";
import { folder } from "../../../support/files/folder.ts";
import { Random } from "../../../support/bodies/requests.ts";

function appendOf(random: Random): AppendOp {
  const parts = Array.from({ length: 1 + random.below(4) }, () => ({
    sender: `s${random.below(3)}`,
    items: random.below(20),
    bytes: 1 + random.below(300),
    inflatedBytes: 1 + random.below(900),
  }));
  const sum = (pick: (part: typeof parts[number]) => number) => parts.reduce((total, part) => total + pick(part), 0);
  const bytes = sum((part) => part.bytes);
  return {
    targets: random.pick([[1], [2], [1, 2], [1, 2, 3]]),
    skipped: random.pick([[], [], [3]]),
    signal: random.pick(SIGNAL_NAMES),
    encoding: random.pick(["gzip", "identity"] as const),
    mergeable: random.below(5) > 0,
    items: sum((part) => part.items),
    bytes,
    cost: costOfRow(bytes, encodeParts(parts)),
    inflatedBytes: sum((part) => part.inflatedBytes),
    enqueuedAt: 1_700_000_000_000 + random.below(1000),
    parts: encodeParts(parts),
    payload: new Uint8Array(bytes).fill(7),
    giveBack: false,
  };
}

function settleOf(random: Random, id: number, { bytes, targets }: { bytes: number; targets: number[] }): SettleOp {
  const kind = random.below(4);
  const place = { id, target: random.pick(targets), targets };
  if (kind === 0) return { ...place, kind: "done", rejected: random.below(30) };
  if (kind === 1) return { ...place, kind: "expired" };
  const outcomes = Array.from({ length: 4 }, (): PartSettlement => {
    const outcome = random.below(4);
    if (outcome === 3) {
      const rest = { payload: new Uint8Array(random.below(50)).fill(8), items: random.below(20), inflatedBytes: 60 };
      const dead = {
        payload: new Uint8Array(random.below(50)),
        items: random.below(20),
        inflatedBytes: 60,
        reason: "bad",
      };
      return { kind: "retry", remains: { rest, ...(random.chance(0.5) ? { dead } : {}), rejected: random.below(9) } };
    }
    if (outcome === 0) return { kind: "delivered", rejected: random.below(10) };
    if (outcome === 1) return { kind: "retry" };
    return { kind: "dead", reason: "bad", status: 400, items: random.below(20), rejected: random.below(5) };
  });
  return { ...place, kind: "parts", bytes, outcomes };
}

/** A row as another connection has it: payload bytes and targets; of nothing where it is gone. */
function rowOf(path: string, id: number): { bytes: number; targets: number[] } {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    const row = db.prepare(
      "SELECT bytes, routes.targets FROM records JOIN routes ON routes.id = records.route WHERE records.id = ?",
    ).get(id);
    return { bytes: Number(row?.["bytes"] ?? 0), targets: JSON.parse(String(row?.["targets"] ?? "[1]")) };
  } finally {
    db.close();
  }
}

/** What the rows say that each target waits for. */
function pendingIn(path: string, target: number): Record<string, unknown> {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return {
      ...db.prepare(
        `SELECT count(*) AS records, coalesce(sum(items), 0) AS queued, coalesce(sum(bytes + length(parts) + 96), 0) AS bytes
        FROM records JOIN routes ON routes.id = records.route
        WHERE EXISTS (SELECT 1 FROM json_each(routes.targets) WHERE value = ?1)
          AND NOT EXISTS (SELECT 1 FROM done WHERE record = records.id AND target = ?1)`,
      ).get(target),
    };
  } finally {
    db.close();
  }
}

Deno.test("what a transaction adds up is what the tables then say, whatever it did", async () => {
  await using at = await folder();
  const path = join(at.path, "queue.db");
  makeFolder(path);
  makeQueueFile(path);
  const store = new SqliteStore(
    // Few dead letters fit, so that some parts are held for want of room.
    {
      path,
      bytesMax: 1 << 30,
      deadLetterBytesMax: 4_000,
      targets: ["default", "b", "c"],
      faults: [],
      fileBytesMax: undefined,
    },
    [],
    {
      log: (level, message) => assert.fail(`${level} ${message}`),
      trouble: () => {},
      rows: () => assert.fail("no rows come by themselves"),
    },
  );
  try {
    const random = new Random(8);
    let newest = 0;
    let held = 0;
    for (let round = 0; round < 300; round++) {
      const appends = Array.from({ length: random.below(4) }, () => appendOf(random));
      // Some are settled twice, and some were never there.
      const settles = Array.from({ length: random.below(4) }, () => {
        const id = random.chance(0.1) ? 1_000_000 : 1 + random.below(Math.max(1, newest));
        // Some are of a row as it was before it was cut down: they move nothing.
        const row = rowOf(path, id);
        return settleOf(random, id, random.chance(0.2) ? { ...row, bytes: 1 } : row);
      });
      const reply: Replies["commit"] = store.commit({
        kind: "commit",
        appends,
        settles,
        packed: new ArrayBuffer(0),
        now: 1,
      });
      assert.deepEqual([reply.appendFailure, reply.settleFailure, reply.foreign], [undefined, undefined, false]);
      newest = reply.totals!.lastId;
      // `stats` reads the tables.
      assert.deepEqual(reply.totals, store.stats().totals, `round ${round}`);
      held = Math.max(held, reply.totals!.held);
      for (const target of [1, 2, 3]) {
        const of: TargetTotals = reply.totals!.targets[target]!;
        const { records, bytes, books } = of;
        let all = 0;
        for (const name of SIGNAL_NAMES) {
          const { accepted, ...ended }: Books = books[name];
          assert.equal(accepted, Object.values(ended).reduce((sum, items) => sum + items, 0));
          all += ended.queued;
        }
        assert.deepEqual(pendingIn(path, target), { records, queued: all, bytes }, `target ${target}, round ${round}`);
      }
    }
    assert(held > 0 && store.totals.deadRecords > 0, "nothing was held, or nothing died");
  } finally {
    store.close();
  }
});
