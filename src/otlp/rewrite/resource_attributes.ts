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
import { dictionaryStrings, type FieldAt, fieldsOf, int32At, LEN, varint, varint64 } from "./fields.ts";

/** Values that an attribute may be given. A number that is whole becomes an int, another a double. */
export type AttributeValue = string | number | boolean;

/** Attributes, encoded once. */
export interface ResourceAttributes {
  readonly keys: ReadonlySet<string>;
  /** Fields 1 of a Resource, one after the other. */
  readonly encoded: Uint8Array;
}

const RESOURCES_TAG = 0x0a;

/** Encodes attributes for {@link withResourceAttributes}. */
export function encodeResourceAttributes(attributes: Readonly<Record<string, AttributeValue>>): ResourceAttributes {
  const entries = Object.entries(attributes);
  const encoded = entries.map(([key, value]) =>
    field(1, Buffer.concat([field(1, Buffer.from(key)), field(2, anyValue(value))]))
  );
  return { keys: new Set(entries.map(([key]) => key)), encoded: new Uint8Array(Buffer.concat(encoded)) };
}

/**
 * The request with the attributes on each of its resources, in a buffer of its own.
 * @param request A request that a walk has found valid: field 1 holds the resources, and field 1 of each
 * of them its Resource, whose field 1 are the attributes.
 */
export function withResourceAttributes(request: Uint8Array, attributes: ResourceAttributes): Uint8Array<ArrayBuffer> {
  const out = new Pieces(request);
  const ours = new OwnKeys(request, attributes.keys);
  for (const one of fieldsOf(request, 0, request.length)) {
    if (one.number !== 1 || one.wireType !== LEN) out.copy(one.start, one.end);
    else out.message(RESOURCES_TAG, resourcePieces(request, one.contentStart, one.end, attributes, ours));
  }
  return out.join();
}

/** The content of one ResourceSpans, ResourceMetrics, ResourceLogs or ResourceProfiles. */
function resourcePieces(
  bytes: Uint8Array,
  start: number,
  end: number,
  attributes: ResourceAttributes,
  ours: OwnKeys,
): Pieces {
  const out = new Pieces(bytes);
  // A field that is there more than once is merged by some readers, and the last one counts for others: ours go into that.
  let last = -1;
  for (const one of fieldsOf(bytes, start, end)) if (one.number === 1 && one.wireType === LEN) last = one.start;
  if (last < 0) {
    const resource = new Pieces(bytes);
    resource.append(attributes.encoded);
    out.message(0x0a, resource);
  }
  for (const one of fieldsOf(bytes, start, end)) {
    if (one.number !== 1 || one.wireType !== LEN) {
      out.copy(one.start, one.end);
      continue;
    }
    const resource = new Pieces(bytes);
    for (const inner of fieldsOf(bytes, one.contentStart, one.end)) {
      const attribute = inner.number === 1 && inner.wireType === LEN;
      if (!attribute || !ours.has(inner.contentStart, inner.end)) resource.copy(inner.start, inner.end);
    }
    if (one.start === last) resource.append(attributes.encoded);
    out.message(0x0a, resource);
  }
  return out;
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Tells the KeyValues of a request whose key is one of ours. */
class OwnKeys {
  readonly #request: Uint8Array;
  readonly #keys: ReadonlySet<string>;
  /** 1 for each string of the table that is one of our keys; made when it is first asked for. */
  #table: Uint8Array | undefined;

  constructor(request: Uint8Array, keys: ReadonlySet<string>) {
    this.#request = request;
    this.#keys = keys;
  }

  /** Whether the KeyValue between the two offsets has one of our keys; of a field that is there more than once the last counts. */
  has(start: number, end: number): boolean {
    const bytes = this.#request;
    let key = "";
    // Place 0 of the string table is the empty string, by definition.
    let index = 0;
    for (const one of fieldsOf(bytes, start, end)) {
      if (one.number === 1 && one.wireType === LEN) key = this.#text(one);
      else if (one.number === 3 && one.wireType === 0) index = int32At(bytes, one.contentStart);
    }
    return this.#keys.has(key) || (index > 0 && (this.#table ??= this.#readTable())[index] === 1);
  }

  #readTable(): Uint8Array {
    let strings = 0;
    for (const _ of dictionaryStrings(this.#request)) strings++;
    const table = new Uint8Array(strings);
    let index = 0;
    for (const one of dictionaryStrings(this.#request)) table[index++] = this.#keys.has(this.#text(one)) ? 1 : 0;
    return table;
  }

  #text({ contentStart, end }: FieldAt): string {
    return decoder.decode(this.#request.subarray(contentStart, end));
  }
}

/** A message being put together from stretches of another and new bytes. */
class Pieces {
  readonly #source: Uint8Array;
  readonly #pieces: Uint8Array[] = [];
  #length = 0;
  #from = 0;
  #to = 0;

  constructor(source: Uint8Array) {
    this.#source = source;
  }

  /** Copies a stretch of the source; stretches that touch are one. */
  copy(start: number, end: number): void {
    if (start !== this.#to) {
      this.#flush();
      this.#from = start;
    }
    this.#to = end;
  }

  append(bytes: Uint8Array): void {
    this.#flush();
    this.#pieces.push(bytes);
    this.#length += bytes.length;
  }

  message(tag: number, content: Pieces): void {
    content.#flush();
    this.append(Uint8Array.of(tag, ...varint(content.#length)));
    this.#pieces.push(...content.#pieces);
    this.#length += content.#length;
  }

  join(): Uint8Array<ArrayBuffer> {
    this.#flush();
    const joined = new Uint8Array(this.#length);
    let at = 0;
    for (const piece of this.#pieces) {
      joined.set(piece, at);
      at += piece.length;
    }
    return joined;
  }

  #flush(): void {
    if (this.#to > this.#from) {
      this.#pieces.push(this.#source.subarray(this.#from, this.#to));
      this.#length += this.#to - this.#from;
    }
    this.#from = this.#to = 0;
  }
}

function anyValue(value: AttributeValue): Uint8Array {
  if (typeof value === "string") return field(1, Buffer.from(value));
  if (typeof value === "boolean") return Uint8Array.of(2 << 3, value ? 1 : 0);
  if (Number.isSafeInteger(value)) return Uint8Array.of(3 << 3, ...varint64(BigInt.asUintN(64, BigInt(value))));
  const bytes = Buffer.alloc(9);
  bytes[0] = (4 << 3) | 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function field(number: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of((number << 3) | LEN, ...varint(content.length)), content]);
}
