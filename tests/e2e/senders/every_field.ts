/** One request a signal with every field that OTLP 1.11 has for spans, data points and log records, as OTLP/JSON. */
import assert from "node:assert/strict";
import type { Attributes, SinkLogRecord, SinkPoint, SinkSpan } from "../../support/far_end/sink.ts";

const ATTRIBUTES = [
  { key: "text", value: { stringValue: "Grüße 🛒\u0000" } },
  { key: "yes", value: { boolValue: true } },
  { key: "least", value: { intValue: "-9223372036854775808" } },
  { key: "real", value: { doubleValue: 1e-300 } },
  { key: "infinite", value: { doubleValue: "-Infinity" } },
  { key: "bytes", value: { bytesValue: "AP8=" } },
  { key: "list", value: { arrayValue: { values: [{ intValue: "1" }, { stringValue: "b" }] } } },
  { key: "map", value: { kvlistValue: { values: [{ key: "k", value: { boolValue: false } }] } } },
  { key: "nothing", value: {} },
];
const EXPECTED: Attributes = {
  text: "Grüße 🛒\u0000",
  yes: true,
  least: -9223372036854775808n,
  real: 1e-300,
  infinite: -Infinity,
  bytes: Uint8Array.of(0, 255),
  list: [1n, "b"],
  map: { k: false },
  nothing: null,
};
const TRACE_ID = "5B8EFFF798038103D269B633813FC60C";
const SPAN_ID = "EEE19B7EC3C1B174";
const START = "1544712660000000000";
const END = "18446744073709551615";

function about(service: string) {
  return {
    resource: {
      attributes: [{ key: "service.name", value: { stringValue: service } }, ...ATTRIBUTES],
      droppedAttributesCount: 1,
    },
    schemaUrl: "https://example.test/resource",
  };
}
const scope = { name: "scope", version: "7", attributes: ATTRIBUTES, droppedAttributesCount: 2 };
const schemaUrl = "https://example.test/scope";

function traces(service: string) {
  const span = {
    traceId: TRACE_ID,
    spanId: SPAN_ID,
    parentSpanId: "EEE19B7EC3C1B173",
    traceState: "vendor=1",
    flags: 257,
    name: "all of it",
    kind: 5,
    startTimeUnixNano: START,
    endTimeUnixNano: END,
    attributes: ATTRIBUTES,
    droppedAttributesCount: 3,
    events: [{ timeUnixNano: START, name: "event", attributes: ATTRIBUTES, droppedAttributesCount: 4 }],
    droppedEventsCount: 5,
    links: [{
      traceId: TRACE_ID,
      spanId: "EEE19B7EC3C1B172",
      traceState: "vendor=2",
      attributes: ATTRIBUTES,
      droppedAttributesCount: 6,
      flags: 1,
    }],
    droppedLinksCount: 4294967295,
    status: { code: 2, message: "declined" },
  };
  const bare = { traceId: TRACE_ID, spanId: "EEE19B7EC3C1B171", name: "bare" };
  return { resourceSpans: [{ ...about(service), scopeSpans: [{ scope, schemaUrl, spans: [span, bare] }] }] };
}

function metrics(service: string) {
  const point = { startTimeUnixNano: START, timeUnixNano: END, attributes: ATTRIBUTES, flags: 1 };
  const exemplars = [{
    timeUnixNano: START,
    asDouble: 0.5,
    traceId: TRACE_ID,
    spanId: SPAN_ID,
    filteredAttributes: ATTRIBUTES,
  }];
  const spread = { ...point, exemplars, count: "3", sum: 4.5, min: 1, max: 2 };
  const described = (name: string) => ({ name, description: "What it is", unit: "By", metadata: ATTRIBUTES });
  const metrics = [
    { ...described("gauge"), gauge: { dataPoints: [{ ...point, asInt: "9223372036854775807", exemplars }] } },
    {
      ...described("sum"),
      sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: [{ ...point, asDouble: 0.1, exemplars }] },
    },
    {
      ...described("histogram"),
      histogram: {
        aggregationTemporality: 1,
        dataPoints: [{ ...spread, bucketCounts: ["1", "2"], explicitBounds: [1.5] }],
      },
    },
    {
      ...described("exponential"),
      exponentialHistogram: {
        aggregationTemporality: 1,
        dataPoints: [{
          ...spread,
          scale: -3,
          zeroCount: "2",
          zeroThreshold: 0.25,
          positive: { offset: -7, bucketCounts: ["0", "5"] },
          negative: { offset: 4, bucketCounts: ["6"] },
        }],
      },
    },
    {
      ...described("summary"),
      summary: { dataPoints: [{ ...point, count: END, sum: 3, quantileValues: [{ quantile: 0.5, value: 1.25 }] }] },
    },
    { name: "no value", gauge: { dataPoints: [{ timeUnixNano: END, flags: 1 }] } },
  ];
  return { resourceMetrics: [{ ...about(service), scopeMetrics: [{ scope, schemaUrl, metrics }] }] };
}

