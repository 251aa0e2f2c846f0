/**
 * The promises of `src/queue/queue.ts`, as tests that run on every engine. What an engine claims in its capabilities it is
 * held to; the promises common to all cannot be unclaimed.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { Refusal } from "../../src/errors.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";
import { costOfPart } from "../../src/queue/cost.ts";
import type {
  Delivery,
  QueueCapabilities,
  QueueRecord,
  QueueStats,
  SendingQueue,
  TargetSettings,
} from "../../src/queue/queue.ts";
import { releasesAll } from "../support/owners.ts";
import {
  LIMIT,
  NEVER,
  numberOf,
  partBytes,
  record,
  settleAll,
  statsOf,
  take,
  takeAll,
  TestClock,
  TestLog,
} from "./records.ts";

/** How a test wants its queue. */
export interface OpenOptions {
  /** A folder of the test's own; opening twice on it is a restart. */
  readonly folder: string;
  readonly bytesMax: number;
  readonly deadLetterBytesMax: number;
  readonly maxAgeMs?: number;
  readonly now: () => number;
  readonly steady: () => number;
  readonly targets?: readonly TargetSettings[];
  readonly log: TestLog;
}

export interface Engine {
  readonly name: string;
  /** What it must claim: a change of the claims is a change of the contract. */
  readonly claims: QueueCapabilities;
  open(options: OpenOptions): Promise<SendingQueue>;
  /** What a record counts against the bound, in bytes. */
  cost(record: QueueRecord): number;
}

interface Bench {
  readonly clock: TestClock;
  readonly log: TestLog;
  open(options?: Partial<OpenOptions>): Promise<SendingQueue>;
}

/** The queue, what it lends noted. */
function noting(lent: Delivery[], queue: SendingQueue): SendingQueue {
  const take = queue.take.bind(queue);
  queue.take = async (limit, signal) => {
    const deliveries = await take(limit, signal);
    lent.push(...deliveries);
    return deliveries;
  };
  return queue;
}

