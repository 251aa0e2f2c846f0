import assert from "node:assert/strict";
import type { Answer } from "../../src/exporter/client/client.ts";
import { Evidence } from "../../src/exporter/evidence.ts";
import { FAILURES_IN_A_ROW_MAX, search, type Verdict } from "../../src/exporter/search.ts";

const ANSWER: Answer = { kind: "none", cause: "cut", timedOut: false, aborted: false, durationMs: 1 };
const REFUSED: Verdict = { kind: "refused", reason: "no", status: 400 };
const FAILING: Verdict = { kind: "failing", answer: ANSWER };
const TAKEN: Verdict = { kind: "taken" };

/** Searches numbers from 0, and notes what was sent. */
async function searched(
  count: number,
  verdictOf: (unit: readonly number[], sent: number) => Verdict,
  { requestsMax = 1_000, first = REFUSED, empty, othersTaken = false, unprovenMax = 32, proof = true }: {
    readonly requestsMax?: number;
    readonly first?: Verdict;
    /** What an empty request is answered, where it is not taken. */
    readonly empty?: Answer;
    /** Whether other data is taken while an empty request is. */
    readonly othersTaken?: boolean;
    readonly unprovenMax?: number;
    readonly proof?: boolean;
  } = {},
) {
  const controls: number[] = [];
  const sent: (readonly number[])[] = [];
  const evidence = new Evidence(false);
  const unit = Array.from({ length: count }, (_, index) => index);
  const occasioned = (verdict: Verdict): Verdict =>
    verdict.kind === "refused" && verdict.status !== undefined
      ? { ...verdict, occasion: { sentBefore: evidence.sent, by: verdict.occasion?.by } }
      : verdict;
  const known = occasioned(first);
  assert(known.kind === "refused" || known.kind === "failing");
  const result = await search<readonly number[]>({ unit, verdict: known }, {
    requestsMax,
    split: (unit) => unit.length < 2 ? undefined : [unit.slice(0, unit.length / 2), unit.slice(unit.length / 2)],
    post: (unit) => {
      sent.push(unit);
      const request = evidence.send();
      const verdict = verdictOf(unit, sent.length);
      if (verdict.kind === "taken" && verdict.empty !== true) evidence.took(request, "s", verdict.by);
      return Promise.resolve(occasioned(verdict));
    },
    proof: !proof ? undefined : {
      takenSince: ({ occasion }) => occasion !== undefined && evidence.takenSince(occasion, "s"),
      fickle: () => evidence.fickle,
      contradicted: () => evidence.contradicted(),
      takesEmpty: () => {
        controls.push(sent.length);
        if (othersTaken) evidence.took(evidence.send(), "s", undefined);
        return Promise.resolve(empty);
      },
      unprovenMax,
    },
  });
  const numbersOf = (found: readonly { readonly unit: readonly number[] }[]) =>
    found.flatMap(({ unit }) => unit).toSorted((a, b) => a - b);
  return { ...result, sent, controls, numbers: numbersOf(result.guilty), doubtful: numbersOf(result.unproven) };
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

for (const [chance, always] of [[1, 3], [3, 1]] as const) {
  Deno.test(`where the endpoint takes ${chance}, which it had refused by itself, its refusals of ${always} prove nothing`, async () => {
    let refusals = 0;
    const { numbers, doubtful, sent } = await searched(4, (unit) => {
      if (unit.length > 1 || unit[0] === always) return REFUSED;
      return unit[0] === chance && refusals++ === 0 ? REFUSED : TAKEN;
    });
    assert.deepEqual([numbers, doubtful], [[], [always]]);
    assert.equal(sent.filter((unit) => unit.length === 1 && unit[0] === chance).length, 2);
  });
}

Deno.test("that units without items are taken proves nothing: an endpoint may refuse all data meanwhile", async () => {
  const holdsNothing = (unit: readonly number[]) => unit.every((number) => number % 2 === 1);
  const verdictOf = (unit: readonly number[]): Verdict => holdsNothing(unit) ? { kind: "taken", empty: true } : REFUSED;
  for (const count of [2, 4, 16]) {
    const { numbers, doubtful, anyTaken, controls } = await searched(count, verdictOf);
    assert.deepEqual([numbers, anyTaken, controls.length], [[], false, 1]);
    assert.deepEqual(doubtful, Array.from({ length: count / 2 }, (_, index) => 2 * index));
  }
});

Deno.test("in a group it proves nothing against a member that another takes what it refused", async () => {
  const by = (verdict: Verdict, name: string): Verdict =>
    verdict.kind === "refused"
      ? { ...verdict, occasion: { sentBefore: 0, by: name } }
      : verdict.kind === "taken"
      ? { kind: "taken", by: name }
      : verdict;
  let refusals = 0;
  const { numbers } = await searched(4, (unit) => {
    if (unit.length > 1 || unit[0] === 3) return by(REFUSED, "a");
    return unit[0] === 1 ? refusals++ === 0 ? by(REFUSED, "a") : by(TAKEN, "b") : by(TAKEN, "a");
  }, { first: by(REFUSED, "a") });
  assert.deepEqual(numbers, [3]);
});

Deno.test("when the requests are spent, what is left is what was refused, and no half of it unsent", async () => {
  const result = await searched(64, (unit) => unit.includes(0) || unit.includes(63) ? REFUSED : TAKEN, {
    requestsMax: 6,
  });
  assert.equal(result.requests, 6);
  assert.deepEqual(result.uncut.map(({ unit }) => unit.length), [32, 8]);
  assert.deepEqual([result.unsent.length, result.stopped, result.spent], [0, undefined, true]);
});

Deno.test("the first guilty one is found soon, however many there are", async () => {
  const odd = (unit: readonly number[]) => unit.some((each) => each % 2 === 1) ? REFUSED : TAKEN;
  const { sent, numbers } = await searched(1_024, odd, { requestsMax: 22 });
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
  const { stopped, down, requests, guilty } = await searched(64, () => FAILING, { first: FAILING });
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
    { first: FAILING },
  );
  assert.deepEqual(numbers, [5]);
  assert(guilty.every(({ verdict }) => verdict.kind === "failing"));
});

