import assert from "node:assert/strict";
import { Edits, putVarint, RewrittenTooLargeError, varintBytes, type Write } from "../../../src/otlp/rewrite/edits.ts";
import { Random } from "../../support/bodies/requests.ts";

const nothing: Write = () => assert.fail("nothing is to be written");

Deno.test("varints of 32 bits, and how long they are", () => {
  for (const value of [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, 0xfff_ffff, 0x1000_0000, 0x7fff_ffff]) {
    const target = new Uint8Array(8);
    const end = putVarint(target, 1, value);
    assert.equal(end - 1, varintBytes(value));
    let read = 0;
    for (let index = 1; index < end; index++) read += (target[index]! & 0x7f) * 2 ** (7 * (index - 1));
    assert.equal(read, value);
    assert.equal(target[end - 1]! < 0x80, true);
  }
});

Deno.test("what is removed, replaced and given another length, against splicing an array", () => {
  const random = new Random(3);
  const edits = new Edits();
  for (let round = 0; round < 300; round++) {
    const request = random.bytes(random.below(5_000));
    const expected: number[] = [];
    edits.begin(request, 1 << 20);
    const reserved: { number: number; at: number }[] = [];
    let from = 0;
    let growth = 0;
    const pieces: (() => number[])[] = [];
    for (let at = 0; at < request.length;) {
      const start = Math.min(request.length, at + random.below(200));
      const end = Math.min(request.length, start + random.below(random.chance(0.5) ? 3 : 100));
      const kept = [...request.subarray(from, start)];
      pieces.push(() => kept);
      switch (random.below(4)) {
        case 0:
          growth += edits.remove(start, end);
          break;
        case 1: {
          const bytes = random.below(40);
          const mark = random.chance(0.5) ? 1 : 0;
          growth += edits.replace(start, end, bytes, mark);
          pieces.push(() => Array<number>(bytes).fill(100 + mark));
          break;
        }
        case 2: {
          const length = random.below(1 << 20);
          growth += edits.replaceLength(start, end, length);
          pieces.push(() => varint(length));
          break;
        }
        default:
          reserved.push({ number: edits.reserve(start, end), at: pieces.length });
          pieces.push(() => []);
      }
      from = end;
      at = end + 1;
    }
    for (const { number, at } of reserved) {
      const length = random.below(1 << 20);
      growth += edits.settle(number, length);
      pieces[at] = () => varint(length);
    }
    const rest = [...request.subarray(from)];
    for (const piece of [...pieces, () => rest]) expected.push(...piece());
    const changed = edits.joined((target, at, _start, _end, mark) => {
      for (let index = at; target[index] === 0 && index < at + 40; index++) target[index] = 0;
      written.push([at, mark]);
    });
    for (const [at, mark] of written.splice(0)) {
      for (let index = at; index < at + 40 && expected[index] === 100 + mark; index++) changed![index] = 100 + mark;
    }
    if (changed === undefined) assert.deepEqual(expected, [...request]);
    else {
      assert.deepEqual([...changed], expected);
      assert.equal(changed.length, request.length + growth);
      assert.equal(changed.byteLength, changed.buffer.byteLength);
    }
    edits.end();
  }
});

const written: [number, 0 | 1][] = [];

function varint(value: number): number[] {
  const target = new Uint8Array(5);
  return [...target.subarray(0, putVarint(target, 0, value))];
}

Deno.test("the bound holds to the byte, and nothing is written over it", () => {
  const edits = new Edits();
  const request = new Uint8Array(100);
  const grow = (bytesMax: number) => {
    edits.begin(request, bytesMax);
    edits.replace(10, 20, 60);
    edits.remove(30, 50);
  };
  grow(130);
  assert.equal(edits.joined(() => {})?.length, 130);
  grow(129);
  assert.throws(() => edits.joined(nothing), RewrittenTooLargeError);
  // What is put in alone is over it: told at once, whatever goes afterwards.
  edits.begin(request, 59);
  assert.throws(() => edits.replace(10, 100, 60), RewrittenTooLargeError);
});

Deno.test("a request without changes is not made anew, and removed neighbours are one edit", () => {
  const edits = new Edits();
  edits.begin(new Uint8Array(10), 10);
  assert.equal(edits.joined(nothing), undefined);
  edits.begin(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 10);
  for (let at = 1; at < 6; at++) edits.remove(at, at + 1);
  assert.deepEqual([...edits.joined(nothing)!], [0, 6, 7]);
});
