/** What becomes of data that the Collector does not take because of what is in it, by the queue's books and what arrived. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import type { Misbehaviour } from "../../src/collector/server.ts";
import { Batcher } from "../../src/queue/batcher.ts";
import { CUTTING_REQUESTS_MAX } from "../../src/exporter/inquest.ts";
import { MERGED_INFLATED_BYTES_MAX } from "../../src/exporter/lane.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startGrpcEnd } from "../support/far_end/grpc_end.ts";
import { encodeProtobuf } from "../support/bodies/requests.ts";
import {
  append,
  appendSpans,
  balanced,
  type Exporting,
  exporting,
  namesIn,
  requestOf,
  type Seen,
  submission,
} from "../support/relay/exporting.ts";

const POISON = "poison";

function numbered(count: number, prefix = "n"): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

function status(code: number): Misbehaviour {
  return { kind: "status", status: code, message: "told to" };
}

function poisoned({ names }: Seen): boolean {
  return names.some((name) => name.startsWith(POISON));
}

function data({ seen }: Exporting): Seen[] {
  return seen.entries.filter(({ probe }) => !probe);
}

/** Keeps each list of names as a request of one record that all share, each of a sender of its own. */
async function appendTogether({ queue }: Exporting, ...requests: readonly (readonly string[])[]): Promise<void> {
  const batcher = new Batcher(queue, { bytesMax: 4 << 20, inflatedBytesMax: MERGED_INFLATED_BYTES_MAX });
  await Promise.all(
    requests.map((names) =>
      batcher.append(submission("traces", requestOf("traces", names), { sender: `of ${names[0]}` }))
    ),
  );
}

