import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { leaveGarbage } from "../../src/codec/memory.ts";

Deno.test("garbage that has become much is collected, what is in use stays", async () => {
  const used = new Uint8Array(1024 * 1024).fill(7);
  const unused = ((): WeakRef<object> => new WeakRef({}))();
  // Until the end of the turn in which it was made a target is kept.
  await setImmediate();
  leaveGarbage(32 * 1024 * 1024);
  assert.equal(unused.deref(), undefined);
  assert.equal(used.at(-1), 7);
});
