import assert from "node:assert/strict";
import { Alarm } from "../../src/queue/alarm.ts";
import { ConfiguredTargets } from "../../src/queue/configured_targets.ts";
import { LaneSet } from "../../src/queue/lane_set.ts";
import type { Entry } from "../../src/queue/lanes.ts";
import { DEFAULT_TARGETS, type PartOutcome, type TargetSettings } from "../../src/queue/queue.ts";
import { headOf } from "../../src/queue/record_head.ts";
import { takerKind, Takers } from "../../src/queue/takers.ts";
import { Takes, type WantedSettle } from "../../src/queue/takes.ts";
import { releasesAll } from "../support/owners.ts";
import { LIMIT, NEVER, numberOf, record, TestLog } from "./records.ts";

/** The way out of an engine whose records are all in memory, and whose claim the test may lose. */
function scene({ maxAgeMs, takenBytesMax, targets: configured = DEFAULT_TARGETS }: {
  readonly maxAgeMs?: number;
  readonly takenBytesMax?: number;
  readonly targets?: readonly TargetSettings[];
} = {}) {
  const state = { now: 1_000, claim: 1 as number | undefined, closing: false, read: () => {}, hurried: 0 };
  const log = new TestLog();
  const lanes = new LaneSet(takenBytesMax, () => state.now);
  for (const lane of lanes.of(1, "traces")) lane.behind = false;
  const takers = new Takers({ now: () => state.now });
  const targets = new ConfiguredTargets();
  targets.names = new Map(configured.map(({ name }, index) => [index + 1, name]));
  targets.configure(configured, 1 << 20);
  const settles: WantedSettle<number>[] = [];
  const takes = new Takes<number>({
    lanes,
    takers,
    targets,
    alarm: new Alarm(log, () => state.now),
    maxAgeMs,
    steady: () => state.now,
    reader: {
      readFor: () => undefined,
      withPayloads: (run: Entry[]) => {
        state.read();
        return Promise.resolve(run);
      },
    },
    closing: () => state.closing,
    claim: () => state.claim,
    holds: (claim) => claim === state.claim,
    ages: () => ({ enqueuedAt }) => state.now - enqueuedAt,
    appendedAt: ({ enqueuedAt }) => enqueuedAt + 7,
    settle: (settle) => void settles.push(settle),
    hurry: () => void state.hurried++,
  });
  const append = (number: number) => {
    const { payload, ...rest } = record(number);
    lanes.own(number, headOf(rest, state.now), rest.parts, payload);
    takers.wake(takerKind(1, "traces"));
  };
  return { state, log, lanes, takers, targets, takes, settles, append };
}

const RETRY: PartOutcome = { kind: "retry", cause: "away", afterMs: 50 };
const DELIVERED: PartOutcome = { kind: "delivered" };

Deno.test("what is taken is lent, in flight until its outcome is written, and hurried where nothing else moves", () =>
  releasesAll(async () => {
    const { state, takes, settles, targets, append } = scene();
    for (const number of [1, 2]) append(number);
    const [one] = await takes.take({ ...LIMIT, recordsMax: 1 }, NEVER);
    assert.deepEqual([numberOf(one!), one!.enqueuedAt, targets.inFlight], [1, 1_007, 1]);
    const settled = one!.settle([DELIVERED]);
    assert.deepEqual(settles.map(({ settlement, claim, taken }) => [settlement.kind, claim, taken]), [[
      "done",
      1,
      true,
    ]]);
    assert.equal(state.hurried, 1, "the second waits, and nobody takes");
    assert.equal(targets.inFlight, 1);
    takes.written(settles[0]!);
    settles[0]!.resolve();
    await settled;
    assert.equal(targets.inFlight, 0);
    const [two] = await takes.take(LIMIT, NEVER);
    takes.written({ entry: settles[0]!.entry, taken: false });
    assert.equal(targets.inFlight, 1, "what was not in flight does not leave it");
    const last = two!.settle([DELIVERED]);
    assert.equal(state.hurried, 1, "nothing else is there");
    takes.written(settles[1]!);
    settles[1]!.resolve();
    await last;
  }));