/** Resolves when so many items have been delivered, by the books. */
async function delivered({ queue, told }: Exporting, items: number): Promise<void> {
  const sent = () => told.entries.reduce((sum, each) => each.event === "sent" ? sum + each.items : sum, 0);
  await told.until(() => sent() >= items, `${items} items`);
  // The books say so with the next transaction.
  const deadline = performance.now() + 30_000;
  for (;;) {
    const books = await balanced(queue, "traces");
    if (books.delivered >= items) return;
    assert(performance.now() < deadline, `Waited for ${items} items: ${JSON.stringify(books)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The pace of a sender that goes on, in ms: as fast as could be it takes a core from what it waits for. */
const PACE_MS = 20;

/** Another goes on sending, at a pace, until the books are as wanted. Returns how many it sent; they are numbered behind the prefix. */
async function othersUntil(
  ends: Exporting,
  prefix: string,
  wanted: (books: Awaited<ReturnType<typeof balanced>>) => boolean,
): Promise<number> {
  const deadline = performance.now() + 60_000;
  for (let others = 0;; others++) {
    const books = await balanced(ends.queue, "traces");
    if (wanted(books)) return others;
    assert(performance.now() < deadline, `After ${others} others: ${JSON.stringify(books)}`);
    const pace = new Promise((resolve) => setTimeout(resolve, PACE_MS));
    await appendSpans(ends.queue, [`${prefix}${others}`]);
    await ends.told.until(() => ends.accepted.includes(`${prefix}${others}`), "others, which go on");
    await pace;
  }
}

// --- failures that are a record's fault

const FAILURES: readonly [string, Misbehaviour][] = [
  ["500", status(500)],
  ["503", status(503)],
  ["a cut connection", { kind: "disconnect" }],
];

for (const [name, misbehaviour] of FAILURES) {
  Deno.test(`one that is answered by ${name} waits alone, and holds back nobody`, async () => {
    let mended = false;
    await using ends = await exporting({
      held: true,
      retry: { initialMs: 30, maxMs: 300 },
      misbehave: (seen) => !mended && poisoned(seen) ? misbehaviour : undefined,
    });
    const names = [...numbered(21), POISON, ...numbered(21, "m")];
    await appendTogether(ends, ...names.map((name) => [name]));
    ends.start();
    await ends.told.find(({ event }) => event === "failed", "the first failure");
    // Others come meanwhile.
    await appendSpans(ends.queue, ...numbered(20, "o").map((name) => [name]));
    await delivered(ends, 62);
    const apart = await ends.told.find(({ event }) => event === "apart", "an alarm");
    assert(apart.event === "apart");
    assert.deepEqual([apart.sender, apart.items, apart.fault.code], [`of ${POISON}`, 1, "record_fails"]);
    assert.equal(ends.exporter.apart("traces"), 1);
    const books = await balanced(ends.queue, "traces");
    assert.deepEqual([books.queued, books.deadLettered], [1, 0], "never set aside for it");
    assert.equal(ends.exporter.failures("traces"), 0, "the endpoint is well");
    assert.deepEqual(new Set(ends.accepted), new Set([...numbered(21), ...numbered(21, "m"), ...numbered(20, "o")]));
    // It goes on by itself, while others come and go.
    await ends.told.until(
      () => ends.told.entries.filter(({ event }) => event === "apart").length >= 3,
      "two more tries",
    );
    await appendSpans(ends.queue, ["after"]);
    await delivered(ends, 63);
    assert(data(ends).filter(poisoned).slice(-2).every(({ names }) => names.length === 1), "alone");
    mended = true;
    await delivered(ends, 64);
    assert.equal(ends.exporter.apart("traces"), 0);
    await ends.emptied();
  });
}

Deno.test("of the guilty request only the spans that the Collector fails on wait; what it takes of it is delivered once", async () => {
  await using ends = await exporting({
    retry: { initialMs: 20, maxMs: 100 },
    misbehave: (seen) => poisoned(seen) ? status(503) : undefined,
  });
  await append(ends.queue, submission("traces", requestOf("traces", [...numbered(30), POISON, ...numbered(30, "m")])));
  await ends.told.find(({ event }) => event === "failed", "a failure");
  await appendSpans(ends.queue, ["other"]);
  await delivered(ends, 61);
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.queued, books.delivered, books.deadLettered], [1, 61, 0]);
  assert.deepEqual(ends.accepted.toSorted(), [...numbered(30), ...numbered(30, "m"), "other"].toSorted());
});

Deno.test("a batch by itself, with nothing behind it: its good ones arrive all the same", async () => {
  await using ends = await exporting({
    held: true,
    retry: { initialMs: 10, maxMs: 40 },
    misbehave: (seen) => poisoned(seen) ? status(500) : undefined,
  });
  // In both halves.
  const names = [...numbered(7), `${POISON} 1`, ...numbered(7, "m"), `${POISON} 2`];
  await appendTogether(ends, ...names.map((name) => [name]));
  ends.start();
  await delivered(ends, 14);
  await ends.told.until(() => ends.exporter.apart("traces") === 2, "both alone");
  assert.deepEqual(new Set(ends.accepted), new Set([...numbered(7), ...numbered(7, "m")]));
});

Deno.test("many that it fails on, among many good: all good ones arrive", async () => {
  await using ends = await exporting({
    held: true,
    retry: { initialMs: 5, maxMs: 20 },
    misbehave: (seen) => poisoned(seen) ? status(503) : undefined,
  });
  const names = Array.from({ length: 64 }, (_, index) => index % 3 === 0 ? `${POISON} ${index}` : `n${index}`);
  await appendTogether(ends, ...names.map((name) => [name]));
  ends.start();
  await delivered(ends, 42);
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
});

for (const [name, misbehaviour] of FAILURES) {
  Deno.test(`with the whole endpoint down (${name}) nothing is looked into, and there is one request at a time`, async () => {
    let out = true;
    await using ends = await exporting({
      held: true,
      consumers: 2,
      retry: { initialMs: 20, maxMs: 80, random: () => 0 },
      misbehave: () => out ? misbehaviour : undefined,
    });
    await appendTogether(ends, ...numbered(40).map((name) => [name]));
    ends.start();
    await ends.seen.until(() => ends.seen.entries.length >= 10, "probes");
    const waits = ends.told.entries.flatMap((told) => told.event === "failed" ? told.retryMs : []);
    const { entries } = ends.seen;
    // As many as were under way at first, and one for each wait that the breaker gave.
    for (let index = 2; index < 10; index++) {
      assert(entries[index]!.at - entries[index - 1]!.at >= waits[index - 1]! - 2, `request ${index} came early`);
    }
    assert(!ends.told.entries.some(({ event }) => event === "apart" || event === "looking"));
    out = false;
    const before = entries.length;
    await ends.emptied();
    assert.deepEqual(ends.accepted.toSorted(), numbered(40).toSorted());
    assert(data(ends).length - before <= 8, "and merged again at once");
  });
}

// --- refusals

Deno.test("a Collector that refuses everything, an empty request too: nothing is set aside, and it is said", async () => {
  let mended = false;
  await using ends = await exporting({
    held: true,
    retry: { initialMs: 10, maxMs: 40 },
    misbehave: () => mended ? undefined : status(400),
  });
  await appendTogether(ends, ...numbered(200).map((name) => [name]));
  ends.start();
  const failed = await ends.told.find(({ event }) => event === "failed", "an alarm");
  assert(failed.event === "failed" && failed.fault.code === "refuses_everything" && failed.fault.lasting);
  await ends.told.until(() => ends.told.entries.filter(({ event }) => event === "failed").length >= 4, "more tries");
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
  mended = true;
  await ends.emptied();
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.delivered, books.deadLettered], [200, 0]);
});

Deno.test("an endpoint that refuses empty requests still has its guilty ones found: others are taken meanwhile", async () => {
  await using ends = await exporting({
    held: true,
    compression: "gzip",
    retry: { initialMs: 10, maxMs: 40 },
    misbehave: (seen) => seen.probe || poisoned(seen) ? status(400) : undefined,
  });
  await appendSpans(ends.queue, [POISON]);
  ends.start();
  await ends.told.find(({ event }) => event === "failed", "it is held at first");
  await appendSpans(ends.queue, ["good"]);
  await ends.emptied();
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.delivered, books.deadLettered], [1, 1]);
});

const REFUSES_DATA: Misbehaviour = { kind: "refuses_data" };

function count({ told }: Exporting, ...events: readonly string[]): number {
  return told.entries.filter(({ event }) => events.includes(event)).length;
}

for (
  const [records, retry] of [[1, { initialMs: 10, maxMs: 60_000 }], [7, { initialMs: 10, maxMs: 60_000 }], [
    40,
    {},
  ]] as const
) {
  Deno.test(`a Collector that takes empty requests and refuses all data for a while: none of ${records} is set aside`, async () => {
    let refusing = true;
    await using ends = await exporting({ held: true, retry, misbehave: () => refusing ? REFUSES_DATA : undefined });
    await appendTogether(ends, ...numbered(records).map((name) => [name, `${name} too`]));
    ends.start();
    const told = Math.min(30, records * 3);
    await ends.told.until(() => count(ends, "suspected", "failed") >= told, "three refusals of each, or many");
    assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
    assert(ends.seen.entries.some(({ wireBytes }) => wireBytes === 0), "it was asked whether it takes nothing at all");
    refusing = false;
    await ends.emptied();
    const books = await balanced(ends.queue, "traces");
    assert.deepEqual([books.delivered, books.deadLettered], [2 * records, 0]);
    assert.equal(new Set(ends.accepted).size, 2 * records);
  });
}

for (const records of [1, 7]) {
  Deno.test(`the same beside requests without items, which it takes, and which prove nothing: none of ${records} is set aside`, async () => {
    let refusing = true;
    const retry = { initialMs: 10, maxMs: 60_000 };
    await using ends = await exporting({ held: true, retry, misbehave: () => refusing ? REFUSES_DATA : undefined });
    const empty = () => append(ends.queue, submission("traces", requestOf("traces", [])));
    await Promise.all([appendTogether(ends, ...numbered(records).map((name) => [name])), empty()]);
    ends.start();
    const empties = () => ends.told.entries.filter((told) => told.event === "sent" && told.items === 0).length;
    for (let sent = 0; sent < 20; sent++) {
      await empty();
      await ends.told.until(() => empties() > sent, "one without items is taken");
    }
    await ends.told.until(() => count(ends, "suspected", "failed") >= Math.min(30, records * 3), "refusals");
    assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
    refusing = false;
    await ends.emptied();
    const books = await balanced(ends.queue, "traces");
    assert.deepEqual([books.delivered, books.deadLettered], [records, 0]);
  });
}

Deno.test("where each request has something wrong with it and nobody sends others, what is good in them arrives", async () => {
  await using ends = await exporting({
    held: true,
    // None has waited long enough to be set aside in the time of a test.
    retry: { initialMs: 5, maxMs: 2_000 },
    misbehave: (seen) => poisoned(seen) ? status(400) : undefined,
  });
  const names = numbered(12);
  // What is good is neither at the beginning nor at the end.
  const request = (name: string) => requestOf("traces", [POISON], [POISON], [name], [POISON]);
  await Promise.all(names.map((name) => append(ends.queue, submission("traces", request(name)))));
  ends.start();
  await ends.told.until(() => names.every((name) => ends.accepted.includes(name)), "all that is good");
  assert.deepEqual(ends.accepted.toSorted(), names.toSorted());
});

Deno.test("where it refuses all data of many they are held however long it lasts, at one look for each backoff, and other signals go on", async () => {
  let refusing = true;
  await using ends = await exporting({
    held: true,
    retry: { initialMs: 5, maxMs: 20 },
    misbehave: ({ signal }) => refusing && signal === "traces" ? REFUSES_DATA : undefined,
  });
  await appendTogether(ends, ...numbered(200).map((name) => [name]));
  ends.start();
  await ends.told.until(() => count(ends, "failed") >= 20, "the longest backoff many times over");
  const failed = ends.told.entries.find(({ event }) => event === "failed");
  assert(failed?.event === "failed" && failed.fault.code === "refuses_everything");
  assert.equal(count(ends, "recovered"), 0, "a refusal is no recovery");
  const traces = () => ends.seen.entries.filter(({ signal, probe }) => signal === "traces" && !probe).length;
  // The first look of each consumer may halve down to so many; those after it stop at the first that stands alone.
  const most = 4 * (2 * 8 + 2 * 32) + count(ends, "failed") * (2 * 8 + 2);
  assert(traces() <= most, `${traces()} requests, ${most} at most`);
  await append(ends.queue, submission("logs", requestOf("logs", ["a log"])));
  await ends.told.find((told) => told.event === "sent" && told.signal === "logs", "the log");
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
  refusing = false;
  await ends.emptied();
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.delivered, books.deadLettered], [200, 0]);
});

Deno.test("one that is refused where nobody sends anything else is set aside after ten times the longest backoff, and not before", async () => {
  await using ends = await exporting({
    retry: { initialMs: 10, maxMs: 40 },
    misbehave: (seen) => poisoned(seen) ? status(400) : undefined,
  });
  await appendSpans(ends.queue, [POISON]);
  await ends.told.find(({ event }) => event === "dead", "that it is set aside");
  const ended = performance.now();
  await ends.emptied();
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 1);
  const suspected = ends.told.entries.flatMap((told) => told.event === "suspected" ? [told] : []);
  // 10, 20 and 40 ms, half of each at random, and 40 ms from then on; a machine that is busy asks less often.
  assert(suspected.length >= 1 && suspected.length <= 24, `${suspected.length}`);
  assert.deepEqual([suspected[0]!.fault.code, suspected[0]!.sender], ["refusal_unproven", "test"]);
  // Its first refusal came later than its first request, and what ended it before it was told.
  const tookMs = ended - data(ends)[0]!.at;
  assert(tookMs >= 400, `${tookMs} ms`);
});

Deno.test("nothing but poison for long: it is held, and all of it is set aside once the Collector takes something", async () => {
  await using ends = await exporting({
    held: true,
    retry: { initialMs: 5, maxMs: 40 },
    misbehave: (seen) => poisoned(seen) ? status(400) : undefined,
  });
  await appendTogether(ends, ...numbered(40, POISON).map((name) => [name]));
  ends.start();
  await ends.told.until(() => count(ends, "failed") >= 5, "it is held");
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
  // What is good comes past it, each after the one before: a sender that is well.
  const sent = await othersUntil(ends, "n", ({ deadLettered }) => deadLettered === 40);
  await ends.emptied();
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.delivered, books.deadLettered], [sent, 40]);
});

Deno.test("a Collector that refuses all data twice in a row, and takes some between, makes nobody guilty", async () => {
  let refusals = 0;
  await using ends = await exporting({
    misbehave: ({ names }) => names.includes("a") && refusals++ < 2 ? status(400) : undefined,
  });
  await appendSpans(ends.queue, ["a"]);
  await ends.told.find(({ event }) => event === "suspected", "its first refusal");
  await appendSpans(ends.queue, ["b"]);
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), ["a", "b"]);
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
});

Deno.test("whenever a Collector begins to refuse all data while it is looked for what is guilty, that alone is set aside", async () => {
  await using certs = await testCertificates();
  /** @param from The first request of eight that are refused whatever is in them. */
  const sweep = async (from: number) => {
    let number = 0;
    await using ends = await exporting({
      certs,
      held: true,
      retry: { initialMs: 5, maxMs: 1_000 },
      misbehave: (seen) => {
        if (seen.probe) return undefined;
        const refused = ++number >= from && number < from + 8;
        return refused || poisoned(seen) ? status(400) : undefined;
      },
    });
    await appendTogether(ends, ["a"], ["b"], [...numbered(5), POISON, ...numbered(5, "m")], ["c"]);
    ends.start();
    await delivered(ends, 13);
    // Somebody goes on sending, so that it is known that data is taken.
    await othersUntil(ends, "later", (books) => books.queued === 0);
    const books = await balanced(ends.queue, "traces");
    assert.equal(books.deadLettered, 1, `refused from request ${from} on`);
    const good = new Set([...numbered(5), ...numbered(5, "m"), "a", "b", "c"]);
    assert.deepEqual(good.difference(new Set(ends.accepted)), new Set());
  };
  // They mostly wait for backoffs: side by side.
  await Promise.all([1, 5, 9, 13, 17, 21, 25].map(sweep));
});

Deno.test("by gRPC: a Collector that takes empty requests and refuses all data for a while sets nothing aside", async () => {
  await using certs = await testCertificates();
  let refusing = true;
  const arrived: string[] = [];
  await using end = await startGrpcEnd(({ message, encoding }) => {
    const content = new Uint8Array(encoding === "gzip" && message.length > 0 ? gunzipSync(message) : message);
    if (content.length > 0 && refusing) return { kind: "status", code: 3, message: "told to" };
    arrived.push(...namesIn("traces", content));
    return { kind: "message" };
  }, { certs });
  await using ends = await exporting({
    certs,
    held: true,
    protocol: "grpc",
    url: end.url,
    compression: "gzip",
    retry: { initialMs: 10, maxMs: 60_000 },
  });
  await appendTogether(ends, ...numbered(3).map((name) => [name, `${name} too`]));
  ends.start();
  await ends.told.until(() => count(ends, "suspected") >= 9, "three refusals of each");
  assert.equal((await balanced(ends.queue, "traces")).deadLettered, 0);
  refusing = false;
  await ends.emptied();
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.delivered, books.deadLettered, new Set(arrived).size], [6, 0, 6]);
});

Deno.test("looking keeps what it has learnt across failures: each good one once, and every bad one set aside", async () => {
  // Of a body with as many good resources as bad ones, and one answer in twenty that says nothing.
  let sent = 0;
  await using ends = await exporting({
    retry: { initialMs: 2, maxMs: 4 },
    misbehave: (seen) => {
      if (seen.probe) return undefined;
      if (++sent % 20 === 0) return { kind: "status", status: 429, message: "told to" };
      return poisoned(seen) ? status(400) : undefined;
    },
  });
  const resources = Array.from({ length: 100 }, (_, index) => [index % 2 === 0 ? `n${index}` : `${POISON} ${index}`]);
  await append(ends.queue, submission("traces", requestOf("traces", ...resources)));
  await ends.emptied();
  assert.equal(ends.accepted.length, 50, "none twice");
  assert.equal(new Set(ends.accepted).size, 50);
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.delivered, books.deadLettered], [50, 50]);
  assert(data(ends).length < 600, `${data(ends).length} requests`);
});

for (
  const [name, breaksOff, after] of [
    ["503", status(503), 2],
    ["a request to wait", status(429), 1],
    ["a cut connection", { kind: "disconnect" }, 2],
  ] as const satisfies readonly (readonly [string, Misbehaviour, number])[]
) {
  Deno.test(`an endpoint that breaks off by ${name} after each ${after}: what is good arrives, and all that is bad is set aside`, async () => {
    await using ends = await exporting({
      held: true,
      retry: { initialMs: 1, maxMs: 4 },
      misbehave: (seen) => seen.number % (after + 1) === 0 ? breaksOff : poisoned(seen) ? status(400) : undefined,
    });
    // Of one nothing is good, so that nothing but a proof makes it less.
    const bad = numbered(4, POISON);
    await append(ends.queue, submission("traces", requestOf("traces", ...bad.map((name) => [name]))));
    await append(
      ends.queue,
      submission("traces", requestOf("traces", numbered(3), [...numbered(3, "m"), `${POISON} 5`])),
    );
    ends.start();
    const others = await othersUntil(ends, "o", ({ deadLettered }) => deadLettered === 5);
    await ends.emptied();
    assert.deepEqual(new Set(ends.accepted), new Set([...numbered(3), ...numbered(3, "m"), ...numbered(others, "o")]));
  });
}

Deno.test("what looking may cost has a bound: what is left of it then is set aside whole", async () => {
  await using ends = await exporting({
    held: true,
    misbehave: ({ probe, names }) => !probe && (names.length === 0 || names.includes("good")) ? status(400) : undefined,
  });
  // Each of 3,000 resources is refused.
  const resources = Array.from({ length: 3_000 }, () => []);
  await append(ends.queue, submission("traces", requestOf("traces", ...resources, ["good"])));
  ends.start();
  await ends.emptied();
  // With those of the time before, each of which goes down to one resource.
  const before = count(ends, "suspected") * (1 + 2 * 12 + 1);
  assert(data(ends).length <= CUTTING_REQUESTS_MAX + before, `${data(ends).length} requests, ${before} before`);
  assert.equal((await ends.queue.stats()).deadLetters.records, 1);
  assert(ends.told.entries.some((told) => told.event === "looking" && told.bounded));
});

for (const consumers of [1, 4]) {
  Deno.test(`looking never takes the last of ${consumers} consumers: good ones flow past bodies that take long to look into`, async () => {
    await using ends = await exporting({
      held: true,
      consumers,
      misbehave: ({ probe, names }) => !probe && names.length === 0 ? status(400) : undefined,
    });
    // Each takes more than a thousand requests to look into.
    const bad = () => submission("traces", requestOf("traces", ...Array.from({ length: 800 }, () => [])));
    for (let count = 0; count < 6; count++) await append(ends.queue, bad());
    ends.start();
    await ends.seen.until(() => data(ends).length > 20, "the search");
    await appendSpans(ends.queue, ...numbered(20).map((name) => [name]));
    await delivered(ends, 20);
    assert((await balanced(ends.queue, "traces")).delivered === 20);
    // Some of them are still being looked into.
    assert((await ends.queue.stats()).records > 0);
  });
}

Deno.test("absurd numbers of the Collector's are capped wherever they are told", async () => {
  await using ends = await exporting({
    misbehave: ({ probe }) => probe ? undefined : { kind: "partial_success", rejected: 2 ** 52, message: "all" },
  });
  await appendSpans(ends.queue, ["a", "b"]);
  await ends.emptied();
  const told = ends.told.entries.find(({ event }) => event === "rejected");
  assert(told?.event === "rejected" && told.items === 2);
});

Deno.test("data points are cut, too: one that is refused costs its metric no other", async () => {
  const points = Array.from({ length: 9 }, (_, index) => ({ asInt: BigInt(index) }));
  const request = encodeProtobuf("MetricsRequest", {
    resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: "m", gauge: { dataPoints: points } }] }] }],
  });
  let largest = 0;
  await using ends = await exporting({
    // Nothing of more than 40 bytes.
    misbehave: ({ probe, wireBytes }) => {
      if (!probe) largest = Math.max(largest, wireBytes);
      return !probe && wireBytes > 80 ? status(413) : undefined;
    },
    compression: "none",
  });
  await append(ends.queue, submission("metrics", request, { encoding: "identity" }));
  await ends.emptied();
  assert(largest > 80);
  const books = await balanced(ends.queue, "metrics");
  assert.deepEqual([books.delivered, books.deadLettered], [9, 0]);
});

// --- without a disk

Deno.test("none: what waits behind the consumers shares a request, and each has its own answer", async () => {
  const held: (() => void)[] = [];
  let holding = true;
  await using ends = await exporting({
    storage: "none",
    consumers: 2,
    misbehave: (seen) => poisoned(seen) ? status(400) : undefined,
    hold: ({ names }) =>
      holding && names[0]?.startsWith("first") ? new Promise<void>((resolve) => held.push(resolve)) : undefined,
  });
  const send = (...names: string[]) => append(ends.queue, submission("traces", requestOf("traces", names)));
  const first = [send("first 0"), send("first 1")];
  await ends.seen.until(() => ends.seen.entries.length >= 2, "both consumers");
  const waiting = [...numbered(20).map((name) => send(name)), send(POISON)];
  holding = false;
  for (const resolve of held) resolve();
  const results = await Promise.allSettled([...first, ...waiting]);
  assert.deepEqual(results.map(({ status }) => status), [...Array(22).fill("fulfilled"), "rejected"]);
  const last = results.at(-1)!;
  assert(last.status === "rejected" && last.reason.code === "rejected_upstream");
  assert(data(ends).some(({ names }) => names.length > 10), "they were merged");
  assert.deepEqual(ends.accepted.toSorted(), ["first 0", "first 1", ...numbered(20)].toSorted(), "each once");
});

Deno.test("none: an endpoint that does not say whether requests may share one gets each by itself, in time", async () => {
  await using ends = await exporting({
    storage: "none",
    held: true,
    consumers: 1,
    misbehave: ({ probe }) => probe ? { kind: "silence" } : undefined,
  });
  const sent = Promise.all(
    ["a", "b", "c"].map((name) => append(ends.queue, submission("traces", requestOf("traces", [name])))),
  );
  ends.start();
  await sent;
  assert.deepEqual(ends.accepted.toSorted(), ["a", "b", "c"]);
});

Deno.test("none: after a failure that may be one's fault each of the group goes by itself, once", async () => {
  const held: (() => void)[] = [];
  await using ends = await exporting({
    storage: "none",
    consumers: 1,
    misbehave: (seen) => poisoned(seen) ? status(503) : undefined,
    hold: ({ names }) => names[0] === "first" ? new Promise<void>((resolve) => held.push(resolve)) : undefined,
  });
  const send = (...names: string[]) => append(ends.queue, submission("traces", requestOf("traces", names)));
  const first = send("first");
  await ends.seen.until(() => ends.seen.entries.length >= 1, "the consumer");
  const waiting = Promise.allSettled([...numbered(5), POISON].map((name) => send(name)));
  held[0]!();
  await first;
  const results = await waiting;
  assert.deepEqual(results.map(({ status }) => status), [...Array(5).fill("fulfilled"), "rejected"]);
  const last = results.at(-1)!;
  assert(last.status === "rejected" && last.reason.code === "upstream_unavailable");
  assert.deepEqual(ends.accepted.toSorted(), ["first", ...numbered(5)].toSorted());
  assert.equal(data(ends).filter(poisoned).length, 2, "with the others, and by itself");
});

Deno.test("none: of a shared request each sender is told in our words, the Collector's are for the log", async () => {
  const held: (() => void)[] = [];
  await using ends = await exporting({
    storage: "none",
    consumers: 1,
    misbehave: ({ probe }) =>
      probe ? undefined : { kind: "partial_success", rejected: 1, message: "secret of another" },
    hold: ({ names }) => names[0] === "first" ? new Promise<void>((resolve) => held.push(resolve)) : undefined,
  });
  const send = (name: string) => append(ends.queue, submission("traces", requestOf("traces", [name])));
  const first = send("first");
  await ends.seen.until(() => ends.seen.entries.length >= 1, "the consumer");
  const waiting = Promise.all(["a", "b"].map(send));
  held[0]!();
  assert.deepEqual(await first, { partialSuccess: { rejected: 1, message: "secret of another" } });
  for (const { partialSuccess } of await waiting) {
    assert.equal(partialSuccess?.rejected, 0);
    assert.match(partialSuccess!.message, /merged of several/);
  }
  assert.equal(ends.told.entries.filter((told) => told.event === "rejected").length, 2);
});

Deno.test("none: a batch.max_size of 0 keeps one for one", async () => {
  await using ends = await exporting({ storage: "none", consumers: 1, batchBytesMax: 0 });
  await Promise.all(numbered(20).map((name) => append(ends.queue, submission("traces", requestOf("traces", [name])))));
  assert(ends.seen.entries.every(({ probe, names }) => !probe && names.length === 1));
});

Deno.test("none: the Collector's refusal is the sender's answer, and no empty request is sent first", async () => {
  await using ends = await exporting({ storage: "none", misbehave: () => status(400) });
  for (const names of [["a"], ["a", "b", "c"]]) {
    await assert.rejects(append(ends.queue, submission("traces", requestOf("traces", names))), {
      code: "rejected_upstream",
    });
  }
  assert(ends.seen.entries.every(({ probe }) => !probe));
});
