import assert from "node:assert/strict";
import { DataPointType, MeterProvider, type MetricData } from "@opentelemetry/sdk-metrics";
import { createMetrics, type Instrument, INSTRUMENTS, type QueueState } from "../../src/telemetry/metrics.ts";
import { MetricCollector } from "../support/relay/telemetry.ts";

function setup(now?: () => number) {
  const reader = new MetricCollector();
  const metrics = createMetrics(new MeterProvider({ readers: [reader] }), now);
  const collect = (): Promise<Map<string, MetricData>> => reader.byName();
  const values = async (name: string): Promise<Record<string, unknown>> => {
    const data = (await collect()).get(name);
    return Object.fromEntries(
      (data?.dataPoints ?? []).map((point) => [JSON.stringify(point.attributes), point.value]),
    );
  };
  return { metrics, collect, values };
}

const QUEUE: QueueState = {
  records: 3,
  bytes: 4_000,
  bytesMax: 10_000,
  drainS: 12.5,
  oldestAt: 1_000,
  inFlight: 1,
  storageWaitMs: 0,
  deadLetters: { records: 2, bytes: 77 },
  targets: [{
    name: "default",
    records: 3,
    bytes: 4_000,
    bytesMax: 10_000,
    oldestAt: 1_000,
    skipped: 0,
    books: {
      traces: {
        accepted: 21,
        delivered: 6,
        rejectedByCollector: 5,
        deadLettered: 4,
        expired: 3,
        abandoned: 0,
        queued: 3,
      },
      metrics: {
        accepted: 1,
        delivered: 1,
        rejectedByCollector: 0,
        deadLettered: 0,
        expired: 0,
        abandoned: 0,
        queued: 0,
      },
      logs: { accepted: 0, delivered: 0, rejectedByCollector: 0, deadLettered: 0, expired: 0, abandoned: 0, queued: 0 },
      profiles: {
        accepted: 0,
        delivered: 0,
        rejectedByCollector: 0,
        deadLettered: 0,
        expired: 0,
        abandoned: 0,
        queued: 0,
      },
    },
  }],
};

const CERTIFICATE = { role: "client", subject: "CN=client-app", fingerprintSha256: "AB:CD", daysLeft: 12 };

Deno.test("what is reported is exported under the names, units and attributes of the table", async () => {
  const { metrics, collect } = setup();
  metrics.accepted("traces", 5, "shop");
  metrics.refused("queue_full", "traces", 2, "shop");
  metrics.redacted({ signal: "traces", key: "user.*", action: "hash", dryRun: false }, 3);
  metrics.appended("traces", 1);
  metrics.deadLettered("traces", 1);
  metrics.sent("traces", { items: 5, requests: 1, bytes: 10, durationMs: 1 });
  metrics.rejected("traces", 1);
  metrics.failed("traces", "refused_connection");
  metrics.droppedConnection("max_connections");
  metrics.observeReceiver(() => ({ inFlightBytes: 5, connections: 2 }));
  metrics.moved({ signal: "traces", from: "a", to: "b", fault: "timeout", maybeBoth: true });
  metrics.observeQueue(() => ({ ...QUEUE, targets: [...QUEUE.targets, { ...QUEUE.targets[0]!, name: "audit" }] }));
  metrics.observeExporters(() => ({
    failures: [{ target: "audit", signal: "traces", failures: 1 }],
    up: [{ exporter: "a", signal: "traces", up: false }],
  }));
  metrics.observeFleet(() => ({ relays: { both: 1 }, keptBy: "disk" }));
  metrics.observeCertificates(() => [CERTIFICATE]);
  const collected = await collect();
  assert.deepEqual([...collected.keys()].sort(), Object.keys(INSTRUMENTS).sort());
  for (const [name, row] of Object.entries<Instrument>(INSTRUMENTS)) {
    const data = collected.get(name);
    assert.equal(data?.descriptor.unit, row.unit, name);
    assert.equal(data?.descriptor.description, row.description, name);
    for (const point of data?.dataPoints ?? []) {
      for (const attribute of Object.keys(point.attributes)) assert.ok(row.attributes.includes(attribute), name);
      assert.equal(Object.keys(point.attributes).length, row.attributes.length, name);
    }
    assert.ok((data?.dataPoints.length ?? 0) > 0, name);
  }
});

