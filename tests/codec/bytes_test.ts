import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { concatenate, discard } from "../../src/codec/bytes.ts";

Deno.test("chunks are joined in order, in a buffer of their own", () => {
  const around = Uint8Array.of(9, 1, 2, 9);
  const whole = concatenate([around.subarray(1, 3), new Uint8Array(0), Buffer.from([3])]);
  assert.deepEqual(whole, Uint8Array.of(1, 2, 3));
  assert.equal(whole.byteLength, whole.buffer.byteLength);
  const alone = concatenate([around]);
  assert.notEqual(alone.buffer, around.buffer);
  assert.deepEqual(alone, around);
  assert.equal(concatenate([]).length, 0);
});

Deno.test("a large buffer is given back, a small one is left", () => {
  const large = new Uint8Array(16 * 1024);
  discard(large.subarray(5));
  assert.equal(large.length, 0);
  const small = new Uint8Array(16 * 1024 - 1);
  discard(small);
  assert.equal(small.length, 16 * 1024 - 1);
});
