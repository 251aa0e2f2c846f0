/**
 * Several real Collectors behind one relay, each killed, frozen and brought back under load: nothing that was answered 200 is missing on
 * any target that is required, and the books of each balance.
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { moveTarget } from "../../src/queue/sqlite/move_target.ts";
import { NumberedSenders } from "../support/bodies/numbered_senders.ts";
import { type FarEnd, startRealFarEnd } from "../support/far_end/far_end.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { readBooks } from "../support/relay/queue_file.ts";
import { RestartableRelay, type Settings } from "../support/relay/restartable_relay.ts";

/** Longer than the exporter's timeout of 2 s. */
const FROZEN_MS = 3_000;
const DRAIN_MS = 120_000;

interface Scene extends AsyncDisposable {
  readonly one: FarEnd;
  readonly two: FarEnd;
  readonly relay: RestartableRelay;
  readonly senders: NumberedSenders;
  /** So many requests more are answered 200. */
  more(count: number): Promise<void>;
  /** Sends no more. */
  stop(): Promise<void>;
  /** Sends no more, and waits until nothing is queued for any target. */
  drain(): Promise<void>;
  /** Samples of an instrument whose labels say all of this. */
  value(name: string, ...labels: string[]): Promise<number>;
}

async function scene(settings: Settings, seed: number, poisoned = 0): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const certs = stack.use(await testCertificates());
  const [one, two] = await Promise.all([startRealFarEnd(certs), startRealFarEnd(certs)]);
  stack.use(one);
  stack.use(two);
  const relay = stack.use(
    await RestartableRelay.start({
      certs,
      collectorUrl: one.url,
      settings: {
        exporters: { one: { endpoint: one.url }, two: { endpoint: two.url } },
        sending_queue: { batch: { max_size: 16 * 1024 } },
        ...settings,
      },
    }),
  );
  const senders = new NumberedSenders({
    seed,
    url: () => relay.url,
    senders: 3,
    spansMax: 8,
    poisoned,
    poisons: ["fails"],
  });
  let stopped: Promise<void> | undefined;
  const stop = () => stopped ??= senders.stop();
  stack.defer(stop);
  const value: Scene["value"] = async (name, ...labels) => {
    const page = /page=(\S+)/.exec(await relay.line(/ page=/))![1]!;
    const answer = await fetch(`${page}metrics`);
    const lines = (await answer.text()).split("\n");
    return lines.filter((line) =>
      new RegExp(`^${name}(_total)?[{ ]`).test(line) && labels.every((label) => line.includes(label))
    )
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf("} ") + 2).split(" ")[0]), 0);
  };
  const owned = stack.move();
  return {
    one,
    two,
    relay,
    senders,
    more: (count) => senders.answered(senders.answered200 + count),
    stop,
    async drain() {
      await stop();
      const deadline = performance.now() + DRAIN_MS;
      while (await value("edgeferry_books_items", 'account="queued"') > 0) {
        assert(performance.now() < deadline, `Something is still queued:\n${relay.lines.slice(-20).join("\n")}`);
        await delay(100);
      }
    },
    value,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Every span that has arrived, and how often. */
function arrived(...ends: readonly FarEnd[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { spans } of ends.flatMap(({ receipts }) => receipts)) {
    for (const { id, intact } of spans) {
      assert(intact, `${id} is not as it was sent`);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  return counts;
}

function missing(at: Scene, ...ends: readonly FarEnd[]): string[] {
  const there = arrived(...ends);
  return [...at.senders.written].filter((id) => !there.has(id));
}

async function checkBooks(at: Scene, target: string): Promise<void> {
  const account = (name: string) =>
    at.value("edgeferry_books_items", `account="${name}"`, `target="${target}"`, 'signal="traces"');
  const accepted = await account("accepted");
  assert(accepted >= at.senders.written.size && accepted > 0, `${target} accepted ${accepted}`);
  assert.equal(await account("delivered"), accepted, target);
}

for (const kind of ["failover", "balance"] as const) {
  Deno.test(`${kind}: each of two real Collectors is killed, frozen and brought back, and nothing is missing`, async () => {
    const members = kind === "failover" ? ["one", "two"] : { one: 2, two: 1 };
    await using at = await scene({ groups: { all: { [kind]: members } }, routes: [{ exporters: ["all"] }] }, 17);
    const { one, two } = at;
    await at.more(60);
    if (kind === "failover") assert.equal(two.receipts.length, 0, "the second has nothing while the first works");
    // By chance, so that only the time is bounded.
    else while (one.receipts.length === 0 || two.receipts.length === 0) await at.more(20);
    // While both are known to take data: what was sent to the one that is frozen is sent to the other, too, and that is told.
    const told = () => at.value("edgeferry_exporter_moved_requests", 'maybe_both="true"', 'from="one"');
    one.freeze();
    const deadline = performance.now() + DRAIN_MS;
    while (await told() === 0) {
      assert(performance.now() < deadline, "nothing has moved from the one that is frozen");
      await at.more(5);
    }
    one.thaw();
    for (const [struck, other] of [[two, one], [one, two]] as const) {
      await struck.crash();
      const before = other.receipts.length;
      await at.more(60);
      await struck.revive();
      await at.more(20);
      struck.freeze();
      await Promise.all([at.more(60), delay(FROZEN_MS)]);
      struck.thaw();
      await at.more(20);
      // While the other was known to be down, both were: then all waits, and comes when it is back.
      if (struck === two) assert(other.receipts.length > before, "the other has what the one could not take");
    }
    await at.drain();
    assert.deepEqual(missing(at, one, two), []);
    await checkBooks(at, "all");
    assert(await at.value("edgeferry_exporter_moved_requests", 'from="one"', 'to="two"') > 0);
    const twice = [...arrived(one).keys()].filter((id) => arrived(two).has(id));
    if (Deno.env.has("FIGURES")) {
      console.log(
        `${kind}: ${at.senders.written.size} spans answered 200, ${twice.length} on both, ${await told()} requests said to be maybe on both`,
      );
    }
  });
}

Deno.test("failover: while the first refuses all data and takes empty requests the next has it, each span once", async () => {
  await using at = await scene({ groups: { all: { failover: ["one", "two"] } }, routes: [{ exporters: ["all"] }] }, 22);
  const { one, two } = at;
  await at.more(20);
  assert.equal(two.receipts.length, 0);
  await one.trouble({ kind: "status", status: 400 });
  const deadline = performance.now() + DRAIN_MS;
  while (two.receipts.length === 0) {
    assert(performance.now() < deadline, `The next has nothing:\n${at.relay.lines.slice(-20).join("\n")}`);
    await at.more(5);
  }
  await at.more(60);
  await at.drain();
  assert.deepEqual(missing(at, one, two), []);
  assert.deepEqual([...arrived(one, two).values()].filter((count) => count > 1), []);
  // What was delivered is what was accepted: nothing was set aside.
  await checkBooks(at, "all");
  assert(await at.value("edgeferry_exporter_moved_requests", 'from="one"', 'fault="refuses_everything"') > 0);
});

Deno.test("fan-out: each of two real Collectors has everything, whatever becomes of the other", async () => {
  await using at = await scene({ routes: [{ exporters: ["one", "two"] }] }, 18);
  const { one, two } = at;
  await at.more(60);
  for (const [struck, other] of [[one, two], [two, one]] as const) {
    await struck.crash();
    const before = other.receipts.length;
    await at.more(60);
    assert(other.receipts.length > before, "one that is down holds back no other");
    await struck.revive();
    await at.more(20);
    struck.freeze();
    const frozen = other.receipts.length;
    await Promise.all([at.more(60), delay(FROZEN_MS)]);
    assert(other.receipts.length > frozen, "nor does one that is frozen");
    struck.thaw();
  }
  await one.trouble({ kind: "status", status: 503 });
  const failing = two.receipts.length;
  await at.more(60);
  assert(two.receipts.length > failing, "nor does one that refuses");
  await one.trouble(undefined);
  await at.drain();
  assert.deepEqual(missing(at, one), []);
  assert.deepEqual(missing(at, two), []);
  for (const target of ["one", "two"]) await checkBooks(at, target);
});

Deno.test("fan-out: what one Collector fails on waits for it alone, and the other has it", async () => {
  await using at = await scene({ routes: [{ exporters: ["one", "two"] }] }, 19, 0.1);
  const { one, two } = at;
  await two.mend();
  await at.more(150);
  await at.stop();
  const failing = [...at.senders.spans].filter(([id, poison]) => poison === "fails" && at.senders.written.has(id));
  assert(failing.length > 0);
  await untilQueued(at, "two", 0);
  assert.deepEqual(missing(at, two), []);
  await untilQueued(at, "one", failing.length);
  assert.equal(missing(at, one).length, failing.length, "and nothing beside it waits");
  await one.mend();
  await at.drain();
  assert.deepEqual(missing(at, one), []);
  for (const target of ["one", "two"]) await checkBooks(at, target);
});

Deno.test("a target that is removed, mistyped or renamed over a backlog loses nothing, and each is said", async () => {
  await using at = await scene({ routes: [{ exporters: ["one", "two"] }] }, 20);
  const { one, two, relay } = at;
  await two.crash();
  await at.more(60);
  await at.stop();
  await untilQueued(at, "one", 0);
  await relay.stop();
  const backlog = () => readBooks(relay.queuePath, "traces", "two").queued;
  const waiting = backlog();
  assert.equal(waiting, readBooks(relay.queuePath, "traces", "two").accepted);

  const exporters = { one: { endpoint: one.url } };
  await relay.configure({ exporters, routes: [{ exporters: ["one"] }] });
  await relay.start();
  await relay.line(/Target two is not configured, and what is queued for it stays/);
  await relay.stop();
  assert.equal(backlog(), waiting, "removed");

  await relay.configure({
    exporters: { ...exporters, two: { endpoint: two.url } },
    routes: [{ exporters: ["one", "tow"] }],
  });
  const mistyped = relay.launch();
  assert.equal((await mistyped.ended).success, false);
  assert.match(mistyped.lines.join("\n"), /tow.*two/s);
  assert.equal(backlog(), waiting, "mistyped");

  await relay.configure({
    exporters: { ...exporters, deux: { endpoint: two.url } },
    routes: [{ exporters: ["one", "deux"] }],
  });
  await relay.start();
  await relay.line(/Target two is not configured, and what is queued for it stays/);
  await relay.stop();
  assert.equal(backlog(), waiting, "renamed");
  const moved = await moveTarget(relay.queuePath, "two", "deux");
  assert.equal(moved.items, waiting);
  await two.revive();
  await relay.start();
  await at.drain();
  assert.deepEqual(missing(at, one), []);
  assert.deepEqual(missing(at, two), []);
});

/** Resolves when so many spans wait for a target. */
async function untilQueued(at: Scene, target: string, count: number): Promise<void> {
  const deadline = performance.now() + DRAIN_MS;
  for (;;) {
    const queued = await at.value("edgeferry_books_items", 'account="queued"', `target="${target}"`);
    if (queued === count) return;
    assert(performance.now() < deadline, `${queued} spans wait for ${target}, not ${count}`);
    await delay(100);
  }
}
