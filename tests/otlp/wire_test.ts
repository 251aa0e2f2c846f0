import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName } from "../../src/signal.ts";
import { NESTING_MAX, splitResources, Walker, WireError } from "../../src/otlp/wire.ts";
import { decodeAll, type DecodeCase } from "../support/tools/decoder.ts";
import { mutate } from "../support/bodies/mutate.ts";
import { encodeProtobuf, Random, randomRequest, type TestMessage, varint } from "../support/bodies/requests.ts";

/** Seeds of the differential test: more by `WALK_SEEDS=100`, another start by `WALK_SEED=7`. */
const seeds = Number(process.env["WALK_SEEDS"] ?? 1);
const firstSeed = Number(process.env["WALK_SEED"] ?? 1);
const casesPerSeed = 9_000;

const walker = new Walker();

function encode(signal: SignalName, request: TestMessage): Uint8Array<ArrayBuffer> {
  return encodeProtobuf(REQUEST_MESSAGE[signal], request);
}

function bytes(...pieces: (number | bigint | string | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(pieces.map((piece) => {
    if (typeof piece === "number") return Buffer.from([piece]);
    if (typeof piece === "bigint") return varint(piece);
    return typeof piece === "string" ? Buffer.from(piece, "hex") : piece;
  })));
}

/** `content` as field `number`, length-delimited. */
function wrap(number: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes(BigInt(number * 8 + 2), BigInt(content.length), content);
}

/** A span with these raw fields, in a traces request. */
function requestOfSpan(span: Uint8Array): Uint8Array<ArrayBuffer> {
  return wrap(1, wrap(2, wrap(2, span)));
}

function faultOf(body: Uint8Array, signal: SignalName = "traces"): WireError {
  try {
    walker.walk(signal, body);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return error;
  }
  return assert.fail("the walk let it in");
}

Deno.test("the walk gives the Collector's verdict and count on damaged requests of every signal", async () => {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const random = new Random(seed);
    const cases: { form: { signal: SignalName; json: false }; body: Uint8Array }[] = [];
    let other: Uint8Array = new Uint8Array([1]);
    for (let index = 0; index < casesPerSeed; index++) {
      const signal = SIGNAL_NAMES[index % SIGNAL_NAMES.length]!;
      const whole = encode(signal, randomRequest(random, signal));
      const damaged = whole.length > 0 && index % 9 !== 0;
      cases.push({ form: { signal, json: false }, body: damaged ? mutate(random, whole, other) : whole });
      if (whole.length > 0) other = whole;
    }
    const verdicts = await decodeAll(cases satisfies DecodeCase[]);
    let refused = 0;
    for (const [index, { form, body }] of cases.entries()) {
      const verdict = verdicts[index]!;
      const said = `seed ${seed}, case ${index}, ${form.signal}: ${Buffer.from(body).toString("hex")}`;
      if (verdict.ok) {
        const { items, mergeable } = walker.walk(form.signal, body);
        assert.equal(items, verdict.count, said);
        if (mergeable) assert.deepEqual(bytes(...splitResources(body)), body, said);
      } else {
        refused++;
        assert.throws(() => walker.walk(form.signal, body), WireError, `${verdict.reason}: ${said}`);
      }
    }
    // Both verdicts have to be there, or nothing has been compared.
    assert.ok(refused > casesPerSeed / 10 && refused < (casesPerSeed * 9) / 10, `${refused} refused`);
  }
});

Deno.test("a body cut short gives the Collector's verdict and count at every byte", async () => {
  const random = new Random(77);
  const whole = encode("metrics", { resourceMetrics: [randomRequest(random, "metrics")] as TestMessage[] });
  const request = whole.length > 40 ? whole : encode("metrics", randomRequest(new Random(78), "metrics"));
  const cases = Array.from({ length: request.length + 1 }, (_, length) => ({
    form: { signal: "metrics", json: false } as const,
    body: request.subarray(0, length),
  }));
  const verdicts = await decodeAll(cases);
  for (const [index, { body }] of cases.entries()) {
    const verdict = verdicts[index]!;
    if (verdict.ok) assert.equal(walker.walk("metrics", body).items, verdict.count);
    else assert.throws(() => walker.walk("metrics", body), WireError);
  }
});

