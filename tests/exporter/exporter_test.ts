import assert from "node:assert/strict";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../../src/signal.ts";
import type { Delivery, SendingQueue } from "../../src/queue/queue.ts";
import type { CollectorClient } from "../../src/exporter/client/client.ts";
import { Recoder } from "../../src/exporter/recode/recoder.ts";
import { Exporter, type ExporterEvents, type ExporterOptions } from "../../src/exporter/exporter.ts";
import { append, appendSpans, balanced, exporting, requestOf, submission } from "../support/relay/exporting.ts";

function numbered(count: number): string[][] {
  return Array.from({ length: count }, (_, index) => [`n${index}`]);
}

Deno.test("drain resolves when nothing is queued, of any signal", async () => {
  await using ends = await exporting();
  await ends.exporter.drain(1_000);
  for (const signal of SIGNAL_NAMES) await append(ends.queue, submission(signal, requestOf(signal, ["a"], ["b"])));
  await ends.exporter.drain(30_000);
  assert.equal((await ends.queue.stats()).records, 0);
  for (const signal of SIGNAL_NAMES) assert.equal((await balanced(ends.queue, signal)).delivered, 2);
});

Deno.test("drain does not wait for a Collector that takes nothing", async () => {
  await using ends = await exporting({
    retry: { initialMs: 60_000, maxMs: 60_000 },
    misbehave: () => ({ kind: "status", status: 503 }),
  });
  await appendSpans(ends.queue, ["a"]);
  const started = performance.now();
  await ends.exporter.drain(60_000);
  assert(performance.now() - started < 30_000);
  assert.equal((await balanced(ends.queue, "traces")).queued, 1);
});

Deno.test("drain sends what one signal has while another is refused", async () => {
  await using ends = await exporting({
    held: true,
    consumers: 1,
    batchBytesMax: 1,
    retry: { initialMs: 60_000, maxMs: 60_000 },
    misbehave: ({ signal }) => signal === "logs" ? { kind: "status", status: 404 } : undefined,
  });
  await append(ends.queue, submission("logs", requestOf("logs", ["log"])));
  await appendSpans(ends.queue, ...numbered(30));
  ends.start();
  await ends.told.find(({ event }) => event === "failed", "the refusal");
  await ends.exporter.drain(60_000);
  assert.equal((await balanced(ends.queue, "traces")).queued, 0);
  assert.equal((await balanced(ends.queue, "logs")).queued, 1);
});

Deno.test("drain gives up when its time is over, and keeps the rest", async () => {
  await using ends = await exporting({ misbehave: () => ({ kind: "silence" }) });
  await appendSpans(ends.queue, ["a"]);
  await ends.seen.until(() => ends.seen.entries.length === 1, "the request");
  await ends.exporter.drain(30);
  assert.equal((await ends.queue.stats()).inFlight, 1);
});

Deno.test("stop lets what is under way finish within its grace", async () => {
  const answered = Promise.withResolvers<void>();
  await using ends = await exporting({
    consumers: 1,
    misbehave: () => {
      answered.resolve();
      return undefined;
    },
  });
  await appendSpans(ends.queue, ["a"]);
  await answered.promise;
  await ends.exporter.stop(30_000);
  assert.equal((await balanced(ends.queue, "traces")).delivered, 1);
  await appendSpans(ends.queue, ["after"]);
  assert.deepEqual(ends.accepted, ["a"], "nothing is taken any more");
});

Deno.test("stop gives up attempts after its grace: nothing settled, no failure told, nothing lost", async () => {
  await using ends = await exporting({ misbehave: ({ number }) => number <= 1 ? { kind: "silence" } : undefined });
  await appendSpans(ends.queue, ["a"]);
  await ends.seen.until(() => ends.seen.entries.length === 1, "the request");
  await ends.exporter.stop(20);
  assert.deepEqual(ends.told.entries, []);
  assert.equal(ends.exporter.failures("traces"), 0);
  const stats = await ends.queue.stats();
  assert.deepEqual([stats.records, stats.inFlight], [1, 0]);
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted, ["a"]);
  assert.equal((await balanced(ends.queue, "traces")).delivered, 1);
});

Deno.test("stop while a breaker is open keeps what waits behind it", async () => {
  await using ends = await exporting({
    consumers: 1,
    batchBytesMax: 1,
    retry: { initialMs: 60_000, maxMs: 60_000 },
    misbehave: () => ({ kind: "status", status: 503 }),
  });
  await appendSpans(ends.queue, ...numbered(5));
  await ends.told.find(({ event }) => event === "failed", "a failure");
  await ends.exporter.stop(60_000);
  const stats = await ends.queue.stats();
  assert.deepEqual([stats.records, stats.inFlight], [5, 0]);
  assert.equal((await balanced(ends.queue, "traces")).queued, 5);
});

