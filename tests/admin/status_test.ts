import assert from "node:assert/strict";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { History } from "../../src/admin/history.ts";
import { Reading, sampleOf } from "../../src/admin/reading.ts";
import { statusOf, type StatusParts } from "../../src/admin/status.ts";
import { faultNamed } from "../../src/diagnosis/faults.ts";
import { bySignal, type SignalName } from "../../src/signal.ts";
import { createMetrics, type RelayMetrics } from "../../src/telemetry/metrics.ts";
import { MetricCollector } from "../support/relay/telemetry.ts";
import { AT } from "./status_fixture.ts";

const NONE = {
  accepted: 0,
  delivered: 0,
  rejectedByCollector: 0,
  deadLettered: 0,
  expired: 0,
  abandoned: 0,
  queued: 0,
};

async function status(report: (metrics: RelayMetrics) => void, more: Partial<StatusParts> = {}) {
  const reader = new MetricCollector();
  const metrics = createMetrics(new MeterProvider({ readers: [reader] }));
  const history = new History([1]);
  history.add(sampleOf(new Reading((await reader.collect()).resourceMetrics), AT - 10_000));
  report(metrics);
  const reading = new Reading((await reader.collect()).resourceMetrics);
  history.add(sampleOf(reading, AT));
  return statusOf({
    at: AT,
    startedAt: AT - 10_000,
    version: "0.1.0",
    durable: true,
    health: { ready: true, reasons: [], warnings: [], listeners: [], certificates: undefined },
    exporter: {
      failures: () => 0,
      lastFailure: () => undefined,
      urlOf: (signal) => `https://collector.example/v1/${signal}`,
    },
    history,
    reading,
    lastUses: (senders) => new Map(senders.has("busy") ? [["busy", AT - 5_000]] : []),
    range: "1h",
    deadLetters: { groups: [], groupsMore: 0, ungrouped: 0, path: undefined },
    ...more,
  });
}

Deno.test("the books are said to balance only where they do", async () => {
  const books = bySignal(() => NONE);
  const { signals, queue } = await status((metrics) =>
    metrics.observeQueue(() => ({
      records: 2,
      bytes: 100,
      bytesMax: 1_000,
      drainS: undefined,
      oldestAt: AT,
      inFlight: 1,
      storageWaitMs: 0,
      deadLetters: { records: 1, bytes: 5 },
      targets: [{
        name: "default",
        records: 1,
        bytes: 100,
        bytesMax: 1_000,
        oldestAt: AT,
        skipped: 0,
        books: {
          ...books,
          traces: {
            ...NONE,
            accepted: 9,
            delivered: 4,
            rejectedByCollector: 1,
            deadLettered: 1,
            expired: 1,
            abandoned: 1,
            queued: 1,
          },
          logs: { ...NONE, accepted: 9, delivered: 8 },
        },
      }],
    }))
  );
  assert.deepEqual(signals.map(({ signal, balanced }) => [signal, balanced]), [
    ["traces", true],
    ["metrics", true],
    ["logs", false],
    ["profiles", true],
  ]);
  assert.deepEqual([queue.records, queue.inFlight, queue.bytes, queue.bytesMax], [2, 1, 100, 1_000]);
});

Deno.test("of several targets each has its books: what all accepted together has come once", async () => {
  const target = (name: string, traces: Partial<typeof NONE>) => ({
    name,
    records: 1,
    bytes: 100,
    bytesMax: 1_000,
    oldestAt: AT,
    skipped: 0,
    books: { ...bySignal(() => NONE), traces: { ...NONE, ...traces } },
  });
  const { signals: [traces, metrics] } = await status((metrics) =>
    metrics.observeQueue(() => ({
      records: 1,
      bytes: 100,
      bytesMax: 1_000,
      drainS: undefined,
      oldestAt: AT,
      inFlight: 0,
      storageWaitMs: 0,
      deadLetters: { records: 0, bytes: 0 },
      // Together they would balance.
      targets: [target("eu", { accepted: 9, delivered: 10 }), target("us", { accepted: 9, delivered: 5, queued: 3 })],
    }))
  );
  assert.deepEqual(
    traces!.targets.map(({ target, accepted, delivered, queued, balanced }) => ({
      target,
      accepted,
      delivered,
      queued,
      balanced,
    })),
    [
      { target: "eu", accepted: 9, delivered: 10, queued: 0, balanced: false },
      { target: "us", accepted: 9, delivered: 5, queued: 3, balanced: false },
    ],
  );
  assert.equal(traces!.balanced, false);
  assert.deepEqual(metrics!.targets, [], "of which no target has anything");
});

