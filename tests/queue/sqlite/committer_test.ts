import assert from "node:assert/strict";
import { Refusal } from "../../../src/errors.ts";
import { Entry } from "../../../src/queue/lanes.ts";
import type { PendingSettle } from "../../../src/queue/sqlite/commits.ts";
import { Committer } from "../../../src/queue/sqlite/committer.ts";
import { rowOf } from "../../../src/queue/sqlite/packing.ts";
import type { Replies, Request } from "../../../src/queue/sqlite/protocol.ts";
import { record } from "../records.ts";

type CommitRequest = Omit<Request & { kind: "commit" }, "kind">;

interface Transaction {
  readonly request: CommitRequest;
  /** Ends it: all is written, unless a failure of one of the two is given. */
  end(failure?: { readonly appends?: string; readonly settles?: string }): void;
  /** The Worker ends. */
  crash(text: string): void;
}

/** Storage whose transactions the test ends. */
function scene() {
  const made: Transaction[] = [];
  const told: string[] = [];
  let begun = () => {};
  let nextId = 1;
  const connection = {
    ended: false,
    trouble: undefined as string | undefined,
    failed: (text: string) => void (connection.trouble = text),
    wellAgain: () => void (connection.trouble = undefined),
    ask: <Kind extends keyof Replies>(
      _kind: Kind,
      request: Omit<Request & { kind: Kind }, "kind">,
    ): Promise<Replies[Kind]> =>
      new Promise<Replies["commit"]>((resolve, reject) => {
        const commit = request as unknown as CommitRequest;
        made.push({
          request: commit,
          crash: (text) => reject(new Error(text)),
          end: (failure = {}) => {
            const firstId = nextId;
            if (failure.appends === undefined) nextId += commit.appends.length;
            resolve({
              totals: undefined,
              firstId,
              appendFailure: failure.appends === undefined ? undefined : { text: failure.appends },
              settleFailure: failure.settles === undefined ? undefined : { text: failure.settles },
              foreign: false,
              remainders: [],
              returned: [],
            });
          },
        });
        begun();
      }) as Promise<Replies[Kind]>,
  };
  const committer = new Committer(connection, {
    keeps: () => false,
    crashed: (appends) => void told.push(`crashed ${appends.length}`),
    replied: () => {},
    kept: (_, id) => void told.push(`kept ${id}`),
    settled: (settles) => {
      for (const { op, resolve } of settles) {
        told.push(`settled ${op.id}`);
        resolve();
      }
    },
    done: (_batch, _reply, failed) => void told.push(failed ? "failed" : "done"),
  }, () => 7);
  return {
    committer,
    connection,
    made,
    told,
    append: (number: number) => {
      const { payload, ...rest } = record(number);
      return committer.append({ parts: rest.parts, payload, op: rowOf(rest, number) });
    },
    /** The transaction of that number, from 0, now or later. */
    async transaction(number: number): Promise<Transaction> {
      while (made.length <= number) await new Promise<void>((resolve) => begun = resolve);
      return made[number]!;
    },
  };
}

