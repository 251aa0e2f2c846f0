import assert from "node:assert/strict";
import { Refusal } from "../../src/errors.ts";
import { RetryAfter } from "../../src/receiver/retry_after.ts";

/** Every value that can be told, over the whole range of the jitter. */
function told(maxMs: number, refusal: Refusal): (number | undefined)[] {
  const values = new Set<number | undefined>();
  for (let random = 0; random < 1; random += 1 / 64) {
    values.add(new RetryAfter({ maxMs, random: () => random }).told(refusal));
  }
  return [...values];
}

const after = (retryAfterS: number, spread = true) => new Refusal("queue_full", "full", { retryAfterS, spread });

Deno.test("a wait that senders wait is told as it is or somewhat longer, and never above the most", () => {
  const table: [retryAfterS: number, told: number[]][] = [
    [0.1, [1, 2]],
    [1, [1, 2]],
    [2, [2, 3]],
    [3, [3, 4, 5]],
    [4, [4, 5]],
    [5, [5]],
  ];
  for (const [retryAfterS, expected] of table) assert.deepEqual(told(5_000, after(retryAfterS)), expected);
});

Deno.test("a longer wait is told as about half of the most, so that a stock SDK tries several times in its 10 s", () => {
  for (const retryAfterS of [5.1, 6, 30, 300, 1e9]) assert.deepEqual(told(5_000, after(retryAfterS)), [2, 3]);
  assert.deepEqual(told(30_000, after(31)), [12, 13, 14, 15, 16, 17, 18]);
});

Deno.test("whatever is configured, whole seconds from 1 to the most are told", () => {
  for (const maxMs of [1_000, 1_999, 2_000, 3_000, 5_000, 60_000]) {
    for (const retryAfterS of [0, 1, 2, 3, 7, 59, 60, 61, 4_000]) {
      for (const seconds of told(maxMs, after(retryAfterS))) {
        assert.ok(Number.isInteger(seconds) && seconds! >= 1 && seconds! <= maxMs / 1000, `${seconds} of ${maxMs}`);
      }
    }
  }
});

Deno.test("who has waited already is told the time alone, and who may not retry is told none", () => {
  assert.deepEqual(told(5_000, after(1, false)), [1]);
  assert.deepEqual(told(5_000, after(9, false)), [5]);
  assert.deepEqual(told(5_000, new Refusal("malformed", "x")), [undefined]);
});
