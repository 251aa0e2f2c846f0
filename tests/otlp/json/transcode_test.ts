import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { decodeRequest } from "../../../src/otlp/decode.ts";
import { JSON_NESTING_MAX, TranscodedTooLargeError, transcodeJson } from "../../../src/otlp/json/transcode.ts";
import type { SignalName } from "../../../src/signal.ts";
import { Walker } from "../../../src/otlp/wire.ts";
import { Random } from "../../support/bodies/requests.ts";
import { bytesMax, encoder, faultOf, log, point, span, transcode } from "../../support/bodies/json_bodies.ts";

/** The only span, point or body, as it was understood. */
function understood(text: string, signal: SignalName = "traces"): Record<string, unknown> {
  let value: unknown = decodeRequest(signal, transcode(text, signal));
  const path = {
    traces: ["resourceSpans", "scopeSpans", "spans"],
    metrics: ["resourceMetrics", "scopeMetrics", "metrics", "gauge", "dataPoints"],
    logs: ["resourceLogs", "scopeLogs", "logRecords", "body"],
    profiles: ["resourceProfiles", "scopeProfiles", "profiles"],
  }[signal];
  for (const name of path) {
    value = (value as Record<string, unknown>)[name];
    if (Array.isArray(value)) value = value[0];
  }
  return value as Record<string, unknown>;
}

