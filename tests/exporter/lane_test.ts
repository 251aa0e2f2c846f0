import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { Misbehaviour } from "../../src/collector/server.ts";
import { MERGED_INFLATED_BYTES_MAX } from "../../src/exporter/lane.ts";
import { SEAL } from "../../src/exporter/seal.ts";
import { concatenate } from "../../src/codec/bytes.ts";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { Refusal } from "../../src/errors.ts";
import { Batcher } from "../../src/queue/batcher.ts";
import {
  allBalanced,
  append,
  appendSpans,
  balanced,
  type Exporting,
  exporting,
  requestOf,
  type Seen,
  submission,
} from "../support/relay/exporting.ts";

const POISON = "poison";

/** As a Collector that cannot take a span of this name, wherever it stands. */
function refusePoison({ names }: Seen): Misbehaviour | undefined {
  return names.some((name) => name.startsWith(POISON))
    ? { kind: "status", status: 400, message: "no such span, please" }
    : undefined;
}

function status(status: number, headers: Record<string, string> = {}): Misbehaviour {
  return { kind: "status", status, message: "told to", headers };
}

/** Requests of data, without the questions about members. */
function data({ seen }: Exporting): Seen[] {
  return seen.entries.filter(({ probe }) => !probe);
}

function numbered(count: number, prefix = "n"): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

/** All books balance, and every item of `traces` has met the outcome given. */
async function assertBooks(
  { queue }: Exporting,
  expected: { accepted: number; delivered: number; rejectedByCollector?: number; deadLettered?: number },
): Promise<void> {
  await allBalanced(queue);
  assert.deepEqual(await balanced(queue, "traces"), {
    rejectedByCollector: 0,
    deadLettered: 0,
    expired: 0,
    queued: 0,
    ...expected,
  });
}

// --- merging

Deno.test("a backlog is merged in order, up to the batch limit on the wire", async () => {
  const one = submission("traces", requestOf("traces", ["n0"])).payload.length;
  await using ends = await exporting({ held: true, consumers: 1, batchBytesMax: one * 10 + 9 });
  await appendSpans(ends.queue, ...numbered(35).map((name) => [name]));
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted, numbered(35));
  assert(data(ends).length <= 5, `${data(ends).length} requests`);
  for (const { wireBytes } of data(ends)) assert(wireBytes <= one * 10 + 9);
  await assertBooks(ends, { accepted: 35, delivered: 35 });
});

Deno.test("merged requests stay under the bound on what they inflate to", async () => {
  await using ends = await exporting({ held: true, consumers: 1, batchBytesMax: 16 << 20 });
  // 3 MiB each, and a few KB on the wire.
  const names = numbered(12).map((name) => [name + "x".repeat(3 << 20)]);
  await appendSpans(ends.queue, ...names);
  ends.start();
  await ends.emptied();
  const sizes = data(ends).map((seen) => seen.names.reduce((sum, name) => sum + name.length, 0));
  assert(sizes.every((size) => size <= MERGED_INFLATED_BYTES_MAX), String(sizes));
  assert.equal(sizes.length, 3, String(sizes));
  await assertBooks(ends, { accepted: 12, delivered: 12 });
});

Deno.test("as many requests are under way as there are consumers, and no more", async () => {
  let underWay: (() => void) | undefined;
  const three = new Promise<void>((resolve) => underWay = resolve);
  let count = 0;
  await using ends = await exporting({
    held: true,
    consumers: 3,
    batchBytesMax: 1,
    // Never answered: what is sent stays under way.
    misbehave: () => {
      if (++count === 3) underWay!();
      return { kind: "silence" };
    },
  });
  await appendSpans(ends.queue, ...numbered(9).map((name) => [name]));
  ends.start();
  await three;
  assert.equal((await ends.queue.stats()).inFlight, 3);
  await ends.exporter.stop(0);
  assert.equal(count, 3);
  assert.equal((await ends.queue.stats()).inFlight, 0);
  assert.equal((await balanced(ends.queue, "traces")).queued, 9);
});

Deno.test("a signal that is answered 404 holds up no other, and keeps what it has", async () => {
  await using ends = await exporting({
    misbehave: ({ signal }) => signal === "metrics" ? status(404) : undefined,
  });
  for (const signal of ["metrics", "traces", "logs"] as const) {
    await append(ends.queue, submission(signal, requestOf(signal, [`${signal} 1`])));
  }
  await ends.told.find(({ event, signal }) => event === "sent" && signal === "traces", "traces");
  await ends.told.find(({ event, signal }) => event === "sent" && signal === "logs", "logs");
  const failed = await ends.told.find(({ event, signal }) => event === "failed" && signal === "metrics", "an alarm");
  assert(failed.event === "failed" && failed.fault.lasting && failed.fault.code === "no_such_path");
  await ends.exporter.stop(0);
  assert.equal((await balanced(ends.queue, "metrics")).queued, 1);
  assert.equal((await balanced(ends.queue, "traces")).delivered, 1);
  assert.equal((await balanced(ends.queue, "logs")).delivered, 1);
});

Deno.test("a request that is not mergeable goes by itself", async () => {
  await using ends = await exporting({ held: true, consumers: 1 });
  // Field 2 at the top, as profiles have it.
  const odd = concatenate([requestOf("traces", ["odd"]), new Uint8Array([0x12, 0x01, 0x00])]);
  await appendSpans(ends.queue, ["a"], ["b"]);
  await append(ends.queue, submission("traces", odd));
  await appendSpans(ends.queue, ["c"], ["d"]);
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted, ["a", "b", "odd", "c", "d"]);
  assert(data(ends).some(({ names }) => names.length === 1 && names[0] === "odd"));
  await assertBooks(ends, { accepted: 5, delivered: 5 });
});