Deno.test("what is to be sent again is taken again when it is due, or hastened", () =>
  releasesAll(async () => {
    const { state, takes, settles, append } = scene();
    append(1);
    for (const due of [() => state.now += 50, () => takes.hasten("traces", 1)]) {
      const [delivery] = await takes.take(LIMIT, NEVER);
      await delivery!.settle([RETRY]);
      assert.deepEqual(settles, []);
      due();
    }
    const [again] = await takes.take(LIMIT, NEVER);
    assert.equal(numberOf(again!), 1);
    state.closing = true;
    await again!.settle([RETRY]);
    await assert.rejects(takes.take(LIMIT, NEVER), { code: "shutting_down" });
  }));

Deno.test("what was claimed under what is lost meanwhile is nobody's here", () =>
  releasesAll(async () => {
    const { state, takes, lanes, targets, append } = scene();
    append(1);
    state.read = () => {
      state.claim = 2;
      append(2);
      state.read = () => {};
    };
    const [delivery] = await takes.take(LIMIT, NEVER);
    assert.deepEqual([numberOf(delivery!), targets.inFlight], [2, 1]);
    // Nor is what comes back from under it.
    state.claim = undefined;
    await delivery!.settle([RETRY]);
    assert.deepEqual([lanes.entries, targets.inFlight], [[], 0]);
  }));

Deno.test("an abort while payloads are read strands nothing, and a settle once it closes is refused", () =>
  releasesAll(async () => {
    const { state, takes, append } = scene();
    append(1);
    const abort = new AbortController();
    state.read = () => abort.abort();
    assert.deepEqual(await takes.take(LIMIT, abort.signal), []);
    state.read = () => {};
    const [delivery] = await takes.take(LIMIT, NEVER);
    state.closing = true;
    await assert.rejects(delivery!.settle([DELIVERED]), {
      code: "shutting_down",
      message: "The queue is closed: record 1 stays in it and will be sent again",
    });
  }));

Deno.test("what is past its age leaves, and is told of once", () =>
  releasesAll(async () => {
    const { state, takes, settles, log, append } = scene({ maxAgeMs: 100 });
    for (const number of [1, 2]) append(number);
    state.now += 101;
    append(3);
    const deliveries = await takes.take(LIMIT, NEVER);
    assert.deepEqual(deliveries.map(numberOf), [3]);
    assert.deepEqual(settles.map(({ settlement, entry, taken }) => [settlement.kind, entry.head.id, taken]), [
      ["expired", 1, false],
      ["expired", 2, false],
    ]);
    assert.equal(log.lines.length, 1);
    await deliveries[0]!.settle([RETRY]);
    state.claim = undefined;
    const [again] = (state.now += 50, await takes.take(LIMIT, AbortSignal.timeout(0)));
    assert.equal(again, undefined, "without a claim nothing is taken");
  }));

Deno.test("a taker that waits for what is taken to become less is told of once", async () => {
  const { takes, takers, append } = scene({ takenBytesMax: 1 });
  for (const number of [1, 2]) append(number);
  const [delivery] = await takes.take({ ...LIMIT, recordsMax: 1 }, NEVER);
  assert.equal(takes.madeRoom(), false);
  const second = takes.take(LIMIT, NEVER);
  assert.equal(takes.madeRoom(), true);
  assert.equal(takes.madeRoom(), false);
  await delivery!.settle([{ kind: "retry", cause: "away", afterMs: 1_000 }]);
  takers.wake();
  assert.deepEqual((await second).map(numberOf), [2]);
});

Deno.test("full dead letters are told by target where there are several", async () => {
  for (const names of [["only"], ["a", "b"]]) {
    const { takes, settles, log, append } = scene({ targets: names.map((name) => ({ name, required: true })) });
    append(1);
    const [delivery] = await takes.take(LIMIT, NEVER);
    void delivery!.settle([DELIVERED]);
    takes.tellHeld(settles[0]!.entry, 500, { path: "queue.db" });
    takes.tellHeld(settles[0]!.entry, 500, { path: "queue.db" });
    const [{ level, message, fields }] = log.lines as [typeof log.lines[number]];
    assert.equal(level, "error");
    assert.match(message, names.length === 1 ? /^The dead letters are full \(500 bytes\)/ : /full for a \(500 bytes\)/);
    const target = names.length === 1 ? {} : { target: "a" };
    assert.deepEqual(fields, { path: "queue.db", signal: "traces", ...target, count: 1 });
    assert.equal(log.lines.length, 1);
  }
});
