import assert from "node:assert/strict";
import { within } from "../src/within.ts";

Deno.test("what comes in time is waited for, and no longer: the timer goes with it", async () => {
  assert.equal(await within(Promise.resolve("done"), 3_600_000), true);
  await assert.rejects(within(Promise.reject(new Error("broken")), 3_600_000), /broken/);
});

Deno.test("what does not come is left after its time", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  assert.equal(await within(promise, 1), false);
  resolve();
});