for (
  const { consumers, size, count, most } of [
    { consumers: 2, size: 2, count: 40, most: 16 },
    { consumers: 64, size: 2, count: 80, most: 64 },
    { consumers: 1, size: 2, count: 4, most: 1 },
    { consumers: 2, size: 2_100_000, count: 3, most: 2 },
  ]
) {
  Deno.test(`what is never merged: ${most} requests of ${size} bytes are under way with ${consumers} consumers, and no more`, async () => {
    const gate = Promise.withResolvers<void>();
    await using run = await exporting({ held: true, consumers, timeoutMs: 60_000, hold: () => gate.promise });
    const body = new Uint8Array(size).fill(1);
    // A field of profiles that is not the first: the dictionary, empty, or with a text of this length.
    body.set(size === 2 ? [0x12, 0] : dictionaryOf(size));
    const one = () => ({ ...submission("profiles", body, { encoding: "identity" }), items: 1 });
    const requests = Array.from({ length: count }, one);
    await Promise.all(requests.map((request) => append(run.queue, request)));
    run.start();
    await run.seen.until(() => run.seen.entries.length === most, "as many as may be under way");
    // Each that comes would be seen before the answer of one that was held since.
    const [first] = run.seen.entries;
    assert.equal(first?.signal, "profiles");
    await append(run.queue, submission("traces", requestOf("traces", ["a"])));
    await run.seen.find(({ signal }) => signal === "traces", "another signal's request, which has its own consumers");
    assert.equal(run.seen.entries.filter(({ signal }) => signal === "profiles").length, most);
    gate.resolve();
    await run.emptied();
    assert.equal(run.seen.entries.filter(({ signal }) => signal === "profiles").length, count);
  });
}

/** The head of a body that is a dictionary with one string, which fills it. */
function dictionaryOf(size: number): number[] {
  const varint = (value: number) => [value & 127 | 128, value >> 7 & 127 | 128, value >> 14 & 127 | 128, value >> 21];
  return [0x12, ...varint(size - 5), 0x2a, ...varint(size - 10)];
}

Deno.test("one that is not mergeable is not cut when it is refused", async () => {
  await using ends = await exporting({ misbehave: refusePoison });
  const odd = concatenate([requestOf("traces", ["good"], [POISON]), new Uint8Array([0x12, 0x01, 0x00])]);
  await append(ends.queue, submission("traces", odd));
  await ends.emptied();
  assert.deepEqual(data(ends).map(({ names }) => names.length), Array(data(ends).length).fill(2), "always whole");
  await assertBooks(ends, { accepted: 2, delivered: 0, deadLettered: 2 });
});

for (const compression of ["passthrough", "gzip", "zstd", "none"] as const) {
  for (const encoding of ["gzip", "identity"] as const) {
    Deno.test(`compression ${compression}, of what is kept as ${encoding}`, async () => {
      await using ends = await exporting({ held: true, consumers: 1, compression, misbehave: refusePoison });
      const batcher = new Batcher(ends.queue, { bytesMax: 4 << 20, inflatedBytesMax: MERGED_INFLATED_BYTES_MAX });
      const requests = [["a"], ["b", "c"], [POISON], ["d"]];
      await Promise.all(
        requests.map((names) => batcher.append(submission("traces", requestOf("traces", names), { encoding }))),
      );
      ends.start();
      await ends.emptied();
      assert.deepEqual(ends.accepted, ["a", "b", "c", "d"]);
      const coding = ({ gzip, zstd }: Seen) => gzip ? "gzip" : zstd ? "zstd" : "none";
      const expected = compression === "passthrough" ? "gzip" : compression;
      assert(data(ends).every((seen) => coding(seen) === expected));
      const probed = ends.seen.entries.filter(({ probe }) => probe).map(coding);
      const asked = compression === "zstd"
        ? "zstd"
        : compression === "passthrough" && encoding === "gzip"
        ? "gzip"
        : "";
      // An empty request asks whether anything is taken, once something was refused; it is in no coding.
      assert.deepEqual([...new Set(probed.filter((each) => each !== "none"))], asked === "" ? [] : [asked]);
      await assertBooks(ends, { accepted: 5, delivered: 4, deadLettered: 1 });
    });
  }
}

for (const [answer, whose] of [[415, "RFC 9110"], [400, "the Collector"]] as const) {
  Deno.test(`an endpoint that does not read zstd and answers ${answer}, as ${whose} has it, gets gzip`, async () => {
    await using ends = await exporting({
      held: true,
      compression: "zstd",
      misbehave: ({ zstd }) => zstd ? status(answer) : undefined,
    });
    await appendSpans(ends.queue, ["a"], ["b"], ["c"]);
    ends.start();
    await ends.emptied();
    assert.deepEqual(data(ends).filter(({ zstd }) => zstd), []);
    assert.deepEqual(data(ends).map(({ names }) => names), [["a", "b", "c"]], "merged all the same");
    assert(ends.seen.entries.some(({ zstd, probe }) => zstd && probe));
    assert.deepEqual(ends.told.entries.filter(({ event }) => event === "members"), [
      { event: "members", signal: "traces", form: "zstd", members: "unknown" },
    ]);
    await assertBooks(ends, { accepted: 3, delivered: 3 });
  });
}

Deno.test("what is large is compressed by a thread, and is cut where it is refused", async () => {
  await using ends = await exporting({ held: true, consumers: 1, compression: "zstd", misbehave: refusePoison });
  const long = "x".repeat(2_000);
  const names = numbered(200).map((name) => `${name} ${long}`);
  await append(ends.queue, submission("traces", requestOf("traces", names, [POISON])));
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), names.toSorted());
  await assertBooks(ends, { accepted: 201, delivered: 200, deadLettered: 1 });
});

// --- several members in one body

Deno.test("requests are merged only after the endpoint has shown that it reads every member", async () => {
  await using ends = await exporting({ held: true });
  await appendSpans(ends.queue, ["a"], ["b"], ["c"]);
  ends.start();
  await ends.emptied();
  const [control, probe, merged] = ends.seen.entries;
  assert(control?.probe && probe?.probe);
  assert.deepEqual(merged?.names, ["a", "b", "c"]);
  assert.deepEqual(ends.told.entries.filter(({ event }) => event === "members"), [
    { event: "members", signal: "traces", form: "gzip_members", members: "all" },
  ]);
  await assertBooks(ends, { accepted: 3, delivered: 3 });
});

Deno.test("one request by itself is not held up by the question", async () => {
  await using ends = await exporting();
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  assert.deepEqual(ends.seen.entries.map(({ probe }) => probe), [false]);
});

