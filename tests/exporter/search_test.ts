import assert from "node:assert/strict";
import type { Answer } from "../../src/exporter/client.ts";
import { FAILURES_IN_A_ROW_MAX, search, type Verdict } from "../../src/exporter/search.ts";

const ANSWER: Answer = { kind: "none", cause: "cut", timedOut: false, aborted: false, durationMs: 1 };
const REFUSED: Verdict = { kind: "refused", reason: "no", status: 400 };
const FAILING: Verdict = { kind: "failing", answer: ANSWER };
const TAKEN: Verdict = { kind: "taken" };

/** Searches numbers from 0, and notes what was sent. */
async function searched(
  count: number,
  verdictOf: (unit: readonly number[], sent: number) => Verdict,
  requestsMax = 1_000,
  first: Verdict = REFUSED,
  empty?: Answer,
) {
  const controls: number[] = [];
  const sent: (readonly number[])[] = [];
  const unit = Array.from({ length: count }, (_, index) => index);
  assert(first.kind === "refused" || first.kind === "failing");
  const result = await search<readonly number[]>({ unit, verdict: first }, {
    requestsMax,
    takesEmpty: () => {
      controls.push(sent.length);
      return Promise.resolve(empty);
    },
    split: (unit) => unit.length < 2 ? undefined : [unit.slice(0, unit.length / 2), unit.slice(unit.length / 2)],
    post: (unit) => {
      sent.push(unit);
      return Promise.resolve(verdictOf(unit, sent.length));
    },
  });
  return { ...result, sent, controls, numbers: result.guilty.flatMap(({ unit }) => unit).toSorted((a, b) => a - b) };
}

Deno.test("the guilty are found, and nothing but what is guilty is sent twice", async () => {
  const guilty = new Set([3, 4, 60]);
  const { numbers, sent, anyTaken, uncut, unsent } = await searched(
    64,
    (unit) => unit.some((each) => guilty.has(each)) ? REFUSED : TAKEN,
  );
  assert.deepEqual(numbers, [3, 4, 60]);
  assert.deepEqual([anyTaken, uncut.length, unsent.length], [true, 0, 0]);
  assert.equal(new Set(sent.map(String)).size, sent.length - 3);
  assert(sent.length <= 2 * 3 * 6 + 3, `${sent.length} requests`);
});

Deno.test("when the requests are spent, what is left is what was refused, and no half of it unsent", async () => {
  const result = await searched(64, (unit) => unit.includes(0) || unit.includes(63) ? REFUSED : TAKEN, 6);
  assert.equal(result.requests, 6);
  assert.deepEqual(result.uncut.map(({ unit }) => unit.length), [32, 8]);
  assert.deepEqual([result.unsent.length, result.stopped], [0, undefined]);
});

Deno.test("the first guilty one is found soon, however many there are", async () => {
  const { sent, numbers } = await searched(1_024, (unit) => unit.some((each) => each % 2 === 1) ? REFUSED : TAKEN, 22);
  assert.deepEqual(numbers, [1]);
  assert(sent.length <= 23, `${sent.length} requests`);
});

Deno.test("an answer that says nothing of the units stops it, and what it has learnt is kept", async () => {
  const result = await searched(
    8,
    (unit, sent) => sent === 4 ? { kind: "stopped", answer: ANSWER } : unit.includes(0) ? REFUSED : TAKEN,
  );
  assert.equal(result.stopped, ANSWER);
  // 4 to 7 were taken, 0 and 1 refused; 2 and 3 were being sent.
  assert.deepEqual(result.unsent, [[2, 3]]);
  assert.deepEqual(result.uncut.map(({ unit }) => unit), [[0, 1]]);
  assert.equal(result.down, false);
});

Deno.test("failures in a row, with nothing taken between, are the endpoint's", async () => {
  const { stopped, down, requests, guilty } = await searched(64, () => FAILING, 1_000, FAILING);
  assert.deepEqual([stopped, down, requests, guilty.length], [ANSWER, true, FAILURES_IN_A_ROW_MAX, 0]);
});

Deno.test("what fails by itself is asked once more, for failures come and go", async () => {
  let flakes = 0;
  const { numbers, guilty } = await searched(
    8,
    (unit) => {
      if (unit.includes(5)) return FAILING;
      return unit.length === 1 && unit[0] === 6 && flakes++ === 0 ? FAILING : TAKEN;
    },
    1_000,
    FAILING,
  );
  assert.deepEqual(numbers, [5]);
  assert(guilty.every(({ verdict }) => verdict.kind === "failing"));
});

Deno.test("one that cannot be cut is asked again, after an empty request was taken; where that is refused, nothing is guilty", async () => {
  const again = await searched(1, () => REFUSED);
  assert.deepEqual([again.guilty.length, again.controls, again.sent.length], [1, [0], 1]);
  const passing = await searched(1, () => TAKEN);
  assert.deepEqual([passing.guilty.length, passing.sent.length, passing.anyTaken], [0, 1, true]);
  const everything = await searched(1, () => REFUSED, 1_000, REFUSED, ANSWER);
  assert.deepEqual([everything.guilty.length, everything.uncut.length, everything.stopped], [0, 1, ANSWER]);
});

Deno.test("an endpoint that refuses everything for a while makes nobody guilty", async () => {
  // It comes back at the fifth request.
  const { guilty, anyTaken } = await searched(8, (_, sent) => sent < 5 ? REFUSED : TAKEN);
  assert.deepEqual([guilty.length, anyTaken], [0, true]);
});
