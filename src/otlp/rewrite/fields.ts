/**
 * The fields of an encoded message that a walk has found valid, and the varints to write others with. For what changes a request
 * on the wire: nothing is decoded into objects.
 * @module
 */

/** The wire type of strings, bytes, messages and packed lists. */
export const LEN = 2;

/** One field of a message, on the wire. */
export interface FieldAt {
  readonly number: number;
  readonly wireType: number;
  /** Where its tag begins. */
  readonly start: number;
  /** Where the tag ends: where its length begins, or its value where it has none. */
  readonly tagEnd: number;
  /** Where its value begins, behind the length where there is one. */
  readonly contentStart: number;
  readonly end: number;
}

/** A field that is read into again and again, where one object for each would be too many. */
export type FieldCursor = { -readonly [key in keyof FieldAt]: FieldAt[key] };

/** A place to read fields into. */
export function fieldCursor(): FieldCursor {
  return { number: 0, wireType: 0, start: 0, tagEnd: 0, contentStart: 0, end: 0 };
}

/**
 * Reads the field of a message that begins at a place. The message is one that a walk has found valid, and is read as the Collector
 * reads it and no better: where the two differed, a sender could say what is seen there and not here. So a field number is its low
 * 32 bits, and what follows the first field of an unknown group is fields of the message.
 */
export function readField(bytes: Uint8Array, at: number, into: FieldCursor): void {
  into.start = at;
  const tag = bytes[at]!;
  if (tag < 0x80) {
    into.number = tag >> 3;
    into.wireType = tag & 7;
    into.tagEnd = at + 1;
  } else readLongTag(bytes, at, into);
  const { wireType, tagEnd } = into;
  into.contentStart = tagEnd;
  if (wireType !== LEN) {
    into.end = wireType === 3 ? groupEnd(bytes, tagEnd) : scalarEnd(bytes, wireType, tagEnd);
    return;
  }
  const length = bytes[tagEnd]!;
  if (length < 0x80) {
    into.contentStart = tagEnd + 1;
    into.end = tagEnd + 1 + length;
    return;
  }
  into.contentStart = varintEnd(bytes, tagEnd);
  // A tenth byte has one bit, and the walk has checked that it is not set.
  into.end = into.contentStart + varintAt(bytes, tagEnd, Math.min(9, into.contentStart - tagEnd));
}

/** The fields of a message, each an object of its own; see {@link readField}. */
export function* fieldsOf(bytes: Uint8Array, start: number, end: number): Generator<FieldAt> {
  for (let at = start; at < end;) {
    const field = fieldCursor();
    readField(bytes, at, field);
    yield field;
    at = field.end;
  }
}

function readLongTag(bytes: Uint8Array, at: number, into: FieldCursor): void {
  into.tagEnd = varintEnd(bytes, at);
  const value = varintAt(bytes, at, Math.min(5, into.tagEnd - at));
  into.number = Math.floor(value / 8) | 0;
  into.wireType = value % 8;
}

/** Skips a group as the Collector does: up to the end of its first field that is no group itself. */
function groupEnd(bytes: Uint8Array, start: number): number {
  const field = fieldCursor();
  let at = start;
  for (let depth = 1; depth > 0;) {
    const wireType = bytes[at]! & 7;
    if (wireType !== 3 && wireType !== 4) {
      readField(bytes, at, field);
      return field.end;
    }
    depth += wireType === 3 ? 1 : -1;
    at = varintEnd(bytes, at);
  }
  return at;
}

function scalarEnd(bytes: Uint8Array, wireType: number, at: number): number {
  if (wireType === 1) return at + 8;
  return wireType === 5 ? at + 4 : varintEnd(bytes, at);
}

function varintEnd(bytes: Uint8Array, start: number): number {
  for (let at = start; at < bytes.length; at++) if (bytes[at]! < 0x80) return at + 1;
  throw new RangeError("A varint runs over the end of the message");
}

function varintAt(bytes: Uint8Array, start: number, length: number): number {
  let value = 0;
  for (let index = 0; index < length; index++) value += (bytes[start + index]! & 0x7f) * 2 ** (7 * index);
  return value;
}

/** The value of an int32 field. */
export function int32At(bytes: Uint8Array, start: number): number {
  let value = 0;
  for (let index = 0; index < 5; index++) {
    const byte = bytes[start + index]!;
    value |= (byte & 0x7f) << (7 * index);
    if (byte < 0x80) break;
  }
  return value;
}

/** A number as a varint. */
export const varint = (value: number): number[] => varint64(BigInt(value));

/** 64 bits as a varint. */
export function varint64(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value;; rest >>= 7n) {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    if (rest <= 0x7fn) return bytes;
  }
}