/** Registers the suite for one engine. */
export function queueContract(engine: Engine): void {
  const { durable, merges, shared } = engine.claims;

  function promise(claimed: boolean, name: string, body: (bench: Bench) => Promise<void>): void {
    if (!claimed) return;
    Deno.test(`${engine.name}: ${name}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "edgeferry-queue-"));
      const clock = new TestClock();
      const log = new TestLog();
      try {
        await releasesAll(async () => {
          const lent: Delivery[] = [];
          const open: Bench["open"] = async (options = {}) =>
            noting(
              lent,
              await engine.open({
                folder,
                bytesMax: 1 << 20,
                deadLetterBytesMax: 1 << 16,
                now: clock.now,
                steady: clock.steady,
                log,
                ...options,
              }),
            );
          await body({ clock, log, open });
          // What a test has taken and left to a crash is lent until somebody settles it; most have been settled, and refuse.
          for (const delivery of lent) {
            await delivery.settle(delivery.parts.map(() => ({ kind: "retry", cause: "the test is over" }))).catch(
              () => {},
            );
          }
        });
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
  const common = (name: string, body: (bench: Bench) => Promise<void>) => promise(true, name, body);

  common("claims what it is said to claim", async ({ open }) => {
    await using queue = await open();
    assert.deepEqual(queue.capabilities, engine.claims);
  });

  common("a record is taken as it was appended", async ({ open, clock }) => {
    await using queue = await open();
    for (const encoding of ["gzip", "identity"] as const) {
      const appended = queue.append(record(7, { encoding, parts: 3, mergeable: true }));
      const [delivery] = await takeAll(queue, 1);
      const { id, target, enqueuedAt, payload, until: _until, ...rest } = delivery!;
      const { targets, ...appendedAs } = record(7, { encoding, parts: 3 });
      assert.deepEqual({ ...rest, payload: new Uint8Array(payload) }, {
        ...appendedAs,
        payload: appendedAs.payload.take(),
      });
      assert.deepEqual([target], targets);
      assert.ok(Number.isSafeInteger(id));
      assert.equal(enqueuedAt, clock.ms);
      await settleAll([delivery!]);
      assert.deepEqual(await appended, {});
    }
  });

  common("a payload of any size comes back byte for byte", async ({ open }) => {
    await using queue = await open();
    for (const bytes of [0, 1, 8 * 1024, 8 * 1024 + 1, 300_000]) {
      const appended = queue.append(record(1, { bytes }));
      const deliveries = await takeAll(queue, 1);
      assert.deepEqual(new Uint8Array(deliveries[0]!.payload), partBytes(1, 0, bytes));
      await settleAll(deliveries);
      await appended;
    }
  });

  common("append refuses a record whose parts do not add up to its payload", async ({ open }) => {
    await using queue = await open();
    await assert.rejects(queue.append({ ...record(1), payload: new OwnedBytes(new Uint8Array(5)) }), RangeError);
    await assert.rejects(
      queue.append({ ...record(1), parts: [], payload: new OwnedBytes(new Uint8Array(0)) }),
      RangeError,
    );
    assert.equal((await statsOf(queue)).records, 0);
  });

  common("take waits for the first record", async ({ open }) => {
    await using queue = await open();
    const taking = take(queue);
    const appended = queue.append(record(1));
    const deliveries = await taking;
    assert.deepEqual(deliveries.map(numberOf), [1]);
    await settleAll(deliveries);
    await appended;
  });

  common("an aborted take resolves with none and strands nothing", async ({ open }) => {
    await using queue = await open();
    assert.deepEqual(await queue.take(LIMIT, AbortSignal.abort()), []);
    const abort = new AbortController();
    const waiting = queue.take(LIMIT, abort.signal);
    abort.abort();
    assert.deepEqual(await waiting, []);
    // An abort in the same turn as the record that it waits for: whoever gets the record, it is not gone.
    const second = new AbortController();
    const racing = queue.take(LIMIT, second.signal);
    const appended = queue.append(record(1));
    second.abort();
    const raced = await racing;
    const deliveries = raced.length > 0 ? raced : await take(queue);
    assert.deepEqual(deliveries.map(numberOf), [1]);
    await settleAll(deliveries);
    await appended;
    assert.equal((await statsOf(queue)).inFlight, 0);
  });

  common("each record goes to one of several takers", async ({ open }) => {
    await using queue = await open();
    const abort = new AbortController();
    const seen: number[] = [];
    const takers = Array.from({ length: 4 }, async () => {
      for (;;) {
        const deliveries = await queue.take({ ...LIMIT, recordsMax: 7 }, abort.signal);
        if (deliveries.length === 0) return;
        seen.push(...deliveries.map(numberOf));
        await settleAll(deliveries);
      }
    });
    const numbers = Array.from({ length: 1000 }, (_, index) => index);
    await Promise.all(numbers.map((number) => queue.append(record(number))));
    while ((await statsOf(queue)).records > 0);
    abort.abort();
    await Promise.all(takers);
    assert.deepEqual(seen.sort((a, b) => a - b), numbers);
  });

  common("records of a signal are taken in the order of arrival, with ascending ids", async ({ open }) => {
    await using queue = await open();
    const appends: Promise<unknown>[] = [];
    for (let number = 0; number < 50; number++) {
      appends.push(queue.append(record(number, { encoding: number % 3 === 0 ? "identity" : "gzip" })));
    }
    const deliveries = [];
    while (deliveries.length < 50) deliveries.push(...await take(queue, { recordsMax: 1 }));
    assert.deepEqual(deliveries.map(numberOf), Array.from({ length: 50 }, (_, index) => index));
    const ids = deliveries.map(({ id }) => id);
    assert.deepEqual(ids, [...ids].sort((a, b) => a - b));
    await settleAll(deliveries);
    await Promise.all(appends);
  });

  common("a take is for one signal, and a backlog of another does not hold it up", async ({ open }) => {
    await using queue = await open();
    const appends = Array.from({ length: 200 }, (_, number) => queue.append(record(number, { signal: "traces" })));
    appends.push(queue.append(record(1000, { signal: "metrics" })), queue.append(record(2000, { signal: "logs" })));
    const metrics = await take(queue, { signal: "metrics" });
    const logs = await take(queue, { signal: "logs" });
    assert.deepEqual([...metrics, ...logs].map(numberOf), [1000, 2000]);
    await settleAll([...metrics, ...logs, ...await takeAll(queue, 200)]);
    await Promise.all(appends);
  });

  promise(merges, "a take holds one encoding, and a record that is not mergeable comes by itself", async ({ open }) => {
    await using queue = await open();
    const shapes = [
      {},
      {},
      { mergeable: false },
      { mergeable: false },
      {},
      { encoding: "identity" },
      { encoding: "identity" },
    ] as const;
    await Promise.all(shapes.map((shape, number) => queue.append(record(number, shape))));
    const taken: number[][] = [];
    while (taken.flat().length < shapes.length) {
      const deliveries = await take(queue);
      taken.push(deliveries.map(numberOf));
      await settleAll(deliveries);
    }
    assert.deepEqual(taken, [[0, 1], [2], [3], [4], [5, 6]]);
  });

  promise(merges, "a take keeps to each of its bounds, but returns the first record in any case", async ({ open }) => {
    await using queue = await open();
    await Promise.all(Array.from({ length: 12 }, (_, number) => queue.append(record(number, { bytes: 100 }))));
    const counts: number[] = [];
    for (const bound of [{ recordsMax: 2 }, { bytesMax: 300 }, { inflatedBytesMax: 1999 }, { bytesMax: 1 }, {}]) {
      const deliveries = await queue.take({ ...LIMIT, ...bound }, NEVER);
      counts.push(deliveries.length);
      await settleAll(deliveries);
    }
    assert.deepEqual(counts, [2, 3, 4, 1, 2]);
  });

  common("settle wants one outcome a part, once", async ({ open }) => {
    await using queue = await open();
    const appended = queue.append(record(1, { parts: 2 }));
    const [delivery] = await takeAll(queue, 1);
    await assert.rejects(delivery!.settle([{ kind: "delivered" }]), RangeError);
    await delivery!.settle([{ kind: "delivered" }, { kind: "delivered" }]);
    await assert.rejects(delivery!.settle([{ kind: "delivered" }, { kind: "delivered" }]), /settled before/);
    await appended;
  });

  common("a delivered record is gone, and counted; what the Collector rejected of it apart", async ({ open }) => {
    await using queue = await open();
    const appended = queue.append(record(1, { items: 10 }));
    await (await takeAll(queue, 1))[0]!.settle([{ kind: "delivered", rejected: 4, message: "too old" }]);
    const accepted = await appended;
    assert.deepEqual(accepted, durable ? {} : { partialSuccess: { rejected: 4, message: "too old" } });
    const stats = await statsOf(queue);
    assert.equal(stats.records, 0);
    assert.equal(stats.bytes, 0);
    const { accepted: items, delivered, rejectedByCollector } = stats.books.traces;
    assert.deepEqual({ items, delivered, rejectedByCollector }, { items: 10, delivered: 6, rejectedByCollector: 4 });
    assertBalanced(stats);
  });

  common("stats tell what is queued and in flight, and how old it is", async ({ open, clock }) => {
    await using queue = await open();
    assert.equal((await statsOf(queue)).oldestAt, undefined);
    const enqueuedAt = clock.ms;
    const [one, two] = [record(1, { bytes: 100 }), record(2, { bytes: 50, signal: "logs" })];
    const cost = engine.cost(one) + engine.cost(two);
    const appends = [queue.append(one)];
    if (durable) await appends[0];
    clock.ms += 60_000;
    appends.push(queue.append(two));
    if (durable) await appends[1];
    const [delivery] = await takeAll(queue, 1);
    const { records, bytes, bytesMax, inFlight, oldestAt } = await statsOf(queue);
    assert.deepEqual({ records, bytes, bytesMax, inFlight, oldestAt }, {
      records: 2,
      bytes: cost,
      bytesMax: 1 << 20,
      inFlight: 1,
      oldestAt: enqueuedAt,
    });
    await settleAll([delivery!, ...await takeAll(queue, 1, "logs")]);
    await Promise.all(appends);
  });

  common(
    "a full queue refuses with a Retry-After, keeps what it has, and takes again when there is room",
    async ({ open }) => {
      const [large, small, both] = [record(1, { bytes: 900 }), record(3, { bytes: 100 }), record(5, { bytes: 1000 })];
      const bytesMax = engine.cost(large) + engine.cost(small);
      await using queue = await open({ bytesMax });
      const first = queue.append(large);
      if (durable) await first;
      assert.equal(queue.readiness().ready, true);
      await assert.rejects(queue.append(record(2, { bytes: 101 })), (error) => {
        assert.ok(error instanceof Refusal);
        assert.equal(error.code, "queue_full");
        assert.equal(error.retryAfterS, 2, "nothing has drained yet");
        assert.match(error.message, /; nothing drains now; retry$/);
        return true;
      });
      const second = queue.append(small);
      if (durable) await second;
      assert.equal(queue.readiness().ready, false);
      assert.match(queue.readiness().reason!, /full|many/);
      // In flight, they still count.
      const deliveries = await takeAll(queue, 2);
      await assert.rejects(queue.append(record(4, { bytes: 1 })), { code: "queue_full" });
      assert.deepEqual(deliveries.map(numberOf), [1, 3]);
      await settleAll(deliveries);
      await Promise.all([first, second]);
      const third = queue.append(both);
      await settleAll(await takeAll(queue, 1));
      await third;
    },
  );

  common("what each sender has in it is counted, part by part", async ({ open }) => {
    await using queue = await open();
    const senders = ["sender-0", "sender-1"];
    const has = () => senders.map((sender) => queue.shares.bytesOf(sender));
    assert.deepEqual(has(), [0, 0]);
    const first = queue.append(record(1, { parts: 2, bytes: 40 }));
    const second = queue.append(record(2, { parts: 1, bytes: 60 }));
    if (durable) await Promise.all([first, second]);
    const counted = (...bytes: number[]) => bytes.reduce((sum, each) => sum + costOfPart(each), 0);
    assert.deepEqual(has(), [counted(40, 60), counted(40)]);
    const deliveries = await takeAll(queue, 2);
    assert.deepEqual(has(), [counted(40, 60), counted(40)], "in flight, they still count");
    if (durable) await deliveries[0]!.settle([{ kind: "delivered" }, { kind: "retry", cause: "later" }]);
    else await deliveries[0]!.settle([{ kind: "delivered" }, { kind: "delivered" }]);
    assert.deepEqual(has(), [counted(60), durable ? counted(40) : 0]);
    if (durable) await settleAll(await takeAll(queue, 1));
    await settleAll(deliveries.slice(1));
    await Promise.all([first, second]);
    assert.deepEqual(has(), [0, 0]);
    assert.ok(queue.shares.secondsFor("sender-0", 1)! > 0);
  });

  promise(durable, "a restart knows what each sender has in it", async ({ open }) => {
    {
      await using queue = await open();
      await queue.append(record(1, { parts: 3, bytes: 10 }));
      await queue.append(record(2, { signal: "logs", parts: 2, bytes: 7 }));
      const [delivery] = await takeAll(queue, 1);
      await delivery!.settle([{ kind: "delivered" }, { kind: "retry", cause: "later" }, { kind: "delivered" }]);
    }
    await using queue = await open();
    const counted = (...bytes: number[]) => bytes.reduce((sum, each) => sum + costOfPart(each), 0);
    const has = ["sender-0", "sender-1", "sender-2"].map((id) => queue.shares.bytesOf(id));
    assert.deepEqual(has, [counted(7), counted(7, 10), 0]);
  });

  common("a disposed queue rejects takers and refuses appends", async ({ open }) => {
    const queue = await open();
    const taking = assert.rejects(take(queue), { code: "shutting_down" });
    await queue[Symbol.asyncDispose]();
    await taking;
    await assert.rejects(queue.append(record(1)), { code: "shutting_down" });
    await assert.rejects(take(queue), { code: "shutting_down" });
    assert.equal(queue.readiness().ready, false);
    await queue[Symbol.asyncDispose]();
  });

  common("an append under way at the end is answered one way or the other, and truthfully", async ({ open }) => {
    const queue = await open();
    const outcomes = Array.from(
      { length: 100 },
      (_, number) =>
        queue.append(record(number)).then(() => number, (error) => {
          assert.equal((error as Refusal).code, "shutting_down");
          return undefined;
        }),
    );
    await queue[Symbol.asyncDispose]();
    const accepted = (await Promise.all(outcomes)).filter((number) => number !== undefined);
    if (!durable) return assert.deepEqual(accepted, []);
    await using again = await open();
    assert.deepEqual((await takeAll(again, accepted.length)).map(numberOf), accepted);
    assert.equal((await statsOf(again)).records, accepted.length);
  });

  // --- who holds the data until the Collector has it

  promise(
    !durable,
    "a retry is the sender's: refused as upstream_unavailable, with the time to wait",
    async ({ open }) => {
      await using queue = await open();
      const appended = assert.rejects(queue.append(record(1)), {
        code: "upstream_unavailable",
        message: "503 Service Unavailable; it asks for 7 s",
        retryAfterS: 7,
      });
      await settleAll(await takeAll(queue, 1), { kind: "retry", afterMs: 6500, cause: "503 Service Unavailable" });
      await appended;
      assertBalanced(await statsOf(queue));
    },
  );

  promise(
    !durable,
    "what the Collector will never take is refused as rejected_upstream, with its words",
    async ({ open }) => {
      await using queue = await open();
      const appended = assert.rejects(queue.append(record(1)), { code: "rejected_upstream", message: "bad trace id" });
      await settleAll(await takeAll(queue, 1), { kind: "dead", reason: "bad trace id", status: 400 });
      await appended;
      assert.deepEqual((await statsOf(queue)).deadLetters, { records: 0, bytes: 0 });
      assertBalanced(await statsOf(queue));
    },
  );

  promise(
    durable,
    "a record to be retried keeps its place and waits its time",
    async ({ open, clock }) => {
      await using queue = await open();
      for (const number of [1, 2, 3]) await queue.append(record(number));
      const deliveries = await takeAll(queue, 3);
      await deliveries[0]!.settle([{ kind: "retry", afterMs: 5000, cause: "503" }]);
      await deliveries[1]!.settle([{ kind: "retry", cause: "503" }]);
      await deliveries[2]!.settle([{ kind: "retry", cause: "503" }]);
      // The first is not due: the others are taken without it.
      const others = await takeAll(queue, 2);
      assert.deepEqual(others.map(numberOf), [2, 3]);
      await settleAll(others, { kind: "retry", cause: "503" });
      clock.ms += 5000;
      const all = await takeAll(queue, 3);
      assert.deepEqual(all.map(numberOf), [1, 2, 3]);
      assert.deepEqual(all.map(({ id }) => id), deliveries.map(({ id }) => id));
      await settleAll(all);
      assertBalanced(await statsOf(queue));
    },
  );

  promise(durable, "what waits for its time is taken at once when its signal is hastened", async ({ open }) => {
    await using queue = await open();
    await queue.append(record(1));
    await settleAll(await takeAll(queue, 1), { kind: "retry", afterMs: 3_600_000, cause: "503" });
    const taken = take(queue);
    queue.hasten("logs", 1);
    await queue.append(record(2, { signal: "logs" }));
    assert.deepEqual((await take(queue, { signal: "logs" })).map(numberOf), [2], "no other signal's");
    queue.hasten("traces", 1);
    const [delivery] = await taken;
    assert.equal(numberOf(delivery!), 1);
    await settleAll([delivery!]);
  });

  promise(durable, "that nothing reaches a target strands nothing", async ({ open }) => {
    await using queue = await open();
    queue.reaches("traces", 1, false);
    await queue.append(record(1));
    await queue.append(record(2, { signal: "logs" }));
    await settleAll(await takeAll(queue, 1), { kind: "retry", cause: "503" });
    assert.deepEqual((await takeAll(queue, 1)).map(numberOf), [1]);
    queue.reaches("traces", 1, true);
    assert.deepEqual((await takeAll(queue, 1, "logs")).map(numberOf), [2]);
  });

  promise(durable, "a waiting take wakes when a record's time has come", async ({ open }) => {
    await using queue = await open({ now: Date.now, steady: () => performance.now() });
    await queue.append(record(1));
    const before = Date.now();
    await settleAll(await takeAll(queue, 1), { kind: "retry", afterMs: 30, cause: "503" });
    assert.deepEqual((await take(queue)).map(numberOf), [1]);
    assert.ok(Date.now() - before >= 30);
  });

  promise(
    durable,
    "what remains of a part stays in its place, and the rest of it has met its end in the books",
    async ({ open }) => {
      const queue = await open();
      await queue.append(record(1, { parts: 3, items: 10 }));
      const [first] = await takeAll(queue, 1);
      await first!.settle([
        { kind: "delivered" },
        {
          kind: "retry",
          cause: "503",
          remains: {
            rest: { payload: new Uint8Array([7, 7, 7]), items: 4, inflatedBytes: 30 },
            dead: { payload: new Uint8Array([6]), items: 2, inflatedBytes: 9, reason: "bad", status: 400 },
            rejected: 1,
          },
        },
        { kind: "retry", cause: "503" },
      ]);
      const expected = {
        accepted: 30,
        delivered: 13,
        rejectedByCollector: 1,
        deadLettered: 2,
        expired: 0,
        abandoned: 0,
        queued: 14,
      };
      assert.deepEqual((await statsOf(queue)).books.traces, expected);
      assert.equal((await statsOf(queue)).deadLetters.records, 1);
      await queue[Symbol.asyncDispose]();

      await using again = await open();
      const [second] = await takeAll(again, 1);
      assert.equal(second!.id, first!.id);
      assert.deepEqual(
        second!.parts.map(({ sender, items, bytes, inflatedBytes }) => [sender, items, bytes, inflatedBytes])[0],
        [
          "sender-1",
          4,
          3,
          30,
        ],
      );
      assert.deepEqual(new Uint8Array(second!.payload), new Uint8Array([7, 7, 7, ...partBytes(1, 2)]));
      // Absurd numbers move no more than there was.
      await second!.settle([
        {
          kind: "retry",
          cause: "503",
          remains: { rest: { payload: new Uint8Array([5]), items: 3, inflatedBytes: 30 }, rejected: 2 ** 52 },
        },
        { kind: "delivered" },
      ]);
      const books = (await statsOf(again)).books.traces;
      assert.deepEqual([books.rejectedByCollector, books.delivered, books.queued], [2, 23, 3]);
      assertBalanced(await statsOf(again));
    },
  );

  promise(
    durable,
    "of a record with mixed outcomes only the parts to be retried stay, under its id",
    async ({ open }) => {
      const queue = await open();
      await queue.append(record(1, { parts: 4, items: 10 }));
      const [first] = await takeAll(queue, 1);
      await first!.settle([
        { kind: "delivered" },
        { kind: "retry", cause: "503" },
        { kind: "dead", reason: "bad", status: 400 },
        { kind: "retry", cause: "503" },
      ]);
      const [second] = await takeAll(queue, 1);
      const left = new Uint8Array([...partBytes(1, 1), ...partBytes(1, 3)]);
      assert.equal(second!.id, first!.id);
      assert.deepEqual(second!.parts.map(({ sender }) => sender), ["sender-1", "sender-3"]);
      assert.deepEqual(new Uint8Array(second!.payload), left);
      await queue[Symbol.asyncDispose]();

      await using again = await open();
      const [third] = await takeAll(again, 1);
      assert.equal(third!.id, first!.id);
      assert.deepEqual(new Uint8Array(third!.payload), left);
      const stats = await statsOf(again);
      assert.deepEqual(stats.books.traces, {
        accepted: 40,
        delivered: 10,
        rejectedByCollector: 0,
        deadLettered: 10,
        expired: 0,
        abandoned: 0,
        queued: 20,
      });
      assert.deepEqual(stats.deadLetters, { records: 1, bytes: 32 });
      assertBalanced(stats);
    },
  );

  promise(
    durable,
    "of a dead part with guilty resources only these are dead, the rest is delivered",
    async ({ open }) => {
      await using queue = await open();
      await queue.append(record(1, { items: 10 }));
      await settleAll(await takeAll(queue, 1), { kind: "dead", reason: "bad", payload: partBytes(9, 9, 8), items: 2 });
      const stats = await statsOf(queue);
      assert.equal(stats.books.traces.delivered, 8);
      assert.equal(stats.books.traces.deadLettered, 2);
      assert.deepEqual(stats.deadLetters, { records: 1, bytes: 8 });
      assert.equal(stats.records, 0);
      assertBalanced(stats);
    },
  );

  promise(
    durable,
    "without room among the dead letters a guilty part stays queued and is skipped",
    async ({ open, log }) => {
      const queue = await open({ deadLetterBytesMax: 40 });
      for (const number of [1, 2, 3]) await queue.append(record(number, { parts: 2 }));
      const [one, two, three] = await takeAll(queue, 3);
      const dead = { kind: "dead", reason: "bad" } as const;
      await one!.settle([dead, { kind: "delivered" }]);
      await two!.settle([dead, { kind: "retry", cause: "503" }]);
      await three!.settle([dead, dead]);
      const line = await log.line(/dead letters are full/);
      assert.equal(line.level, "error");
      let stats = await statsOf(queue);
      assert.deepEqual(stats.deadLetters, { records: 1, bytes: 32 });
      // Of the second record the held part and the one to be retried part company; the third stays whole.
      assert.equal(stats.records, 3);
      assert.equal(stats.books.traces.queued, 3 * 4);
      assertBalanced(stats);
      await queue.append(record(4));
      assert.deepEqual((await takeAll(queue, 2)).map(numberOf), [2, 4]);
      await queue[Symbol.asyncDispose]();

      // A restart tries them again.
      await using again = await open({ deadLetterBytesMax: 1000 });
      const deliveries = await takeAll(again, 4);
      await settleAll(deliveries, dead);
      stats = await statsOf(again);
      assert.equal(stats.records, 0);
      assert.deepEqual(stats.deadLetters, { records: 6, bytes: 6 * 32 });
      assertBalanced(stats);
    },
  );

  promise(durable, "dead letters that are full for one target hold back no other", async ({ open, log }) => {
    await using queue = await open({ targets: [EU, US], deadLetterBytesMax: 2 * 32 });
    const [eu, us] = [queue.target("eu"), queue.target("us")];
    const dead = { kind: "dead", reason: "bad" } as const;
    for (const number of [1, 2, 3]) await queue.append(record(number, { targets: [eu, us] }));
    await settleAll(await take(queue, { target: eu }), dead);
    assert.match((await log.line(/dead letters are full/)).message, /for eu/);
    const letters = async (name: string) =>
      (await queue.stats()).targets.find((target) => target.name === name)!.deadLetters.records;
    assert.equal(await letters("eu"), 1, "each target has half of the room");
    const [one, ...others] = await take(queue, { target: us });
    await settleAll([one!], dead);
    await settleAll(others);
    assert.equal(await letters("us"), 1);
    const stats = await queue.stats();
    assert.equal(stats.targets.find(({ id }) => id === us)!.records, 0, "nothing of us is held");
    assert.equal(stats.targets.find(({ id }) => id === eu)!.records, 2);
    assertBalanced(stats);
  });

  promise(
    durable,
    "records past their age are dropped on take, and counted as expired",
    async ({ open, clock, log }) => {
      await using queue = await open({ maxAgeMs: 10_000 });
      await queue.append(record(1, { items: 5 }));
      clock.ms += 6000;
      await queue.append(record(2));
      clock.ms += 4001;
      assert.deepEqual((await take(queue)).map(numberOf), [2]);
      const line = await log.line(/max_age/);
      assert.equal(line.level, "error");
      assert.equal(line.fields.count, 5);
      let stats = await statsOf(queue);
      while (stats.books.traces.expired === 0) stats = await statsOf(queue);
      assert.equal(stats.books.traces.expired, 5);
      assert.equal(stats.records, 1);
      assertBalanced(stats);
    },
  );

  promise(
    durable,
    "without a max_age nothing expires, and a clock set back changes no order",
    async ({ open, clock }) => {
      const queue = await open();
      await queue.append(record(1));
      clock.step(-86_400_000);
      await queue.append(record(2));
      clock.ms += 400 * 86_400_000;
      await queue.append(record(3));
      await queue[Symbol.asyncDispose]();
      await using again = await open({ maxAgeMs: 1000 * 86_400_000 });
      assert.deepEqual((await takeAll(again, 3)).map(numberOf), [1, 2, 3]);
    },
  );

  for (const by of [86_400_000, -86_400_000]) {
    const way = by > 0 ? "forward" : "back";
    promise(
      durable,
      `a clock that is set ${way} makes nothing older or younger, delays no retry, and hurries none`,
      async ({ open, clock }) => {
        const queue = await open({ maxAgeMs: 10_000 });
        await queue.append(record(1));
        await queue.append(record(2));
        const [retried] = await take(queue, { recordsMax: 1 });
        await settleAll([retried!], { kind: "retry", afterMs: 5_000, cause: "503" });
        clock.ms += 2_000;
        clock.step(by);
        assert.equal((await statsOf(queue)).oldestAt, clock.ms - 2_000, "two seconds old, by the clock as it is set");
        await queue.append(record(3));
        assert.deepEqual((await takeAll(queue, 2)).map(numberOf), [2, 3], "neither expired, and the retry is not due");
        clock.ms += 3_000;
        const [due] = await takeAll(queue, 1);
        assert.equal(numberOf(due!), 1);
        assert.equal((await statsOf(queue)).books.traces.expired, 0);
        await queue[Symbol.asyncDispose]();

        // The next run knows of it.
        await using again = await open({ maxAgeMs: 10_000 });
        assert.equal((await statsOf(again)).oldestAt, clock.ms - 5_000);
        clock.ms += 5_001;
        assert.deepEqual(
          (await takeAll(again, 1)).map(numberOf),
          [3],
          "the first two are past their age, the last is not",
        );
        let { expired } = (await statsOf(again)).books.traces;
        while (expired < 6) expired = (await statsOf(again)).books.traces.expired;
      },
    );
  }

  promise(durable, "what was accepted is there after a restart: records, dead letters and books", async ({ open }) => {
    const queue = await open();
    for (const [index, signal] of SIGNAL_NAMES.entries()) {
      await Promise.all([1, 2, 3, 4].map((number) => queue.append(record(number, { signal, items: index + 1 }))));
      const [one, two] = await takeAll(queue, 4, signal);
      await one!.settle([{ kind: "delivered", rejected: 1 }]);
      await two!.settle([{ kind: "dead", reason: "bad" }]);
    }
    const { inFlight, drainS: _, targets: targetsBefore, ...before } = await statsOf(queue);
    assert.equal(inFlight, 2 * SIGNAL_NAMES.length);
    await queue[Symbol.asyncDispose]();
    await using again = await open();
    const { inFlight: none, drainS, targets: targetsAfter, ...after } = await statsOf(again);
    assert.deepEqual([none, drainS], [0, undefined]);
    assert.deepEqual(after, before);
    const kept = (targets: QueueStats["targets"]) => targets.map(({ inFlight: _, oldestAt: __, ...rest }) => rest);
    assert.deepEqual(kept(targetsAfter), kept(targetsBefore));
    assertBalanced(await statsOf(again));
    for (const signal of SIGNAL_NAMES) {
      assert.deepEqual((await takeAll(again, 2, signal)).map(numberOf), [3, 4]);
    }
  });

  promise(durable, "a backlog is taken oldest first while new records are accepted", async ({ open }) => {
    let queue = await open({ bytesMax: 1 << 30 });
    const count = 3000;
    await Promise.all(Array.from({ length: count }, (_, number) => queue.append(record(number, { bytes: 2000 }))));
    await queue[Symbol.asyncDispose]();
    queue = await open({ bytesMax: 1 << 30 });
    await using _ = queue;
    const seen: number[] = [];
    let next = count;
    while (seen.length < count + 20) {
      if (next < count + 20) await queue.append(record(next++, { bytes: 2000 }));
      const deliveries = await queue.take({ ...LIMIT, recordsMax: 400 }, NEVER);
      seen.push(...deliveries.map(numberOf));
      await settleAll(deliveries);
    }
    assert.deepEqual(seen, Array.from({ length: count + 20 }, (_, number) => number));
    assertBalanced(await statsOf(queue));
  });

  // --- targets

  const EU: TargetSettings = { name: "eu", required: true };
  const AUDIT: TargetSettings = { name: "audit", required: false };
  const US: TargetSettings = { name: "us", required: true };

  common("targets have numbers; what is not configured has none, and a record needs one that has", async ({ open }) => {
    await using queue = await open({ targets: [EU, AUDIT] });
    const [eu, audit] = [queue.target("eu"), queue.target("audit")];
    assert.notEqual(eu, audit);
    assert.throws(() => queue.target("us"), RangeError);
    for (const targets of [[], [eu, eu], [99]]) {
      await assert.rejects(queue.append(record(1, { targets })), RangeError);
      assert.throws(() => queue.admits(targets, 1), RangeError);
    }
    const { targets, records } = await queue.stats();
    assert.deepEqual([records, targets.map(({ name }) => name)], [0, ["eu", "audit"]]);
  });

  common("a record goes to each of its targets and to no other", async ({ open }) => {
    await using queue = await open({ targets: [EU, AUDIT, US] });
    const [eu, audit, us] = ["eu", "audit", "us"].map((name) => queue.target(name)) as [number, number, number];
    const appends = [
      queue.append(record(1, { targets: [eu] })),
      queue.append(record(2, { targets: [eu, audit] })),
      queue.append(record(3, { targets: [us] })),
    ];
    const taken: Record<number, number[]> = {};
    for (const [target, count] of [[eu, 2], [audit, 1], [us, 1]] as const) {
      const deliveries = [];
      while (deliveries.length < count) deliveries.push(...await take(queue, { target }));
      for (const delivery of deliveries) assert.equal(delivery.target, target);
      taken[target] = deliveries.map(numberOf);
      await settleAll(deliveries);
    }
    assert.deepEqual(taken, { [eu]: [1, 2], [audit]: [2], [us]: [3] });
    await Promise.all(appends);
    const stats = await queue.stats();
    assert.deepEqual([stats.records, stats.bytes], [0, 0]);
    assertBalanced(stats);
    const accepted = stats.targets.map(({ books }) => books.traces.accepted);
    assert.deepEqual(accepted, [6, 3, 3]);
    assert.deepEqual(stats.books.traces, { accepted: 9, finished: 9, queued: 0 });
  });

  promise(durable, "a target that is down holds back no other, and keeps the record for itself", async ({ open }) => {
    const targets = [EU, US];
    const queue = await open({ targets });
    const [eu, us] = [queue.target("eu"), queue.target("us")];
    for (const number of [1, 2, 3]) await queue.append(record(number, { targets: [eu, us], parts: 2 }));
    const before = queue.shares.bytesOf("sender-0");
    const first = [];
    while (first.length < 3) first.push(...await take(queue, { target: eu }));
    assert.deepEqual(first.map(numberOf), [1, 2, 3]);
    await settleAll(first);
    let stats = await queue.stats();
    assert.deepEqual(stats.targets.map(({ records }) => records), [0, 3]);
    assert.deepEqual([stats.records, stats.books.traces.queued], [3, 18]);
    assert.equal(queue.shares.bytesOf("sender-0"), before, "a share counts until the last target is done");
    assertBalanced(stats);
    await queue[Symbol.asyncDispose]();

    await using again = await open({ targets });
    const none = new AbortController();
    const idle = again.take({ ...LIMIT, target: eu }, none.signal);
    const second = [];
    while (second.length < 3) second.push(...await take(again, { target: us }));
    assert.deepEqual(second.map(numberOf), [1, 2, 3]);
    await settleAll(second);
    none.abort();
    assert.deepEqual(await idle, []);
    stats = await again.stats();
    assert.deepEqual([stats.records, stats.bytes, stats.books.traces.queued], [0, 0, 0]);
    assert.equal(again.shares.bytesOf("sender-0"), 0);
    assertBalanced(stats);
  });

  promise(durable, "an outcome of one target's parts is nothing to another", async ({ open }) => {
    const targets = [EU, US];
    const queue = await open({ targets });
    const [eu, us] = [queue.target("eu"), queue.target("us")];
    await queue.append(record(1, { targets: [eu, us], parts: 3, items: 10 }));
    const [delivery] = await take(queue, { target: eu });
    await delivery!.settle([
      { kind: "delivered", rejected: 4 },
      { kind: "retry", cause: "503" },
      { kind: "dead", reason: "bad", status: 400 },
    ]);
    const left = await take(queue, { target: eu });
    assert.deepEqual(left.map(({ parts }) => parts.map(({ sender }) => sender)), [["sender-1"]]);
    assert.deepEqual(new Uint8Array(left[0]!.payload), partBytes(1, 1));
    await settleAll(left, { kind: "retry", cause: "503" });
    let [one, two] = (await queue.stats()).targets;
    const { delivered, rejectedByCollector, deadLettered, queued } = one!.books.traces;
    assert.deepEqual([delivered, rejectedByCollector, deadLettered, queued], [6, 4, 10, 10]);
    assert.deepEqual([two!.books.traces.queued, one!.deadLetters.records, two!.deadLetters.records], [30, 1, 0]);
    await queue[Symbol.asyncDispose]();

    await using again = await open({ targets });
    const whole = await take(again, { target: us });
    assert.deepEqual(whole[0]!.parts.length, 3);
    await settleAll(whole);
    await settleAll(await take(again, { target: eu }));
    const stats = await again.stats();
    [one, two] = stats.targets;
    assert.deepEqual([one!.books.traces.delivered, two!.books.traces.delivered], [16, 30]);
    assert.deepEqual([stats.records, stats.bytes], [0, 0]);
    assertBalanced(stats);
  });

  promise(durable, "a retry for one target waits by itself, and is hastened by itself", async ({ open }) => {
    await using queue = await open({ targets: [EU, US] });
    const [eu, us] = [queue.target("eu"), queue.target("us")];
    await queue.append(record(1, { targets: [eu, us] }));
    for (const target of [eu, us]) {
      await settleAll(await take(queue, { target }), { kind: "retry", afterMs: 3_600_000, cause: "503" });
    }
    const taken = take(queue, { target: us });
    queue.hasten("traces", eu);
    await settleAll(await take(queue, { target: eu }));
    queue.hasten("traces", us);
    await settleAll(await taken);
    assert.equal((await queue.stats()).records, 0);
  });

  promise(durable, "a required target that is full refuses its own senders alone, by name", async ({ open, log }) => {
    const cost = engine.cost(record(1, { bytes: 1_000 }));
    await using queue = await open({ targets: [EU, US, AUDIT], bytesMax: 10 * cost });
    const [eu, us, audit] = [queue.target("eu"), queue.target("us"), queue.target("audit")];
    for (let number = 0; number < 5; number++) {
      await queue.append(record(number, { bytes: 1_000, targets: [eu, audit] }));
    }
    const full = record(9, { bytes: 1_000, targets: [eu, us] });
    await assert.rejects(queue.append(full), { code: "queue_full", message: /full for eu/ });
    assert.match(queue.admits([eu], 1_000)!.message, /full for eu/);
    assert.equal(queue.admits([us], 1_000), undefined);
    // One that is not required is left out, which is told and counted.
    await queue.append(record(6, { bytes: 1_000, targets: [us, audit] }));
    assert.equal((await log.line(/full for audit, which is not required/)).level, "warn");
    await assert.rejects(queue.append(record(7, { bytes: 1_000, targets: [audit] })), { code: "queue_full" });
    const stats = await queue.stats();
    const of = (name: string) => stats.targets.find((target) => target.name === name)!;
    assert.deepEqual(["eu", "us", "audit"].map((name) => of(name).records), [5, 1, 5]);
    assert.deepEqual(["eu", "us", "audit"].map((name) => of(name).skipped), [0, 0, 3]);
    // Each payload is stored once.
    assert.deepEqual([stats.records, stats.bytes], [6, 6 * cost]);
    assertBalanced(stats);
  });

  promise(
    durable,
    "a target that is not configured any more keeps what it has, and start says so",
    async ({ open, log }) => {
      const queue = await open({ targets: [EU, US] });
      const us = queue.target("us");
      for (const number of [1, 2]) await queue.append(record(number, { targets: [us] }));
      await queue[Symbol.asyncDispose]();
      const without = await open({ targets: [EU] });
      const { level, fields } = await log.line(/Target us is not configured/);
      assert.deepEqual([level, fields.records], ["warn", 2]);
      assert.throws(() => without.target("us"), RangeError);
      const [kept] = (await without.stats()).targets.filter(({ name }) => name === "us");
      assert.deepEqual([kept!.configured, kept!.records], [false, 2]);
      await without[Symbol.asyncDispose]();
      await using again = await open({ targets: [US] });
      assert.equal(again.target("us"), us, "its number is its own");
      const deliveries = [];
      while (deliveries.length < 2) deliveries.push(...await take(again, { target: us }));
      await settleAll(deliveries);
      assertBalanced(await again.stats());
    },
  );

  promise(
    durable,
    "a backlog of several targets is taken in order by each, however far the other is",
    async ({ open }) => {
      let queue = await open({ targets: [EU, US], bytesMax: 1 << 30 });
      const [eu, us] = [queue.target("eu"), queue.target("us")];
      const shapes = [[eu], [eu, us], [us]];
      const of = (target: number) =>
        Array.from({ length: 3_000 }, (_, number) => number).filter((number) => shapes[number % 3]!.includes(target));
      await Promise.all(
        Array.from(
          { length: 3_000 },
          (_, number) => queue.append(record(number, { targets: shapes[number % 3]!, bytes: 900 })),
        ),
      );
      const drain = async (target: number, count: number) => {
        const seen: number[] = [];
        while (seen.length < count) {
          const deliveries = await take(queue, { target, recordsMax: 100 });
          seen.push(...deliveries.map(numberOf));
          await settleAll(deliveries);
        }
        return seen;
      };
      const some = await drain(eu, 1_000);
      assert.deepEqual(some, of(eu).slice(0, some.length));
      await queue[Symbol.asyncDispose]();
      queue = await open({ targets: [EU, US], bytesMax: 1 << 30 });
      await using _ = queue;
      assert.deepEqual([...some, ...await drain(eu, 2_000 - some.length)], of(eu));
      assert.deepEqual(await drain(us, 2_000), of(us));
      const stats = await queue.stats();
      assert.deepEqual([stats.records, stats.bytes], [0, 0]);
      assertBalanced(stats);
    },
  );

  promise(
    !durable,
    "the required target's answer is the sender's; another has the record as well, and delays nobody",
    async ({ open }) => {
      await using queue = await open({ targets: [AUDIT, EU] });
      const [eu, audit] = [queue.target("eu"), queue.target("audit")];
      const accepted = queue.append(record(1, { targets: [audit, eu] }));
      await settleAll(await take(queue, { target: eu }));
      assert.deepEqual(await accepted, {});
      await settleAll(await take(queue, { target: audit }), { kind: "retry", cause: "503" });
      const refused = assert.rejects(queue.append(record(2, { targets: [eu, audit] })), {
        code: "upstream_unavailable",
      });
      await settleAll(await take(queue, { target: audit }));
      await settleAll(await take(queue, { target: eu }), { kind: "retry", cause: "503" });
      await refused;
      const stats = await queue.stats();
      assert.deepEqual(stats.targets.map(({ name, books }) => [name, books.traces.delivered]), [["audit", 3], [
        "eu",
        3,
      ]]);
      assertBalanced(stats);
    },
  );

  promise(shared, "several openers take each record once, and all see the books of all", async ({ open }) => {
    await using one = await open();
    await using two = await open();
    await using three = await open();
    const queues = [one, two, three];
    const numbers = Array.from({ length: 300 }, (_, number) => number);
    await Promise.all(numbers.map((number) => queues[number % 3]!.append(record(number))));
    const abort = new AbortController();
    const seen: number[] = [];
    const takers = queues.map(async (queue) => {
      for (;;) {
        const deliveries = await queue.take({ ...LIMIT, recordsMax: 7 }, abort.signal);
        if (deliveries.length === 0) return;
        seen.push(...deliveries.map(numberOf));
        await settleAll(deliveries);
      }
    });
    while ((await statsOf(two)).records > 0);
    abort.abort();
    await Promise.all(takers);
    assert.deepEqual(seen.sort((a, b) => a - b), numbers);
    for (const queue of queues) {
      const stats = await statsOf(queue);
      assert.deepEqual([stats.books.traces.accepted, stats.books.traces.delivered, stats.bytes], [900, 900, 0]);
      assertBalanced(stats);
    }
  });

  promise(shared, "what an opener had when it went is taken by another; its late settle is void", async ({ open }) => {
    await using other = await open();
    const queue = await open();
    for (const number of [1, 2, 3]) await queue.append(record(number));
    const [mine] = await take(queue, { recordsMax: 1 });
    await queue[Symbol.asyncDispose]();
    const deliveries = await takeAll(other, 3);
    assert.deepEqual(deliveries.map(numberOf), [1, 2, 3]);
    await assert.rejects(mine!.settle([{ kind: "delivered" }]), { code: "shutting_down" });
    await settleAll(deliveries);
    const stats = await statsOf(other);
    assert.deepEqual([stats.books.traces.delivered, stats.records], [9, 0]);
    assertBalanced(stats);
  });

  promise(durable && !shared, "a second opener of the same storage is refused", async ({ open }) => {
    await using queue = await open();
    await assert.rejects(open(), { name: "StorageError", code: "locked", message: /another relay has it open/ });
    await queue.append(record(1));
  });
}

/** accepted = delivered + rejected + dead-lettered + expired + abandoned + queued, for each signal of each target. */
export function assertBalanced({ targets }: Pick<QueueStats, "targets">): void {
  for (const { name: target, books } of targets) {
    for (const name of SIGNAL_NAMES) {
      const { accepted, delivered, rejectedByCollector, deadLettered, expired, abandoned, queued } = books[name];
      const sum = delivered + rejectedByCollector + deadLettered + expired + abandoned + queued;
      assert.equal(accepted, sum, `the books of ${name} for ${target}`);
    }
  }
}
