import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { ATTRIBUTE_ROOM_BYTES, copyAttribute } from "../../../src/otlp/json/attribute.ts";
import { JSON_NESTING_MAX, JsonError, transcodeJson } from "../../../src/otlp/json/transcode.ts";
import { JsonReader } from "../../../src/otlp/json/reader.ts";
import { expect } from "../../support/bodies/json_oracle.ts";
import { TooManyError } from "../../../src/otlp/bounds.ts";

const BYTES_MAX = 1 << 20;
const TAG = 0x4a;
/** One of two bytes, 0x82 0x01. */
const LONG_TAG = 0x0182;
const reader = new JsonReader();

function string(key: string, value: string): string {
  return `{"key":"${key}","value":{"stringValue":"${value}"}}`;
}

function integer(key: string, value: string): string {
  return `{"key":"${key}","value":{"intValue":${value}}}`;
}

/** What is written of an attribute; undefined where it is left to the long way, which finds all as it was. */
function short(text: string, tag = TAG): Buffer | undefined {
  const bytes = new TextEncoder().encode(`[${text}]`);
  reader.begin(bytes);
  reader.position = 1;
  const target = new Uint8Array(3 + ATTRIBUTE_ROOM_BYTES);
  const end = copyAttribute(reader, target, new DataView(target.buffer), 3, tag);
  assert(end <= target.length);
  assert.equal(reader.position, end < 0 ? 1 : bytes.length - 1, text);
  return end < 0 ? undefined : Buffer.from(target.subarray(3, end));
}

/** Asserts that a request with these attributes is what a second transcoder makes of it. */
function assertAsExpected(...attributes: string[]): void {
  const body = Buffer.from(`{"resourceSpans":[{"resource":{"attributes":[${attributes.join(",")}]}}]}`);
  const expected = expect("traces", body);
  const which = attributes.join(",").slice(0, 500);
  if (expected.kind === "request") {
    assert.deepEqual(Buffer.from(transcodeJson("traces", body, BYTES_MAX).protobuf), expected.protobuf, which);
  } else assert.throws(() => transcodeJson("traces", body, BYTES_MAX), JsonError, which);
}

const TEXTS = ["", "a", "abc", "abcd", "http.request.method", "naïve", "日本", "😀😀", "\u007f", "{}[],:'"];

Deno.test("short strings and small integers are written at once", () => {
  for (const key of TEXTS) {
    for (const value of TEXTS) {
      assert(short(string(key, value)) !== undefined, string(key, value));
      assertAsExpected(string(key, value), string(value, key));
    }
    for (const value of ["0", "7", "127", "128", "16383", "16384", "999999999", '"0"', '"1"', '"200"', '"999999999"']) {
      assert(short(integer(key, value)) !== undefined, integer(key, value));
      assertAsExpected(integer(key, value), string(key, "behind it"));
    }
  }
  assert.deepEqual(short(string("k", "v"), LONG_TAG), Buffer.from("\x82\x01\x08\n\x01k\x12\x03\n\x01v", "latin1"));
  assert.deepEqual(short(integer("k", "300")), Buffer.from("J\x08\n\x01k\x12\x03\x18\xac\x02", "latin1"));
});

Deno.test("strings of every length are what they are by the long way", () => {
  for (let keyBytes = 0; keyBytes < 140; keyBytes += 5) {
    for (let valueBytes = 0; valueBytes < 140; valueBytes++) {
      const text = string("k".repeat(keyBytes), "v".repeat(valueBytes));
      // As long as one byte tells the length of all of it: two tags and two lengths, and those of the value.
      assert.equal(short(text) !== undefined, keyBytes + valueBytes + 6 < 128, `${keyBytes}, ${valueBytes}`);
      assertAsExpected(text, text);
    }
  }
});

