/**
 * OTLP/JSON as nobody should write it, made at random from a seed: every spelling of every kind, the wrong kinds, nulls, names
 * given twice and names unknown, nesting, and damage to the text.
 */
import { Buffer } from "node:buffer";
import { ENUM_NAMES, type Field, isMessage, type MessageName, MESSAGES, protoName } from "../../../src/otlp/schema.ts";
import type { Random } from "./requests.ts";

const NUMBERS = [
  ..."0 -0 1 -1 7 127 128 300 01 -01 00 1. .5 -.5 1.0 1.5 -2.50 1e3 1E+3 1e-3 12e-1 1e 1e+ 1.e3 - -- +1 0x10 1_0 Infinity NaN"
    .split(" "),
  ..."2147483647 2147483648 -2147483648 -2147483649 4294967295 4294967296 999999999 1000000000 999999999999999".split(
    " ",
  ),
  ..."1000000000000000 9007199254740991 9007199254740992 9007199254740993 9223372036854775807 9223372036854775808"
    .split(" "),
  ..."-9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616 99999999999999999999".split(
    " ",
  ),
  ..."100000000000000000000 123456789012345678901234567890 007 00000000000000000007 000000000000000000007".split(" "),
  ..."0.1 0.30000000000000004 123456789.123456789 5e-324 2e-324 1.7976931348623157e308 1e309 -1e999 0.000001 1e22 1e23"
    .split(" "),
  ..."123456789012.345 1234567890123.45 9007199254740993.0 0.1234567890123456 8.5e-17 1e18 1.8446744073709552e19 1e-7"
    .split(" "),
];
const STRINGS = [
  "",
  "a",
  "http.request.method",
  "naïve",
  "日本",
  "😀",
  "x".repeat(126),
  "x".repeat(127),
  "x".repeat(128),
  "\\n",
  '\\"\\\\\\/\\b\\f\\n\\r\\t',
  "\\u0041",
  "\\u00e9\\u65E5\\uD83D\\uDE00",
  "\u007f",
];
const ODD_STRINGS = [
  "x".repeat(16_383),
  "ü".repeat(9_000),
  "\\ud800",
  "\\udc00",
  "\\ud800\\ud800\\udc00",
  "\\ud83dx\\ude00",
  "\\ud83d\\n",
  "\\ud83d\\u0041",
  "\\ud83d\\uZ",
  "\\u0000",
  "\\x",
  "\\u12",
  "\\u12g4",
  "\\U0041",
  "\n",
  "\u0001",
  "NaN",
  "-Infinity",
  "Inf",
];
const OTHERS = [
  "null",
  "true",
  "false",
  "tru",
  "nul",
  "True",
  "{}",
  "[]",
  "{",
  "]",
  "",
  "undefined",
  "[[[]]]",
  "[1,]",
  '{"a":1,}',
];
const SPACES = ["", "", "", " ", "\n", "\t\r\n ", "\u00a0", "\f"];
const ALPHABET = '"\\{}[]:,0123456789-+.eEunltrfas \n\t\u0000\u0001/';

/** One body, and how likely each oddity is in it: bodies with a few reach further than bodies of nothing else. */
export function oddJson(random: Random, message: MessageName): Uint8Array {
  const odds = random.pick([0, 0.002, 0.01, 0.05]);
  const text = (random.chance(0.02) ? "\ufeff" : "") + space(random, odds) + object(random, message, 0, odds) +
    space(random, odds) + (random.chance(odds) ? random.pick(["x", "{}", ",", "\u0000"]) : "");
  let bytes: Uint8Array = new TextEncoder().encode(text);
  if (random.chance(0.25)) {
    for (let faults = 1 + random.below(2); faults > 0; faults--) {
      bytes = damage(random, bytes);
    }
  }
  return bytes;
}

function space(random: Random, odds: number): string {
  return random.chance(0.1) ? random.pick(SPACES.slice(0, random.chance(odds) ? undefined : -2)) : "";
}

function object(random: Random, name: MessageName, depth: number, odds: number): string {
  const members: string[] = [];
  for (const field of MESSAGES[name]) {
    if ((isMessage(field.kind) && depth > 8) || random.chance(0.5)) continue;
    for (let times = random.chance(odds) ? 2 : 1; times > 0; times--) {
      members.push(
        `${key(random, field.name, odds)}${space(random, odds)}:${space(random, odds)}${
          field.repeated && !random.chance(odds) ? list(random, field, depth, odds) : value(random, field, depth, odds)
        }`,
      );
    }
  }
  if (random.chance(odds)) members.push(`"unknown":${anything(random, 0)}`);
  if (random.chance(odds)) members.push(`${key(random, random.pick(["__proto__", "Name", "toString", ""]), 0)}:1`);
  if (random.chance(0.3)) members.sort(() => random.next() - 0.5);
  return `{${space(random, odds)}${members.join(separator(random, odds))}${space(random, odds)}}`;
}

