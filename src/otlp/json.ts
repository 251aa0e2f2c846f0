/**
 * OTLP/JSON to protobuf. Source: OTLP 1.11 "JSON Protobuf Encoding", which changes proto3's JSON mapping: ids are hex, enums
 * are integers only, field names are lowerCamelCase only, unknown fields are ignored. Fields keep the order of the text, so of
 * a oneof that is set twice the later one stands, as in the Collector.
 *
 * The body is written back to front, so that every length is known when it is needed and nothing is measured twice.
 * @module
 */
import { isUtf8 } from "node:buffer";
import { discard } from "./bytes.ts";
import { leaveGarbage } from "./garbage.ts";
import { isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE, type ScalarKind } from "./schema.ts";
import type { SignalName } from "./signal.ts";

/** How deep a JSON body may nest: this far, every engine's stack holds. */
export const JSON_NESTING_MAX = 500;

/**
 * How many values a JSON body may have (`:`, `,`, `{` and `[` outside strings). An object of three bytes of text takes 150 bytes
 * of memory: 20 MiB of `{},` took 780 MiB. 9 MiB of ordinary spans are under this.
 */
export const JSON_VALUES_MAX = 1_000_000;
/** The same where an integer that a double does not hold stands as a number: keeping its digits takes 300 bytes a value. */
export const JSON_VALUES_WITH_DIGITS_MAX = 250_000;

/** What a value leaves behind, in bytes: between 50 and 300. */
const VALUE_BYTES = 100;

/** A body of more values than {@link JSON_VALUES_MAX}. */
export class JsonValuesError extends Error {
  override readonly name = "JsonValuesError";
}

/** A body that is not OTLP/JSON: what is wrong and at which path. Nothing of the body's content is repeated. */
export class JsonError extends Error {
  override readonly name = "JsonError";
  /** The path of the field, e.g. `resourceSpans[0].scopeSpans`; empty where the text as a whole is wrong. */
  readonly path: string;

  constructor(message: string, path = "") {
    super(message);
    this.path = path;
  }
}

/** The request would be over the bound as protobuf. */
export class TranscodedTooLargeError extends Error {
  override readonly name = "TranscodedTooLargeError";
  readonly bytesMax: number;

  constructor(bytesMax: number) {
    super(`Body is more than ${bytesMax} bytes as protobuf`);
    this.bytesMax = bytesMax;
  }
}

/** A fault found while encoding, with the path that grows as it travels outwards. */
class Fault extends Error {
  readonly path: string[] = [];
}

/** A number that a double does not hold exactly stands where an integer is wanted: its digits are needed. */
class DigitsWanted extends Error {}

/**
 * Transcodes one OTLP/JSON export request.
 * @param bytesMax The most bytes that the protobuf may have.
 * @returns the request as protobuf, in a buffer of its own.
 * @throws {JsonError} when it is not an export request; {TranscodedTooLargeError} when it is over `bytesMax`.
 */
export function transcodeJson(signal: SignalName, body: Uint8Array, bytesMax: number): Uint8Array<ArrayBuffer> {
  // Two steps, since a decoder that is `fatal` takes five times as long as both.
  if (!isUtf8(body)) throw new JsonError("Malformed JSON: the body is not UTF-8");
  // Each value takes a byte at least, so most bodies need no counting.
  const values = body.length <= JSON_VALUES_WITH_DIGITS_MAX ? 0 : countValues(body);
  if (values > JSON_VALUES_MAX) throw new JsonValuesError(`Body has more than ${JSON_VALUES_MAX} JSON values`);
  const text = UTF8.decode(body);
  try {
    return transcode(signal, parse(text), new BackWriter(text.length + 64, bytesMax, false));
  } catch (error) {
    if (!(error instanceof DigitsWanted)) throw error;
    if (values > JSON_VALUES_WITH_DIGITS_MAX) {
      throw new JsonValuesError(
        `Body has more than ${JSON_VALUES_WITH_DIGITS_MAX} JSON values, and 64-bit integers that are not strings`,
      );
    }
    return transcode(signal, parse(text, keepDigits), new BackWriter(text.length + 64, bytesMax, true));
  } finally {
    if (values > 0) leaveGarbage(values * VALUE_BYTES + text.length);
  }
}

