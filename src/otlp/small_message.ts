/**
 * Small protobuf messages, field by field: those of answers and of gRPC. What is large is walked (`wire.ts`).
 * @module
 */

const UTF8_ENCODER = new TextEncoder();
const UTF8_DECODER = new TextDecoder();

/** A field with a whole number that is not negative. */
export function varintField(number: number, value: number): number[] {
  return [number << 3, ...varint(value)];
}

/** A field with a text. */
export function stringField(number: number, value: string): number[] {
  const encoded = UTF8_ENCODER.encode(value);
  return [(number << 3) | 2, ...varint(encoded.length), ...encoded];
}

/** A field with a message. */
export function messageField(number: number, content: readonly number[]): number[] {
  return [(number << 3) | 2, ...varint(content.length), ...content];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

/** A text that was read; empty where there is none. */
export function text(value: number | Uint8Array | undefined): string {
  return value instanceof Uint8Array ? UTF8_DECODER.decode(value) : "";
}

/** Most fields that are read: a message of 4 MiB can have two million. */
const FIELDS_MAX = 10_000;

/** The varint and length-delimited fields of a small message, the last of each number; stops at what it cannot read, or is too many. */
export function readFields(body: Uint8Array): Map<number, number | Uint8Array> {
  return readMessage(body).fields;
}

/** The same, and whether it was read to its last byte. @param each Called for each field in order, those that are repeated too. */
export function readMessage(
  body: Uint8Array,
  each: (number: number, value: number | Uint8Array) => void = () => {},
): { readonly fields: Map<number, number | Uint8Array>; readonly whole: boolean } {
  const fields = new Map<number, number | Uint8Array>();
  let position = 0;
  // Past the end of the body when it is not whole.
  const readVarint = (): number => {
    let value = 0;
    for (let index = 0; index < 10; index++) {
      const byte = body[position++] ?? 0x80;
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    position = Infinity;
    return value;
  };
  for (let read = 0; position < body.length; read++) {
    if (read === FIELDS_MAX) return { fields, whole: false };
    const tag = readVarint();
    let value: number | Uint8Array | undefined;
    switch (tag % 8) {
      case 0:
        value = readVarint();
        break;
      case 1:
        position += 8;
        break;
      case 2: {
        const length = readVarint();
        value = body.subarray(position, position + length);
        position += length;
        break;
      }
      case 5:
        position += 4;
        break;
      default:
        return { fields, whole: false };
    }
    if (position > body.length || tag < 8) return { fields, whole: false };
    if (value === undefined) continue;
    fields.set(Math.floor(tag / 8), value);
    each(Math.floor(tag / 8), value);
  }
  return { fields, whole: true };
}