Deno.test("an endpoint that reads the first member alone gets one request at a time, and loses nothing", async () => {
  await using ends = await exporting({ held: true, misbehave: () => ({ kind: "first_member_only" }) });
  const batcher = new Batcher(ends.queue, { bytesMax: 4 << 20, inflatedBytesMax: MERGED_INFLATED_BYTES_MAX });
  await Promise.all(
    numbered(50).map((name) => batcher.append(submission("traces", requestOf("traces", [name])))),
  );
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), numbered(50).toSorted());
  assert(data(ends).every(({ names }) => names.length === 1));
  assert(ends.told.entries.some((told) => told.event === "members" && told.members === "first_only"));
  await assertBooks(ends, { accepted: 50, delivered: 50 });
});

Deno.test("an endpoint that reads the first member alone goes away in between: the rest is kept, and sent after", async () => {
  let cut = 0;
  await using ends = await exporting({
    held: true,
    consumers: 1,
    misbehave: ({ probe, names }) => {
      if (!probe && names[0] === "n7" && cut++ === 0) return { kind: "disconnect" };
      return { kind: "first_member_only" };
    },
  });
  await appendSpans(ends.queue, ...numbered(20).map((name) => [name]));
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), numbered(20).toSorted());
  const probes = ends.seen.entries.filter(({ probe }) => probe).length;
  assert(probes >= 2, "asked again after the lost connection");
  await assertBooks(ends, { accepted: 20, delivered: 20 });
});

Deno.test("after a lost connection it is asked again, and the endpoint that is there then gets what it can read", async () => {
  let firstOnly = false;
  let cut = false;
  await using ends = await exporting({
    held: true,
    consumers: 1,
    misbehave: ({ probe, names }) => {
      if (!probe && names.includes("c") && !cut) {
        cut = true;
        firstOnly = true;
        return { kind: "disconnect" };
      }
      return firstOnly ? { kind: "first_member_only" } : undefined;
    },
  });
  await appendSpans(ends.queue, ["a"], ["b"]);
  ends.start();
  await ends.emptied();
  await appendSpans(ends.queue, ["c"], ["d"], ["e"]);
  await ends.emptied();
  assert.deepEqual(ends.accepted, ["a", "b", "c", "d", "e"]);
  assert.deepEqual(
    ends.told.entries.flatMap((told) => told.event === "members" ? told.members : []),
    ["all", "first_only"],
  );
  await assertBooks(ends, { accepted: 5, delivered: 5 });
});

Deno.test("another server comes behind the same connections, and reads the first member alone: nothing is lost, and it is asked anew", async () => {
  let firstOnly = false;
  await using ends = await exporting({
    held: true,
    misbehave: () => firstOnly ? { kind: "first_member_only" } : undefined,
  });
  await appendSpans(ends.queue, ["a"], ["b"]);
  ends.start();
  await ends.emptied();
  assert.equal(ends.seen.entries.filter(({ probe }) => probe).length, 2, "it was proved");
  firstOnly = true;
  const batcher = new Batcher(ends.queue, { bytesMax: 4 << 20, inflatedBytesMax: MERGED_INFLATED_BYTES_MAX });
  await Promise.all(numbered(50).map((name) => batcher.append(submission("traces", requestOf("traces", [name])))));
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), ["a", "b", ...numbered(50)].toSorted());
  assert.equal(ends.client.renewed, 0, "no connection was lost");
  await assertBooks(ends, { accepted: 52, delivered: 52 });
  await appendSpans(ends.queue, ...numbered(8, "m").map((name) => [name]));
  await ends.emptied();
  assert.deepEqual(
    ends.told.entries.flatMap((told) => told.event === "members" ? told.members : []),
    ["all", "first_only"],
  );
  await assertBooks(ends, { accepted: 60, delivered: 60 });
});

Deno.test("an endpoint that refuses the seal gets each request by itself, once", async () => {
  await using ends = await exporting({
    held: true,
    misbehave: ({ names, wireBytes }) => names.length > 1 || wireBytes === SEAL.length ? status(400) : undefined,
  });
  await appendSpans(ends.queue, ...numbered(50).map((name) => [name]));
  ends.start();
  await ends.emptied();
  assert.deepEqual(data(ends).map(({ names }) => names.length), Array.from({ length: 50 }, () => 1));
  await assertBooks(ends, { accepted: 50, delivered: 50 });
});

Deno.test("while the question has no answer nothing merged is sent", async () => {
  await using ends = await exporting({
    held: true,
    consumers: 1,
    misbehave: ({ probe, number }) => probe && number < 3 ? status(503) : undefined,
  });
  await appendSpans(ends.queue, ...numbered(30).map((name) => [name]));
  ends.start();
  await ends.emptied();
  const { entries } = ends.seen;
  const answered = entries.findIndex(({ probe, number }) => probe && number >= 3);
  const merged = entries.findIndex(({ names }) => names.length > 1);
  assert(merged === -1 || answered >= 0 && answered < merged, entries.map(({ names }) => names.length).join());
  assert(entries[0]?.probe);
  await assertBooks(ends, { accepted: 30, delivered: 30 });
});

// --- what an answer means

for (const code of [429, 502, 503, 504]) {
  Deno.test(`${code} is tried again, and is no alarm`, async () => {
    await using ends = await exporting({ misbehave: ({ number }) => number <= 2 ? status(code) : undefined });
    await appendSpans(ends.queue, ["a"]);
    await ends.emptied();
    assert.equal(ends.seen.entries.length, 3);
    const failed = ends.told.entries.filter((told) => told.event === "failed");
    assert.deepEqual(failed.map(({ failures, fault }) => [failures, fault.lasting, fault.code]), [
      [1, false, "throttled"],
      [2, false, "throttled"],
    ]);
    assert.deepEqual(ends.told.entries.find(({ event }) => event === "recovered"), {
      event: "recovered",
      signal: "traces",
      failures: 2,
    });
    await assertBooks(ends, { accepted: 1, delivered: 1 });
  });
}

