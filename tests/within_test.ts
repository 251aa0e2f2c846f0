import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { whenAborted, within } from "../src/within.ts";

Deno.test("what comes in time is waited for, and no longer: the timer goes with it", async () => {
  assert.equal(await within(Promise.resolve("done"), 3_600_000), true);
  await assert.rejects(within(Promise.reject(new Error("broken")), 3_600_000), /broken/);
});

Deno.test("what does not come is left after its time", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  assert.equal(await within(promise, 1), false);
  resolve();
});

Deno.test("what an abort is to do is done once: then, or at once where it has come already; not when it was taken back", () => {
  const abort = new AbortController();
  const done: string[] = [];
  whenAborted(abort.signal, () => done.push("later"));
  whenAborted(abort.signal, () => done.push("taken back"))();
  assert.equal(done.join(), "");
  abort.abort();
  assert.equal(done.join(), "later");
  const takeBack = whenAborted(abort.signal, () => done.push("at once"));
  assert.equal(done.join(), "later,at once");
  takeBack();
  assert.equal(done.join(), "later,at once");
});

Deno.test("what came while this thread did not run came in time", async () => {
  const reading = within(readFile(new URL(import.meta.url)), 1);
  // The file is read meanwhile, by another thread.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250);
  assert.equal(await reading, true);
  const never = within(new Promise(() => {}), 1);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250);
  assert.equal(await never, false);
});
