import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { SIGNAL_NAMES } from "../../src/signal.ts";
import { NESTING_MAX } from "../../src/otlp/wire.ts";
import { Random, randomRequest } from "../support/bodies/requests.ts";
import { bytes, encode, faultOf, requestOfSpan, walker, wrap } from "../support/bodies/wire_bodies.ts";

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

Deno.test("a request with any other top-level field is not mergeable", () => {
  const resource = wrap(1, new Uint8Array(0));
  assert.equal(walker.walk("traces", resource).mergeable, true);
  for (const other of [wrap(2, new Uint8Array(3)), bytes(BigInt(99 * 8), 1), bytes("8a00", 0)]) {
    assert.equal(walker.walk("traces", bytes(resource, other)).mergeable, false);
    assert.equal(walker.walk("traces", bytes(other, resource)).mergeable, false);
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

Deno.test("requests that walk may be concatenated", () => {
  const random = new Random(5);
  for (let round = 0; round < 300; round++) {
    const signal = MERGED[round % MERGED.length]!;
    const first = encode(signal, randomRequest(random, signal));
    const second = encode(signal, randomRequest(random, signal));
    const merged = bytes(first, second);
    const sum = walker.walk(signal, first).items + walker.walk(signal, second).items;
    assert.equal(walker.walk(signal, merged).items, sum);
    assert.equal(walker.walk(signal, merged).mergeable, true);
  }
});

Deno.test("a resource whose length is over-long is walked", () => {
  const content = wrap(3, Buffer.from("x"));
  // The last byte's bits are beyond 64 and count for nothing, there as here.
  for (const rest of ["00", "808000", "80".repeat(8) + "00", "80".repeat(8) + "02"]) {
    const overlong = bytes(0x0a, content.length | 0x80, rest, content);
    const body = bytes(overlong, wrap(1, content));
    assert.deepEqual(walker.walk("logs", body), { items: 0, mergeable: true });
  }
});
