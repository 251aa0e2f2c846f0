import assert from "node:assert/strict";
import { FloodBudget } from "../../src/http2/flood_budget.ts";
import { ConnectionFault } from "../../src/http2/frame.ts";

/** How many frames are let pass. */
function passed(budget: FloodBudget): number {
  for (let count = 0;; count++) {
    try {
      budget.spend();
    } catch (error) {
      assert(error instanceof ConnectionFault);
      assert.equal(error.code, 11);
      return count;
    }
    assert(count < 100_000, "a flood has no end");
  }
}

Deno.test("a flood is let pass up to its bound", () => {
  assert.equal(passed(new FloodBudget(() => 0)), 1_000);
});

Deno.test("requests, bytes and time earn frames back, up to the bound", () => {
  let now = 0;
  const budget = new FloodBudget(() => now);
  passed(budget);
  budget.earnStream();
  assert.equal(passed(budget), 20);
  budget.earnBytes(511);
  assert.equal(passed(budget), 0);
  budget.earnBytes(1_025);
  assert.equal(passed(budget), 3);
  now = 10_000;
  assert.equal(passed(budget), 200);
  now = 10_000_000;
  assert.equal(passed(budget), 1_000);
  budget.earnBytes(1_000_000_000);
  assert.equal(passed(budget), 1_000);
});
