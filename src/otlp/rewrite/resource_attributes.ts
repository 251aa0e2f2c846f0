/**
 * Sets attributes on every resource of an encoded export request, in place of whatever it says under the same keys. The rest is
 * copied as it is; nothing is decoded.
 *
 * Attributes are a repeated field, so that appending ours would leave the sender's beside them, and which of two a reader
 * believes is up to it. What is there under our keys is therefore taken out, also where a profiles request names the key by its
 * place in the string table.
 * @module
 */
import { Buffer } from "node:buffer";
import { Edits, putVarint, varintBytes } from "./edits.ts";
import { type FieldAt, fieldCursor, int32At, LEN, readField, varint, varint64 } from "./fields.ts";
import { StringTable } from "./string_table.ts";

/** Values that an attribute may be given. A number that is whole becomes an int, another a double. */
export type AttributeValue = string | number | boolean;

/** Attributes, encoded once. */
export interface ResourceAttributes {
  /** As UTF-8. */
  readonly keys: readonly Uint8Array[];
  /** Fields 1 of a Resource, one after the other. */
  readonly encoded: Uint8Array;
}

/** The tag of a resource in a ResourceSpans or another's like. */
const RESOURCE_TAG = 0x0a;

/** Encodes attributes for {@link withResourceAttributes}. */
export function encodeResourceAttributes(attributes: Readonly<Record<string, AttributeValue>>): ResourceAttributes {
  const entries = Object.entries(attributes);
  const encoded = entries.map(([key, value]) =>
    encodedField(1, Buffer.concat([encodedField(1, Buffer.from(key)), encodedField(2, anyValue(value))]))
  );
  return {
    keys: entries.map(([key]) => new Uint8Array(Buffer.from(key))),
    encoded: new Uint8Array(Buffer.concat(encoded)),
  };
}

/** One of each for the process: a call never awaits. */
const edits = new Edits();
const outer = fieldCursor();
const field = fieldCursor();
const inner = fieldCursor();
const keyField = fieldCursor();

/**
 * The request with the attributes on each of its resources, in a buffer of its own.
 * @param request A request that a walk has found valid: field 1 holds the resources, and field 1 of each
 * of them its Resource, whose field 1 are the attributes.
 * @param bytesMax The most bytes that it may have afterwards.
 * @throws {RewrittenTooLargeError} before anything is allocated for the result.
 */
export function withResourceAttributes(
  request: Uint8Array,
  attributes: ResourceAttributes,
  bytesMax: number,
): Uint8Array<ArrayBuffer> {
  const { encoded } = attributes;
  const ours = new OwnKeys(request, attributes.keys);
  edits.begin(request, bytesMax);
  try {
    for (let at = 0; at < request.length; at = outer.end) {
      readField(request, at, outer);
      if (outer.number === 1 && outer.wireType === LEN) editResource(request, outer, encoded, ours);
    }
    const changed = edits.joined((target, at, _start, _end, whole) => {
      let to = at;
      if (whole === 1) {
        target[to++] = RESOURCE_TAG;
        to = putVarint(target, to, encoded.length);
      }
      target.set(encoded, to);
    });
    return changed ?? new Uint8Array(request);
  } finally {
    edits.end();
  }
}

/** One ResourceSpans, ResourceMetrics, ResourceLogs or ResourceProfiles. */
function editResource(bytes: Uint8Array, { tagEnd, contentStart, end }: FieldAt, encoded: Uint8Array, ours: OwnKeys) {
  // A field that is there more than once is merged by some readers, and the last one counts for others: ours go into that.
  let last = -1;
  for (let at = contentStart; at < end; at = field.end) {
    readField(bytes, at, field);
    if (field.number === 1 && field.wireType === LEN) last = field.start;
  }
  const place = edits.reserve(tagEnd, contentStart);
  let growth = 0;
  if (last < 0) {
    const length = 1 + varintBytes(encoded.length) + encoded.length;
    growth += edits.replace(contentStart, contentStart, length, 1);
  }
  for (let at = contentStart; last >= 0 && at < end; at = field.end) {
    readField(bytes, at, field);
    if (field.number !== 1 || field.wireType !== LEN) continue;
    const resource = edits.reserve(field.tagEnd, field.contentStart);
    let grown = 0;
    for (let within = field.contentStart; within < field.end; within = inner.end) {
      readField(bytes, within, inner);
      const attribute = inner.number === 1 && inner.wireType === LEN;
      if (attribute && ours.has(inner.contentStart, inner.end)) grown += edits.remove(inner.start, inner.end);
    }
    if (field.start === last) grown += edits.replace(field.end, field.end, encoded.length);
    growth += grown + edits.settle(resource, field.end - field.contentStart + grown);
    if (field.start === last) break;
  }
  edits.settle(place, end - contentStart + growth);
}

/** Tells the KeyValues of a request whose key is one of ours. */
class OwnKeys {
  readonly #request: Uint8Array;
  readonly #keys: readonly Uint8Array[];
  /** 1 for each string of the table that is one of our keys; made when it is first asked for. */
  #table: Uint8Array | undefined;

  constructor(request: Uint8Array, keys: readonly Uint8Array[]) {
    this.#request = request;
    this.#keys = keys;
  }

  /** Whether the KeyValue between the two offsets has one of our keys; of a field that is there more than once the last counts. */
  has(start: number, end: number): boolean {
    const bytes = this.#request;
    let keyStart = 0;
    let keyEnd = 0;
    // Place 0 of the string table is the empty string, by definition.
    let index = 0;
    for (let at = start; at < end; at = keyField.end) {
      readField(bytes, at, keyField);
      if (keyField.number === 1 && keyField.wireType === LEN) {
        keyStart = keyField.contentStart;
        keyEnd = keyField.end;
      } else if (keyField.number === 3 && keyField.wireType === 0) index = int32At(bytes, keyField.contentStart);
    }
    return this.#isOurs(keyStart, keyEnd) || (index > 0 && (this.#table ??= this.#readTable())[index] === 1);
  }

  #readTable(): Uint8Array {
    const strings = new StringTable(this.#request);
    const table = new Uint8Array(strings.length);
    for (let index = 0; index < table.length; index++) {
      const { contentStart, end } = strings.at(index)!;
      table[index] = this.#isOurs(contentStart, end) ? 1 : 0;
    }
    return table;
  }

  #isOurs(start: number, end: number): boolean {
    for (const key of this.#keys) {
      if (key.length !== end - start) continue;
      let index = 0;
      while (index < key.length && key[index] === this.#request[start + index]) index++;
      if (index === key.length) return true;
    }
    return false;
  }
}

function anyValue(value: AttributeValue): Uint8Array {
  if (typeof value === "string") return encodedField(1, Buffer.from(value));
  if (typeof value === "boolean") return Uint8Array.of(2 << 3, value ? 1 : 0);
  if (Number.isSafeInteger(value)) return Uint8Array.of(3 << 3, ...varint64(BigInt.asUintN(64, BigInt(value))));
  const bytes = Buffer.alloc(9);
  bytes[0] = (4 << 3) | 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function encodedField(number: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of((number << 3) | LEN, ...varint(content.length)), content]);
}
