import assert from "node:assert/strict";
import { Fault, JsonError } from "../../../src/otlp/json/error.ts";
import { copyId } from "../../../src/otlp/json/id.ts";
import { JsonReader } from "../../../src/otlp/json/reader.ts";

const reader = new JsonReader();

function begin(text: string): JsonReader {
  reader.begin(new TextEncoder().encode(text));
  return reader;
}

Deno.test("an id is hex of its own length, or empty", () => {
  const target = new Uint8Array(8);
  assert.equal(copyId(begin('"00ffABcd"'), target, 2, 4), 4);
  assert.deepEqual([...target], [0, 0, 0x00, 0xff, 0xab, 0xcd, 0, 0]);
  assert.equal(copyId(begin('"0\\u0030FFabCD"'), target, 2, 4), 4);
  assert.deepEqual([...target], [0, 0, 0x00, 0xff, 0xab, 0xcd, 0, 0]);
  assert.equal(copyId(begin('""'), target, 0, 4), 0);
  for (const text of ['"00ffabc"', '"00ffabcde"', '"00ffabcg"', '"00ffabc\u00e9"', "1", "{}"]) {
    assert.throws(() => copyId(begin(text), target, 0, 4), Fault, text);
  }
  assert.throws(() => copyId(begin('"00ff'), target, 0, 4), JsonError);
});