for (const code of [301, 307, 308, 401, 403, 404, 405, 407, 415, 418, 500, 501, 505]) {
  Deno.test(`${code} is held: an alarm at once, one slow request at a time, and nothing lost`, async () => {
    let mended = false;
    await using ends = await exporting({
      held: true,
      retry: { initialMs: 1, maxMs: 60, random: () => 0 },
      batchBytesMax: 1,
      misbehave: () =>
        mended ? undefined : status(code, code < 400 ? { location: "https://localhost:1/v1/traces" } : {}),
    });
    await appendSpans(ends.queue, ...numbered(12).map((name) => [name]));
    ends.start();
    const first = await ends.told.find(({ event }) => event === "failed", "an alarm");
    // A 500 may be a record's fault: the first time, another request is tried soon.
    const firstMs = code === 500 ? 0.5 : 30;
    assert(first.event === "failed" && first.fault.lasting && first.retryMs === firstMs, JSON.stringify(first));
    // At most the consumers' requests were under way at the first alarm.
    const atOnce = ends.seen.entries.length;
    assert(atOnce <= 4, `${atOnce} requests`);
    await ends.seen.until(() => ends.seen.entries.length >= 7, "probes");
    const probes = ends.seen.entries.slice(4, 7);
    for (const [index, { at }] of probes.entries()) {
      if (index > 0) assert(at - probes[index - 1]!.at >= 29, "each waits the longest time");
    }
    mended = true;
    await ends.emptied();
    assert.deepEqual(ends.accepted.toSorted(), numbered(12).toSorted());
    await assertBooks(ends, { accepted: 12, delivered: 12 });
  });
}

Deno.test("a redirect is not followed", async () => {
  await using elsewhere = await exporting({ held: true });
  await using ends = await exporting({
    misbehave: ({ number }) =>
      number === 1 ? status(307, { location: `${elsewhere.collector.url}/v1/traces` }) : undefined,
  });
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  assert.equal(elsewhere.seen.entries.length, 0);
  const failed = ends.told.entries.find((told) => told.event === "failed");
  assert(failed?.event === "failed" && failed.fault.code === "redirected");
  assert.match(failed.cause, /^307 redirected to https:\/\/localhost/);
});

Deno.test("a TLS port that was spoken to in plain HTTP has seen no record: 400, and yet held", async () => {
  let mended = false;
  await using ends = await exporting({
    misbehave: () =>
      mended
        ? undefined
        : { kind: "status", status: 400, message: "Client sent an HTTP request to an HTTPS server.\n" },
  });
  await appendSpans(ends.queue, ["a"], ["b"]);
  const failed = await ends.told.find(({ event }) => event === "failed", "an alarm");
  assert(failed.event === "failed" && failed.fault.lasting, JSON.stringify(failed));
  mended = true;
  await ends.emptied();
  await assertBooks(ends, { accepted: 2, delivered: 2 });
});

Deno.test("Retry-After is honoured, in seconds and as a date", async () => {
  for (const retryAfter of ["1", () => new Date(Date.now() + 2_000).toUTCString()]) {
    let asked = 0;
    await using ends = await exporting({
      misbehave: ({ number }) => {
        if (number > 1) return undefined;
        const value = typeof retryAfter === "string" ? retryAfter : retryAfter();
        asked = typeof retryAfter === "string" ? 1_000 : Date.parse(value) - Date.now();
        return status(503, { "retry-after": value });
      },
    });
    await appendSpans(ends.queue, ["a"]);
    await ends.emptied();
    const [first, second] = ends.seen.entries;
    // Timers and two clocks differ by a few ms.
    assert(second!.at - first!.at >= asked - 20, `${second!.at - first!.at} ms, ${asked} asked for`);
    await assertBooks(ends, { accepted: 1, delivered: 1 });
  }
});

Deno.test("backoff: each wait is longer, up to the longest", async () => {
  await using ends = await exporting({
    retry: { initialMs: 10, maxMs: 80, random: () => 0 },
    misbehave: ({ number }) => number <= 6 ? status(503) : undefined,
  });
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  const waits = ends.told.entries.flatMap((told) => told.event === "failed" ? told.retryMs : []);
  assert.deepEqual(waits, [5, 10, 20, 40, 40, 40]);
  const { entries } = ends.seen;
  waits.forEach((wait, index) => assert(entries[index + 1]!.at - entries[index]!.at >= wait - 1));
});

Deno.test("an outage: one request at a time while it lasts, no rush when it ends", async () => {
  let out = true;
  let underWay = 0;
  let most = 0;
  await using ends = await exporting({
    held: true,
    consumers: 4,
    batchBytesMax: 1,
    retry: { initialMs: 5, maxMs: 20 },
    misbehave: () => {
      most = Math.max(most, ++underWay);
      queueMicrotask(() => underWay--);
      return out ? { kind: "disconnect" } : undefined;
    },
  });
  await appendSpans(ends.queue, ...numbered(40).map((name) => [name]));
  ends.start();
  await ends.seen.until(() => ends.seen.entries.length >= 12, "probes");
  // The first four were under way at once; from then on each came after the wait that the one before had opened.
  const during = ends.seen.entries.slice(4);
  for (const [index, { at }] of during.entries()) {
    if (index > 0) assert(at - during[index - 1]!.at >= 2, "one probe after the other");
  }
  out = false;
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), numbered(40).toSorted());
  const before = ends.told.entries.findIndex(({ event }) => event === "recovered");
  assert.equal(ends.told.entries.slice(0, before).filter(({ event }) => event === "sent").length, 0, "one came first");
  await assertBooks(ends, { accepted: 40, delivered: 40 });
});

Deno.test("a Collector that is stopped and started again at its address gets everything", async () => {
  await using ends = await exporting({ retry: { initialMs: 5, maxMs: 20 } });
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  const { port } = ends.collector;
  await ends.collector.stop();
  await appendSpans(ends.queue, ["b"], ["c"]);
  const failed = await ends.told.find(({ event }) => event === "failed", "a failure");
  assert(failed.event === "failed" && !failed.fault.lasting, JSON.stringify(failed));
  await ends.told.find((told) => told.event === "failed" && told.fault.code === "connection_refused", "a refusal");
  await ends.restartCollector();
  assert.equal(ends.collector.port, port);
  await ends.emptied();
  assert.deepEqual(ends.accepted, ["a", "b", "c"]);
  await assertBooks(ends, { accepted: 3, delivered: 3 });
});