const UTF8 = new TextDecoder();

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;

/** Signs that a value follows, outside strings. Of text that is not JSON it is some number. */
function countValues(body: Uint8Array): number {
  let count = 0;
  for (let index = 0; index < body.length; index++) {
    const byte = body[index]!;
    if (byte === QUOTE) {
      for (index++; index < body.length && body[index] !== QUOTE; index++) if (body[index] === BACKSLASH) index++;
    } else if (byte === COMMA || byte === COLON || byte === BRACKET || byte === BRACE) count++;
  }
  return count;
}

type JsonObject = Readonly<Record<string, unknown>>;

function transcode(signal: SignalName, value: unknown, writer: BackWriter): Uint8Array<ArrayBuffer> {
  if (!isObject(value)) throw new JsonError(`Malformed JSON: ${kindOf(value)} at the top, an object wanted`);
  try {
    writeMessage(writer, PLANS[REQUEST_MESSAGE[signal]], value, 0);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const path = pathOf(error.path);
    throw new JsonError(`Malformed OTLP/JSON at ${path}: ${error.message}`, path);
  }
  return writer.finish();
}

function parse(text: string, reviver?: typeof keepDigits): unknown {
  try {
    return JSON.parse(text, reviver);
  } catch (error) {
    throw new JsonError(`Malformed JSON: ${describeSyntax(error, text)}`);
  }
}

/** Keeps the digits of integers that a double cannot hold, as a bigint. */
function keepDigits(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d{16,20}$/.test(source) ? BigInt(source) : value;
}

/** V8 quotes a part of the body in its message; a sender's data has no place in an answer or a log. */
function describeSyntax(error: unknown, text: string): string {
  if (text.trim() === "") return "the body is empty, {} is the empty request";
  // The one RangeError of JSON.parse: a reviver's recursion.
  if (error instanceof RangeError) return "the body is nested too deeply";
  const message = error instanceof Error ? error.message : "";
  const position = / at position (\d+) \(line \d+ column \d+\)$/.exec(message)?.[1];
  if (position === undefined) {
    return message.includes("end of JSON input") ? "the body ends too early" : "the body is not JSON";
  }
  return Number(position) >= text.length
    ? "the body ends too early"
    : `unexpected character ${position} of the body, counted from 0`;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  return typeof value === "bigint" ? "a number" : `a ${typeof value}`;
}

/** Longest path that is shown whole; of a longer one the two ends are. */
const PATH_SHOWN_MAX = 16;

function pathOf(inwardsOut: readonly string[]): string {
  const path = inwardsOut.toReversed();
  if (path.length > PATH_SHOWN_MAX) path.splice(PATH_SHOWN_MAX / 2, path.length - PATH_SHOWN_MAX, "…");
  return path.join(".") || "the top";
}

/** A field as the writer wants it: all that can be known of it before there is a value. */
interface Plan {
  readonly name: string;
  /** The tag of one value; of all values together where they are packed. */
  readonly tag: number;
  readonly kind: ScalarKind | undefined;
  readonly message: MessagePlan | undefined;
  readonly repeated: boolean;
  readonly packed: boolean;
}
type MessagePlan = Map<string, Plan>;

const WIRE_TYPE: Readonly<Record<ScalarKind, number>> = {
  string: 2,
  bytes: 2,
  traceId: 2,
  spanId: 2,
  profileId: 2,
  bool: 0,
  enum: 0,
  int32: 0,
  uint32: 0,
  int64: 0,
  uint64: 0,
  sint32: 0,
  fixed32: 5,
  fixed64: 1,
  sfixed64: 1,
  double: 1,
};
const PLANS = plans();

function plans(): Readonly<Record<MessageName, MessagePlan>> {
  const all = {} as Record<MessageName, MessagePlan>;
  const names = Object.keys(MESSAGES) as MessageName[];
  for (const name of names) all[name] = new Map();
  for (const name of names) {
    for (const { number, name: field, kind, repeated } of MESSAGES[name]) {
      // The deprecated scopes have a number on the wire alone: no published .proto gives them a name.
      if (number === 1000) continue;
      const scalar = isMessage(kind) ? undefined : kind;
      const packed = repeated && scalar !== undefined && WIRE_TYPE[scalar] !== 2;
      all[name].set(field, {
        name: field,
        tag: number * 8 + (scalar === undefined || packed ? 2 : WIRE_TYPE[scalar]),
        kind: scalar,
        message: isMessage(kind) ? all[kind] : undefined,
        repeated,
        packed,
      });
    }
  }
  return all;
}