function separator(random: Random, odds: number): string {
  return `${space(random, odds)}${random.chance(odds / 10) ? random.pick(["", ",,", ";"]) : ","}${space(random, odds)}`;
}

/** A name, now and then with an escape in it. */
function key(random: Random, camel: string, odds: number): string {
  const name = random.chance(odds) ? protoName(camel) : camel;
  if (!random.chance(odds)) return `"${name}"`;
  const at = random.below(name.length);
  return `"${name.slice(0, at)}\\u00${name.charCodeAt(at).toString(16)}${name.slice(at + 1)}"`;
}

function list(random: Random, field: Field, depth: number, odds: number): string {
  const count = random.chance(odds) ? 200 : random.below(4);
  const values = Array.from(
    { length: depth < 3 ? Math.min(count, 4) : count },
    () => value(random, field, depth, odds),
  );
  return `[${space(random, odds)}${values.join(separator(random, odds))}${space(random, odds)}]`;
}

function value(random: Random, field: Field, depth: number, odds: number): string {
  if (random.chance(odds)) return anything(random, 0);
  const { kind } = field;
  if (kind === "AnyValue" && random.chance(odds / 10)) {
    const levels = random.pick([10, 200, 240, 247, 260]);
    return `${'{"arrayValue":{"values":['.repeat(levels)}{"intValue":"1"}${"]}}".repeat(levels)}`;
  }
  if (isMessage(kind)) return object(random, kind, depth + 1, odds);
  switch (kind) {
    case "string":
      return `"${random.pick(random.chance(odds) ? ODD_STRINGS : STRINGS)}"`;
    case "bytes": {
      const base64 = Buffer.from(random.bytes(random.below(40))).toString(random.pick(["base64", "base64url"]));
      return `"${
        random.chance(odds) ? random.pick(["=", "a===", "aa= =", "aGk=\\n", "aGk==", "a", "\\u0061Gk="]) : base64
      }"`;
    }
    case "traceId":
    case "profileId":
    case "spanId": {
      const length = random.chance(odds) ? random.below(20) : kind === "spanId" ? 8 : 16;
      const hex = Buffer.from(random.bytes(length)).toString("hex");
      return `"${random.chance(odds) ? hex.replace(/\d/, random.pick(["g", "\\u0061", "é", ""])) : hex}"`;
    }
    case "bool":
      return random.pick(["true", "false"]);
    case "enum":
      if (random.chance(odds)) return `"${random.pick([...Object.values(ENUM_NAMES).flat(), "3", "", "SPAN_KIND_X"])}"`;
      return String(random.below(300) - (random.chance(odds) ? 200 : 0));
    case "double":
      return quoted(random, odds, () => {
        if (random.chance(0.3)) return String(random.next());
        return String(Number((random.next() * 10 ** random.below(18)).toFixed(random.below(6))));
      });
    default:
      return quoted(random, odds, () => {
        const wide = kind.endsWith("64");
        const bits = random.bits64() >> BigInt(random.below(wide ? 64 : 32) + (wide ? 1 : 33));
        return String(kind.startsWith("s") || kind.startsWith("int") ? (random.chance(0.5) ? bits : -bits) : bits);
      });
  }
}

/** A number, as a number or as a string. */
function quoted(random: Random, odds: number, ordinary: () => string): string {
  const text = random.chance(5 * odds) ? random.pick(NUMBERS) : ordinary();
  return random.chance(0.5) ? `"${text}"` : text;
}

function anything(random: Random, depth: number): string {
  const choice = random.below(depth > 4 ? 3 : 6);
  if (choice === 0) return random.pick(NUMBERS);
  if (choice === 1) return `"${random.pick(random.chance(0.5) ? ODD_STRINGS : STRINGS)}"`;
  if (choice === 2) return random.pick(OTHERS);
  const values = Array.from({ length: random.below(4) }, () => anything(random, depth + 1));
  if (choice === 3) return `[${values.join()}]`;
  if (choice === 4) return `{${values.map((each, index) => `"k${index}":${each}`).join()}}`;
  const levels = random.below(300);
  return random.chance(0.5)
    ? "[".repeat(levels) + "]".repeat(levels)
    : '{"a":'.repeat(levels) + "1" + "}".repeat(levels);
}

/** The same bytes with one fault. */
function damage(random: Random, bytes: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1);
  const added = random.pick([
    () => Buffer.from(random.pick([...ALPHABET])),
    () => random.bytes(1),
    () => Buffer.alloc(0),
    () => bytes.subarray(random.below(bytes.length), random.below(bytes.length)),
  ])();
  if (random.chance(0.2)) return bytes.subarray(0, at);
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + random.below(3))]);
}
