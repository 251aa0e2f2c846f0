import assert from "node:assert/strict";
import { Entry } from "../../../src/queue/lanes.ts";
import { Commits, type PendingAppend, type PendingSettle } from "../../../src/queue/sqlite/commits.ts";
import { rowOf } from "../../../src/queue/sqlite/packing.ts";
import { record } from "../records.ts";

const ignore = () => {};

function appendOf(number: number, bytes = 8): PendingAppend {
  const { payload, ...made } = record(number, { bytes });
  return { parts: made.parts, payload, op: rowOf(made, number), resolve: ignore, reject: ignore };
}

function settleOf(id: number): PendingSettle {
  const head = { ...rowOf(record(id), 0), id };
  const entry = new Entry({ target: 1, head, payload: undefined, knownAt: 0 });
  return {
    op: { kind: "done", id, target: 1, targets: [1], rejected: 0 },
    entry,
    dueAt: 0,
    taken: true,
    resolve: ignore,
    reject: ignore,
  };
}

Deno.test("a transaction has at most 4096 records and 16 MiB, and one record of any size", () => {
  const commits = new Commits();
  for (let number = 0; number < 5_000; number++) commits.append(appendOf(number));
  for (const mib of [9, 7, 1, 20, 1]) commits.append(appendOf(mib, mib << 20));
  const counts: number[] = [];
  while (commits.appends > 0) counts.push(commits.next().appends.length);
  assert.deepEqual(counts, [4_096, 905, 2, 1, 1]);
});

Deno.test("a transaction has at most 256 settles, those first that were put back", () => {
  const commits = new Commits();
  for (let id = 0; id < 255; id++) commits.settle(settleOf(id));
  assert.equal(commits.settlesFill, false);
  commits.settle(settleOf(255));
  assert.equal(commits.settlesFill, true);
  commits.settle(settleOf(256));
  const { settles } = commits.next();
  assert.deepEqual([settles.length, commits.settles], [256, 1]);
  commits.putBack(settles.slice(0, 2));
  assert.deepEqual(commits.next().settles.map(({ op }) => op.id), [0, 1, 256]);
});

Deno.test("what waits can be taken out, each kind by itself", () => {
  const commits = new Commits();
  commits.append(appendOf(1));
  commits.settle(settleOf(2));
  assert.deepEqual(commits.takeAppends().map(({ op }) => op.enqueuedAt), [1]);
  assert.deepEqual([commits.appends, commits.settles], [0, 1]);
  assert.deepEqual(commits.takeSettles().map(({ op }) => op.id), [2]);
  assert.deepEqual(commits.next(), { appends: [], settles: [] });
});