Deno.test("an attribute that is a key and a string is seen at a glance, and any other is not taken for one", async () => {
  const span = (attribute: Uint8Array) => requestOfSpan(wrap(9, attribute));
  const attribute = (key: number, value: number) =>
    bytes(wrap(1, new Uint8Array(key).fill(0x6b)), wrap(2, wrap(1, new Uint8Array(value).fill(0x76))));
  const bodies: Uint8Array[] = [];
  // Each byte of a short one as every other byte, left out, and doubled.
  const whole = attribute(2, 3);
  for (let at = 0; at < whole.length; at++) {
    for (let byte = 0; byte < 256; byte++) {
      bodies.push(span(bytes(whole.subarray(0, at), byte, whole.subarray(at + 1))));
    }
    bodies.push(span(bytes(whole.subarray(0, at), whole.subarray(at + 1))));
    bodies.push(span(bytes(whole.subarray(0, at + 1), whole.subarray(at))));
  }
  // Lengths of one byte and of two.
  for (const key of [0, 1, 126, 127, 128, 129]) {
    for (const value of [0, 1, 123, 124, 125, 126, 127, 128, 129]) bodies.push(span(attribute(key, value)));
  }
  const form = { signal: "traces", json: false } as const;
  const verdicts = await decodeAll(bodies.map((body) => ({ form, body })));
  let refused = 0;
  for (const [index, body] of bodies.entries()) {
    const verdict = verdicts[index]!;
    const said = Buffer.from(body).toString("hex");
    if (verdict.ok) assert.equal(walker.walk("traces", body).items, verdict.count, said);
    else {
      refused++;
      assert.throws(() => walker.walk("traces", body), WireError, said);
    }
  }
  assert.ok(refused > 100 && refused < bodies.length - 100, `${refused} of ${bodies.length} refused`);
});

Deno.test("wrong wire types of every known field are refused, by the Collector too", async () => {
  const cases: { form: { signal: SignalName; json: false }; body: Uint8Array; name: string }[] = [];
  for (const { signal, path, message } of messagesWithPaths()) {
    for (const field of MESSAGES[message]) {
      for (let wireType = 0; wireType < 8; wireType++) {
        // Enough zeros for any type: a varint, a fixed value, an empty string.
        const value = bytes(
          BigInt(field.number * 8 + wireType),
          wireType === 2 ? "00" : "0000000000000000".slice(0, sizeOf(wireType)),
        );
        cases.push({
          form: { signal, json: false },
          body: path.reduceRight((content, number) => wrap(number, content), value),
          name: `${message}.${field.name} as wire type ${wireType}`,
        });
      }
    }
  }
  const verdicts = await decodeAll(cases);
  for (const [index, { form, body, name }] of cases.entries()) {
    const verdict = verdicts[index]!;
    if (verdict.ok) assert.equal(walker.walk(form.signal, body).items, verdict.count, name);
    else assert.throws(() => walker.walk(form.signal, body), WireError, name);
  }
  assert.ok(verdicts.some(({ ok }) => ok) && verdicts.some(({ ok }) => !ok));
});

function sizeOf(wireType: number): number {
  return ({ 0: 1, 1: 8, 5: 4 }[wireType] ?? 0) * 2;
}

/** One way to every message of the schema, as field numbers. */
function messagesWithPaths(): { signal: SignalName; path: number[]; message: MessageName }[] {
  const found: { signal: SignalName; path: number[]; message: MessageName }[] = [];
  for (const signal of SIGNAL_NAMES) {
    const seen = new Set<string>();
    const open = [{ signal, path: [] as number[], message: REQUEST_MESSAGE[signal] }];
    for (let entry = open.shift(); entry !== undefined; entry = open.shift()) {
      if (seen.has(entry.message)) continue;
      seen.add(entry.message);
      found.push(entry);
      for (const field of MESSAGES[entry.message]) {
        if (!(field.kind in MESSAGES)) continue;
        open.push({ signal, path: [...entry.path, field.number], message: field.kind as MessageName });
      }
    }
  }
  return found;
}

Deno.test("faults are named with their byte, path and state", () => {
  const traceId = (length: number) => wrap(1, new Uint8Array(length));
  const table: [Uint8Array, RegExp][] = [
    [
      requestOfSpan(traceId(5)),
      /^Malformed protobuf at byte 6 in resourceSpans\.scopeSpans\.spans\.traceId: an id of 5 bytes, 16 wanted$/,
    ],
    [requestOfSpan(wrap(2, new Uint8Array(16))), /spans\.spanId: an id of 16 bytes, 8 wanted$/],
    [requestOfSpan(bytes(0x28, 1)), /spans\.name: wire type varint is wrong for it$/],
    [requestOfSpan(bytes(0x2a, 5, "6161")), /spans\.name: length 5 overruns its message by 3 bytes$/],
    [requestOfSpan(bytes(0x07)), /field number 0 is not positive$/],
    [bytes(0x0a, 0x80), /^Malformed protobuf at byte 1: ends inside a length$/],
    [bytes("80"), /^Malformed protobuf at byte 0: ends inside a tag$/],
    [bytes("80".repeat(10), "01"), /a tag of more than 64 bits$/],
    [requestOfSpan(bytes(0x30, "80".repeat(10), "01")), /spans\.kind: a varint of more than 64 bits$/],
    [requestOfSpan(bytes(0x39, "000000")), /spans\.startTimeUnixNano: ends before the 8 bytes of the value$/],
    [requestOfSpan(bytes(0x85, 1, "000000")), /spans\.flags: ends before the 4 bytes/],
    [requestOfSpan(bytes(BigInt(99 * 8 + 4), 0)), /spans\.field 99: a group ends that was not begun$/],
    [requestOfSpan(bytes(BigInt(99 * 8 + 6), 0)), /spans\.field 99: wire type 6 does not exist$/],
  ];
  for (const [body, message] of table) assert.match(faultOf(body).message, message);
});