function writeMessage(writer: BackWriter, message: MessagePlan, object: JsonObject, depth: number): void {
  if (depth > JSON_NESTING_MAX) throw new Fault(`nested deeper than ${JSON_NESTING_MAX} levels`);
  const names = Object.keys(object);
  let name = "";
  let index = -1;
  try {
    for (let position = names.length - 1; position >= 0; position--) {
      name = names[position]!;
      const plan = message.get(name);
      const value = object[name];
      // proto3 JSON: null is the default value, which is the same as absent.
      if (plan === undefined || value === null) continue;
      if (!plan.repeated) {
        writeValue(writer, plan, value, depth);
        continue;
      }
      if (!Array.isArray(value)) throw new Fault(`${kindOf(value)}, an array wanted`);
      const end = writer.length;
      for (index = value.length - 1; index >= 0; index--) {
        if (plan.packed) writeScalar(writer, plan.kind!, value[index]);
        else writeValue(writer, plan, value[index], depth);
      }
      if (plan.packed && value.length > 0) {
        writer.varint(writer.length - end);
        writer.varint(plan.tag);
      }
    }
  } catch (error) {
    if (error instanceof Fault) error.path.push(index < 0 ? name : `${name}[${index}]`);
    throw error;
  }
}

function writeValue(writer: BackWriter, plan: Plan, value: unknown, depth: number): void {
  if (plan.message === undefined) {
    writeScalar(writer, plan.kind!, value);
  } else {
    if (!isObject(value)) throw new Fault(`${kindOf(value)}, an object wanted`);
    const end = writer.length;
    writeMessage(writer, plan.message, value, depth + 1);
    writer.varint(writer.length - end);
  }
  writer.varint(plan.tag);
}

/** Writes the value, with its length where it has one, and without its tag. */
function writeScalar(writer: BackWriter, kind: ScalarKind, value: unknown): void {
  switch (kind) {
    case "string":
      if (typeof value !== "string") throw new Fault(`${kindOf(value)}, a string wanted`);
      writer.string(value);
      return;
    case "bytes":
      writer.bytes(base64(value));
      return;
    case "traceId":
    case "profileId":
      writer.hex(value, 16);
      return;
    case "spanId":
      writer.hex(value, 8);
      return;
    case "bool":
      if (typeof value !== "boolean") throw new Fault(`${kindOf(value)}, true or false wanted`);
      writer.varint(value ? 1 : 0);
      return;
    case "enum":
      // OTLP/JSON: "Values of enum fields MUST be encoded as integer values"; the names of proto3 JSON are not taken.
      if (typeof value === "string") throw new Fault("a string, the enum's integer wanted");
      writer.signedVarint(integer32(value, INT32_MIN, INT32_MAX));
      return;
    case "int32":
      writer.signedVarint(integer32(value, INT32_MIN, INT32_MAX));
      return;
    case "uint32":
      writer.varint(integer32(value, 0, UINT32_MAX));
      return;
    case "sint32": {
      const number = integer32(value, INT32_MIN, INT32_MAX);
      writer.varint(((number << 1) ^ (number >> 31)) >>> 0);
      return;
    }
    case "int64":
      writer.varint64(value, true);
      return;
    case "uint64":
      writer.varint64(value, false);
      return;
    case "fixed32":
      writer.fixed32(integer32(value, 0, UINT32_MAX));
      return;
    case "fixed64":
      writer.fixed64(value, false);
      return;
    case "sfixed64":
      writer.fixed64(value, true);
      return;
    case "double":
      writer.double(double(value));
      return;
  }
}

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
const UINT32_MAX = 2 ** 32 - 1;

/** The digits of an integer that may fit 64 bits: proto3 JSON takes a number or a decimal string for every integer type. */
const DECIMAL = /^-?\d{1,20}$/;
const DIGITS_MAX = 20;

function integer32(value: unknown, min: number, max: number): number {
  if (typeof value === "string" && !DECIMAL.test(value)) throw notAnInteger(value);
  const number = typeof value === "string" || typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number)) throw notAnInteger(value);
  if (number < min || number > max) throw new Fault(`an integer that is not between ${min} and ${max}`);
  return number;
}

