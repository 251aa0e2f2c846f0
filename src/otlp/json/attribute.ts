/**
 * Attributes as nearly every sender spells them: a key and a short string or a small integer, without white space and without
 * escapes. They are most of what a request holds, and here one is read and written in one go: by the message, its fields and their
 * scalars it takes three times as long. Whatever is spelled otherwise goes that way.
 * @module
 */
import { hasSpecial, isDigit, type JsonReader } from "./reader.ts";
import { Spelling } from "./spelling.ts";

const QUOTE = 0x22;
const ZERO = 0x30;
const BACKSLASH = 0x5c;
const BRACE_END = 0x7d;

const KEY = new Spelling('{"key":"');
const STRING_VALUE = new Spelling('","value":{"stringValue":"');
const INT_VALUE = new Spelling('","value":{"intValue":');

/** The tags of `key` and `value` of a KeyValue, and of `stringValue` and `intValue` of an AnyValue. */
const KEY_TAG = 0x0a;
const VALUE_TAG = 0x12;
const STRING_TAG = 0x0a;
const INT_TAG = 0x18;

/** The most bytes of a value with a length of one byte. */
const SHORT_BYTES_MAX = 0x7f;
/** Digits that fit 32 bits, whatever they are. */
const DIGITS_MAX = 9;
/** What is written at most: two strings of as many bytes as are looked at, and what stands before them. */
export const ATTRIBUTE_ROOM_BYTES = 2 * SHORT_BYTES_MAX + 16;

/**
 * Takes the attribute that is next in `reader` and writes it.
 * @param target Has room for {@link ATTRIBUTE_ROOM_BYTES} from `start` on; `view` is of the same bytes.
 * @param tag The one or two bytes of its tag, the first in the low eight bits.
 * @returns the byte behind it; -1 where it is spelled otherwise, and then nothing has been taken, and nothing written that counts.
 */
export function copyAttribute(
  reader: JsonReader,
  target: Uint8Array,
  view: DataView,
  start: number,
  tag: number,
): number {
  const { bytes, view: text } = reader;
  if (!KEY.standsIn(text, reader.position)) return -1;
  let at = start;
  target[at++] = tag;
  if (tag > 0xff) target[at++] = tag >> 8;
  const keyStart = reader.position + KEY.length;
  const keyBytes = copyShort(bytes, text, keyStart, view, at + 3);
  if (keyBytes < 0) return -1;
  const keyEnd = keyStart + keyBytes;
  const value = at + 3 + keyBytes;
  let position: number;
  let end: number;
  if (STRING_VALUE.standsIn(text, keyEnd)) {
    const from = keyEnd + STRING_VALUE.length;
    const stringBytes = copyShort(bytes, text, from, view, value + 4);
    if (stringBytes < 0) return -1;
    target[value + 2] = STRING_TAG;
    target[value + 3] = stringBytes;
    end = value + 4 + stringBytes;
    position = from + stringBytes + 1;
  } else if (INT_VALUE.standsIn(text, keyEnd)) {
    position = keyEnd + INT_VALUE.length;
    const quoted = bytes[position] === QUOTE;
    if (quoted) position++;
    const first = position;
    let number = 0;
    for (const last = Math.min(first + DIGITS_MAX, bytes.length); position < last; position++) {
      const byte = bytes[position]!;
      if (!isDigit(byte)) break;
      number = number * 10 + (byte - ZERO);
    }
    if (position === first || (bytes[first] === ZERO && position > first + 1)) return -1;
    if (quoted && bytes[position++] !== QUOTE) return -1;
    target[value + 2] = INT_TAG;
    end = value + 3;
    for (; number > SHORT_BYTES_MAX; number >>>= 7) target[end++] = (number & 0x7f) | 0x80;
    target[end++] = number;
  } else return -1;
  const length = end - at - 1;
  if (length > SHORT_BYTES_MAX || bytes[position] !== BRACE_END || bytes[position + 1] !== BRACE_END) return -1;
  target[at] = length;
  target[at + 1] = KEY_TAG;
  target[at + 2] = keyBytes;
  target[value] = VALUE_TAG;
  target[value + 1] = end - value - 2;
  reader.position = position + 2;
  return end;
}

/**
 * Copies a string up to the quote that ends it.
 * @returns how many bytes it has; -1 where it has an escape, or more than a length of one byte says.
 */
function copyShort(bytes: Uint8Array, text: DataView, start: number, target: DataView, to: number): number {
  const { length } = bytes;
  let from = start;
  const move = to - start;
  for (const last = Math.min(start + SHORT_BYTES_MAX, length) - 4; from <= last; from += 4) {
    const word = text.getInt32(from, true);
    if (hasSpecial(word)) break;
    target.setInt32(from + move, word, true);
  }
  for (const last = Math.min(start + SHORT_BYTES_MAX + 1, length); from < last; from++) {
    const byte = bytes[from]!;
    if (byte === QUOTE) return from - start;
    if (byte < 0x20 || byte === BACKSLASH) return -1;
    target.setUint8(from + move, byte);
  }
  return -1;
}
