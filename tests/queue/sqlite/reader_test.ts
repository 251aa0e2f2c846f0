import assert from "node:assert/strict";
import { LaneSet } from "../../../src/queue/lane_set.ts";
import type { Entry } from "../../../src/queue/lanes.ts";
import type { RecordHead } from "../../../src/queue/record_head.ts";
import type { Replies, Request } from "../../../src/queue/sqlite/protocol.ts";
import { Reader } from "../../../src/queue/sqlite/reader.ts";
import { LIMIT, TestClock } from "../records.ts";

type Row = Replies["read"]["rows"][number];

function row(id: number, payload: Row["payload"] = new Uint8Array(10)): Row {
  const head: Omit<RecordHead, "id"> = {
    targets: [1],
    signal: "traces",
    encoding: "gzip",
    mergeable: true,
    items: 1,
    bytes: 10,
    cost: 140,
    inflatedBytes: 40,
    enqueuedAt: 0,
    parts: "[]",
  };
  return { ...head, id, payload };
}

/** A file of rows that are all gzip, whose answers the test can keep back or spoil. */
function scene(rows: readonly Row[]) {
  const asked: Omit<Request, "kind">[] = [];
  const failures: unknown[] = [];
  const file = { rows, failing: undefined as Error | undefined, answering: Promise.resolve() };
  const connection = {
    ended: false,
    ask: async <Kind extends keyof Replies>(
      kind: Kind,
      request: Omit<Request & { kind: Kind }, "kind">,
    ): Promise<Replies[Kind]> => {
      asked.push(request);
      await file.answering;
      if (file.failing !== undefined) throw file.failing;
      return answer(kind, request as unknown as Request) as Replies[Kind];
    },
    questionFailed: (error: unknown) => void failures.push(error),
  };
  function answer(kind: keyof Replies, request: Request): Replies["read"] | Replies["load"] {
    if (kind === "load") {
      const { ids } = request as Request & { kind: "load" };
      return { payloads: ids.map((id) => file.rows.find((each) => each.id === id) && new Uint8Array([id])) };
    }
    const { afterId, recordsMax, encoding } = request as Request & { kind: "read" };
    const all = encoding === "gzip" ? file.rows.filter(({ id }) => id > afterId) : [];
    const rows = all.slice(0, recordsMax);
    return { rows, exhausted: all.length <= recordsMax, seenTo: rows.at(-1)?.id ?? afterId };
  }
  const clock = new TestClock();
  const lanes = new LaneSet();
  const gzip = lanes.laneOf(1, { signal: "traces", encoding: "gzip" });
  return { asked, failures, file, connection, clock, lanes, gzip, reader: new Reader(connection, lanes, clock.now) };
}

const ids = (run: readonly Entry[]) => run.map(({ head: { id } }) => id);

Deno.test("lanes are read on until a take within the limit is full, or the file is exhausted", async () => {
  const { asked, lanes, gzip, reader } = scene([1, 2, 3].map((id) => row(id)));
  const limit = { ...LIMIT, recordsMax: 2 };
  await reader.readFor(lanes.of(1, "traces"), limit);
  assert.equal(asked.length, 2, "one read of each encoding");
  assert.equal(reader.readFor(lanes.of(1, "traces"), limit), undefined);
  assert.deepEqual(ids(lanes.take(gzip, limit)), [1, 2]);
  await reader.readFor(lanes.of(1, "traces"), limit);
  assert.equal(gzip.behind, false);
  assert.deepEqual(asked.slice(2), [{
    target: 1,
    signal: "traces",
    encoding: "gzip",
    afterId: 2,
    bytesMax: 1 << 20,
    recordsMax: 2,
  }]);
  assert.deepEqual(ids(lanes.take(gzip, limit)), [3]);
});

Deno.test("who wants a lane's next rows while they are read gets those", async () => {
  const { asked, lanes, gzip, reader } = scene([row(1)]);
  await Promise.all([1, 2, 3].map(() => reader.readFor([gzip], LIMIT)));
  assert.equal(asked.length, 1);
  assert.deepEqual(ids(lanes.take(gzip, LIMIT)), [1]);
});

Deno.test("rows of a file that was replaced while they were read are let go", async () => {
  const { file, lanes, gzip, reader } = scene([row(7)]);
  await reader.readFor([gzip], LIMIT);
  lanes.fallBehind();
  const { promise, resolve } = Promise.withResolvers<void>();
  file.answering = promise;
  file.rows = [row(7), row(8)];
  const read = reader.readFor([gzip], LIMIT);
  lanes.reset();
  resolve();
  await read;
  assert.deepEqual([gzip.firstId, gzip.behind], [undefined, true]);
});

Deno.test("payloads that are not in memory are loaded; a record whose row is gone is let go", async () => {
  const { asked, file, lanes, gzip, reader } = scene([row(1), row(2, undefined), row(3, undefined)]);
  file.rows = file.rows.map((each) => ({ ...each, payload: each.id === 1 ? each.payload : undefined }));
  await reader.readFor([gzip], LIMIT);
  file.rows = file.rows.filter(({ id }) => id !== 3);
  const run = await reader.withPayloads(lanes.take(gzip, LIMIT));
  assert.deepEqual(asked.at(-1), { ids: [2, 3] });
  assert.deepEqual(run.map(({ head, payloadBytes }) => [head.id, payloadBytes]), [[1, 10], [2, 1]]);
  const before = asked.length;
  assert.equal(await reader.withPayloads(run), run);
  assert.equal(asked.length, before, "all are at hand");
});

Deno.test("a load that fails gives the run back, for a second later, and no lane is read until then", async () => {
  const { clock, failures, file, lanes, gzip, reader } = scene([row(1)]);
  file.rows = [{ ...row(1), payload: undefined }];
  await reader.readFor([gzip], LIMIT);
  file.failing = new Error("an I/O error");
  assert.deepEqual(await reader.withPayloads(lanes.take(gzip, LIMIT)), []);
  assert.deepEqual(failures, [file.failing]);
  assert.equal(gzip.nextDueAt, clock.ms + 1_000);
  lanes.fallBehind();
  assert.equal(gzip.wantsRead(LIMIT), true);
  assert.equal(reader.readFor([gzip], LIMIT), undefined);
});

Deno.test("a read that fails is told of; without a Worker there is none", async () => {
  const { asked, connection, failures, file, gzip, reader } = scene([row(1)]);
  connection.ended = true;
  assert.equal(reader.readFor([gzip], LIMIT), undefined);
  assert.equal(asked.length, 0);
  connection.ended = false;
  file.failing = new Error("an I/O error");
  await reader.readFor([gzip], LIMIT);
  assert.deepEqual(failures, [file.failing]);
  assert.equal(gzip.behind, true);
});
