import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { decodeBase64 } from "../../../src/otlp/json/base64.ts";
import { Random } from "../../support/bodies/requests.ts";

/** What it decodes to between bytes that it may not touch; undefined when it is none. */
function decode(text: string): string | undefined {
  const bytes = Buffer.from(`<${text}>`, "latin1");
  const end = decodeBase64(bytes, 1, bytes.length - 1);
  assert.equal(bytes[0], 0x3c);
  assert.equal(bytes.at(-1), 0x3e);
  return end < 0 ? undefined : bytes.subarray(1, end).toString("latin1");
}

/** What the platform's own decoder says, which knows the standard alphabet alone. */
function byAtob(text: string): string | undefined {
  try {
    return atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return undefined;
  }
}

Deno.test("bytes of every length and value come back, in all four spellings", () => {
  const random = new Random(1);
  for (let length = 0; length < 300; length++) {
    const bytes = Buffer.from(random.bytes(length));
    for (const spelling of [bytes.toString("base64"), bytes.toString("base64url")]) {
      assert.equal(decode(spelling), bytes.toString("latin1"));
      assert.equal(decode(spelling.replaceAll("=", "")), bytes.toString("latin1"));
    }
  }
});

Deno.test("what is not base64 is told, and white space skipped, as `atob` does", () => {
  const random = new Random(2);
  const alphabet = [..."AZaz09+/-_==== \n\t\f\r", "*", "\u0000", "\u000b", "\u00ff"];
  let none = 0;
  for (let index = 0; index < 20_000; index++) {
    const text = Array.from(
      { length: random.below(10) },
      () => random.pick(alphabet.slice(0, random.chance(0.8) ? 16 : undefined)),
    )
      .join("");
    const expected = byAtob(text);
    assert.equal(decode(text), expected, JSON.stringify(text));
    if (expected === undefined) none++;
  }
  assert(none > 2_000 && none < 18_000, String(none));
});