Deno.test("64-bit integers keep every digit, as numbers and as strings", () => {
  const unsigned = [
    0n,
    1n,
    999_999n,
    1_000_000n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n - 1n,
    2n ** 53n + 1n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  const signed = [0n, -1n, -127n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, -(2n ** 32n), 2n ** 63n - 1n, -(2n ** 63n)];
  const random = new Random(3);
  for (let index = 0; index < 500; index++) {
    unsigned.push(random.bits64() >> BigInt(random.below(64)));
    signed.push(BigInt.asIntN(64, random.bits64()) >> BigInt(random.below(64)));
  }
  for (const value of unsigned) {
    for (const text of [`${value}`, `"${value}"`]) {
      assert.equal(understood(span(`"startTimeUnixNano":${text}`))["startTimeUnixNano"], String(value));
    }
  }
  for (const value of signed) {
    for (const text of [`${value}`, `"${value}"`]) {
      assert.equal(understood(point(`"asInt":${text}`), "metrics")["asInt"], String(value));
      assert.equal(understood(log(`{"intValue":${text}}`), "logs")["intValue"], String(value));
    }
  }
  // One number that a double cannot hold makes no other value inexact, nor a bigint of a double's.
  const mixed = understood(
    point('"timeUnixNano":9007199254740993,"asDouble":12345678901234567890,"flags":3'),
    "metrics",
  );
  assert.deepEqual(mixed, { timeUnixNano: "9007199254740993", asDouble: 12345678901234567890, flags: 3 });
  assert.equal(understood(span('"startTimeUnixNano":1e18'))["startTimeUnixNano"], "1000000000000000000");
  assert.equal(understood(span('"startTimeUnixNano":"-0"'))["startTimeUnixNano"], "0");
  assert.equal(understood(span('"startTimeUnixNano":"007"'))["startTimeUnixNano"], "7");
});

Deno.test("integers out of range and what is no integer are refused with their path, and not repeated", () => {
  const table: [string, SignalName, RegExp][] = [
    [
      span('"startTimeUnixNano":"18446744073709551616"'),
      "traces",
      /spans\[0\]\.startTimeUnixNano: an integer that is not between 0 and 18446744073709551615$/,
    ],
    [span('"startTimeUnixNano":99999999999999999999'), "traces", /not between 0 and/],
    [span('"startTimeUnixNano":1e300'), "traces", /not between 0 and/],
    [span('"startTimeUnixNano":-5'), "traces", /not between 0 and/],
    [point('"asInt":"9223372036854775808"'), "metrics", /not between -9223372036854775808 and 9223372036854775807$/],
    [point('"asInt":"-9223372036854775809"'), "metrics", /not between -9223372036854775808/],
    [point('"asInt":-9223372036854775809'), "metrics", /not between -9223372036854775808/],
    [point('"asInt":77.25'), "metrics", /asInt: a number that is no integer, an integer wanted$/],
    [point('"asInt":"77.25"'), "metrics", /asInt: a string that is no integer, an integer wanted$/],
    [point('"asInt":"-"'), "metrics", /a string that is no integer/],
    [point('"asInt":"7725772577257725772577"'), "metrics", /a string that is no integer/],
    [point('"asInt":[7725]'), "metrics", /asInt: an array, an integer wanted$/],
    [point('"flags":4294967296'), "metrics", /flags: an integer that is not between 0 and 4294967295$/],
    [point('"flags":"7725x"'), "metrics", /flags: a string that is no integer/],
    [span('"kind":"SPAN_KIND_7725"'), "traces", /spans\[0\]\.kind: a string that is none of the enum's names$/],
    [span('"kind":"2"'), "traces", /a string that is none of the enum's names$/],
    [span('"kind":-2147483649'), "traces", /not between -2147483648 and 2147483647$/],
    [span('"kind":9007199254740993'), "traces", /not between -2147483648 and 2147483647$/],
    [
      span('"name":9007199254740993,"startTimeUnixNano":9007199254740993'),
      "traces",
      /name: a number, a string wanted$/,
    ],
    [span('"name":7725'), "traces", /name: a number, a string wanted$/],
    [
      span('"attributes":[{"key":"a"},{"value":{"boolValue":"7725"}}]'),
      "traces",
      /spans\[0\]\.attributes\[1\]\.value\.boolValue: a string, true or false wanted$/,
    ],
    [span('"attributes":[null]'), "traces", /attributes\[0\]: null, an object wanted$/],
    [span('"status":[7725]'), "traces", /status: an array, an object wanted$/],
    [point('"asDouble":"7725abc"'), "metrics", /asDouble: a string that is no number, a number wanted$/],
    [point('"asDouble":1e999'), "metrics", /asDouble: a number over the range of a double; say "Infinity"/],
    [span('"traceId":"7725"'), "traces", /traceId: an id of 4 characters, 32 hex digits wanted$/],
    [span('"spanId":"772577257725772g"'), "traces", /spanId: an id with a character that is no hex digit$/],
    [span('"spanId":7725'), "traces", /spanId: a number, a hex string wanted$/],
    [log('{"bytesValue":"7725*"}'), "logs", /body\.bytesValue: a string that is not base64$/],
    [log('{"bytesValue":7725}'), "logs", /body\.bytesValue: a number, a base64 string wanted$/],
    ["7725", "logs", /^Malformed JSON: a number at the top, an object wanted$/],
  ];
  for (const [text, signal, message] of table) {
    const fault = faultOf(text, signal);
    assert.match(fault, message, text);
    assert.ok(!fault.includes("7725"), fault);
  }
});

Deno.test("broken JSON is refused by its place, without a word of the body", () => {
  const table: [string, RegExp][] = [
    ["", /^Malformed JSON: the body is empty, \{\} is the empty request$/],
    [" \n", /the body is empty/],
    ["{", /the body ends too early$/],
    ['{"resourceSpans":[{"hunter2":', /the body ends too early$/],
    ['{"hunter2', /the body ends too early$/],
    ['{"hunter2":1}}', /unexpected character 13 of the body, counted from 0$/],
    ['{"hunter2":1 "at position 99 (line 1 column 2)"}', /unexpected character 13 of the body/],
    ['{"a":hunter2}', /unexpected character 5 of the body/],
    ["hunter2 at position 5", /unexpected character 0 of the body/],
    ['\ufeff{"ü😀":hunter2}', /unexpected character 7 of the body/],
  ];
  for (const [text, message] of table) {
    const fault = faultOf(text);
    assert.match(fault, message, text);
    assert.ok(!/hunter2|99/.test(fault), fault);
  }
  assert.throws(
    () => transcodeJson("traces", Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), bytesMax).protobuf,
    /the body is not UTF-8$/,
  );
});

Deno.test("unknown fields are ignored, those of the language and the old names among them", () => {
  for (
    const member of [
      '"__proto__":{"name":"x"}',
      '"constructor":1',
      '"toString":[]',
      '"hasOwnProperty":null',
      '"trace_Id":"zz"',
      '"traceid":"zz"',
      '"Name":7',
      '"instrumentationLibrarySpans":[7]',
    ]
  ) {
    assert.deepEqual(understood(span(`${member},"name":"a"`)), { name: "a" }, member);
    assert.deepEqual(understood(span(`"name":"a",${member}`)), { name: "a" }, member);
  }
  const deprecated = '{"resourceSpans":[{"deprecatedScopeSpans":[{"spans":[{}]}]}]}';
  assert.equal(new Walker().walk("traces", transcode(deprecated)).items, 0);
});

Deno.test("the names of the .proto and of enums are taken, in any mixture", () => {
  assert.deepEqual(
    understood(
      span(
        '"start_time_unix_nano":"5","endTimeUnixNano":6,"kind":"SPAN_KIND_CLIENT","status":{"code":"STATUS_CODE_ERROR"}',
      ),
    ),
    { startTimeUnixNano: "5", endTimeUnixNano: "6", kind: 3, status: { code: 2 } },
  );
  assert.deepEqual(understood(span('"start\\u005ftime_unix_nano":"5"')), { startTimeUnixNano: "5" }, "escaped");
  assert.deepEqual(understood(span('"trace_state":"a","traceState":"b"')), { traceState: "b" }, "the later stands");
});

Deno.test("members that no field has the name of are counted, wherever they stand", () => {
  const ignored = (text: string) => transcodeJson("traces", encoder.encode(text), 1 << 20).ignored;
  assert.equal(ignored("{}"), 0);
  assert.equal(ignored('{"resourceSpans":null}'), 0);
  assert.equal(ignored('{"resourceLogs":[{"a":1}],"x":0}'), 2);
  assert.equal(ignored(span('"a":1,"attributes":[{"b":null,"key":"x"}]')), 2);
});

Deno.test("null is absent, a default is kept", () => {
  assert.deepEqual(understood(span('"name":null,"attributes":null,"status":null,"kind":0')), { kind: 0 });
  assert.deepEqual(understood(point('"asInt":0'), "metrics"), { asInt: "0" });
});

Deno.test("of a oneof set twice and of a name given twice the later stands", () => {
  const last = (text: string) => Object.keys(understood(text, "metrics")).at(-1);
  assert.equal(last(point('"asInt":1,"asDouble":2')), "asDouble");
  assert.equal(last(point('"asDouble":2,"asInt":1')), "asInt");
  assert.deepEqual(understood(span('"name":"a","name":"b"')), { name: "b" });
});

Deno.test("text of every kind arrives as it was", () => {
  const texts = [
    "",
    "a",
    "é",
    "日本語",
    "😀",
    "\u0000\u001f\u007f",
    "x".repeat(63),
    "x".repeat(64),
    `${"x".repeat(100)}é`,
    "é".repeat(64),
    "é".repeat(70_000),
    "x".repeat(70_000),
  ];
  for (const text of texts) {
    assert.equal(understood(span(`"name":${JSON.stringify(text)}`))["name"] ?? "", text);
  }
  // Half a surrogate pair has no form in UTF-8.
  assert.equal(understood(span(String.raw`"name":"a\ud800b"`))["name"], "a\ufffdb");
  assert.equal(understood(span(String.raw`"name":"\udc00"`))["name"], "\ufffd");
});

Deno.test("bytes are base64 in all four spellings, ids hex in both cases", () => {
  for (const spelling of ["+/8=", "+/8", "-_8=", "-_8"]) {
    assert.equal(understood(log(`{"bytesValue":"${spelling}"}`), "logs")["bytesValue"], "+/8=");
  }
  for (const spelling of ["00112233AABBCCDD", "00112233aabbccdd"]) {
    assert.equal(understood(span(`"spanId":"${spelling}"`))["spanId"], "00112233aabbccdd");
  }
  assert.equal(understood(span('"spanId":""'))["spanId"], "");
});

Deno.test("doubles may be words, strings and integers of any length", () => {
  const table: [string, unknown][] = [
    ['"NaN"', "NaN"],
    ['"Infinity"', "Infinity"],
    ['"-Infinity"', "-Infinity"],
    ['"1.5e3"', 1500],
    ["-0.0", -0],
    ["5e-324", 5e-324],
    ["123456789012345678901234567890", 123456789012345678901234567890],
  ];
  for (const [text, value] of table) {
    assert.ok(Object.is(understood(point(`"asDouble":${text}`), "metrics")["asDouble"], value), text);
  }
});

Deno.test("nesting is bounded where it is read and free where it is ignored", () => {
  const nested = (levels: number) => log(`${'{"arrayValue":{"values":['.repeat(levels)}{}${"]}}".repeat(levels)}`);
  const fits = Math.floor((JSON_NESTING_MAX - 4) / 2);
  assert.ok(transcode(nested(fits), "logs").length > fits);
  const fault = faultOf(nested(fits + 1), "logs");
  assert.match(
    fault,
    /at resourceLogs\[0\]\.scopeLogs\[0\]\.logRecords\[0\]\.body\..*…\..*: nested deeper than 500 levels$/,
  );
  assert.ok(fault.length < 400, fault);
  const ignored = `"unknown":${"[".repeat(20_000)}${"]".repeat(20_000)}`;
  assert.deepEqual(understood(span(`${ignored},"name":"a"`)), { name: "a" });
  const mixed = `"unknown":${'[{"a":'.repeat(200_000)}0${"}]".repeat(200_000)}`;
  assert.deepEqual(understood(span(`${mixed},"name":"a"`)), { name: "a" });
  assert.match(
    faultOf(span(`"unknown":${'[{"a":'.repeat(200_000)}0${"}]".repeat(199_999)}]]`)),
    /unexpected character/,
  );
});

Deno.test("the protobuf is bounded, to the byte", () => {
  const text = encoder.encode(span('"name":"abcdefghij"'));
  const whole = transcodeJson("traces", text, bytesMax).protobuf;
  assert.deepEqual(transcodeJson("traces", text, whole.length).protobuf, whole);
  assert.throws(() => transcodeJson("traces", text, whole.length - 1).protobuf, TranscodedTooLargeError);
  assert.throws(() => transcodeJson("traces", text, 0).protobuf, TranscodedTooLargeError);
  // Two characters of JSON, eight bytes of protobuf.
  const bounds = (count: number) =>
    encoder.encode(
      `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"explicitBounds":[${
        Array(count).fill("1").join(",")
      }]}]}}]}]}]}`,
    );
  assert.ok(transcodeJson("metrics", bounds(50_000), bytesMax).protobuf.length > 400_000);
  assert.throws(() => transcodeJson("metrics", bounds(200_000), bytesMax).protobuf, TranscodedTooLargeError);
});

Deno.test("the result is a buffer of its own, and the body stays as it was", () => {
  const text = encoder.encode(span('"name":"a"'));
  const copy = Buffer.from(text);
  const result = transcodeJson("traces", text, bytesMax).protobuf;
  assert.equal(result.byteLength, result.buffer.byteLength);
  assert.notEqual(result.buffer, text.buffer);
  assert.deepEqual(Buffer.from(text), copy);
});