Deno.test("an answer that does not come in time is none, and what was sent is sent again", async () => {
  await using ends = await exporting({
    timeoutMs: 150,
    misbehave: ({ number }) => number === 1 ? { kind: "silence" } : undefined,
  });
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  const failed = ends.told.entries.find((told) => told.event === "failed");
  assert(failed?.event === "failed");
  assert.deepEqual([failed.fault.code, failed.cause], ["timeout", "no answer within 150 ms"]);
  await assertBooks(ends, { accepted: 1, delivered: 1 });
});

Deno.test("an acknowledgement that is lost makes a duplicate, never a loss", async () => {
  await using ends = await exporting({
    misbehave: ({ number }) => number === 1 ? { kind: "disconnect", accepted: true } : undefined,
  });
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  assert.deepEqual(ends.accepted, ["a", "a"]);
  await assertBooks(ends, { accepted: 1, delivered: 1 });
});

// --- partial success

Deno.test("what a partial success rejects has a place of its own in the books", async () => {
  await using ends = await exporting({
    misbehave: ({ probe }) => probe ? undefined : { kind: "partial_success", rejected: 2, message: "too old" },
    held: true,
  });
  await appendSpans(ends.queue, ["a"], ["b", "c"], ["d"]);
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.told.entries.filter(({ event }) => event === "rejected"), [
    { event: "rejected", signal: "traces", items: 2, message: "too old" },
  ]);
  assert.equal(data(ends).length, 1, "never sent again");
  await assertBooks(ends, { accepted: 4, delivered: 2, rejectedByCollector: 2 });
});

Deno.test("a partial success that rejects nothing is a warning", async () => {
  await using ends = await exporting({
    misbehave: () => ({ kind: "partial_success", rejected: 0, message: "deprecated" }),
  });
  await appendSpans(ends.queue, ["a"]);
  await ends.emptied();
  assert.deepEqual(ends.told.entries.filter(({ event }) => event === "rejected"), [
    { event: "rejected", signal: "traces", items: 0, message: "deprecated" },
  ]);
  await assertBooks(ends, { accepted: 1, delivered: 1 });
});

Deno.test("a partial success that rejects more than there was moves no more than there was", async () => {
  await using ends = await exporting({
    misbehave: () => ({ kind: "partial_success", rejected: 9, message: "confused" }),
  });
  await appendSpans(ends.queue, ["a", "b"]);
  await ends.emptied();
  await assertBooks(ends, { accepted: 2, delivered: 0, rejectedByCollector: 2 });
});

// --- the guilty one is found

Deno.test("one that is refused among 1,000 good ones: 1 dead letter, 1,000 delivered", async () => {
  await using ends = await exporting({ held: true, misbehave: refusePoison });
  const batcher = new Batcher(ends.queue, { bytesMax: 4 << 20, inflatedBytesMax: MERGED_INFLATED_BYTES_MAX });
  const names = [...numbered(1_000).slice(0, 613), POISON, ...numbered(1_000).slice(613)];
  await Promise.all(
    names.map((name, index) =>
      batcher.append(submission("traces", requestOf("traces", [name]), { sender: `sender ${index}` }))
    ),
  );
  ends.start();
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), numbered(1_000).toSorted(), "each once");
  assert.deepEqual(ends.told.entries.filter(({ event }) => event === "dead"), [
    { event: "dead", signal: "traces", items: 1, sender: "sender 613", reason: "no such span, please" },
  ]);
  assert(data(ends).length < 40, `${data(ends).length} requests`);
  assert.equal((await ends.queue.stats()).deadLetters.records, 1);
  await assertBooks(ends, { accepted: 1_001, delivered: 1_000, deadLettered: 1 });
});

Deno.test("of a request of many resources the guilty spans alone are set aside, in the Collector's own words", async () => {
  for (const encoding of ["gzip", "identity"] as const) {
    await using ends = await exporting({ misbehave: refusePoison });
    const resources = [["a", "b"], [POISON, "c"], ["d"], ["e"], [`${POISON} 2`], ["f"], ["g"]];
    await append(ends.queue, submission("traces", requestOf("traces", ...resources), { encoding, sender: "big" }));
    await ends.emptied();
    assert.deepEqual(ends.accepted.toSorted(), ["a", "b", "c", "d", "e", "f", "g"]);
    assert.deepEqual(ends.told.entries.filter(({ event }) => event === "dead"), [
      { event: "dead", signal: "traces", items: 2, sender: "big", reason: "no such span, please" },
    ]);
    await assertBooks(ends, { accepted: 9, delivered: 7, deadLettered: 2 });
  }
});

Deno.test("a request that is too large for the Collector arrives in pieces; one resource that is too large is set aside", async () => {
  const bytesMax = 100_000;
  await using ends = await exporting({
    misbehave: ({ names }) => names.reduce((sum, name) => sum + name.length, 0) > bytesMax ? status(413) : undefined,
  });
  const random = (bytes: number) => randomBytes(bytes / 2).toString("hex");
  const resources = [...numbered(10).map((name) => [name + random(30_000)]), [random(200_000)], ["last"]];
  await append(ends.queue, submission("traces", requestOf("traces", ...resources)));
  await ends.emptied();
  assert.equal(ends.accepted.length, 11);
  assert(ends.accepted.includes("last"));
  await assertBooks(ends, { accepted: 12, delivered: 11, deadLettered: 1 });
});

Deno.test("400, 413 and 422 are about what was sent; with no words the status speaks", async () => {
  for (const code of [400, 413, 422]) {
    await using ends = await exporting({
      misbehave: ({ names }) => names.includes(POISON) ? { kind: "status", status: code, message: "" } : undefined,
    });
    await appendSpans(ends.queue, [POISON]);
    await ends.emptied();
    const dead = ends.told.entries.find(({ event }) => event === "dead");
    assert(dead?.event === "dead");
    assert.equal(dead.reason, `The Collector answered ${code}`);
    await assertBooks(ends, { accepted: 1, delivered: 0, deadLettered: 1 });
  }
});