Deno.test("counters add up by signal and start at zero, so that a rate exists from the first item on", async () => {
  const { metrics, values } = setup();
  assert.deepEqual(await values("edgeferry_receiver_accepted_items"), {
    '{"signal":"traces"}': 0,
    '{"signal":"metrics"}': 0,
    '{"signal":"logs"}': 0,
    '{"signal":"profiles"}': 0,
  });
  metrics.accepted("traces", 5);
  metrics.accepted("traces", 7);
  metrics.accepted("logs", 1);
  assert.deepEqual(await values("edgeferry_receiver_accepted_items"), {
    '{"signal":"traces"}': 12,
    '{"signal":"metrics"}': 0,
    '{"signal":"logs"}': 1,
    '{"signal":"profiles"}': 0,
  });
  assert.deepEqual(await values("edgeferry_receiver_accepted_requests"), {
    '{"signal":"traces"}': 2,
    '{"signal":"metrics"}': 0,
    '{"signal":"logs"}': 1,
    '{"signal":"profiles"}': 0,
  });
});

Deno.test("refusals count by reason, without a signal where there is none, and items only where they were counted", async () => {
  const { metrics, values } = setup();
  metrics.refused("not_found", undefined);
  metrics.refused("queue_full", "metrics", 40);
  metrics.refused("queue_full", "metrics", 2);
  assert.deepEqual(await values("edgeferry_receiver_refused_requests"), {
    '{"reason":"not_found"}': 1,
    '{"reason":"queue_full","signal":"metrics"}': 2,
  });
  assert.deepEqual(await values("edgeferry_receiver_refused_items"), {
    '{"reason":"queue_full","signal":"metrics"}': 42,
  });
});

Deno.test("durations are in seconds, in the table's buckets", async () => {
  const { metrics, collect } = setup();
  metrics.appended("traces", 3);
  const data = (await collect()).get("edgeferry_queue_append_duration");
  const value = data?.dataPoints[0]?.value;
  assert.ok(typeof value === "object" && "buckets" in value);
  assert.equal(value.sum, 0.003);
  assert.deepEqual(value.buckets.boundaries, INSTRUMENTS.edgeferry_queue_append_duration.boundaries);
  assert.equal(value.buckets.counts[value.buckets.boundaries.indexOf(0.005)], 1);
});

Deno.test("the queue's gauges are read at each collection; an empty queue has age 0 and a clock set back none below", async () => {
  let nowMs = 3_500;
  const { metrics, values } = setup(() => nowMs);
  let state = QUEUE;
  metrics.observeQueue(() => Promise.resolve(state));
  assert.deepEqual(await values("edgeferry_queue_size"), { "{}": 4_000 });
  assert.deepEqual(await values("edgeferry_queue_oldest_age"), { "{}": 2.5 });
  assert.deepEqual(await values("edgeferry_queue_drain_time"), { "{}": 12.5 });
  nowMs = 0;
  assert.deepEqual(await values("edgeferry_queue_oldest_age"), { "{}": 0 });
  state = { ...QUEUE, records: 0, bytes: 0, oldestAt: undefined };
  assert.deepEqual(await values("edgeferry_queue_size"), { "{}": 0 });
  assert.deepEqual(await values("edgeferry_queue_oldest_age"), { "{}": 0 });
});

Deno.test("the gauges move on when the clock is set back, and are gauges wherever they go", async () => {
  const { metrics, collect } = setup();
  let state = QUEUE;
  metrics.observeQueue(() => state);
  const size = async () => {
    const data = (await collect()).get("edgeferry_queue_size");
    return [data?.dataPointType, data?.dataPoints.map(({ value }) => value)];
  };
  assert.deepEqual(await size(), [DataPointType.GAUGE, [4_000]]);
  const { now } = Date;
  try {
    Date.now = () => now() - 86_400_000;
    for (const bytes of [7, 3_000, 0]) {
      state = { ...QUEUE, bytes };
      assert.deepEqual(await size(), [DataPointType.GAUGE, [bytes]]);
    }
  } finally {
    Date.now = now;
  }
});

Deno.test("what is of targets is told where there are several, each by its name", async () => {
  const { metrics, values } = setup(() => 3_500);
  let state = QUEUE;
  metrics.observeQueue(() => state);
  assert.deepEqual(await values("edgeferry_target_size"), {});
  state = { ...QUEUE, targets: [QUEUE.targets[0]!, { ...QUEUE.targets[0]!, name: "audit", bytes: 7, skipped: 4 }] };
  assert.deepEqual(await values("edgeferry_target_size"), { '{"target":"default"}': 4_000, '{"target":"audit"}': 7 });
  assert.deepEqual(await values("edgeferry_target_oldest_age"), {
    '{"target":"default"}': 2.5,
    '{"target":"audit"}': 2.5,
  });
  assert.deepEqual(await values("edgeferry_target_skipped_items"), {
    '{"target":"default"}': 0,
    '{"target":"audit"}': 4,
  });
  for (const maybeBoth of [true, false, true]) {
    metrics.moved({ signal: "traces", from: "a", to: "b", fault: "timeout", maybeBoth });
  }
  assert.deepEqual(await values("edgeferry_exporter_moved_requests"), {
    '{"fault":"timeout","from":"a","maybe_both":"true","signal":"traces","to":"b"}': 2,
    '{"fault":"timeout","from":"a","maybe_both":"false","signal":"traces","to":"b"}': 1,
  });
});

