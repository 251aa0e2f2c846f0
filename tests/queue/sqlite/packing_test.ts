import assert from "node:assert/strict";
import { RECORD_BYTES } from "../../../src/queue/cost.ts";
import { type Append, packCommit, PACKED_BYTES_MAX, payloadAfter, rowOf } from "../../../src/queue/sqlite/packing.ts";
import { decodeParts } from "../../../src/queue/record_head.ts";
import { partBytes, record, type RecordShape } from "../records.ts";

function row(number: number, shape: RecordShape = {}): Append {
  const { payload, ...made } = record(number, shape);
  return { parts: made.parts, payload, op: rowOf(made, 1_000) };
}

const never = () => false;

Deno.test("a row has the sums of its record's parts, and the parts themselves", () => {
  const made = record(1, { signal: "logs", encoding: "identity", mergeable: false, parts: 3, items: 5, bytes: 40 });
  const { parts, ...rest } = rowOf(made, 1_000);
  assert.deepEqual(rest, {
    targets: [1],
    skipped: [],
    signal: "logs",
    encoding: "identity",
    mergeable: false,
    items: 15,
    bytes: 120,
    cost: 120 + parts.length + RECORD_BYTES,
    inflatedBytes: 480,
    enqueuedAt: 1_000,
  });
  assert.deepEqual(decodeParts(parts), made.parts);
});

Deno.test("small payloads lie in one buffer, each where its row says; large ones go by themselves", () => {
  const sizes = [100, PACKED_BYTES_MAX + 1, PACKED_BYTES_MAX, 1, 3 * PACKED_BYTES_MAX];
  const rows = sizes.map((bytes, number) => row(number, { bytes }));
  const payloads = rows.map(({ payload }) => payload.bytes);
  const settles = [{ kind: "done", id: 7, target: 1, targets: [1], rejected: 0 } as const];
  const { message, transfer } = packCommit(rows, settles, never, 5);
  assert.equal(message.now, 5);
  assert.equal(message.settles, settles);
  assert.equal(message.packed.byteLength, 100 + PACKED_BYTES_MAX + 1);
  for (const [index, { payload, bytes }] of message.appends.entries()) {
    const there = payload instanceof Uint8Array ? payload : new Uint8Array(message.packed, payload.offset, bytes);
    assert.deepEqual(there, payloads[index]);
    assert.equal(payload instanceof Uint8Array, sizes[index]! > PACKED_BYTES_MAX);
  }
  assert.deepEqual(transfer, [message.packed, payloads[1]!.buffer, payloads[4]!.buffer]);
  const held = rows.map(({ payload }, index) => {
    if (sizes[index]! <= PACKED_BYTES_MAX) return payload.length;
    assert.throws(() => payload.bytes, ReferenceError, "it is the Worker's");
    return 0;
  });
  assert.deepEqual(held, [100, 0, PACKED_BYTES_MAX, 1, 0]);
});

Deno.test("large payloads are asked back while there is room beside those that are", () => {
  const rows = [3, 1, 4, 2].map((times, number) => row(number, { bytes: times * PACKED_BYTES_MAX + 1 }));
  const asked: number[] = [];
  const { message } = packCommit(
    [row(9, { bytes: 10 }), ...rows],
    [],
    ({ bytes }, besideBytes) => {
      asked.push(besideBytes);
      return besideBytes + bytes <= 6 * PACKED_BYTES_MAX + 3;
    },
    0,
  );
  assert.deepEqual(message.appends.map(({ giveBack }) => giveBack), [false, true, true, false, true]);
  assert.deepEqual(asked, [0, 3, 4, 4].map((times, index) => times * PACKED_BYTES_MAX + Math.min(index, 2)));
});

Deno.test("after its commit a payload is the one that was copied, or the next that came back", () => {
  const rows = [row(1, { bytes: 10 }), ...[2, 3, 4].map((number) => row(number, { bytes: 10_000 }))];
  const { message } = packCommit(rows, [], ({ enqueuedAt }) => enqueuedAt === 1_000, 0);
  const ops = message.appends.map((op, index) => index === 2 ? { ...op, giveBack: false } : op);
  const [second, fourth] = [new Uint8Array(1), new Uint8Array(2)];
  const returned = [second, fourth].values();
  assert.deepEqual(rows.map((each, index) => payloadAfter(each, ops[index]!, returned)?.bytes), [
    partBytes(1, 0, 10),
    second,
    undefined,
    fourth,
  ]);
});