Deno.test("a request that is refused whole and taken in halves is delivered, what they reject counted", async () => {
  await using ends = await exporting({
    misbehave: ({ names }) => names.length > 2 ? status(413) : { kind: "partial_success", rejected: 1, message: "one" },
  });
  await append(ends.queue, submission("traces", requestOf("traces", ["a"], ["b"], ["c"], ["d"])));
  await ends.emptied();
  await assertBooks(ends, { accepted: 4, delivered: 2, rejectedByCollector: 2 });
});

Deno.test("beside a guilty resource, what the Collector rejects of the others is counted", async () => {
  await using ends = await exporting({
    misbehave: (seen) => refusePoison(seen) ?? { kind: "partial_success", rejected: 1, message: "one" },
  });
  await append(ends.queue, submission("traces", requestOf("traces", ["a", "b"], [POISON])));
  await ends.emptied();
  await assertBooks(ends, { accepted: 3, delivered: 1, rejectedByCollector: 1, deadLettered: 1 });
});

Deno.test("an outage in the middle of the search ends it at once and loses nothing", async () => {
  let out = 0;
  await using ends = await exporting({
    held: true,
    consumers: 1,
    retry: { initialMs: 50, maxMs: 100 },
    misbehave: (seen) => {
      // The first half: the second is not tried any more.
      if (!seen.probe && seen.number === 3 && out++ === 0) return { kind: "disconnect" };
      return refusePoison(seen);
    },
  });
  const batcher = new Batcher(ends.queue, { bytesMax: 4 << 20, inflatedBytesMax: MERGED_INFLATED_BYTES_MAX });
  const names = [...numbered(64), POISON, ...numbered(63, "m")];
  await Promise.all(names.map((name) => batcher.append(submission("traces", requestOf("traces", [name])))));
  ends.start();
  await ends.told.find(({ event }) => event === "failed", "the outage");
  assert.equal(ends.seen.entries.length, 3, "nothing more is tried in an outage");
  await ends.emptied();
  assert.deepEqual(ends.accepted.toSorted(), [...numbered(64), ...numbered(63, "m")].toSorted());
  await assertBooks(ends, { accepted: 128, delivered: 127, deadLettered: 1 });
});

Deno.test("an outage in the middle of one request's resources: it is sent again whole", async () => {
  let out = 0;
  await using ends = await exporting({
    misbehave: (seen) => {
      if (seen.number === 3 && out++ === 0) return { kind: "disconnect" };
      return refusePoison(seen);
    },
  });
  await append(ends.queue, submission("traces", requestOf("traces", ["a"], ["b"], [POISON], ["c"])));
  await ends.emptied();
  assert.deepEqual([...new Set(ends.accepted)].toSorted(), ["a", "b", "c"]);
  await assertBooks(ends, { accepted: 4, delivered: 3, deadLettered: 1 });
});

Deno.test("dead letters that are full: the guilty one stays queued, and what comes after it is sent", async () => {
  await using ends = await exporting({ deadLetterBytesMax: 0, misbehave: refusePoison });
  await appendSpans(ends.queue, [POISON]);
  await ends.told.find(({ event }) => event === "dead", "a verdict");
  await appendSpans(ends.queue, ["after"]);
  await ends.told.find(({ event }) => event === "sent", "what comes after");
  await ends.exporter.stop(1_000);
  assert.deepEqual(ends.accepted, ["after"]);
  const books = await balanced(ends.queue, "traces");
  assert.deepEqual([books.queued, books.delivered, books.deadLettered], [1, 1, 0]);
});

for (const compression of ["passthrough", "none"] as const) {
  Deno.test(`a record that the storage has damaged is set aside and holds up no other, compression ${compression}`, async () => {
    await using ends = await exporting({ held: true, consumers: 1, compression });
    const broken = submission("traces", requestOf("traces", ["broken"]));
    broken.payload.bytes[broken.payload.length - 6]! ^= 0xff;
    await appendSpans(ends.queue, ["a"]);
    await append(ends.queue, broken);
    await appendSpans(ends.queue, ["b"]);
    ends.start();
    await ends.emptied();
    assert.deepEqual(ends.accepted.toSorted(), ["a", "b"]);
    await assertBooks(ends, { accepted: 3, delivered: 2, deadLettered: 1 });
  });
}

// --- without a disk

Deno.test("none: each sender's request goes by itself and has its own answer", async () => {
  await using ends = await exporting({
    storage: "none",
    misbehave: ({ names }) =>
      names.includes("half")
        ? { kind: "partial_success", rejected: 1, message: "half of it" }
        : names.includes(POISON)
        ? status(400)
        : names.includes("later")
        ? status(429, { "retry-after": "7" })
        : undefined,
  });
  const send = (...names: string[]) => append(ends.queue, submission("traces", requestOf("traces", names)));
  const results = await Promise.allSettled([send("a"), send("half", "b"), send(POISON), send("later")]);
  assert.deepEqual(results.map((result) => result.status === "fulfilled" ? result.value : result.reason.code), [
    {},
    { partialSuccess: { rejected: 1, message: "half of it" } },
    "rejected_upstream",
    "upstream_unavailable",
  ]);
  const [, , , later] = results;
  assert(later?.status === "rejected" && later.reason.retryAfterS === 7, "the Collector's own wait is handed on");
  assert(data(ends).every(({ names }) => names.length <= 2));
  assert(!ends.seen.entries.some(({ probe, gzip }) => probe && gzip), "nothing was merged");
  await allBalanced(ends.queue);
  assert.equal((await balanced(ends.queue, "traces")).rejectedByCollector, 1);
});

Deno.test("none: an outage holds no sender up", async () => {
  let out = true;
  await using ends = await exporting({
    storage: "none",
    retry: { initialMs: 60_000, maxMs: 60_000 },
    misbehave: () => out ? { kind: "disconnect" } : undefined,
  });
  const send = (name: string) => append(ends.queue, submission("traces", requestOf("traces", [name])));
  for (const name of ["a", "b", "c"]) await assert.rejects(send(name), { code: "upstream_unavailable" });
  assert(ends.exporter.failures("traces") >= 3);
  out = false;
  assert.deepEqual(await send("d"), {});
  assert.equal(ends.exporter.failures("traces"), 0);
});

