import assert from "node:assert/strict";
import { readDouble, Words } from "../../../src/otlp/json/number.ts";
import { Fault, JsonError } from "../../../src/otlp/json/error.ts";
import { JsonReader } from "../../../src/otlp/json/reader.ts";
import { Random } from "../../support/bodies/requests.ts";

const reader = new JsonReader();
const words = new Words();

/** Reads the text and says whether all of it was taken. */
function read<T>(text: string, take: () => T): T {
  reader.begin(new TextEncoder().encode(text));
  const value = take();
  assert.equal(reader.position, text.length, text);
  return value;
}

function integer(text: string, signed: boolean): bigint {
  // What follows a number in a request.
  reader.begin(new TextEncoder().encode(`${text},`));
  words.read64(reader, signed);
  assert.equal(reader.position, text.length, text);
  const value = (BigInt(words.high) << 32n) | BigInt(words.low);
  return signed ? BigInt.asIntN(64, value) : value;
}

function double(text: string): number {
  reader.begin(new TextEncoder().encode(`${text}}`));
  const value = readDouble(reader);
  assert.equal(reader.position, text.length, text);
  return value;
}

Deno.test("integers of every length are exact, at both ends of 64 bits too", () => {
  const random = new Random(1);
  for (let index = 0; index < 20_000; index++) {
    const unsigned = random.bits64() >> BigInt(random.below(64));
    const signed = BigInt.asIntN(64, random.bits64()) >> BigInt(random.below(64));
    for (const quote of ["", '"']) {
      assert.equal(integer(`${quote}${unsigned}${quote}`, false), unsigned);
      assert.equal(integer(`${quote}${signed}${quote}`, true), signed);
    }
  }
  for (const power of [9, 15, 16, 19].map((digits) => 10n ** BigInt(digits))) {
    for (const value of [power - 1n, power, power + 1n]) {
      if (value < 2n ** 64n) assert.equal(integer(String(value), false), value);
    }
  }
  assert.equal(integer(String(2n ** 64n - 1n), false), 2n ** 64n - 1n);
  assert.equal(integer(String(-(2n ** 63n)), true), -(2n ** 63n));
  for (
    const [text, signed] of [[2n ** 64n, false], [-1n, false], [2n ** 63n, true], [-(2n ** 63n) - 1n, true]] as const
  ) {
    assert.throws(() => integer(String(text), signed), /^Error: an integer that is not between/);
    assert.throws(() => integer(`"${text}"`, signed), /^Error: an integer that is not between/);
  }
});

Deno.test("an integer may be spelled with a fraction, an exponent, escapes and leading zeros", () => {
  for (
    const [text, value] of [
      ["1e3", 1_000n],
      ["1.0", 1n],
      ["12e-1", undefined],
      ["18446744073709551615.0", undefined],
      ["1e19", 10n ** 19n],
      ["-0", 0n],
      ["-0.0", 0n],
      ['"-0"', 0n],
      ['"007"', 7n],
      ['"\\u0031\\u0032"', 12n],
      ['"00000000000000000007"', 7n],
      ['"000000000000000000007"', undefined],
      ['""', undefined],
      ['"-"', undefined],
      ['"1 "', undefined],
      ['"1.0"', undefined],
      ["true", undefined],
      ["[1]", undefined],
    ] as const
  ) {
    if (value === undefined) assert.throws(() => integer(text, false), Fault, text);
    else assert.equal(integer(text, false), value, text);
  }
});

Deno.test("32 bits have their own bounds", () => {
  for (const [min, max] of [[-(2 ** 31), 2 ** 31 - 1], [0, 2 ** 32 - 1]] as const) {
    for (const value of [min, max]) assert.equal(read(`"${value}"`, () => words.read32(reader, min, max)), value);
    for (const value of [min - 1, max + 1, "99999999999999999999"]) {
      assert.throws(() => read(`"${value}"`, () => words.read32(reader, min, max)), /not between/);
    }
  }
});

Deno.test("doubles are the nearest ones, as JavaScript reads them", () => {
  const random = new Random(2);
  const texts = [
    "0",
    "-0",
    "0.5",
    "-0.0",
    "1e22",
    "1e23",
    "9007199254740993",
    "123456789012345",
    "0.1",
    "1234567890123.45",
  ];
  for (let index = 0; index < 50_000; index++) {
    const digits = 1 + random.below(18);
    const text = String(random.below(9) + 1) + Array.from({ length: digits - 1 }, () => random.below(10)).join("");
    const point = random.below(digits);
    texts.push(
      `${random.chance(0.5) ? "-" : ""}${point === 0 ? text : `${text.slice(0, point)}.${text.slice(point)}`}`,
    );
    texts.push(String(random.next() * 10 ** (random.below(40) - 20)));
  }
  for (const text of texts) {
    assert(Object.is(double(text), Number(text)), text);
    assert(Object.is(double(`"${text}"`), Number(text)), text);
  }
  assert(Number.isNaN(double('"NaN"')));
  assert.equal(double('"-Infinity"'), -Infinity);
  for (const text of ["1e999", '"1e999"', '"+1"', '"inf"', '".5"', "null", "{}"]) {
    assert.throws(() => double(text), Fault, text);
  }
});

Deno.test("what is no number of JSON is a fault of the text", () => {
  for (const text of ["01", "1.", "-", "-a", "1e", "1e+", "1.e3", "00", "-01", "1.0.0", "1e5e5"]) {
    for (const take of [() => words.read64(reader, true), () => readDouble(reader)]) {
      reader.begin(new TextEncoder().encode(`${text},`));
      assert.throws(
        () => {
          take();
          // A number ends where it can be one no longer, and there something else is wanted.
          reader.more(0x5d);
        },
        JsonError,
        text,
      );
    }
  }
});