Deno.test("what is spelled otherwise is left to the long way", () => {
  const others = [
    "{}",
    "1",
    string("k", "v").replace(":", ": "),
    string("k", "v").replace("}}", "} }"),
    string("k", "v").replace('"k",', '"k" ,'),
    '{"value":{"stringValue":"v"},"key":"k"}',
    '{"key":"k","value":{"stringValue":"v"},"keyStrindex":1}',
    '{"key":"k","value":{"stringValue":"v","intValue":1}}',
    '{"key":"k","value":{"stringValue":null}}',
    '{"key":"k","value":{"stringValue":1}}',
    '{"key":"k","value":{"boolValue":true}}',
    '{"key":"k","value":{"doubleValue":0.5}}',
    '{"key":"k","value":{"arrayValue":{"values":[{"intValue":1}]}}}',
    '{"key":"k","value":null}',
    '{"key":"k"}',
    string("\\u006b", "v"),
    string("k", '\\"'),
    string("k", "abc\\\\"),
    string("k", "\n"),
    string("abcdefg\u0000", "v"),
    ...[
      "-1",
      "00",
      "01",
      "1000000000",
      '"-1"',
      '"01"',
      '"1',
      '1"',
      '""',
      "1.0",
      "1e3",
      '" 1"',
      "true",
      "0x1",
      "9".repeat(30),
    ]
      .map((value) => integer("k", value)),
  ];
  for (const text of others) {
    assert.equal(short(text), undefined, text);
    assertAsExpected(string("before", "it"), text, string("behind", "it"));
  }
});

Deno.test("each byte of an attribute that is missing or another comes to what it comes to by the long way", () => {
  for (const text of [string("key.one", "value two"), integer("key.one", '"1234"'), integer("key.one", "1234")]) {
    for (let at = 0; at <= text.length; at++) {
      for (const other of ["", ...'"\\{}:, 0a\u0001']) {
        assertAsExpected(text.slice(0, at) + other + text.slice(at + 1), string("k", "v"));
      }
      short(text.slice(0, at));
    }
  }
});

Deno.test("attributes are held to the bounds on messages and on nesting", () => {
  const body = (count: number) =>
    Buffer.from(`{"resourceSpans":[{"resource":{"attributes":[${Array(count).fill(string("k", "v")).join()}]}}]}`);
  const bounds = { resourcesMax: 1, messagesMax: 2 + 2 * 10 };
  transcodeJson("traces", body(10), BYTES_MAX, bounds);
  assert.throws(() => transcodeJson("traces", body(11), BYTES_MAX, bounds), TooManyError);
  assert.throws(
    () => transcodeJson("traces", body(10), BYTES_MAX, { ...bounds, messagesMax: bounds.messagesMax - 1 }),
    TooManyError,
  );
  // Three levels each, and one or two more, so that each depth is met.
  const nested = (levels: number, more: number, blank: string) => {
    const text = `${'{"kvlistValue":{"values":[{"key":"k","value":'.repeat(levels)}${
      '{"arrayValue":{"values":['.repeat(more)
    }{"kvlistValue":{"values":[{${blank}"key":"k","value":{"stringValue":"v"}}]}}${"]}}".repeat(more)}${
      "}]}}".repeat(levels)
    }`;
    const body = Buffer.from(`{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":${text}}]}}]}`);
    try {
      return transcodeJson("traces", body, BYTES_MAX).protobuf.length;
    } catch (error) {
      assert(error instanceof JsonError && error.message.includes(`nested deeper than ${JSON_NESTING_MAX} levels`));
      return "too deep";
    }
  };
  const met = new Set<boolean>();
  for (let levels = JSON_NESTING_MAX / 3 - 5; levels < JSON_NESTING_MAX / 3 + 1; levels++) {
    for (const more of [0, 1, 2]) {
      const atOnce = nested(Math.floor(levels), more, "");
      assert.equal(atOnce, nested(Math.floor(levels), more, " "));
      met.add(atOnce === "too deep");
    }
  }
  assert.equal(met.size, 2);
});