for (const [name, verdict] of [["503", FAILING], ["429", { kind: "stopped", answer: ANSWER }]] as const) {
  Deno.test(`what was refused by itself, and is answered ${name} when it is sent once more, stays refused`, async () => {
    let asked = 0;
    const { doubtful, numbers, unsent } = await searched(4, (unit) => {
      if (!unit.includes(3)) return TAKEN;
      return unit.length === 1 && ++asked > 1 ? verdict : REFUSED;
    });
    assert.deepEqual([doubtful, numbers, unsent], [[3], [], []]);
  });
}

Deno.test("where nothing is taken, nobody is guilty: neither when an empty request is taken nor when it is refused", async () => {
  for (const count of [1, 2, 8]) {
    const { guilty, doubtful, controls, stopped, requests, sent } = await searched(count, () => REFUSED);
    assert.deepEqual([guilty.length, controls.length, stopped], [0, 1, undefined]);
    assert.deepEqual(doubtful, Array.from({ length: count }, (_, index) => index));
    assert.equal(requests, sent.length + 1);
    const everything = await searched(count, () => REFUSED, { empty: ANSWER });
    assert.deepEqual([everything.guilty.length, everything.stopped, everything.down], [0, ANSWER, false]);
  }
});

Deno.test("so many that are refused by themselves end it, where nothing is taken", async () => {
  const { unproven, uncut, sent, controls } = await searched(1_024, () => REFUSED, { unprovenMax: 8 });
  assert.deepEqual([unproven.length, controls.length], [8, 1]);
  assert.equal(uncut.reduce((sum, { unit }) => sum + unit.length, 0), 1_024 - 8);
  assert(sent.length <= 2 * 10 + 2 * 8, `${sent.length} requests`);
});

Deno.test("where it ends at one that is refused by itself, what was not cut down is not guilty as a whole", async () => {
  const { doubtful, numbers, uncut, spent } = await searched(
    8,
    (unit) => unit.some((each) => each < 4 || each === 7) ? REFUSED : TAKEN,
    { unprovenMax: 1, othersTaken: true },
  );
  assert.deepEqual([doubtful, numbers, spent], [[0], [], false]);
  // 4, 5 and 6 are among them.
  assert.deepEqual(uncut.map(({ unit, confirmed }) => [unit.length, confirmed]), [[4, false], [2, false], [1, false]]);
});

Deno.test("what is refused twice is guilty where something that was sent between is taken", async () => {
  // 0 and 1 are refused, and so is the pair; 2 and 3 are taken later, as the other half was refused for 7.
  const guilty = new Set([0, 1, 7]);
  const { numbers, doubtful, sent } = await searched(
    8,
    (unit) => unit.some((each) => guilty.has(each)) ? REFUSED : TAKEN,
  );
  assert.deepEqual([numbers, doubtful], [[0, 1, 7], []]);
  for (const each of guilty) {
    assert.equal(sent.filter((unit) => unit.length === 1 && unit[0] === each).length, 2, `${each} twice by itself`);
  }
});

Deno.test("an endpoint that refuses everything for a while makes nobody guilty, whenever that begins and ends", async () => {
  for (let from = 1; from <= 20; from++) {
    for (let until = from; until <= 24; until++) {
      const refuses = (sent: number) => sent >= from && sent < until;
      const { numbers, sent } = await searched(
        16,
        (unit, sent) => refuses(sent) || unit.includes(5) ? REFUSED : TAKEN,
      );
      assert(numbers.every((each) => each === 5), `${numbers} of ${sent.length}, refused from ${from} until ${until}`);
    }
  }
});

Deno.test("what one of several endpoints takes proves nothing of what another refused", async () => {
  // Requests go to the two in turn; one refuses everything.
  const at = (sent: number) => sent % 2 === 0 ? "a" : "b";
  const verdict = (_: readonly number[], sent: number): Verdict =>
    at(sent) === "a"
      ? { kind: "refused", reason: "no", status: 400, occasion: { sentBefore: 0, by: "a" } }
      : { kind: "taken", by: "b" };
  const first: Verdict = { kind: "refused", reason: "no", status: 400, occasion: { sentBefore: 0, by: "a" } };
  for (const count of [1, 4, 16]) assert.deepEqual((await searched(count, verdict, { first })).numbers, []);
});

Deno.test("without a proof what is refused twice is guilty: who waits has the endpoint's word", async () => {
  const { numbers, controls, sent } = await searched(2, () => REFUSED, { proof: false });
  assert.deepEqual([numbers, controls.length, sent.length], [[0, 1], 0, 4]);
});