Deno.test("the path of a fault tells apart fields that hold the same message", () => {
  const negative = wrap(1, wrap(2, wrap(2, wrap(10, wrap(1, wrap(9, bytes(0x12, 1, 0x80)))))));
  assert.match(faultOf(negative, "metrics").message, /exponentialHistogram\.dataPoints\.negative\.bucketCounts: /);
  const deprecated = wrap(1, wrap(1000, wrap(2, wrap(1, new Uint8Array(3)))));
  assert.match(faultOf(deprecated).message, /resourceSpans\.deprecatedScopeSpans\.spans\.traceId: an id of 3 bytes/);
});

Deno.test("a fault's text repeats nothing of the body", () => {
  const secret = "hunter2-hunter2";
  const body = requestOfSpan(bytes(wrap(5, Buffer.from(secret)), wrap(2, Buffer.from(secret))));
  assert.ok(!faultOf(body).message.includes("hunter2"));
});

Deno.test("nesting is bounded without recursion, which the Collector's is not", () => {
  // 3 messages down to the attribute's value, then two a level: AnyValue.arrayValue.values.
  const nested = (levels: number) => {
    // Lengths grow towards the outside, so the body is built back to front.
    const heads: Uint8Array[] = [];
    let length = 0;
    const push = (number: number) => {
      const head = bytes(BigInt(number * 8 + 2), BigInt(length));
      heads.push(head);
      length += head.length;
    };
    for (let level = 0; level < levels; level++) push(level % 2 === 0 ? 1 : 5);
    for (const number of [2, 1, 1, 1]) push(number);
    return new Uint8Array(Buffer.concat(heads.reverse()));
  };
  // Resource, KeyValue, AnyValue and the top stand above the levels counted here.
  const path = 4;
  assert.equal(walker.walk("traces", nested(NESTING_MAX - path)).items, 0);
  const fault = faultOf(nested(NESTING_MAX));
  assert.match(fault.message, /nested deeper than 10000 messages$/);
  assert.ok(fault.message.length < 400, "the path shown is bounded");
  // A walker goes on after a fault in the deep.
  assert.deepEqual(walker.walk("traces", new Uint8Array(0)), { items: 0, mergeable: true });
});

Deno.test("items are those that the Collector keeps of a oneof set twice and of the deprecated scopes", async () => {
  const point = wrap(1, new Uint8Array(0));
  const gauge = (points: number) => wrap(5, bytes(...Array<Uint8Array>(points).fill(point)));
  const sum = (points: number) => wrap(7, bytes(...Array<Uint8Array>(points).fill(point)));
  const metrics = (...data: Uint8Array[]) => wrap(1, wrap(2, wrap(2, bytes(...data))));
  const scope = (number: number, spans: number) =>
    wrap(number, bytes(...Array<Uint8Array>(spans).fill(wrap(2, new Uint8Array(0)))));
  const table: [SignalName, Uint8Array, number][] = [
    ["metrics", metrics(gauge(3)), 3],
    ["metrics", metrics(gauge(3), sum(2)), 2],
    ["metrics", bytes(metrics(gauge(1), gauge(4)), metrics(sum(5))), 9],
    ["traces", wrap(1, bytes(scope(1000, 2), scope(1000, 3))), 5],
    ["traces", wrap(1, bytes(scope(2, 2), scope(1000, 3))), 2],
    ["traces", wrap(1, bytes(scope(1000, 3), scope(2, 0))), 0],
    ["traces", bytes(wrap(1, scope(1000, 3)), wrap(1, scope(2, 1)), wrap(1, scope(1000, 1))), 5],
  ];
  const verdicts = await decodeAll(table.map(([signal, body]) => ({ form: { signal, json: false }, body })));
  for (const [index, [signal, body, items]] of table.entries()) {
    const verdict = verdicts[index]!;
    assert.ok(verdict.ok);
    assert.equal(verdict.count, items, `row ${index}, the Collector`);
    assert.equal(walker.walk(signal, body).items, items, `row ${index}, the walk`);
  }
});

