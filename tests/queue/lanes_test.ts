import assert from "node:assert/strict";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { Entry, Lane } from "../../src/queue/lanes.ts";
import { LIMIT } from "./records.ts";

function entry(
  id: number,
  options: { bytes?: number; mergeable?: boolean; dueAt?: number; knownAt?: number } = {},
): Entry {
  const { bytes = 10, mergeable = true, dueAt = 0, knownAt = 0 } = options;
  return new Entry({
    target: 1,
    head: {
      id,
      targets: [1],
      signal: "traces",
      encoding: "gzip",
      mergeable,
      items: 1,
      bytes,
      cost: bytes,
      inflatedBytes: bytes,
      enqueuedAt: 0,
      parts: "[]",
    },
    payload: new OwnedBytes(new Uint8Array(bytes)),
    dueAt,
    knownAt,
  });
}

const ids = (entries: readonly Entry[]) => entries.map(({ head: { id } }) => id);

function laneOf(...entries: Entry[]): Lane {
  const lane = new Lane(1, "traces", "gzip");
  for (const one of entries) lane.push(one);
  return lane;
}

Deno.test("a lane gives what came back and is due before what is new, all by id", () => {
  const lane = laneOf(entry(7), entry(8));
  lane.giveBack(entry(5, { dueAt: 100 }));
  lane.giveBack(entry(3, { dueAt: 50 }));
  lane.giveBack(entry(4, { dueAt: 500 }));
  lane.wake(10);
  assert.equal(lane.firstId, 7);
  assert.equal(lane.nextDueAt, 50);
  lane.wake(100);
  assert.equal(lane.firstId, 3);
  assert.equal(lane.nextDueAt, 500);
  assert.deepEqual(ids(lane.takeRun(LIMIT)), [3, 5, 7, 8]);
  assert.equal(lane.firstId, undefined);
});

Deno.test("a run that is stopped among the returned ones does not go on with new ones", () => {
  const lane = laneOf(entry(7, { bytes: 1 }));
  lane.giveBack(entry(1, { bytes: 10 }));
  lane.giveBack(entry(2, { bytes: 10 }));
  lane.wake(0);
  assert.deepEqual(ids(lane.takeRun({ ...LIMIT, bytesMax: 12 })), [1]);
  assert.deepEqual(ids(lane.takeRun({ ...LIMIT, bytesMax: 12 })), [2, 7]);
});

Deno.test("a record that is not mergeable is a run by itself, wherever it lies", () => {
  const lane = laneOf(entry(1), entry(2, { mergeable: false }), entry(3), entry(4));
  assert.deepEqual(ids(lane.takeRun(LIMIT)), [1]);
  assert.deepEqual(ids(lane.takeRun(LIMIT)), [2]);
  assert.deepEqual(ids(lane.takeRun(LIMIT)), [3, 4]);
});

Deno.test("a lane that is behind wants a read until a take within the limit is full", () => {
  const lane = laneOf(entry(1), entry(2));
  assert.equal(lane.wantsRead(LIMIT), true);
  assert.equal(lane.wantsRead({ ...LIMIT, recordsMax: 2 }), false);
  assert.equal(lane.wantsRead({ ...LIMIT, bytesMax: 20 }), false);
  assert.equal(lane.wantsRead({ ...LIMIT, inflatedBytesMax: 20 }), false);
  lane.behind = false;
  assert.equal(lane.wantsRead(LIMIT), false);
});

Deno.test("a lane keeps its order over thousands of takes, and forgets all on reset", () => {
  const lane = new Lane(1, "logs", "identity");
  const seen: number[] = [];
  for (let id = 1; id <= 5000; id++) {
    lane.push(entry(id));
    if (id % 3 === 0) seen.push(...ids(lane.takeRun({ ...LIMIT, recordsMax: 2 })));
  }
  seen.push(...ids(lane.takeRun({ ...LIMIT, recordsMax: 10_000 })));
  assert.deepEqual(seen, Array.from({ length: 5000 }, (_, index) => index + 1));
  assert.equal(lane.cursor, 5000);
  lane.push(entry(5001));
  lane.giveBack(entry(1, { dueAt: 9 }));
  lane.reset();
  assert.deepEqual([lane.cursor, lane.behind, lane.firstId, lane.nextDueAt], [0, true, undefined, Infinity]);
});

Deno.test("what is new waits for more until it is enough, or old enough", () => {
  const limit = { ...LIMIT, linger: { bytesMin: 100, ms: 200 } };
  const fresh = () => {
    const lane = laneOf(entry(1, { bytes: 60, knownAt: 1_000 }), entry(2, { bytes: 30, knownAt: 1_150 }));
    lane.behind = false;
    return lane;
  };
  assert.equal(fresh().lingersUntil(limit, 1_050), 1_200, "by the first one's age");
  assert.equal(fresh().lingersUntil(limit, 1_200), 0);
  assert.equal(fresh().lingersUntil(LIMIT, 1_050), 0, "without a linger nothing waits");
  const enough = fresh();
  enough.push(entry(3, { bytes: 10, knownAt: 1_160 }));
  assert.equal(enough.lingersUntil(limit, 1_160), 0, "enough bytes");
  assert.equal(fresh().lingersUntil({ ...limit, recordsMax: 2 }, 1_160), 0, "as many records as one take may have");
  assert.equal(
    fresh().lingersUntil({ ...limit, inflatedBytesMax: 90 }, 1_160),
    0,
    "as much as one take may inflate to",
  );
  const alone = fresh();
  alone.push(entry(3, { mergeable: false, knownAt: 1_160 }));
  assert.equal(
    alone.lingersUntil(limit, 1_160),
    0,
    "nothing can be added to what ends before one that is not mergeable",
  );
});

Deno.test("what came back and what is behind wait for nothing", () => {
  const limit = { ...LIMIT, linger: { bytesMin: 100, ms: 200 } };
  const lane = laneOf(entry(1, { knownAt: 1_000 }));
  assert.equal(lane.lingersUntil(limit, 1_050), 0, "more may be in the file");
  lane.behind = false;
  assert.equal(lane.lingersUntil(limit, 1_050), 1_200);
  lane.giveBack(entry(9, { dueAt: 1_100 }));
  lane.wake(1_100);
  assert.equal(lane.lingersUntil(limit, 1_100), 0, "one that was tried before");
});

Deno.test("what waits for its time is due at once when it is hastened, in its order", () => {
  const lane = laneOf(entry(7));
  lane.hasten();
  assert.equal(lane.nextDueAt, Infinity);
  lane.giveBack(entry(5, { dueAt: 9_000 }));
  lane.giveBack(entry(3, { dueAt: 99_000 }));
  lane.wake(10);
  assert.equal(lane.firstId, 7);
  lane.hasten();
  lane.wake(10);
  assert.deepEqual(ids(lane.takeRun(LIMIT)), [3, 5, 7]);
  assert.equal(lane.nextDueAt, Infinity);
});
