import assert from "node:assert/strict";
import { fieldCursor, fieldsOf, readField, varint, varint64 } from "../../../src/otlp/rewrite/fields.ts";

Deno.test("fields of every wire type, with short and long tags and lengths", () => {
  const message = Uint8Array.of(
    ...[0x08, 0x96, 0x01],
    ...[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
    ...[0x1a, 2, 0xff, 0xff],
    ...[0x25, 1, 2, 3, 4],
    ...[0xc2, 0x3e, 0x81, 0x00, 9],
  );
  const read = [...fieldsOf(message, 0, message.length)]
    .map((
      { number, wireType, start, tagEnd, contentStart, end },
    ) => [number, wireType, start, tagEnd, contentStart, end]);
  assert.deepEqual(read, [
    [1, 0, 0, 1, 1, 3],
    [2, 1, 3, 4, 4, 12],
    [3, 2, 12, 13, 14, 16],
    [4, 5, 16, 17, 17, 21],
    [1000, 2, 21, 23, 25, 26],
  ]);
});

Deno.test("a field number is its low 32 bits, and a group ends with its first field", () => {
  const high = Uint8Array.of(0x8a, 0x80, 0x80, 0x80, 0x80, 0x01, 1, 7);
  assert.deepEqual([...fieldsOf(high, 0, 8)].map(({ number, contentStart, end }) => [number, contentStart, end]), [
    [1, 7, 8],
  ]);
  // A group in a group, whose first field is the outer one's too; behind it a field of the message.
  const groups = Uint8Array.of(0xbb, 0x3e, 0xb3, 0x3e, 0xb8, 0x3e, 1, 0x0a, 1, 5);
  assert.deepEqual([...fieldsOf(groups, 0, groups.length)].map(({ number, end }) => [number, end]), [[999, 7], [
    1,
    10,
  ]]);
  const empty = Uint8Array.of(0xbb, 0x3e, 0xbc, 0x3e, 0x0a, 0);
  assert.deepEqual([...fieldsOf(empty, 0, 6)].map(({ number, end }) => [number, end]), [[999, 4], [1, 6]]);
});

Deno.test("a cursor is read into again; a varint that does not end is an error", () => {
  const field = fieldCursor();
  readField(Uint8Array.of(0x08, 1, 0x12, 0), 2, field);
  assert.deepEqual(field, { number: 2, wireType: 2, start: 2, tagEnd: 3, contentStart: 4, end: 4 });
  assert.throws(() => readField(Uint8Array.of(0x08, 0xff), 0, field), RangeError);
});

Deno.test("varints", () => {
  assert.deepEqual(varint(0), [0]);
  assert.deepEqual(varint(300), [0xac, 0x02]);
  assert.deepEqual(varint64(2n ** 64n - 1n), [...Array<number>(9).fill(0xff), 0x01]);
});
