import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { JsonReader } from "../../../src/otlp/json/reader.ts";
import { ProtobufWriter, TranscodedTooLargeError } from "../../../src/otlp/json/writer.ts";
import { Random, varint } from "../../support/bodies/requests.ts";

const DEPTH_MAX = 60;
const TAG = 0x0a;
const writer = new ProtobufWriter(DEPTH_MAX);
const reader = new JsonReader();

/** A field that is opened at random depths, as one of a recursive message is. */
const field = { tag: TAG, lengthBytes: 1 };

function string(text: string): void {
  reader.begin(new TextEncoder().encode(`"${text}"`));
  writer.tag(TAG);
  writer.string(reader);
}

function prefixed(content: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(TAG), varint(BigInt(content.length)), content]);
}

/** Writes a tree and returns what it has to be. */
function tree(random: Random, depth: number): Buffer {
  const pieces: Buffer[] = [];
  for (let count = random.below(depth < 3 ? 4 : 2); count > 0; count--) {
    if (depth < DEPTH_MAX && random.chance(0.8)) {
      writer.open(field);
      pieces.push(prefixed(tree(random, depth + 1)));
      writer.close(field);
    } else {
      const text = "x".repeat(
        random.pick([0, 1, 60, 120, 126, 127, 128, 129, 16_000, 16_383, 16_384, 300_000]) >> random.below(9),
      );
      string(text);
      pieces.push(prefixed(Buffer.from(text)));
    }
  }
  return Buffer.concat(pieces);
}

Deno.test("messages of every length at every depth have the shortest length before them", () => {
  for (let seed = 1; seed <= 2_000; seed++) {
    const random = new Random(seed);
    writer.begin(random.pick([0, 500_000]), 1 << 24);
    const expected = tree(random, 0);
    assert(Buffer.from(writer.finish()).equals(expected), `seed ${seed}`);
    writer.end();
  }
});

Deno.test("a length that grows moves what is around it", () => {
  for (const length of [100, 120, 127, 128, 5_000, 16_383, 16_384, 2_097_151, 2_097_152]) {
    for (const depth of [1, 2, 7, DEPTH_MAX]) {
      let expected = prefixed(Buffer.alloc(length, "x"));
      writer.begin(length, 1 << 23);
      for (let level = 0; level < depth; level++) writer.open(field);
      string("x".repeat(length));
      for (let level = 0; level < depth; level++) {
        string("after");
        writer.close(field);
        expected = prefixed(Buffer.concat([expected, prefixed(Buffer.from("after"))]));
      }
      assert(Buffer.from(writer.finish()).equals(expected), `${length} bytes, ${depth} deep`);
      writer.end();
    }
  }
});

Deno.test("varints of every length", () => {
  const random = new Random(3);
  const values = [0n, 127n, 128n, 2n ** 31n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
  for (let index = 0; index < 5_000; index++) values.push(random.bits64() >> BigInt(random.below(64)));
  for (const value of values) {
    writer.begin(0, 100);
    writer.varint64(Number(value & 0xffff_ffffn), Number(value >> 32n));
    assert.deepEqual(writer.finish(), varint(value));
  }
  for (const value of [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    writer.begin(0, 100);
    writer.signedVarint(value);
    assert.deepEqual(writer.finish(), varint(BigInt.asUintN(64, BigInt(value))));
  }
});

Deno.test("the bound is held, however little is kept at first", () => {
  const write = (bytesMax: number) => {
    writer.begin(0, bytesMax);
    try {
      for (let count = 0; count < 100_000; count++) string("abc");
      return writer.finish().length;
    } finally {
      writer.end();
    }
  };
  assert.equal(write(500_000), 500_000);
  assert.throws(() => write(499_999), TranscodedTooLargeError);
  assert.throws(() => write(100_000), TranscodedTooLargeError);
  assert.throws(() => write(0), TranscodedTooLargeError);
});
