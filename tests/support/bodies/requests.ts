/**
 * Export requests made at random from a seed, over every message and field of the schema, and written as protobuf and as
 * OTLP/JSON by encoders of the tests' own: shorter and slower than the relay's, and apart from them.
 */
import { Buffer } from "node:buffer";
import { type Field, isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import type { SignalName } from "../../../src/signal.ts";

/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, not including, `bound`. */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index++) bytes[index] = this.below(256);
    return bytes;
  }

  /** 64 bits. */
  bits64(): bigint {
    return (BigInt(this.below(2 ** 32)) << 32n) | BigInt(this.below(2 ** 32));
  }
}

/** A message's fields by name: bigint for every integer, bytes for ids and `bytes`. */
export interface TestMessage {
  [name: string]: TestValue;
}
export type TestValue = string | number | bigint | boolean | Uint8Array | TestMessage | TestValue[];

/** Fields of which a message has one at most. */
const ONE_OF: Partial<Record<MessageName, readonly string[]>> = {
  Metric: ["gauge", "sum", "histogram", "exponentialHistogram", "summary"],
  NumberDataPoint: ["asDouble", "asInt"],
  Exemplar: ["asDouble", "asInt"],
  AnyValue: [
    "stringValue",
    "boolValue",
    "intValue",
    "doubleValue",
    "arrayValue",
    "kvlistValue",
    "bytesValue",
    "stringValueStrindex",
  ],
};

const TEXTS = ["", "a", "http.request.method", "GET /users/:id", "naïve", "日本", '\u0000\n"\\', "😀", "x".repeat(200)];
const DOUBLES = [0, -0, 1.5, -1e300, 5e-324, Number.MAX_SAFE_INTEGER, NaN, Infinity, -Infinity];
const BOUNDS: Partial<Record<Field["kind"], readonly bigint[]>> = {
  int32: [0n, 1n, -1n, -(2n ** 31n), 2n ** 31n - 1n],
  enum: [0n, 1n, 2n, 3n],
  uint32: [0n, 1n, 2n ** 31n, 2n ** 32n - 1n],
  sint32: [0n, 1n, -1n, -(2n ** 31n), 2n ** 31n - 1n],
  fixed32: [0n, 1n, 257n, 2n ** 32n - 1n],
  int64: [0n, 1n, -1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n - 1n],
  sfixed64: [0n, 1n, -1n, 2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 1n, 127n, 128n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n],
  fixed64: [0n, 1n, 1_700_000_000_123_456_789n, 2n ** 53n + 1n, 2n ** 64n - 1n],
};

export function randomRequest(random: Random, signal: SignalName): TestMessage {
  return randomMessage(random, REQUEST_MESSAGE[signal], 0);
}

function randomMessage(random: Random, name: MessageName, depth: number): TestMessage {
  const message: TestMessage = {};
  const oneOf = ONE_OF[name];
  const chosen = oneOf === undefined || random.chance(0.1) ? undefined : random.pick(oneOf);
  for (const field of MESSAGES[name]) {
    if (oneOf?.includes(field.name) === true ? field.name !== chosen : random.chance(0.4)) continue;
    // The fields before the rename of 2022: the Collector looks at them only where the new ones are absent.
    if (field.number === 1000 && (message[name.replace("Resource", "scope")] !== undefined || random.chance(0.8))) {
      continue;
    }
    if (isMessage(field.kind) && depth > 9) continue;
    if (field.repeated) message[field.name] = list(random, field, depth);
    else message[field.name] = one(random, field, depth);
  }
  return message;
}

function list(random: Random, field: Field, depth: number): TestValue[] {
  return Array.from({ length: random.below(depth < 6 ? 4 : 3) }, () => one(random, field, depth));
}

function one(random: Random, { kind }: Field, depth: number): TestValue {
  if (isMessage(kind)) return randomMessage(random, kind, depth + 1);
  switch (kind) {
    case "string":
      return random.pick(TEXTS);
    case "bytes":
      return random.bytes(random.below(20));
    case "traceId":
    case "profileId":
      return random.bytes(random.chance(0.1) ? 0 : 16);
    case "spanId":
      return random.bytes(random.chance(0.1) ? 0 : 8);
    case "bool":
      return random.chance(0.5);
    case "double":
      return random.chance(0.5) ? random.pick(DOUBLES) : random.next() * 1e6;
    default: {
      const bounds = BOUNDS[kind]!;
      if (kind === "enum" || random.chance(0.5)) return random.pick(bounds);
      const signed = bounds.some((bound) => bound < 0n);
      const width = kind.endsWith("32") ? 32 : 64;
      return signed ? BigInt.asIntN(width, random.bits64()) : BigInt.asUintN(width, random.bits64());
    }
  }
}