Deno.test("the books are exported by account and signal", async () => {
  const { metrics, values } = setup();
  metrics.observeQueue(() => QUEUE);
  const books = await values("edgeferry_books_items");
  assert.equal(Object.keys(books).length, 28);
  const traces = ["accepted", "delivered", "rejected_by_collector", "dead_lettered", "expired", "queued"]
    .map((account) => books[JSON.stringify({ account, signal: "traces", target: "default" })]);
  assert.deepEqual(traces, [21, 6, 5, 4, 3, 3]);
  assert.equal(books['{"account":"delivered","signal":"metrics","target":"default"}'], 1);
});

Deno.test("the days left of each certificate, by its role and fingerprint; one that has ended is below zero", async () => {
  const { metrics, values } = setup();
  metrics.observeCertificates(() => [CERTIFICATE, { ...CERTIFICATE, role: "ca", subject: "CN=CA", daysLeft: -1 }]);
  assert.deepEqual(await values("edgeferry_certificate_days_left"), {
    '{"role":"client","subject":"CN=client-app","fingerprint":"abcd"}': 12,
    '{"role":"ca","subject":"CN=CA","fingerprint":"abcd"}': -1,
  });
});

Deno.test("without a queue there are no gauges, and the rest is exported", async () => {
  const { collect } = setup();
  const collected = await collect();
  assert.equal(collected.get("edgeferry_queue_size")?.dataPoints.length ?? 0, 0);
  assert.ok(collected.has("edgeferry_receiver_accepted_items"));
});

Deno.test("faults without end make no series without end", async () => {
  const { metrics, values } = setup();
  for (let i = 0; i < 100; i++) metrics.failed("logs", `fault ${i}`);
  const failures = await values("edgeferry_exporter_send_failures");
  assert.equal(Object.keys(failures).length, 65);
  assert.equal(failures['{"fault":"other","signal":"logs"}'], 36);
});

Deno.test("a second reader does not take from the first", async () => {
  const [first, second] = [new MetricCollector(), new MetricCollector()];
  const metrics = createMetrics(new MeterProvider({ readers: [first, second] }));
  metrics.sent("traces", { items: 9, requests: 1, bytes: 1, durationMs: 1 });
  for (const reader of [first, second, first]) {
    assert.equal((await reader.byName()).get("edgeferry_exporter_sent_items")?.dataPoints[0]?.value, 9);
  }
});

Deno.test("each sender is counted under its name, as many of them as there is room for", async () => {
  const { metrics, collect } = setup();
  metrics.accepted("traces", 5, "shop");
  metrics.accepted("traces", 2, "shop");
  metrics.accepted("logs", 1, "shop");
  metrics.refused("throttled", "traces", undefined, "shop");
  metrics.refused("unauthenticated", "traces");
  const of = async (name: string) =>
    (await collect()).get(name)?.dataPoints.map(({ attributes, value }) => ({ ...attributes, value }));
  assert.deepEqual(await of("edgeferry_sender_accepted_items"), [
    { sender: "shop", signal: "traces", value: 7 },
    { sender: "shop", signal: "logs", value: 1 },
  ]);
  assert.deepEqual(await of("edgeferry_sender_refused_requests"), [{ sender: "shop", reason: "throttled", value: 1 }]);
  for (let index = 0; index < 1_500; index++) metrics.accepted("traces", 1, `s${index}`);
  const points = await of("edgeferry_sender_accepted_requests");
  assert.deepEqual(points?.length, 1_002);
  assert.deepEqual(points?.at(-1), { sender: "other", signal: "traces", value: 501 });
  // Names that an issuer of tokens makes have a room of their own, and take none of the others'.
  for (let index = 0; index < 500; index++) metrics.accepted("traces", 1, `jwt:s${index}`);
  metrics.accepted("traces", 1, "certificate:edge");
  const more = await of("edgeferry_sender_accepted_requests");
  assert.equal(more?.length, 1_002 + 250 + 1 + 1);
  assert.deepEqual(more?.slice(-2), [
    { sender: "jwt:other", signal: "traces", value: 250 },
    { sender: "certificate:edge", signal: "traces", value: 1 },
  ]);
});