function notAnInteger(value: unknown): Fault {
  if (typeof value === "string") return new Fault("a string that is no integer, an integer wanted");
  return new Fault(`${typeof value === "number" ? "a number that is no integer" : kindOf(value)}, an integer wanted`);
}

function double(value: unknown): number {
  if (value === "NaN") return NaN;
  if (value === "Infinity") return Infinity;
  if (value === "-Infinity") return -Infinity;
  let number: unknown = value;
  if (typeof value === "bigint") number = Number(value);
  else if (typeof value === "string" && /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(value)) number = Number(value);
  if (typeof number !== "number") {
    throw new Fault(`${typeof value === "string" ? "a string that is no number" : kindOf(value)}, a number wanted`);
  }
  if (!Number.isFinite(number)) throw new Fault('a number over the range of a double; say "Infinity" for infinity');
  return number;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** Base64, standard or URL-safe, with or without padding (proto3 JSON takes all four). */
function base64(value: unknown): Uint8Array {
  if (typeof value !== "string") throw new Fault(`${kindOf(value)}, a base64 string wanted`);
  try {
    const binary = atob(value.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch {
    throw new Fault("a string that is not base64");
  }
}

const UTF8_ENCODER = new TextEncoder();
const WORD = 2 ** 32;
/** Of this length on, one call into the engine is cheaper than a loop over the characters. */
const LONG_STRING = 64;

/** Protobuf written from the end of a buffer towards its start. */
class BackWriter {
  #buffer: Uint8Array<ArrayBuffer>;
  #view: DataView;
  /** The first byte that has been written. */
  #start: number;
  /** The 64-bit integer read last. */
  #low = 0;
  #high = 0;
  readonly #bytesMax: number;
  /** Whether integers that a double cannot hold come as bigints. */
  readonly #exact: boolean;

  constructor(capacity: number, bytesMax: number, exact: boolean) {
    // JSON is nearly always longer than its protobuf; where it is not, the buffer grows.
    this.#buffer = new Uint8Array(Math.min(capacity, bytesMax));
    this.#view = new DataView(this.#buffer.buffer);
    this.#start = this.#buffer.length;
    this.#bytesMax = bytesMax;
    this.#exact = exact;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#buffer.length - this.#start;
  }

  finish(): Uint8Array<ArrayBuffer> {
    const written = this.#buffer.slice(this.#start);
    discard(this.#buffer);
    return written;
  }

  #room(bytes: number): number {
    if (this.#start < bytes) this.#grow(bytes);
    this.#start -= bytes;
    return this.#start;
  }

  #grow(bytes: number): void {
    const length = this.length;
    if (length + bytes > this.#bytesMax) throw new TranscodedTooLargeError(this.#bytesMax);
    const grown = new Uint8Array(Math.min(this.#bytesMax, 2 * (this.#buffer.length + bytes)));
    grown.set(this.#buffer.subarray(this.#start), grown.length - length);
    this.#start = grown.length - length;
    discard(this.#buffer);
    this.#buffer = grown;
    this.#view = new DataView(grown.buffer);
  }

  /** A varint of at most 2^53. */
  varint(value: number): void {
    if (value < 0x80) {
      this.#buffer[this.#room(1)] = value;
      return;
    }
    let length = 1;
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) length++;
    let position = this.#room(length);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[position++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[position] = rest;
  }

  /** An int32 or an enum: a negative one has the ten bytes of its 64-bit form. */
  signedVarint(value: number): void {
    if (value >= 0) this.varint(value);
    else this.varint64(value, true);
  }

  varint64(value: unknown, signed: boolean): void {
    this.#read64(value, signed);
    if (this.#high < 0x20_0000) {
      this.varint(this.#high * WORD + this.#low);
      return;
    }
    let low = this.#low;
    let high = this.#high;
    const length = high >= 0x8000_0000 ? 10 : high >= 0x100_0000 ? 9 : 8;
    const position = this.#room(length);
    for (let index = 0; index < length - 1; index++) {
      this.#buffer[position + index] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.#buffer[position + length - 1] = low;
  }

  fixed32(value: number): void {
    const position = this.#room(4);
    this.#view.setUint32(position, value, true);
  }

  fixed64(value: unknown, signed: boolean): void {
    this.#read64(value, signed);
    const position = this.#room(8);
    this.#view.setUint32(position, this.#low, true);
    this.#view.setUint32(position + 4, this.#high, true);
  }

  double(value: number): void {
    const position = this.#room(8);
    this.#view.setFloat64(position, value, true);
  }

  bytes(value: Uint8Array): void {
    this.#buffer.set(value, this.#room(value.length));
    this.varint(value.length);
  }

  /** An id in hex of `length` bytes, or an empty one. */
  hex(value: unknown, length: number): void {
    if (typeof value !== "string") throw new Fault(`${kindOf(value)}, a hex string wanted`);
    if (value.length !== 0) {
      if (value.length !== length * 2) {
        throw new Fault(`an id of ${value.length} characters, ${length * 2} hex digits wanted`);
      }
      const position = this.#room(length);
      for (let index = 0; index < length; index++) {
        const high = hexDigit(value.charCodeAt(2 * index));
        const low = hexDigit(value.charCodeAt(2 * index + 1));
        if (high < 0 || low < 0) throw new Fault("an id with a character that is no hex digit");
        this.#buffer[position + index] = high * 16 + low;
      }
    }
    this.varint(value.length / 2);
  }

  string(value: string): void {
    const length = value.length;
    const position = this.#room(length);
    const buffer = this.#buffer;
    let index = 0;
    if (length >= LONG_STRING) {
      index = UTF8_ENCODER.encodeInto(value, buffer.subarray(position, position + length)).read;
    } else {
      for (; index < length; index++) {
        const code = value.charCodeAt(index);
        if (code >= 0x80) break;
        buffer[position + index] = code;
      }
    }
    if (index < length) {
      this.#start = position + length;
      this.bytes(UTF8_ENCODER.encode(value));
    } else {
      this.varint(length);
    }
  }

  /** Reads a 64-bit integer into two words, in two's complement. */
  #read64(value: unknown, signed: boolean): void {
    let negative = false;
    if (typeof value === "string") {
      negative = value.charCodeAt(0) === 45;
      this.#readDigits(value, negative ? 1 : 0);
    } else if (typeof value === "number" && Number.isInteger(value)) {
      if (!this.#exact && !Number.isSafeInteger(value)) throw new DigitsWanted();
      negative = value < 0;
      const magnitude = Math.abs(value);
      this.#high = Math.floor(magnitude / WORD);
      this.#low = magnitude % WORD;
    } else if (typeof value === "bigint") {
      negative = value < 0n;
      this.#readDigits(String(value), negative ? 1 : 0);
    } else throw notAnInteger(value);
    const { min, max } = signed ? INT64 : UINT64;
    const zero = this.#high === 0 && this.#low === 0;
    const fits = !negative
      ? this.#high < (signed ? WORD / 2 : WORD)
      : zero || (signed && (this.#high < WORD / 2 || (this.#high === WORD / 2 && this.#low === 0)));
    if (!fits) throw new Fault(`an integer that is not between ${min} and ${max}`);
    if (negative && !zero) {
      this.#high = (~this.#high + (this.#low === 0 ? 1 : 0)) >>> 0;
      this.#low = -this.#low >>> 0;
    }
  }

  /** Six digits at a time: a word times 10^6 is still exact. The high word is 2^32 or more when 64 bits do not hold it. */
  #readDigits(text: string, from: number): void {
    let low = 0;
    let high = 0;
    if (text.length === from || text.length - from > DIGITS_MAX) throw notAnInteger(text);
    for (let index = from; index < text.length;) {
      let chunk = 0;
      let scale = 1;
      for (const end = Math.min(index + 6, text.length); index < end; index++) {
        const digit = text.charCodeAt(index) - 48;
        if (digit < 0 || digit > 9) throw notAnInteger(text);
        chunk = chunk * 10 + digit;
        scale *= 10;
      }
      const product = low * scale + chunk;
      low = product % WORD;
      high = high * scale + Math.floor(product / WORD);
    }
    this.#low = low;
    this.#high = high;
  }
}

const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n } as const;
const UINT64 = { min: 0n, max: 2n ** 64n - 1n } as const;