// --- an endpoint that tells senders apart

/**
 * Keeps one request of each sender, named as the sender is, in one record. Not by a batcher: that keeps the first one in a record of its
 * own, which is tried again while the others are still under way.
 */
async function appendOfEach({ queue }: Exporting, ...senders: readonly string[]): Promise<void> {
  const each = senders.map((sender) => submission("traces", requestOf("traces", [sender]), { sender }));
  const parts = each.map(({ sender, items, inflatedBytes, payload }) => ({
    sender,
    items,
    inflatedBytes,
    bytes: payload.length,
  }));
  const payload = new OwnedBytes(concatenate(each.map((one) => one.payload.bytes)));
  const { signal, encoding, mergeable, targets } = each[0]!;
  await queue.append({ signal, encoding, mergeable, targets, parts, payload });
}

for (const code of [401, 403, 404, 429]) {
  Deno.test(`a header names the sender: one that is answered ${code} holds up no other of its record, and opens no breaker`, async () => {
    let refuses = true;
    await using run = await exporting({
      held: true,
      bySender: true,
      misbehave: ({ names }) => refuses && names[0] === "a" ? { kind: "status", status: code } : undefined,
    });
    await appendOfEach(run, "a", "b", "c");
    run.start();
    await run.seen.until(() => run.accepted.length === 2, "those of b and c");
    assert.deepEqual(run.accepted, ["b", "c"]);
    const told = await run.told.find(({ event }) => event === "sender refused", "that one is refused");
    assert.ok(told.event === "sender refused" && told.sender === "a" && told.refusals === 1);
    assert.ok(!run.told.entries.some(({ event }) => event === "failed"), "nothing is wrong with the endpoint");
    // What comes later goes past it.
    await appendOfEach(run, "b");
    await run.seen.until(() => run.accepted.length === 3, "another of b");
    refuses = false;
    await run.emptied();
    assert.deepEqual(run.accepted, ["b", "c", "b", "a"]);
    const { delivered } = await balanced(run.queue, "traces");
    assert.equal(delivered, 4);
  });
}

Deno.test("a header names the sender: who is refused alone opens the breaker, as the endpoint may refuse everybody", async () => {
  let refuses = true;
  await using run = await exporting({
    held: true,
    bySender: true,
    misbehave: () => refuses ? { kind: "status", status: 401 } : undefined,
  });
  await appendOfEach(run, "a", "b");
  run.start();
  await run.told.find(({ event }) => event === "failed", "a failure of the endpoint");
  refuses = false;
  await run.emptied();
  assert.deepEqual(run.accepted.toSorted(), ["a", "b"]);
  assert.ok(!run.told.entries.some(({ event }) => event === "sender refused"));
});

Deno.test("a header names the sender: one that is refused again opens no breaker, while others of its first voyage are under way", async () => {
  let refuses = true;
  const gate = Promise.withResolvers<void>();
  await using run = await exporting({
    held: true,
    bySender: true,
    consumers: 2,
    misbehave: ({ names }) => refuses && names[0]!.startsWith("a") ? { kind: "status", status: 401 } : undefined,
    hold: ({ names }) => names[0] === "slow" ? gate.promise : undefined,
  });
  await appendOfEach(run, "b", "a", "slow");
  run.start();
  await run.seen.find(({ names }) => names[0] === "slow", "the last of the first voyage");
  await appendOfEach(run, "a");
  await run.told.find(({ event }) => event === "sender refused" || event === "failed", "what the second voyage tells");
  assert.deepEqual(
    run.told.entries.flatMap((told) => told.event === "sender refused" || told.event === "failed" ? [told.event] : []),
    ["sender refused"],
  );
  gate.resolve();
  refuses = false;
  await run.emptied();
  assert.deepEqual(run.accepted, ["b", "slow", "a", "a"]);
  assert.ok(!run.told.entries.some(({ event }) => event === "failed"), "nothing is wrong with the endpoint");
});

Deno.test("a header names the sender: the only consumer is not held up by a try of one that is refused", async () => {
  let says: "refuses" | "hangs" | "takes" = "refuses";
  const gate = Promise.withResolvers<void>();
  await using run = await exporting({
    held: true,
    bySender: true,
    consumers: 1,
    // Longer than anything here is waited for.
    timeoutMs: 60_000,
    misbehave: ({ names }) => says === "refuses" && names[0] === "a" ? { kind: "status", status: 401 } : undefined,
    hold: ({ names }) => says === "hangs" && names[0] === "a" ? gate.promise : undefined,
  });
  await appendOfEach(run, "a", "b");
  run.start();
  await run.told.find(({ event }) => event === "sender refused", "that one is refused");
  says = "hangs";
  const tries = () => run.seen.entries.filter(({ names }) => names[0] === "a").length;
  const before = tries();
  await run.seen.until(() => tries() > before, "a try of it");
  // Two voyages, one after the other.
  for (const sent of [2, 3]) {
    await appendOfEach(run, "b");
    await run.told.until(
      () => run.told.entries.filter(({ event }) => event === "sent").length === sent,
      "another of b",
    );
  }
  assert.equal(tries(), before + 1);
  says = "takes";
  gate.resolve();
  await run.emptied();
  assert.deepEqual(run.accepted.toSorted(), ["a", "b", "b", "b"]);
});

Deno.test("a header names the sender: one that was taken since its refusal is not condemned when that voyage ends", async () => {
  let refuses = true;
  const gate = Promise.withResolvers<void>();
  await using run = await exporting({
    held: true,
    bySender: true,
    consumers: 2,
    misbehave: ({ names }) => refuses && names[0] === "a" ? { kind: "status", status: 401 } : undefined,
    hold: ({ names }) => names[0] === "slow" ? gate.promise : undefined,
  });
  await appendOfEach(run, "a", "slow");
  run.start();
  await run.seen.find(({ names }) => names[0] === "slow", "the last of the first voyage");
  refuses = false;
  await appendOfEach(run, "a");
  await run.told.find(({ event }) => event === "sent", "another of the one that was refused");
  gate.resolve();
  await run.emptied();
  assert.deepEqual(run.accepted.toSorted(), ["a", "a", "slow"]);
  assert.ok(!run.told.entries.some(({ event }) => event === "sender refused" || event === "failed"));
});

