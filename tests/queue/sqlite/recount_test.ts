import assert from "node:assert/strict";
import { costOfPart } from "../../../src/queue/cost.ts";
import { Shares } from "../../../src/queue/shares.ts";
import type { Replies } from "../../../src/queue/sqlite/protocol.ts";
import { Recount } from "../../../src/queue/sqlite/recount.ts";
import { TestClock } from "../records.ts";

function scene() {
  const clock = new TestClock();
  const shares = new Shares(clock.now);
  const failures: unknown[] = [];
  const asked: { resolve: (reply: Replies["senders"]) => void; reject: (error: unknown) => void }[] = [];
  const connection = {
    closing: false,
    ask: <Kind extends keyof Replies>(kind: Kind): Promise<Replies[Kind]> => {
      assert.equal(kind, "senders");
      return new Promise<Replies["senders"]>((resolve, reject) => asked.push({ resolve, reject })) as Promise<
        Replies[Kind]
      >;
    },
    questionFailed: (error: unknown) => void failures.push(error),
  };
  return { clock, shares, failures, asked, connection, recount: new Recount(connection, shares, clock.now) };
}

Deno.test("a count takes the place of what was kept", async () => {
  const { shares, asked, recount } = scene();
  shares.add([{ sender: "gone", bytes: 5 }, { sender: "a", bytes: 1 }]);
  const counted = recount.count();
  asked[0]!.resolve({ senders: [{ sender: "a", bytes: 70 }] });
  await counted;
  assert.deepEqual(["a", "gone"].map((id) => shares.bytesOf(id)), [70, 0]);
});

Deno.test("rows are counted where that is wanted, at most every ten seconds", () => {
  const { clock, asked, recount, connection } = scene();
  recount.ifWanted();
  assert.equal(asked.length, 0, "nobody wants one");
  recount.want();
  recount.ifWanted();
  recount.ifWanted();
  assert.equal(asked.length, 1);
  recount.want();
  clock.ms += 9_999;
  recount.ifWanted();
  assert.equal(asked.length, 1);
  clock.ms += 1;
  connection.closing = true;
  recount.ifWanted();
  assert.equal(asked.length, 1, "the queue is closing");
  connection.closing = false;
  recount.ifWanted();
  assert.equal(asked.length, 2);
});

Deno.test("a count that failed is told of and made again, one that storage could not make too", async () => {
  const { clock, shares, failures, asked, recount } = scene();
  shares.add([{ sender: "a", bytes: 1 }]);
  const failed = recount.count();
  const error = new Error("the thread has ended");
  asked[0]!.reject(error);
  await failed;
  assert.deepEqual(failures, [error]);
  clock.ms += 10_000;
  recount.ifWanted();
  asked[1]!.resolve({ senders: undefined });
  await Promise.resolve();
  assert.equal(shares.bytesOf("a"), costOfPart(1), "what was kept stays");
  clock.ms += 10_000;
  recount.ifWanted();
  assert.equal(asked.length, 3);
});
