import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";

Deno.test("bytes are given back at the end of their owner's block", () => {
  const large = new Uint8Array(1 << 20);
  {
    using owned = new OwnedBytes(large);
    assert.equal(owned.bytes, large);
  }
  assert.equal(large.length, 0);
});

Deno.test("bytes that were handed on are the next owner's", () => {
  const large = new Uint8Array(1 << 20);
  let taken: Uint8Array;
  {
    using owned = new OwnedBytes(large);
    taken = owned.take();
    assert.throws(() => owned.bytes, ReferenceError);
  }
  assert.equal(taken, large);
  assert.equal(large.length, 1 << 20);
});

Deno.test("what is a view is handed on as a copy in a whole buffer", () => {
  const around = Buffer.alloc(1 << 20, 1);
  using view = new OwnedBytes(around.subarray(3, 10));
  const taken = view.take();
  assert.equal(taken.byteLength, taken.buffer.byteLength);
  assert.deepEqual(taken, new Uint8Array(7).fill(1));
  assert.equal(around.length, 0, "nobody else had the rest");
});

Deno.test("a lender hears once that its memory is not needed any more, and keeps it", () => {
  const memory = new Uint8Array(1 << 20);
  let heard = 0;
  {
    using lent = new OwnedBytes(memory, () => heard++);
    const taken = lent.take();
    assert.notEqual(taken.buffer, memory.buffer);
    lent[Symbol.dispose]();
  }
  assert.equal(heard, 1);
  assert.equal(memory.length, 1 << 20);
});