function logs(service: string) {
  const record = {
    timeUnixNano: START,
    observedTimeUnixNano: END,
    severityNumber: 24,
    severityText: "FATAL4",
    eventName: "opened",
    body: { kvlistValue: { values: ATTRIBUTES } },
    attributes: ATTRIBUTES,
    droppedAttributesCount: 7,
    flags: 1,
    traceId: TRACE_ID,
    spanId: SPAN_ID,
  };
  return {
    resourceLogs: [{ ...about(service), scopeLogs: [{ scope, schemaUrl, logRecords: [record, { body: {} }] }] }],
  };
}

export const everyField = {
  /** Gives one body a signal to `post`. @returns how much there is in them */
  async send(post: (path: string, body: string) => Promise<void>, service: string) {
    await post("/v1/traces", JSON.stringify(traces(service)));
    await post("/v1/metrics", JSON.stringify(metrics(service)));
    await post("/v1/logs", JSON.stringify(logs(service)));
    return { spans: 2, dataPoints: 6, logRecords: 2 };
  },

  /** Looks at what arrived: all of the values above. */
  check(held: {
    readonly spans: readonly SinkSpan[];
    readonly dataPoints: readonly SinkPoint[];
    readonly logRecords: readonly SinkLogRecord[];
  }): void {
    const span = held.spans.find(({ name }) => name === "all of it")!;
    const traceId = TRACE_ID.toLowerCase();
    assert.deepEqual({ ...span, resource: undefined, scope: undefined }, {
      resource: undefined,
      scope: undefined,
      traceId,
      spanId: "eee19b7ec3c1b174",
      parentSpanId: "eee19b7ec3c1b173",
      traceState: "vendor=1",
      flags: 257,
      name: "all of it",
      kind: 5,
      startTimeUnixNano: 1544712660000000000n,
      endTimeUnixNano: 2n ** 64n - 1n,
      attributes: EXPECTED,
      droppedAttributesCount: 3,
      events: [{
        timeUnixNano: 1544712660000000000n,
        name: "event",
        attributes: EXPECTED,
        droppedAttributesCount: 4,
      }],
      droppedEventsCount: 5,
      links: [{
        traceId,
        spanId: "eee19b7ec3c1b172",
        traceState: "vendor=2",
        flags: 1,
        attributes: EXPECTED,
        droppedAttributesCount: 6,
      }],
      droppedLinksCount: 4294967295,
      status: { code: 2, message: "declined" },
    });
    const scopeOf = { name: "scope", version: "7", attributes: EXPECTED, droppedAttributesCount: 2, schemaUrl };
    for (const item of [...held.spans, ...held.dataPoints, ...held.logRecords]) {
      assert.deepEqual({ ...item.resource.attributes, "service.name": undefined }, {
        ...EXPECTED,
        "service.name": undefined,
      });
      assert.equal(item.resource.droppedAttributesCount, 1);
      assert.equal(item.resource.schemaUrl, "https://example.test/resource");
      assert.deepEqual(item.scope, scopeOf);
    }

    const [gauge, sum, histogram, exponential, summary, none] = held.dataPoints;
    for (const point of [gauge, sum, histogram, exponential, summary]) {
      assert.deepEqual(point?.attributes, { ...EXPECTED, env: "dev" });
      assert.deepEqual([point?.flags, point?.timeUnixNano], [1, 2n ** 64n - 1n]);
      assert.deepEqual(point?.metric.metadata, EXPECTED);
    }
    assert(gauge?.kind === "gauge" && gauge.value === 9223372036854775807n);
    assert.deepEqual(gauge.exemplars, [{
      timeUnixNano: 1544712660000000000n,
      value: 0.5,
      traceId,
      spanId: "eee19b7ec3c1b174",
      filteredAttributes: EXPECTED,
    }]);
    assert(sum?.kind === "sum" && sum.value === 0.1 && sum.monotonic && sum.temporality === 2);
    assert(histogram?.kind === "histogram");
    assert.deepEqual([histogram.bucketCounts, histogram.explicitBounds, histogram.min], [[1n, 2n], [1.5], 1]);
    assert(exponential?.kind === "exponentialHistogram");
    assert.deepEqual(
      [exponential.scale, exponential.zeroCount, exponential.zeroThreshold, exponential.positive, exponential.negative],
      [-3, 2n, 0.25, { offset: -7, bucketCounts: [0n, 5n] }, { offset: 4, bucketCounts: [6n] }],
    );
    assert(summary?.kind === "summary" && summary.count === 2n ** 64n - 1n);
    assert.deepEqual(summary.quantiles, [{ quantile: 0.5, value: 1.25 }]);
    assert(none?.kind === "gauge" && none.value === undefined);

    const record = held.logRecords.find(({ eventName }) => eventName === "opened")!;
    assert.deepEqual(record.body, EXPECTED);
    assert.deepEqual(record.attributes, EXPECTED);
    assert.deepEqual(
      [record.severityNumber, record.severityText, record.traceId, record.droppedAttributesCount, record.flags],
      [24, "FATAL4", traceId, 7, 1],
    );
  },
};
