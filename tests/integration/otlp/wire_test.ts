import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName } from "../../../src/signal.ts";
import { WireError } from "../../../src/otlp/wire.ts";
import { decodeAll, type DecodeCase } from "../../support/tools/decoder.ts";
import { mutate } from "../../support/bodies/mutate.ts";
import { Random, randomRequest, type TestMessage } from "../../support/bodies/requests.ts";
import { bytes, encode, faultOf, requestOfSpan, walker, wrap } from "../../support/bodies/wire_bodies.ts";

/** Seeds of the differential test: more by `WALK_SEEDS=100`, another start by `WALK_SEED=7`. */
const seeds = Number(process.env["WALK_SEEDS"] ?? 1);
const firstSeed = Number(process.env["WALK_SEED"] ?? 1);
const casesPerSeed = 9_000;

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
        assert.equal(walker.walk(form.signal, body).items, verdict.count, said);
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
