/**
 * OTLP/JSON to protobuf. Source: OTLP 1.11 "JSON Protobuf Encoding", which changes proto3's JSON mapping: ids are hex, enums
 * are integers only, field names are lowerCamelCase only, unknown fields are ignored.
 *
 * The body is written back to front, so that every length is known when it is needed and nothing is measured twice.
 * @module
 */
import { type Field, isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE, type ScalarKind } from "./schema.ts";
import type { SignalName } from "./signal.ts";

/** How deep a JSON body may nest: this far, every engine's stack holds. */
export const JSON_NESTING_MAX = 500;

/** A body that is not OTLP/JSON: what is wrong and at which path. */
export class JsonError extends Error {
  override readonly name = "JsonError";
}

/** A fault found while encoding, with the path that grows as it travels outwards. */
class Fault extends Error {
  readonly path: string[] = [];
}

/**
 * Transcodes one OTLP/JSON export request.
 * @param bytesMax The most bytes that the protobuf may have.
 * @returns the request as protobuf, in a buffer of its own.
 * @throws {JsonError} when it is not an export request; `RangeError` when it is over `bytesMax`.
 */
export function transcodeJson(signal: SignalName, body: Uint8Array, bytesMax: number): Uint8Array<ArrayBuffer> {
  const value = parse(body);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new JsonError(`Malformed JSON: ${kindOf(value)} at the top, an object wanted`);
  }
  // JSON is nearly always longer than its protobuf; where it is not, the writer grows.
  const writer = new BackWriter(Math.min(bytesMax, body.length + 64), bytesMax);
  try {
    writeMessage(writer, REQUEST_MESSAGE[signal], value as JsonObject, 0);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new JsonError(`Malformed OTLP/JSON at ${error.path.reverse().join(".") || "the top"}: ${error.message}`);
  }
  return writer.finish();
}

