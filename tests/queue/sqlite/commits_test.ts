import assert from "node:assert/strict";
import { Refusal } from "../../../src/errors.ts";
import { Commits, type Committer, type PendingAppend, type PendingSettle } from "../../../src/queue/sqlite/commits.ts";
import { record } from "../records.ts";

interface Transaction {
  readonly appends: readonly PendingAppend[];
  readonly settles: readonly PendingSettle[];
  readonly end: () => void;
}

/** Transactions that the test ends. */
class HandCommitter implements Committer {
  ended = false;
  trouble: string | undefined;
  readonly made: Transaction[] = [];
  #begun = () => {};

  commit(appends: readonly PendingAppend[], settles: readonly PendingSettle[]): Promise<void> {
    return new Promise((end) => {
      this.made.push({ appends, settles, end });
      this.#begun();
    });
  }

  /** The transaction of that number, from 0, now or later. */
  async transaction(number: number): Promise<Transaction> {
    while (this.made.length <= number) await new Promise<void>((resolve) => this.#begun = resolve);
    return this.made[number]!;
  }
}

/** Every promise reaction that is due has run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

function settleOf(id: number): { readonly settle: PendingSettle; readonly settled: Promise<void> } {
  const { promise: settled, resolve, reject } = Promise.withResolvers<void>();
  const { parts: _, payload, ...rest } = record(id);
  const head = { ...rest, id, items: 3, bytes: payload.length, inflatedBytes: 128, enqueuedAt: 0, parts: "[]" };
  const entry = { head, payload, dueAt: 0 };
  return { settle: { op: { kind: "done", id, rejected: 0 }, entry, dueAt: 0, taken: true, resolve, reject }, settled };
}

const sizes = ({ appends, settles }: Transaction) => [appends.length, settles.length];

Deno.test("appends of one turn share a transaction, and what comes while it is under way the next", async () => {
  const committer = new HandCommitter();
  const commits = new Commits(committer);
  const first = [commits.append(record(1), 5), commits.append(record(2), 6)];
  assert.equal(committer.made.length, 0, "the turn is not over");
  assert.equal(commits.appendBytes, 64);
  await turn();
  const [one] = committer.made;
  assert.deepEqual(one!.appends.map(({ op }) => op.enqueuedAt), [5, 6]);
  const late = commits.append(record(3), 7);
  commits.flush();
  await turn();
  assert.equal(committer.made.length, 1, "one at a time");
  for (const append of one!.appends) commits.accept(append);
  one!.end();
  assert.deepEqual(await Promise.all(first), [{}, {}]);
  assert.equal(commits.appendBytes, 32);
  const two = await committer.transaction(1);
  commits.refuse(two.appends, "no room");
  await assert.rejects(late, { code: "storage_failed", message: "no room" });
  assert.equal(commits.appendBytes, 0);
});

Deno.test("a transaction has at most 4096 records and 16 MiB, and one record of any size", async () => {
  const committer = new HandCommitter();
  const commits = new Commits(committer);
  for (let number = 0; number < 5_000; number++) void commits.append(record(number, { bytes: 8 }), 0);
  for (const mib of [9, 7, 1, 20, 1]) void commits.append(record(mib, { bytes: mib << 20 }), 0);
  const counts: number[] = [];
  for (let number = 0; counts.reduce((sum, count) => sum + count, 0) < 5_005; number++) {
    const transaction = await committer.transaction(number);
    counts.push(transaction.appends.length);
    transaction.end();
  }
  assert.deepEqual(counts, [4_096, 905, 2, 1, 1]);
});

Deno.test("settles wait for a transaction that they can share; enough of them are one", async () => {
  const committer = new HandCommitter();
  const commits = new Commits(committer);
  commits.settle(settleOf(1).settle);
  await turn();
  assert.equal(committer.made.length, 0);
  void commits.append(record(1), 0);
  const shared = await committer.transaction(0);
  assert.deepEqual(sizes(shared), [1, 1]);
  shared.end();
  await turn();
  for (let id = 0; id < 300; id++) commits.settle(settleOf(id).settle);
  await turn();
  const many = await committer.transaction(1);
  assert.deepEqual(sizes(many), [0, 256]);
  many.end();
  // The others find no company, and go when their time is up.
  const rest = await committer.transaction(2);
  assert.deepEqual(sizes(rest), [0, 44]);
  rest.end();
});

Deno.test("settles that were put back come first, and wait while storage is in trouble", async () => {
  const committer = new HandCommitter();
  const commits = new Commits(committer);
  commits.settle(settleOf(1).settle);
  commits.settle(settleOf(2).settle);
  const failing = await committer.transaction(0);
  committer.trouble = "the disk is full";
  commits.putBack(failing.settles);
  failing.end();
  await turn();
  assert.equal(committer.made.length, 1);
  commits.settle(settleOf(3).settle);
  commits.flush(true);
  const again = await committer.transaction(1);
  assert.deepEqual(again.settles.map(({ op }) => op.id), [1, 2, 3]);
  again.end();
  await commits.drain();
});

Deno.test("a probe is a transaction of nothing; without one, and without a Worker, there is none", () => {
  const committer = new HandCommitter();
  const commits = new Commits(committer);
  commits.flush();
  assert.equal(committer.made.length, 0);
  committer.ended = true;
  commits.flush(true);
  assert.equal(committer.made.length, 0);
  committer.ended = false;
  commits.flush(true);
  assert.deepEqual(committer.made.map(sizes), [[0, 0]]);
});

Deno.test("at the end all that waits is committed, what comes meanwhile too, and settles wait no more", async () => {
  const committer = new HandCommitter();
  const commits = new Commits(committer);
  void commits.append(record(1), 0);
  commits.settle(settleOf(1).settle);
  let drained = false;
  const drain = commits.drain().then(() => drained = true);
  const first = await committer.transaction(0);
  assert.deepEqual(sizes(first), [1, 1]);
  commits.settle(settleOf(2).settle);
  first.end();
  const second = await committer.transaction(1);
  assert.deepEqual([sizes(second), drained], [[0, 1], false]);
  second.end();
  await drain;
});

for (const state of ["in trouble", "without a Worker"] as const) {
  Deno.test(`at the end storage that is ${state} is not tried for ever: what waits is refused`, async () => {
    const committer = new HandCommitter();
    const commits = new Commits(committer);
    const { settle, settled } = settleOf(9);
    const append = commits.append(record(1), 0);
    commits.settle(settle);
    if (state === "without a Worker") committer.ended = true;
    const drain = commits.drain();
    if (state === "in trouble") {
      const failing = await committer.transaction(0);
      committer.trouble = "an I/O error";
      commits.refuse(failing.appends, committer.trouble);
      commits.putBack(failing.settles);
      failing.end();
    }
    await drain;
    commits.abandon();
    const [answer] = await Promise.allSettled([append]);
    assert.ok(answer!.status === "rejected" && answer.reason instanceof Refusal);
    assert.equal(answer.reason.code, state === "in trouble" ? "storage_failed" : "shutting_down");
    await assert.rejects(settled, {
      code: "shutting_down",
      message: "Record 9 stays in the queue and will be sent again",
    });
    assert.equal(commits.appendBytes, 0);
  });
}