/** As protobuf, front to back. */
export function encodeProtobuf(name: MessageName, message: TestMessage): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  for (const field of MESSAGES[name]) {
    const value = message[field.name];
    if (value === undefined) continue;
    const values = Array.isArray(value) ? value : [value];
    const packed = field.repeated && ["int32", "int64", "fixed64", "double", "uint64"].includes(field.kind);
    if (packed) {
      const content = Buffer.concat(values.map((entry) => encodeValue(field.kind, entry).bytes));
      pieces.push(varint((BigInt(field.number) << 3n) | 2n), varint(BigInt(content.length)), content);
      continue;
    }
    for (const entry of values) {
      const { wireType, bytes } = encodeValue(field.kind, entry);
      pieces.push(varint((BigInt(field.number) << 3n) | BigInt(wireType)));
      if (wireType === 2) pieces.push(varint(BigInt(bytes.length)));
      pieces.push(bytes);
    }
  }
  return new Uint8Array(Buffer.concat(pieces));
}

/** One value, without tag and length. */
export function encodeValue(kind: Field["kind"], value: TestValue): { wireType: number; bytes: Uint8Array } {
  if (isMessage(kind)) return { wireType: 2, bytes: encodeProtobuf(kind, value as TestMessage) };
  switch (kind) {
    case "string":
      return { wireType: 2, bytes: new TextEncoder().encode(value as string) };
    case "bytes":
    case "traceId":
    case "spanId":
    case "profileId":
      return { wireType: 2, bytes: value as Uint8Array };
    case "bool":
      return { wireType: 0, bytes: varint(value === true ? 1n : 0n) };
    case "sint32": {
      const number = value as bigint;
      return { wireType: 0, bytes: varint(number >= 0n ? number * 2n : -number * 2n - 1n) };
    }
    case "fixed32": {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(Number(value as bigint));
      return { wireType: 5, bytes };
    }
    case "fixed64":
    case "sfixed64": {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt.asUintN(64, value as bigint));
      return { wireType: 1, bytes };
    }
    case "double": {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleLE(value as number);
      return { wireType: 1, bytes };
    }
    default:
      return { wireType: 0, bytes: varint(BigInt.asUintN(64, value as bigint)) };
  }
}

export function varint(value: bigint): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  for (let rest = value;; rest >>= 7n) {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    if (rest <= 0x7fn) return Uint8Array.from(bytes);
  }
}

/** As OTLP/JSON; where it leaves a choice of spelling, `random` makes it. */
export function encodeJson(name: MessageName, message: TestMessage, random: Random): string {
  const members: string[] = [];
  for (const field of MESSAGES[name]) {
    const value = message[field.name];
    if (value === undefined) continue;
    const text = Array.isArray(value)
      ? `[${value.map((entry) => jsonValue(field.kind, entry, random)).join(random.pick([",", " ,\n"]))}]`
      : jsonValue(field.kind, value, random);
    members.push(`${JSON.stringify(field.name)}${random.pick([":", " : "])}${text}`);
  }
  if (random.chance(0.05)) members.push(`"unknown${random.below(9)}":[{"a":[1,null,true,"x"]},-1.5e3]`);
  // Order matters to nobody, fields of a oneof stand alone here.
  if (random.chance(0.5)) members.reverse();
  return `{${members.join(",")}}`;
}

function jsonValue(kind: Field["kind"], value: TestValue, random: Random): string {
  if (isMessage(kind)) return encodeJson(kind, value as TestMessage, random);
  switch (kind) {
    case "string": {
      const text = JSON.stringify(value);
      return random.chance(0.2) ? text.replaceAll(/[^\x20-\x7e]/g, (unit) => `\\u${hex4(unit)}`) : text;
    }
    case "bytes":
      return JSON.stringify(Buffer.from(value as Uint8Array).toString("base64"));
    case "traceId":
    case "spanId":
    case "profileId": {
      const hex = Buffer.from(value as Uint8Array).toString("hex");
      return JSON.stringify(random.chance(0.3) ? hex.toUpperCase() : hex);
    }
    case "bool":
    case "enum":
      return String(value);
    case "double": {
      const number = value as number;
      if (!Number.isFinite(number)) return JSON.stringify(String(number));
      const text = Object.is(number, -0) ? "-0.0" : String(number);
      return random.chance(0.1) ? JSON.stringify(text) : text;
    }
    default:
      return random.chance(0.5) ? JSON.stringify(String(value)) : String(value);
  }
}

function hex4(unit: string): string {
  return unit.charCodeAt(0).toString(16).padStart(4, "0");
}