type JsonObject = Readonly<Record<string, unknown>>;

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** A bare integer too long for a double: then, and only then, the slower parse that keeps its digits is needed. */
const LONG_INTEGER = /[:[,]\s*-?\d{16,}/;

function parse(body: Uint8Array): unknown {
  let text: string;
  try {
    text = UTF8.decode(body);
  } catch {
    throw new JsonError("Malformed JSON: the body is not UTF-8");
  }
  try {
    return LONG_INTEGER.test(text) ? JSON.parse(text, keepDigits) : JSON.parse(text);
  } catch (error) {
    throw new JsonError(`Malformed JSON: ${describeSyntax(error, text)}`);
  }
}

/** Keeps the digits of integers that a double cannot hold, as a bigint. */
function keepDigits(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** V8 quotes a part of the body in its message; a sender's data has no place in an answer or a log. */
function describeSyntax(error: unknown, text: string): string {
  const message = error instanceof Error ? error.message : "";
  const position = /position (\d+)/.exec(message)?.[1];
  if (position !== undefined) return `unexpected character at position ${position}`;
  return text.trim() === "" ? "the body is empty" : "the body ends too early or is not JSON";
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** Fields of each message in descending number: written back to front they come out ascending. */
const DESCENDING: Readonly<Record<string, readonly Field[]>> = Object.fromEntries(
  Object.entries(MESSAGES).map(([name, fields]) => [name, [...fields].reverse()]),
);

function writeMessage(writer: BackWriter, message: MessageName, object: JsonObject, depth: number): void {
  if (depth > JSON_NESTING_MAX) throw new Fault(`nested deeper than ${JSON_NESTING_MAX} levels`);
  for (const field of DESCENDING[message]!) {
    const value = object[field.name];
    // proto3 JSON: null is the default value, which is the same as absent.
    if (value === undefined || value === null) continue;
    try {
      writeField(writer, field, value, depth);
    } catch (error) {
      if (error instanceof Fault) error.path.push(field.name);
      throw error;
    }
  }
}

function writeField(writer: BackWriter, field: Field, value: unknown, depth: number): void {
  if (!field.repeated) {
    writeOne(writer, field, value, depth);
    return;
  }
  if (!Array.isArray(value)) throw new Fault(`${kindOf(value)}, an array wanted`);
  if (PACKED.has(field.kind)) {
    const end = writer.length;
    for (let index = value.length - 1; index >= 0; index--) {
      at(index, () => writeScalar(writer, field.kind as ScalarKind, value[index]));
    }
    writer.varint(writer.length - end);
    writer.tag(field.number, 2);
    return;
  }
  for (let index = value.length - 1; index >= 0; index--) {
    try {
      writeOne(writer, field, value[index], depth);
    } catch (error) {
      if (error instanceof Fault) error.path.push(`[${index}]`);
      throw error;
    }
  }
}

function at(index: number, write: () => void): void {
  try {
    write();
  } catch (error) {
    if (error instanceof Fault) error.path.push(`[${index}]`);
    throw error;
  }
}

function writeOne(writer: BackWriter, field: Field, value: unknown, depth: number): void {
  if (isMessage(field.kind)) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Fault(`${kindOf(value)}, an object wanted`);
    }
    const end = writer.length;
    writeMessage(writer, field.kind, value as JsonObject, depth + 1);
    writer.varint(writer.length - end);
    writer.tag(field.number, 2);
    return;
  }
  writeScalar(writer, field.kind, value);
  writer.tag(field.number, WIRE_TYPE[field.kind]);
}

const PACKED: ReadonlySet<string> = new Set(["fixed64", "double", "uint64"]);

const WIRE_TYPE: Readonly<Record<ScalarKind, number>> = {
  string: 2,
  bytes: 2,
  traceId: 2,
  spanId: 2,
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

const INT32 = { min: -(2n ** 31n), max: 2n ** 31n - 1n } as const;
const UINT32 = { min: 0n, max: 2n ** 32n - 1n } as const;
const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n } as const;
const UINT64 = { min: 0n, max: 2n ** 64n - 1n } as const;

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
      writer.bytes(hexId(value, 16));
      return;
    case "spanId":
      writer.bytes(hexId(value, 8));
      return;
    case "bool":
      if (typeof value !== "boolean") throw new Fault(`${kindOf(value)}, true or false wanted`);
      writer.varint(value ? 1 : 0);
      return;
    case "enum":
      // OTLP/JSON: "Values of enum fields MUST be encoded as integer values"; the names of proto3 JSON are not taken.
      if (typeof value === "string") throw new Fault("an enum by name or as a string, an integer wanted");
      writer.varint64(BigInt.asUintN(64, integer(value, INT32)));
      return;
    case "int32":
      writer.varint64(BigInt.asUintN(64, integer(value, INT32)));
      return;
    case "uint32":
      writer.varint(Number(integer(value, UINT32)));
      return;
    case "sint32": {
      const number = Number(integer(value, INT32));
      writer.varint(((number << 1) ^ (number >> 31)) >>> 0);
      return;
    }
    case "int64":
      writer.varint64(BigInt.asUintN(64, integer(value, INT64)));
      return;
    case "uint64":
      writer.varint64(integer(value, UINT64));
      return;
    case "fixed32":
      writer.fixed32(Number(integer(value, UINT32)));
      return;
    case "fixed64":
      writer.fixed64(integer(value, UINT64));
      return;
    case "sfixed64":
      writer.fixed64(BigInt.asUintN(64, integer(value, INT64)));
      return;
    case "double":
      writer.double(double(value));
      return;
  }
}

