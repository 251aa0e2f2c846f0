import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { Deflater, Inflater } from "../../src/codec/zlib.ts";

/** Text that compresses, of any length, with a seed. */
function content(bytes: number, seed: number): Uint8Array {
  let state = seed >>> 0;
  const text = new Uint8Array(bytes);
  for (let index = 0; index < bytes; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text[index] = 97 + (state >>> 28);
  }
  return text;
}

const BOUND = 8 * 1024 * 1024;
const MIB = 1024 * 1024;

Deno.test("the zlib states of this Deno are used again", () => {
  assert.equal(new Inflater().reuses, true);
  assert.equal(new Deflater(1).reuses, true);
  assert.equal(new Inflater(false).reuses, false);
  assert.equal(new Deflater(1, false).reuses, false);
});

for (const reuse of [true, false]) {
  const how = reuse ? "with a state used again" : "with a new state each time";

  Deno.test(`inflates what deflate made, one after the other, ${how}`, () => {
    const inflater = new Inflater(reuse);
    for (const length of [0, 1, 100, 4_000, 65_536, MIB - 1, MIB, MIB + 1, 4 * MIB, 5 * MIB + 17, 3, 0]) {
      const original = content(length, length);
      const data = deflateRawSync(original);
      const result = inflater.inflate(new Uint8Array(Buffer.concat([data, Uint8Array.of(1, 2, 3)])), BOUND);
      assert.equal(result.kind, "done");
      assert(result.kind === "done");
      assert.equal(result.consumed, data.length);
      assert.equal(Buffer.compare(result.content, original), 0, `${length} bytes`);
    }
  });

  Deno.test(`is bounded to the byte, ${how}`, () => {
    const inflater = new Inflater(reuse);
    for (const length of [1, 1_000, MIB - 1, MIB, MIB + 1, 2 * MIB]) {
      const data = deflateRawSync(content(length, 7));
      assert.equal(inflater.inflate(data, length).kind, "done");
      assert.equal(inflater.inflate(data, length - 1).kind, "too_large");
    }
    const bomb = deflateRawSync(new Uint8Array(64 * MIB));
    assert.equal(inflater.inflate(bomb, BOUND).kind, "too_large");
  });

  Deno.test(`a fault leaves the next call alone, ${how}`, () => {
    const inflater = new Inflater(reuse);
    const original = content(5_000, 3);
    const data = deflateRawSync(original);
    for (let cut = 0; cut < data.length; cut += 7) {
      assert.equal(inflater.inflate(data.subarray(0, cut), BOUND).kind, "truncated", `cut at ${cut}`);
    }
    assert.equal(inflater.inflate(new Uint8Array([0xff, 0xff, 0xff]), BOUND).kind, "damaged");
    const result = inflater.inflate(data, BOUND);
    assert(result.kind === "done" && Buffer.compare(result.content, original) === 0);
  });

  Deno.test(`deflates to what inflate takes, ${how}`, () => {
    const deflater = new Deflater(1, reuse);
    for (const length of [0, 1, 4_000, MIB - 1, MIB, 3 * MIB, 12]) {
      const original = content(length, 11);
      assert.equal(Buffer.compare(inflateRawSync(deflater.deflate(original)), original), 0, `${length} bytes`);
    }
    const incompressible = new Uint8Array(2 * MIB);
    for (let at = 0; at < incompressible.length; at += 65_536) {
      crypto.getRandomValues(incompressible.subarray(at, at + 65_536));
    }
    const deflated = deflater.deflate(incompressible);
    assert.equal(Buffer.compare(inflateRawSync(deflated), incompressible), 0);
    assert(
      deflated.length <= incompressible.length + 5 * Math.ceil(incompressible.length / 65_535),
      `${deflated.length}`,
    );
    // And leaves nothing in the state that the next stream would begin with.
    for (const length of [20, 4_000, MIB, 7]) {
      deflater.deflate(incompressible);
      const original = content(length, 13);
      assert.equal(Buffer.compare(inflateRawSync(deflater.deflate(original)), original), 0, `${length} bytes after it`);
    }
  });
}

Deno.test("a content that fills the kept memory exactly has a buffer of its own", () => {
  const inflater = new Inflater();
  const result = inflater.inflate(deflateRawSync(content(MIB, 5)), BOUND);
  assert(result.kind === "done");
  structuredClone(result.content, { transfer: [result.content.buffer as ArrayBuffer] });
  const next = inflater.inflate(deflateRawSync(content(10, 5)), BOUND);
  assert(next.kind === "done" && next.content.length === 10);
});

Deno.test("what a large content has taken is given back when that is said, and by the next call", () => {
  const content = new Uint8Array(3 * 1024 * 1024).fill(7);
  const data = new Uint8Array(deflateRawSync(content));
  const inflater = new Inflater();
  const first = inflater.inflate(data, content.length);
  assert(first.kind === "done");
  assert.deepEqual(first.content, content);
  const second = inflater.inflate(data, content.length);
  assert(second.kind === "done");
  if (!inflater.reuses) return;
  assert.equal(first.content.length, 0);
  assert.equal(second.content.length, content.length);
  inflater.free();
  assert.equal(second.content.length, 0);
  const small = inflater.inflate(new Uint8Array(deflateRawSync(new Uint8Array(9))), 9);
  assert(small.kind === "done");
  inflater.free();
  assert.equal(small.content.length, 9);
});
