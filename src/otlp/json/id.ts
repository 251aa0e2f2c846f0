/**
 * Ids of OTLP/JSON, which are hex in either case and not base64 (OTLP 1.11, "JSON Protobuf Encoding").
 * @module
 */
import { Fault } from "./error.ts";
import { HEX, type JsonReader } from "./reader.ts";

const QUOTE = 0x22;

/**
 * Takes an id and writes its bytes, `length` or none.
 * @returns how many.
 * @throws {Fault} when it is another string or no string.
 */
export function copyId(reader: JsonReader, target: Uint8Array, start: number, length: number): number {
  const { bytes, position } = reader;
  const from = position + 1;
  const end = from + 2 * length;
  if (bytes[position] === QUOTE && bytes[end] === QUOTE) {
    let all = 0;
    for (let index = 0; index < length; index++) {
      const high = HEX[bytes[from + 2 * index]!]!;
      const low = HEX[bytes[from + 2 * index + 1]!]!;
      all |= high | low;
      target[start + index] = (high << 4) | low;
    }
    if (all < 16) {
      reader.position = end + 1;
      return length;
    }
  }
  return copyOddId(reader, target, start, length);
}

/** An id in another spelling: with escapes, or empty. */
function copyOddId(reader: JsonReader, target: Uint8Array, start: number, length: number): number {
  if (reader.peek() !== QUOTE) throw reader.otherKind("a hex string");
  const text = reader.string();
  if (text.length === 0) return 0;
  if (text.length !== length * 2) {
    throw new Fault(`an id of ${text.length} characters, ${length * 2} hex digits wanted`);
  }
  if (!/^[0-9a-fA-F]*$/.test(text)) throw new Fault("an id with a character that is no hex digit");
  for (let index = 0; index < length; index++) {
    target[start + index] = parseInt(text.slice(2 * index, 2 * index + 2), 16);
  }
  return length;
}