/** An integer as a JSON number or a decimal string (proto3 JSON takes both for every integer type). */
function integer(value: unknown, range: { readonly min: bigint; readonly max: bigint }): bigint {
  let result: bigint;
  if (typeof value === "bigint") result = value;
  else if (typeof value === "number") {
    if (!Number.isInteger(value)) throw new Fault(`${value}, an integer wanted`);
    result = BigInt(value);
  } else if (typeof value === "string" && /^-?\d{1,20}$/.test(value)) result = BigInt(value);
  else {throw new Fault(
      `${typeof value === "string" ? "a string that is no integer" : kindOf(value)}, an integer wanted`,
    );}
  if (result < range.min || result > range.max) {
    throw new Fault(`${result} is not between ${range.min} and ${range.max}`);
  }
  return result;
}

function double(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  if (value === "NaN") return NaN;
  if (value === "Infinity") return Infinity;
  if (value === "-Infinity") return -Infinity;
  if (typeof value === "string" && /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(value)) return Number(value);
  throw new Fault(`${typeof value === "string" ? "a string that is no number" : kindOf(value)}, a number wanted`);
}

function hexId(value: unknown, length: number): Uint8Array {
  if (typeof value !== "string") throw new Fault(`${kindOf(value)}, a hex string wanted`);
  if (value.length === 0) return new Uint8Array(0);
  if (value.length !== length * 2) {
    throw new Fault(`an id of ${value.length} characters, ${length * 2} hex digits wanted`);
  }
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) {
    const high = hexDigit(value.charCodeAt(2 * index));
    const low = hexDigit(value.charCodeAt(2 * index + 1));
    if (high < 0 || low < 0) throw new Fault("an id with a character that is no hex digit");
    bytes[index] = high * 16 + low;
  }
  return bytes;
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
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
    return bytes;
  } catch {
    throw new Fault("a string that is not base64");
  }
}

const UTF8_ENCODER = new TextEncoder();

/** Protobuf written from the end of a buffer towards its start. */
class BackWriter {
  #buffer: Uint8Array<ArrayBuffer>;
  #view: DataView;
  /** The first byte that has been written. */
  #start: number;
  readonly #bytesMax: number;

  constructor(capacity: number, bytesMax: number) {
    this.#buffer = new Uint8Array(Math.max(64, capacity));
    this.#view = new DataView(this.#buffer.buffer);
    this.#start = this.#buffer.length;
    this.#bytesMax = bytesMax;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#buffer.length - this.#start;
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(this.#start);
  }

  #room(bytes: number): number {
    if (this.length + bytes > this.#bytesMax) {
      throw new RangeError(`The request is over ${this.#bytesMax} bytes as protobuf`);
    }
    if (this.#start < bytes) {
      const grown = new Uint8Array((this.#buffer.length + bytes) * 2);
      grown.set(this.#buffer.subarray(this.#start), grown.length - this.length);
      this.#start = grown.length - this.length;
      this.#buffer = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#start -= bytes;
    return this.#start;
  }

  tag(field: number, wireType: number): void {
    this.varint(field * 8 + wireType);
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

  varint64(value: bigint): void {
    if (value <= 0x1f_ffff_ffff_ffffn) {
      this.varint(Number(value));
      return;
    }
    const bytes: number[] = [];
    let rest = value;
    while (rest >= 0x80n) {
      bytes.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    bytes.push(Number(rest));
    this.#buffer.set(bytes, this.#room(bytes.length));
  }

  fixed32(value: number): void {
    const position = this.#room(4);
    this.#view.setUint32(position, value, true);
  }

  fixed64(value: bigint): void {
    const position = this.#room(8);
    this.#view.setBigUint64(position, value, true);
  }

  double(value: number): void {
    const position = this.#room(8);
    this.#view.setFloat64(position, value, true);
  }

  bytes(value: Uint8Array): void {
    this.#buffer.set(value, this.#room(value.length));
    this.varint(value.length);
  }

  string(value: string): void {
    const position = this.#room(value.length);
    const buffer = this.#buffer;
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) {
        this.#start = position + value.length;
        this.bytes(UTF8_ENCODER.encode(value));
        return;
      }
      buffer[position + index] = code;
    }
    this.varint(value.length);
  }
}