/** Every promise reaction that is due has run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

function settleOf(id: number): { readonly settle: PendingSettle; readonly settled: Promise<void> } {
  const { promise: settled, resolve, reject } = Promise.withResolvers<void>();
  const { payload, ...rest } = record(id);
  const entry = new Entry({ target: 1, head: { ...rowOf(rest, 0), id }, payload, knownAt: 0 });
  return {
    settle: {
      op: { kind: "done", id, target: 1, targets: [1], rejected: 0 },
      entry,
      dueAt: 0,
      taken: true,
      resolve,
      reject,
    },
    settled,
  };
}

const sizes = ({ request: { appends, settles } }: Transaction) => [appends.length, settles.length];
const COST = rowOf(record(1), 0).cost;

Deno.test("appends of one turn share a transaction, and what comes while it is under way the next", async () => {
  const { committer, append, made, told, transaction } = scene();
  const first = [append(5), append(6)];
  assert.equal(made.length, 0, "the turn is not over");
  assert.equal(committer.appendBytes, 2 * COST);
  await turn();
  const [one] = made;
  assert.deepEqual(one!.request.appends.map(({ enqueuedAt }) => enqueuedAt), [5, 6]);
  assert.equal(one!.request.now, 7);
  const late = append(7);
  committer.flush();
  await turn();
  assert.equal(made.length, 1, "one at a time");
  one!.end();
  assert.deepEqual(await Promise.all(first), [{}, {}]);
  assert.equal(committer.appendBytes, COST);
  const two = await transaction(1);
  two.end({ appends: "no room" });
  await assert.rejects(late, { code: "storage_failed", message: "no room" });
  assert.equal(committer.appendBytes, 0);
  assert.deepEqual(told, ["kept 1", "kept 2", "done", "failed"]);
});

Deno.test("settles wait for a transaction that they can share; enough of them are one, and a hurry is one", async () => {
  const { committer, append, made, transaction } = scene();
  committer.settle(settleOf(1).settle);
  await turn();
  assert.equal(made.length, 0);
  void append(1);
  const shared = await transaction(0);
  assert.deepEqual(sizes(shared), [1, 1]);
  shared.end();
  await turn();
  committer.hurry();
  await turn();
  assert.equal(made.length, 1, "nothing waits");
  committer.settle(settleOf(2).settle);
  committer.hurry();
  const hurried = await transaction(1);
  assert.deepEqual(sizes(hurried), [0, 1]);
  hurried.end();
  await turn();
  for (let id = 0; id < 300; id++) committer.settle(settleOf(id).settle);
  await turn();
  const many = await transaction(2);
  assert.deepEqual(sizes(many), [0, 256]);
  many.end();
  // The others find no company, and go when their time is up.
  const rest = await transaction(3);
  assert.deepEqual(sizes(rest), [0, 44]);
  rest.end();
});

Deno.test("settles that could not be written come first, and wait while storage is in trouble", async () => {
  const { committer, connection, made, transaction } = scene();
  committer.settle(settleOf(1).settle);
  committer.settle(settleOf(2).settle);
  (await transaction(0)).end({ settles: "the disk is full" });
  await turn();
  assert.equal(made.length, 1);
  assert.equal(connection.trouble, "the disk is full");
  committer.settle(settleOf(3).settle);
  committer.flush(true);
  const again = await transaction(1);
  assert.deepEqual(again.request.settles.map(({ id }) => id), [1, 2, 3]);
  again.end();
  await committer.drain();
});

Deno.test("under a Worker that ends the appends are refused, and the settles kept for the next", async () => {
  const { committer, append, made, told, connection, transaction } = scene();
  const refused = append(1);
  const { settle, settled } = settleOf(9);
  committer.settle(settle);
  const crashing = await transaction(0);
  assert.deepEqual(sizes(crashing), [1, 1]);
  crashing.crash("it is gone");
  await assert.rejects(refused, { code: "storage_failed", message: "it is gone" });
  assert.deepEqual(told, ["crashed 1"]);
  assert.deepEqual([committer.appendBytes, connection.trouble], [0, "it is gone"]);
  await turn();
  committer.flush();
  assert.deepEqual(sizes(made[1]!), [0, 1]);
  made[1]!.end();
  await settled;
  await committer.drain();
});

Deno.test("while storage does not answer all senders are told, those under way that theirs may have been kept", async () => {
  const { committer, append, told, transaction } = scene();
  const underWay = append(1);
  const transacting = await transaction(0);
  const waiting = append(2);
  committer.giveUpAppends("it hangs");
  await assert.rejects(underWay, { code: "storage_failed", message: "it hangs", unknown: true });
  await assert.rejects(waiting, { code: "storage_failed", message: "it hangs", unknown: false });
  assert.equal(committer.appendBytes, COST, "it may be written still");
  transacting.end();
  await turn();
  assert.deepEqual(told, ["kept 1", "done"]);
  assert.equal(committer.appendBytes, 0);
});

Deno.test("a probe is a transaction of nothing; without one, and without a Worker, there is none", () => {
  const { committer, connection, made } = scene();
  committer.flush();
  assert.equal(made.length, 0);
  connection.ended = true;
  committer.flush(true);
  assert.equal(made.length, 0);
  connection.ended = false;
  committer.flush(true);
  assert.deepEqual(made.map(sizes), [[0, 0]]);
});

Deno.test("at the end all that waits is committed, what comes meanwhile too, and settles wait no more", async () => {
  const { committer, append, transaction } = scene();
  void append(1);
  committer.settle(settleOf(1).settle);
  let drained = false;
  const drain = committer.drain().then(() => drained = true);
  const first = await transaction(0);
  assert.deepEqual(sizes(first), [1, 1]);
  committer.settle(settleOf(2).settle);
  first.end();
  const second = await transaction(1);
  assert.deepEqual([sizes(second), drained], [[0, 1], false]);
  second.end();
  await drain;
});

for (const state of ["in trouble", "without a Worker"] as const) {
  Deno.test(`at the end storage that is ${state} is not tried for ever: what waits is refused`, async () => {
    const { committer, append, connection, transaction } = scene();
    const { settle, settled } = settleOf(9);
    const appended = append(1);
    committer.settle(settle);
    if (state === "without a Worker") connection.ended = true;
    const drain = committer.drain();
    if (state === "in trouble") (await transaction(0)).end({ appends: "an I/O error", settles: "an I/O error" });
    await drain;
    committer.abandon();
    const [answer] = await Promise.allSettled([appended]);
    assert.ok(answer!.status === "rejected" && answer.reason instanceof Refusal);
    assert.equal(answer.reason.code, state === "in trouble" ? "storage_failed" : "shutting_down");
    await assert.rejects(settled, {
      code: "shutting_down",
      message: "Record 9 stays in the queue and will be sent again",
    });
    assert.equal(committer.appendBytes, 0);
  });
}
