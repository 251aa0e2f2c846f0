import assert from "node:assert/strict";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";
import { memoryOf } from "../../src/queue/cost.ts";
import { LaneSet } from "../../src/queue/lane_set.ts";
import type { Entry, Lane } from "../../src/queue/lanes.ts";
import type { RecordHead } from "../../src/queue/record_head.ts";
import { LIMIT } from "./records.ts";

const MIB = 2 ** 20;
const ALL = { ...LIMIT, bytesMax: Infinity, inflatedBytesMax: Infinity };

function head(bytes: number, rest: Partial<RecordHead> = {}): Omit<RecordHead, "id"> {
  const place = { signal: "traces", encoding: "gzip", mergeable: true } as const;
  return {
    ...place,
    targets: [1],
    items: 1,
    bytes,
    cost: bytes,
    inflatedBytes: bytes,
    enqueuedAt: 0,
    parts: "[]",
    ...rest,
  };
}

/** A set whose lanes know all that is in the file. */
function caughtUp(takenBytesMax?: number): LaneSet {
  const lanes = new LaneSet(takenBytesMax);
  for (const signal of SIGNAL_NAMES) {
    for (const lane of lanes.of(1, signal)) lanes.fill(lane, { rows: [], exhausted: true, seenTo: 0 });
  }
  return lanes;
}

function append(lanes: LaneSet, id: number, bytes: number, rest: Partial<RecordHead> = {}): void {
  lanes.append(id, head(bytes, rest), [], new OwnedBytes(new Uint8Array(bytes)));
}

const gzip = (lanes: LaneSet): Lane => lanes.laneOf(1, { signal: "traces", encoding: "gzip" });
const ids = (run: readonly Entry[]) => run.map(({ head: { id } }) => id);

Deno.test("each signal has a lane of each encoding", () => {
  const lanes = new LaneSet();
  const all = SIGNAL_NAMES.flatMap((signal) => lanes.of(1, signal));
  assert.equal(new Set(all).size, 2 * SIGNAL_NAMES.length);
  for (const lane of all) assert.equal(lanes.laneOf(1, lane), lane);
});

Deno.test("what is written stays in memory up to 16 MiB; from then on its lane reads it, and what comes after it", () => {
  const lanes = caughtUp();
  for (let id = 1; id <= 16; id++) append(lanes, id, MIB - memoryOf(0, 2));
  assert.equal(gzip(lanes).behind, false);
  append(lanes, 17, 1);
  assert.equal(gzip(lanes).behind, true);
  assert.equal(lanes.laneOf(1, { signal: "traces", encoding: "identity" }).behind, false);
  const run = lanes.take(gzip(lanes), ALL);
  assert.equal(run.length, 16);
  append(lanes, 18, 1);
  assert.equal(gzip(lanes).firstId, undefined, "17 comes first, which is in the file");
  lanes.fill(gzip(lanes), {
    rows: [
      { head: { ...head(1), id: 17 }, payload: new OwnedBytes(new Uint8Array(1)) },
      { head: { ...head(1), id: 18 }, payload: undefined },
    ],
    exhausted: true,
    seenTo: 18,
  });
  assert.deepEqual(ids(lanes.take(gzip(lanes), ALL)), [17, 18]);
});

Deno.test("a payload is asked back where it would stay, those asked back beside it counted", () => {
  const lanes = caughtUp();
  append(lanes, 1, 10 * MIB);
  const room = 6 * MIB - 2 * memoryOf(0, 2);
  assert.equal(lanes.keeps(head(room), 0), true);
  assert.equal(lanes.keeps(head(room), 1), false);
  lanes.fallBehind();
  assert.equal(lanes.keeps(head(1), 0), false, "it could not be taken before what is in the file");
});

Deno.test("what is taken and not settled has a bound; a signal of which nothing is taken may take a small run", () => {
  const lanes = caughtUp(memoryOf(100, 2));
  append(lanes, 1, 99);
  append(lanes, 2, 50, { mergeable: false });
  append(lanes, 3, 10);
  append(lanes, 4, 10, { signal: "logs" });
  append(lanes, 5, 4 * MIB + 1, { signal: "metrics" });
  const logs = lanes.laneOf(1, { signal: "logs", encoding: "gzip" });
  const metrics = lanes.laneOf(1, { signal: "metrics", encoding: "gzip" });
  const first = lanes.take(gzip(lanes), ALL);
  assert.equal(lanes.mayTake(gzip(lanes)), true, "99 of 100");
  const second = lanes.take(gzip(lanes), ALL);
  assert.deepEqual([ids(first), ids(second)], [[1], [2]]);
  assert.deepEqual([lanes.mayTake(gzip(lanes)), lanes.mayTake(logs), lanes.mayTake(metrics)], [false, true, false]);
  lanes.release(second[0]!);
  assert.equal(lanes.mayTake(gzip(lanes)), true);
  lanes.leave(first[0]!, 0);
  gzip(lanes).wake(0);
  assert.deepEqual(ids(lanes.take(gzip(lanes), { ...ALL, recordsMax: 1 })), [1], "left, it is taken again");
  lanes.release(first[0]!);
  assert.equal(lanes.mayTake(metrics), true);
});

Deno.test("what is given back keeps its payload while there is room", () => {
  const lanes = caughtUp();
  append(lanes, 1, 100);
  const [small] = lanes.take(gzip(lanes), ALL);
  lanes.leave(small!, 7);
  assert.deepEqual([small!.payloadBytes, small!.dueAt], [100, 7]);
  const [same] = (gzip(lanes).wake(7), lanes.take(gzip(lanes), ALL));
  append(lanes, 2, 16 * MIB - memoryOf(0, 2));
  lanes.leave(same!, 9);
  assert.equal(same!.loaded, false);
  assert.equal(gzip(lanes).nextDueAt, 9);
  lanes.hasten(1, "logs");
  assert.equal(gzip(lanes).nextDueAt, 9);
  lanes.hasten(1, "traces");
  assert.equal(gzip(lanes).nextDueAt, 0);
});

Deno.test("a file that was replaced is read from its start, and what was taken of the old one is still counted", () => {
  const lanes = caughtUp(memoryOf(100, 2));
  append(lanes, 1, 100);
  append(lanes, 2, 40, { encoding: "identity" });
  const [taken] = lanes.take(gzip(lanes), ALL);
  lanes.reset();
  for (const lane of lanes.of(1, "traces")) {
    assert.deepEqual([lane.firstId, lane.cursor, lane.behind], [undefined, 0, true]);
  }
  assert.equal(lanes.mayTake(gzip(lanes)), false);
  lanes.release(taken!);
  assert.equal(lanes.mayTake(gzip(lanes)), true);
});

Deno.test("records without payloads worth the name are bounded in memory too", () => {
  const lanes = caughtUp();
  let kept = 0;
  for (let id = 1; !gzip(lanes).behind; id++) {
    append(lanes, id, 2);
    kept = id;
  }
  assert.ok(kept > 20_000 && kept < 40_000, `${kept} of two bytes`);
  // What is given back counts on, without its payload.
  const run = lanes.take(gzip(lanes), { ...ALL, recordsMax: Infinity });
  for (const entry of run) lanes.leave(entry, 5);
  lanes.fill(gzip(lanes), { rows: [], exhausted: true, seenTo: 0 });
  assert.equal(lanes.keeps(head(2), 0), false);
});
