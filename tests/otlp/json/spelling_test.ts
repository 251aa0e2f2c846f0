import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { Spelling } from "../../../src/otlp/json/spelling.ts";

Deno.test("a text of any length is found where it stands, and nowhere else", () => {
  for (const text of ["abcd", "abcde", "abcdef", "abcdefg", "abcdefgh", '"startTimeUnixNano":']) {
    const spelling = new Spelling(text);
    assert.equal(spelling.length, text.length);
    for (const before of ["", "x", "xyz"]) {
      const bytes = Buffer.from(`${before}${text}`);
      // Bytes that are no part of the text stand behind it in the same buffer.
      const behind = Buffer.concat([bytes, Buffer.from(text)]);
      const view = (length: number) => new DataView(behind.buffer, behind.byteOffset, length);
      for (let start = 0; start <= bytes.length; start++) {
        assert.equal(spelling.standsIn(view(bytes.length), start), start === before.length, `${text} at ${start}`);
      }
      assert(!spelling.standsIn(view(bytes.length - 1), before.length), "cut short");
      for (let at = before.length; at < bytes.length; at++) {
        behind[at]! ^= 1;
        assert(!spelling.standsIn(view(bytes.length), before.length), `${text} with another byte at ${at}`);
        behind[at]! ^= 1;
      }
    }
  }
});
