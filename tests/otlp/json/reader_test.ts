import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { REQUEST_PLAN } from "../../../src/otlp/json/plan.ts";
import { JsonError } from "../../../src/otlp/json/error.ts";
import { JsonReader } from "../../../src/otlp/json/reader.ts";

const reader = new JsonReader();

function begin(text: string): JsonReader {
  reader.begin(new TextEncoder().encode(text));
  return reader;
}

/** Whether one value and nothing else is read. */
function taken(text: string): boolean {
  begin(text);
  try {
    reader.skip();
    reader.finish();
    return true;
  } catch (error) {
    assert(error instanceof JsonError);
    return false;
  }
}

function parsed(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

Deno.test("what JSON.parse takes is taken, and nothing else", () => {
  const values = [
    "1",
    "-0.5e+3",
    '"a\\u00e9\\n"',
    "true",
    "false",
    "null",
    "[]",
    "{}",
    '[1,{"a":[null]}]',
    '{"a":1,"a":{"b":2}}',
  ];
  // Each value, and each with a character left out, doubled, or put in another's place.
  for (const value of values) {
    assert(taken(value) && taken(` \t\r\n${value} \t\r\n`), value);
    for (let at = 0; at < value.length; at++) {
      for (const other of ["", value[at]!.repeat(2), ...'"\\{}[]:,01-+.eEu \u0001\u00a0n']) {
        const text = value.slice(0, at) + other + value.slice(at + 1);
        assert.equal(taken(text), parsed(text), text);
      }
    }
  }
});

Deno.test("brackets of any number are matched, each with its own kind", () => {
  const opened = Array.from({ length: 50_000 }, (_, level) => (level * 7) % 3 === 0);
  const head = opened.map((object) => object ? '{"":' : "[").join("");
  const tail = opened.toReversed().map((object) => object ? "}" : "]").join("");
  assert(taken(`${head}1${tail}`));
  assert(!taken(`${head}1${tail.slice(1)}`));
  assert(!taken(`${head}1${tail.slice(0, -1)}${tail.endsWith("]") ? "}" : "]"}`));
});

Deno.test("a string is copied as UTF-8, whatever its escapes", () => {
  const target = new Uint8Array(256);
  for (
    const text of [
      '""',
      '"plain"',
      '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
      '"\\u0041\\u00E9\\u65e5\\ud83d\\ude00"',
      '"\\ud800"',
      '"\\ud800\\ud83d\\ude00\\udc00"',
      '"naïve 日本 😀 \\u0000 \u007f"',
    ]
  ) {
    begin(`${text}rest`);
    const end = reader.copyString(target, 1);
    assert.equal(Buffer.from(target.subarray(1, end)).toString(), (JSON.parse(text) as string).toWellFormed(), text);
    assert.equal(reader.left, 4);
    begin(text);
    assert.equal(reader.stringLength(), Buffer.byteLength(text));
    assert.equal(reader.string(), JSON.parse(text));
  }
});

Deno.test("a name is known by its bytes or by what its escapes mean", () => {
  const message = REQUEST_PLAN.traces;
  const field = message.named("resourceSpans")!;
  for (const expected of [undefined, field, REQUEST_PLAN.logs.named("resourceLogs")!]) {
    for (const name of ["resourceSpans", "resource\\u0053pans", "\\u0072esourceSpans"]) {
      assert.equal(begin(`"${name}" :1`).name(message, expected), field);
      assert.equal(reader.left, 1);
    }
    for (const name of ["resourceSpan", "resourceSpansX", "", "resourceSpans\\u0000"]) {
      assert.equal(begin(`"${name}":1`).name(message, expected), undefined);
    }
    for (const text of ['"resourceSpans"', '"resourceSpans" 1', '"resourceSpans', "resourceSpans:1", "1:1"]) {
      assert.throws(() => begin(text).name(message, expected), JsonError);
    }
  }
});
