import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { OwnedBytes, watchOwners } from "../../src/codec/owned_bytes.ts";

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

Deno.test("bytes that were moved are the other owner's, without a copy, and the first holds nothing", () => {
  const large = new Uint8Array(1 << 20);
  const first = new OwnedBytes(large);
  const second = first.move();
  for (const use of [() => first.bytes, () => first.length, () => first.take(), () => first.move()]) {
    assert.throws(use, ReferenceError);
  }
  first[Symbol.dispose]();
  assert.equal(second.bytes, large);
  assert.equal(second.length, 1 << 20, "the former owner has nothing to give back");
  second[Symbol.dispose]();
  assert.equal(large.length, 0);
  assert.throws(() => second.move(), ReferenceError);
});

Deno.test("what is lent and moved goes back to its lender once", () => {
  let heard = 0;
  const moved = new OwnedBytes(new Uint8Array(3), () => heard++).move();
  assert.equal(heard, 0);
  moved[Symbol.dispose]();
  moved[Symbol.dispose]();
  assert.equal(heard, 1);
});

Deno.test("a watch finds who holds bytes, and where it came to hold them", () => {
  const before = new OwnedBytes(new Uint8Array(1));
  {
    using watch = watchOwners();
    assert.throws(() => watchOwners(), Error);
    const [one, two, three] = [1, 2, 3].map((bytes) => new OwnedBytes(new Uint8Array(bytes)));
    assert.equal(watch.held.length, 3);
    one!.take();
    two![Symbol.dispose]();
    const last = three!.move();
    assert.equal(watch.held.length, 1);
    assert.match(watch.held[0]!, /OwnedBytes\.move .*\n.*owned_bytes_test\.ts/);
    last[Symbol.dispose]();
    before[Symbol.dispose]();
    assert.deepEqual(watch.held, []);
  }
  using again = watchOwners();
  assert.deepEqual(again.held, []);
});
