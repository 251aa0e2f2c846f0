/**
 * An encoded export request as OTLP/JSON objects, for people to read: the embedded Collector prints from it. Never on the
 * relay's own path, where payloads stay bytes.
 * @module
 */
import { Buffer } from "node:buffer";
import { type Field, isMessage, type MessageName, MESSAGES, REQUEST_MESSAGE, type ScalarKind } from "./schema.ts";
import type { SignalName } from "../signal.ts";
import { Walker } from "./wire.ts";

/** A message in the shape of OTLP/JSON: hex ids, 64-bit integers as decimal strings, unknown fields left out. */
export interface DecodedMessage {
  readonly [name: string]: DecodedValue;
}
/** A field's value. */
export type DecodedValue = string | number | boolean | DecodedMessage | readonly DecodedValue[];

/** Messages nested deeper than this are shown empty. */
const DEPTH_SHOWN_MAX = 500;

/**
 * Decodes one export request. A oneof that stands twice keeps both.
 * @throws {WireError} when it is not one.
 */
export function decodeRequest(signal: SignalName, body: Uint8Array): DecodedMessage {
  new Walker().walk(signal, body);
  return new Reader(body).message(REQUEST_MESSAGE[signal], body.length, 0);
}

const TEXT = new TextDecoder();

const FIELDS: Readonly<Record<string, ReadonlyMap<number, Field>>> = Object.fromEntries(
  Object.entries(MESSAGES).map(([name, fields]) => [name, new Map(fields.map((field) => [field.number, field]))]),
);

/** Reads a body that the walk has let through, so every length and wire type of a known field is right. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  message(name: MessageName, end: number, depth: number): DecodedMessage {
    const result: Record<string, DecodedValue> = {};
    while (this.#position < end) {
      const tag = this.#varint();
      const wireType = Number(tag & 7n);
      const field = FIELDS[name]!.get(Number(BigInt.asIntN(32, tag >> 3n)));
      if (field === undefined) {
        this.#skip(wireType);
        continue;
      }
      if (!field.repeated) {
        result[field.name] = this.#value(field.kind, depth);
        continue;
      }
      const list = (result[field.name] ??= []) as DecodedValue[];
      const packed = wireType === 2 && !isMessage(field.kind) && field.kind !== "string";
      if (!packed) {
        list.push(this.#value(field.kind, depth));
        continue;
      }
      const length = Number(this.#varint());
      const packedEnd = this.#position + length;
      while (this.#position < packedEnd) list.push(this.#value(field.kind, depth));
    }
    return result;
  }

  #value(kind: ScalarKind | MessageName, depth: number): DecodedValue {
    if (isMessage(kind)) {
      const length = Number(this.#varint());
      if (depth < DEPTH_SHOWN_MAX) return this.message(kind, this.#position + length, depth + 1);
      this.#advance(length);
      return {};
    }
    switch (kind) {
      case "string":
        return TEXT.decode(this.#delimited());
      case "bytes":
        return Buffer.from(this.#delimited()).toString("base64");
      case "traceId":
      case "spanId":
      case "profileId":
        return Buffer.from(this.#delimited()).toString("hex");
      case "bool":
        return this.#varint() !== 0n;
      case "enum":
      case "int32":
        return Number(BigInt.asIntN(32, this.#varint()));
      case "uint32":
        return Number(BigInt.asUintN(32, this.#varint()));
      case "sint32": {
        const raw = BigInt.asUintN(32, this.#varint());
        return Number((raw >> 1n) ^ -(raw & 1n));
      }
      case "int64":
        return String(BigInt.asIntN(64, this.#varint()));
      case "uint64":
        return String(this.#varint());
      case "fixed32":
        return this.#view.getUint32(this.#advance(4), true);
      case "fixed64":
        return String(this.#view.getBigUint64(this.#advance(8), true));
      case "sfixed64":
        return String(this.#view.getBigInt64(this.#advance(8), true));
      case "double": {
        const value = this.#view.getFloat64(this.#advance(8), true);
        return Number.isFinite(value) ? value : String(value);
      }
    }
  }

  #advance(bytes: number): number {
    const start = this.#position;
    this.#position += bytes;
    return start;
  }

  #delimited(): Uint8Array {
    const length = Number(this.#varint());
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  #varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#position++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return BigInt.asUintN(64, value);
  }

  #skip(wireType: number): void {
    if (wireType === 0) this.#varint();
    else if (wireType === 1) this.#advance(8);
    else if (wireType === 2) this.#delimited();
    else if (wireType === 5) this.#advance(4);
    // The tags of groups stand alone; what is between them is read like any field.
  }
}