Deno.test("stopped twice, it is stopped", async () => {
  await using ends = await exporting();
  await Promise.all([ends.exporter.stop(0), ends.exporter.stop(0)]);
  await ends.exporter.running;
});

/** The queue, but that it hands out one delivery, whose settle does what it is told. */
function queueOf(queue: SendingQueue, settle: Delivery["settle"]): SendingQueue {
  const { encoding, mergeable, signal, payload, sender, items, inflatedBytes } = submission(
    "traces",
    requestOf("traces", ["a"]),
  );
  const parts = [{ sender, items, inflatedBytes, bytes: payload.length }];
  const record = { id: 1, target: 1, enqueuedAt: 0, signal, encoding, mergeable, parts, payload: payload.bytes };
  let taken = false;
  const take: SendingQueue["take"] = (limit, abort) => {
    if (limit.signal === "traces" && !taken) {
      taken = true;
      return Promise.resolve([{ ...record, settle }]);
    }
    return new Promise((resolve) => abort.addEventListener("abort", () => resolve([])));
  };
  return Object.assign(Object.create(queue), { capabilities: queue.capabilities, take });
}

const both = (one: () => void, other: () => void) => () => {
  one();
  other();
};

function exporterOf(
  queue: SendingQueue,
  client: CollectorClient,
  more: Partial<Pick<ExporterOptions, "clients" | "retry">> & Partial<Pick<ExporterEvents, "failed" | "recovered">> =
    {},
): Exporter {
  const nothing = () => {};
  const { failed = nothing, recovered = nothing, ...options } = more;
  return new Exporter({
    queue,
    target: 1,
    clients: bySignal(() => client),
    compression: bySignal(() => "passthrough"),
    recoder: new Recoder({ recodesInline: assert.fail }),
    consumers: 4,
    batchBytesMax: 1 << 20,
    retry: { initialMs: 1, maxMs: 1 },
    events: {
      sent: nothing,
      rejected: nothing,
      deadLettered: nothing,
      failed,
      recovered,
      members: nothing,
      silent: nothing,
      setApart: nothing,
      suspected: nothing,
      senderRefused: nothing,
      looking: nothing,
    },
    ...options,
  });
}

Deno.test("one signal that gets through wakes the others that waited for the same Collector", async () => {
  await using ends = await exporting({ held: true });
  const signals = ["traces", "metrics", "logs"] as const;
  for (const signal of signals) await append(ends.queue, submission(signal, requestOf(signal, ["a"])));
  let hasten = () => {};
  /** The one client, of which traces alone hear that they need wait no longer. */
  const clientOf = (signal: SignalName): CollectorClient =>
    new Proxy(ends.client, {
      get(client, key) {
        if (key === "whenReplaced") return (tell: () => void) => signal === "traces" && (hasten = both(hasten, tell));
        const value: unknown = Reflect.get(client, key, client);
        return typeof value === "function" ? value.bind(client) : value;
      },
    });
  const failed = bySignal(() => Promise.withResolvers<void>());
  const recovered = bySignal(() => Promise.withResolvers<void>());
  await ends.collector.stop();
  const exporter = exporterOf(ends.queue, ends.client, {
    clients: bySignal(clientOf),
    // Each would wait for half of it at least.
    retry: { initialMs: 3_600_000, maxMs: 3_600_000 },
    failed: (signal) => failed[signal].resolve(),
    recovered: (signal) => recovered[signal].resolve(),
  });
  await Promise.all(signals.map((signal) => failed[signal].promise));
  await ends.restartCollector();
  hasten();
  await Promise.all(signals.map((signal) => recovered[signal].promise));
  await exporter.drain(30_000);
  assert.equal((await ends.queue.stats()).records, 0);
  await exporter.stop(0);
});

Deno.test("a settle that is refused as a defect ends the exporter, and running says so", async () => {
  await using ends = await exporting({ held: true });
  const exporter = exporterOf(queueOf(ends.queue, () => Promise.reject(new RangeError("no such part"))), ends.client);
  await ends.seen.until(() => ends.seen.entries.length === 1, "the request");
  await assert.rejects(exporter.running, /no such part/);
  await exporter.stop(0);
});

Deno.test("stop does not wait for ever for storage that cannot take an outcome", async () => {
  await using ends = await exporting({ held: true });
  const exporter = exporterOf(queueOf(ends.queue, () => new Promise(() => {})), ends.client);
  await ends.seen.until(() => ends.seen.entries.length === 1, "the request");
  await exporter.stop(0);
});