Deno.test("senders have their rates and refusals, the busiest first; what nobody had proved stands apart", async () => {
  const { senders, sendersMore, refused } = await status((metrics) => {
    metrics.accepted("traces", 10, "quiet");
    metrics.accepted("traces", 100, "busy");
    metrics.refused("throttled", "traces", undefined, "busy");
    metrics.refused("throttled", "logs", undefined, "busy");
    metrics.refused("too_large", "logs", undefined, "busy");
    metrics.refused("forbidden", "logs", undefined, "refused only");
    metrics.refused("unauthenticated", "logs");
    metrics.refused("not_found", undefined);
    metrics.refused("unauthenticated", "traces");
  });
  assert.deepEqual(senders, [
    {
      sender: "busy",
      itemsPerSecond: 10,
      requestsPerSecond: 0.1,
      items: 100,
      lastUse: AT - 5_000,
      refused: [["throttled", 2], ["too_large", 1]],
    },
    { sender: "quiet", itemsPerSecond: 1, requestsPerSecond: 0.1, items: 10, lastUse: undefined, refused: [] },
    {
      sender: "refused only",
      itemsPerSecond: 0,
      requestsPerSecond: 0,
      items: 0,
      lastUse: undefined,
      refused: [["forbidden", 1]],
    },
  ]);
  assert.equal(sendersMore, 0);
  assert.deepEqual(refused, [["unauthenticated", 2], ["not_found", 1]]);
});

Deno.test("of many senders the busiest are shown, and how many more there are", async () => {
  const { senders, sendersMore } = await status((metrics) => {
    for (let index = 1; index <= 50; index++) metrics.accepted("logs", index, `s${index}`);
  });
  assert.deepEqual([senders.length, senders[0]?.sender, sendersMore], [20, "s50", 30]);
});

Deno.test("signals that fare alike on the way to the Collector are one row", async () => {
  const fault = faultNamed("connection_refused");
  const failing = new Set<SignalName>(["metrics", "profiles"]);
  const { ways } = await status((metrics) => {
    metrics.sent("traces", { items: 1, requests: 1, bytes: 1, durationMs: 1 });
    metrics.deadLettered("logs", 1);
  }, {
    exporter: {
      failures: (signal) => failing.has(signal) ? signal.length : 0,
      lastFailure: (signal) => failing.has(signal) ? { at: signal.length, fault, cause: "x", retryAt: AT } : undefined,
      urlOf: (signal) => `https://collector.example/v1/${signal}`,
    },
  });
  assert.deepEqual(ways.map(({ signals, state, failures, url, last }) => [signals, state, failures, url, last?.at]), [
    [["traces"], "takes", 0, "https://collector.example/v1/traces", undefined],
    [["metrics", "profiles"], "failing", 8, "https://collector.example", 8],
    [["logs"], "refuses", 0, "https://collector.example/v1/logs", undefined],
  ]);
});

Deno.test("each target of several has ways of its own, and their state", async () => {
  const sending = (failures: number, host: string) => ({
    failures: () => failures,
    lastFailure: () => undefined,
    urlOf: () => `https://${host}/v1/traces`,
  });
  const { ways } = await status(() => {}, {
    exporter: {
      ...sending(2, "eu.example"),
      targets: [
        { name: "eu", exporter: sending(0, "eu.example") },
        { name: "audit", exporter: sending(2, "audit.example") },
      ],
    },
  });
  assert.deepEqual(ways.map(({ target, state, failures, url }) => [target, state, failures, url]), [
    ["eu", "idle", 0, "https://eu.example"],
    ["audit", "failing", 2, "https://audit.example"],
  ]);
});
