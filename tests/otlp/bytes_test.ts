import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { concatenate } from "../../src/otlp/bytes.ts";

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