Deno.test("groups, which no OTLP message has, are skipped as the Collector skips them", async () => {
  const start = bytes(BigInt(20 * 8 + 3));
  const end = bytes(BigInt(20 * 8 + 4));
  const resource = wrap(1, wrap(2, wrap(2, new Uint8Array(0))));
  const field = bytes(BigInt(30 * 8), 5);
  // [body, items; undefined where it is refused]
  const table: [Uint8Array<ArrayBuffer>, number | undefined][] = [
    [bytes(start, end, resource), 1],
    [bytes(resource, start, end, resource), 2],
    [bytes(start, start, end, end, resource), 1],
    // Its skipping ends with the first field that is no group, so that what follows is read; an end is then one too many.
    [bytes(start, field, resource), 1],
    [bytes(start, field, end, resource), undefined],
    [bytes(start, resource, resource), 1],
    [bytes(start, start, field, resource), 1],
    [bytes(end, resource), undefined],
    [bytes(start, end), undefined],
    [bytes(start), undefined],
    [bytes(start, start, end), undefined],
    [bytes(start, bytes(0), resource), undefined],
  ];
  const verdicts = await decodeAll(table.map(([body]) => ({ form: { signal: "traces", json: false }, body })));
  for (const [index, [body, items]] of table.entries()) {
    const verdict = verdicts[index]!;
    assert.equal(verdict.ok ? verdict.count : undefined, items, `row ${index}, the Collector`);
    if (items === undefined) faultOf(body);
    else assert.equal(walker.walk("traces", body).items, items, `row ${index}, the walk`);
  }
});

Deno.test("a request with any other top-level field is not mergeable", () => {
  const resource = wrap(1, new Uint8Array(0));
  assert.equal(walker.walk("traces", resource).mergeable, true);
  for (const other of [wrap(2, new Uint8Array(3)), bytes(BigInt(99 * 8), 1), bytes("8a00", 0)]) {
    assert.equal(walker.walk("traces", bytes(resource, other)).mergeable, false);
    assert.equal(walker.walk("traces", bytes(other, resource)).mergeable, false);
    assert.throws(() => splitResources(bytes(resource, other)), WireError);
  }
  // Field 99 of a resource is no top-level field.
  assert.equal(walker.walk("traces", wrap(1, wrap(99, new Uint8Array(1)))).mergeable, true);
});

Deno.test("profiles are not mergeable, whatever is in them", () => {
  const random = new Random(6);
  for (let round = 0; round < 50; round++) {
    assert.equal(walker.walk("profiles", encode("profiles", randomRequest(random, "profiles"))).mergeable, false);
  }
  assert.equal(walker.walk("profiles", wrap(1, new Uint8Array(0))).mergeable, false);
  assert.equal(walker.walk("profiles", new Uint8Array(0)).mergeable, false);
});

const MERGED = SIGNAL_NAMES.filter((name) => name !== "profiles");

Deno.test("requests that walk may be concatenated and cut at their resources", () => {
  const random = new Random(5);
  for (let round = 0; round < 300; round++) {
    const signal = MERGED[round % MERGED.length]!;
    const first = encode(signal, randomRequest(random, signal));
    const second = encode(signal, randomRequest(random, signal));
    const merged = bytes(first, second);
    const sum = walker.walk(signal, first).items + walker.walk(signal, second).items;
    assert.equal(walker.walk(signal, merged).items, sum);
    const pieces = splitResources(merged);
    assert.deepEqual(bytes(...pieces), merged);
    assert.equal(walker.walk(signal, merged).mergeable, true);
    assert.equal(pieces.reduce((total, piece) => total + walker.walk(signal, piece).items, 0), sum);
  }
});

Deno.test("what is no list of resources cannot be cut", () => {
  assert.deepEqual(splitResources(new Uint8Array(0)), []);
  assert.throws(() => splitResources(wrap(2, new Uint8Array(1))), WireError);
  assert.throws(() => splitResources(bytes(0x0a, 5, 1)), WireError);
  assert.throws(() => splitResources(bytes(0x0a)), WireError);
});

Deno.test("a resource whose length is over-long is cut as it was walked", () => {
  const content = wrap(3, Buffer.from("x"));
  // The last byte's bits are beyond 64 and count for nothing, there as here.
  for (const rest of ["00", "808000", "80".repeat(8) + "00", "80".repeat(8) + "02"]) {
    const overlong = bytes(0x0a, content.length | 0x80, rest, content);
    const body = bytes(overlong, wrap(1, content));
    assert.deepEqual(walker.walk("logs", body), { items: 0, mergeable: true });
    assert.deepEqual(splitResources(body).map((piece) => piece.length), [overlong.length, content.length + 2]);
  }
});