Deno.test("a header names the sender: an endpoint that is down is asked once, and not once for each sender", async () => {
  let down = true;
  await using run = await exporting({
    held: true,
    bySender: true,
    consumers: 1,
    retry: { initialMs: 200, maxMs: 200 },
    misbehave: () => down ? { kind: "disconnect", accepted: false } : undefined,
  });
  await appendOfEach(run, "a", "b", "c", "d");
  run.start();
  await run.told.find(({ event }) => event === "failed", "a failure");
  const asked = run.seen.entries.filter(({ probe }) => !probe).length;
  assert.equal(asked, 1);
  down = false;
  await run.emptied();
  assert.deepEqual(run.accepted.toSorted(), ["a", "b", "c", "d"]);
});

Deno.test("a header names the sender: what the endpoint fails on is one sender's fault once others are taken beside it", async () => {
  let fails = true;
  await using run = await exporting({
    held: true,
    bySender: true,
    misbehave: ({ names }) => fails && names[0] === "a" ? { kind: "status", status: 503 } : undefined,
  });
  await appendOfEach(run, "a", "b", "c");
  run.start();
  await run.seen.until(() => run.accepted.length === 2, "those of b and c");
  const told = await run.told.find(({ event }) => event === "sender refused", "that one is refused");
  assert.ok(told.event === "sender refused" && told.sender === "a");
  assert.equal(run.told.entries.filter(({ event }) => event === "apart").length, 0, "its data is not blamed");
  fails = false;
  await run.emptied();
  assert.deepEqual(run.accepted, ["b", "c", "a"]);
});

for (const refusal of [{ status: 401 }, { status: 429, headers: { "retry-after": "60" } }]) {
  Deno.test(`a header names the sender: one that is answered ${refusal.status} by itself holds up others for the first backoff alone`, async () => {
    await using run = await exporting({
      held: true,
      bySender: true,
      consumers: 1,
      retry: { initialMs: 50, maxMs: 60_000 },
      misbehave: ({ names }) => names[0] === "a" ? { kind: "status", ...refusal } : undefined,
    });
    await appendOfEach(run, "a");
    run.start();
    const told = await run.told.find(({ event }) => event === "failed", "a failure");
    assert.ok(told.event === "failed" && told.retryMs <= 50, JSON.stringify(told));
    await appendOfEach(run, "b");
    await run.told.find(({ event }) => event === "sent", "that of b");
    assert.deepEqual(run.accepted, ["b"]);
  });
}

Deno.test("a header names the sender: whose requests have no answer waits alone once others have been taken beside it", async () => {
  let fails = true;
  await using run = await exporting({
    held: true,
    bySender: true,
    misbehave: ({ names }) => fails && names[0] === "a" ? { kind: "disconnect" } : undefined,
  });
  await appendOfEach(run, "a", "b", "c");
  run.start();
  await run.seen.until(() => run.accepted.length === 2, "those of b and c");
  const told = await run.told.find(({ event }) => event === "sender refused", "that one waits");
  assert.ok(told.event === "sender refused" && told.sender === "a");
  // What comes later goes past it, and nothing is wrong with the endpoint.
  const failures = run.told.entries.filter(({ event }) => event === "failed").length;
  await appendOfEach(run, "b", "a");
  await run.seen.until(() => run.accepted.length === 3, "another of b");
  assert.equal(run.told.entries.filter(({ event }) => event === "failed").length, failures);
  fails = false;
  await run.emptied();
  assert.deepEqual(run.accepted.slice(3), ["a", "a"]);
});

Deno.test("a header names the sender: one of whom all data is refused is told so, and asks nothing in its name", async () => {
  await using run = await exporting({
    held: true,
    bySender: true,
    misbehave: ({ names }) => names[0] === "a" ? status(400) : undefined,
  });
  await appendOfEach(run, "a", "b");
  for (let count = 0; count < 9; count++) await appendOfEach(run, "a");
  run.start();
  const told = await run.told.find(({ event }) => event === "sender refused", "that one is refused");
  assert.ok(told.event === "sender refused" && told.sender === "a");
  assert.equal(told.fault.code, "refuses_everything");
  const spoken: string[] = [];
  run.client.speakFor = (sender) => void spoken.push(sender);
  const sent = run.told.entries.filter(({ event }) => event === "sent").length;
  await appendOfEach(run, "a", "b");
  await run.told.until(
    () => run.told.entries.filter(({ event }) => event === "sent").length > sent,
    "another of b",
  );
  assert.deepEqual([...new Set(spoken)], ["b"]);
  assert.deepEqual(run.accepted, ["b", "b"]);
  assert.ok(!run.told.entries.some(({ event }) => event === "dead"));
});

Deno.test("a header names the sender: many that are refused do not make a request each while none is taken", async () => {
  let refuses = true;
  const senders = Array.from({ length: 20 }, (_, index) => `s${index}`);
  await using run = await exporting({
    held: true,
    bySender: true,
    consumers: 1,
    retry: { initialMs: 200, maxMs: 200 },
    misbehave: () => refuses ? { kind: "status", status: 429 } : undefined,
  });
  await appendOfEach(run, ...senders);
  run.start();
  await run.told.find(({ event }) => event === "failed", "a failure of the endpoint");
  assert.equal(run.seen.entries.filter(({ probe }) => !probe).length, 8);
  refuses = false;
  await run.emptied();
  assert.deepEqual(run.accepted.toSorted(), senders.toSorted());
});

Deno.test("none: a header names the sender: each has the answer that is its own", async () => {
  await using run = await exporting({
    storage: "none",
    held: true,
    bySender: true,
    misbehave: ({ names }) => names[0] === "a" ? { kind: "status", status: 401 } : undefined,
  });
  const answers = Promise.all(["a", "b", "c"].map(async (sender) => {
    try {
      await append(run.queue, submission("traces", requestOf("traces", [sender]), { sender }));
      return "taken";
    } catch (error) {
      return error instanceof Refusal ? error.code : "another";
    }
  }));
  run.start();
  assert.deepEqual(await answers, ["upstream_unavailable", "taken", "taken"]);
});
