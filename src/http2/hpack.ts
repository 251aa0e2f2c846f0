/**
 * HPACK (RFC 7541), header compression of HTTP/2. It reads everything; it writes without a table and without Huffman codes, so that a
 * block can be made once and sent on any connection.
 * @module
 */
import { Buffer } from "node:buffer";
import { type Field, HpackError, huffmanDecode, STATIC_FIELDS } from "./hpack_tables.ts";

/** What an entry counts beside its name and value, in bytes (RFC 7541, section 4.1). */
const ENTRY_OVERHEAD_BYTES = 32;
/** The table's size that holds where nobody has said another (RFC 9113, section 6.5.2), and we say none; in bytes. */
export const TABLE_BYTES_MAX = 4_096;
/** The highest power of 128 of which a number may have a digit: more than any length or index here needs. */
const NUMBER_SHIFT_MAX = 21;
/** Made once: a buffer of no bytes costs as much as one of a thousand. */
const NOTHING: Buffer = Buffer.alloc(0);

/** The reading side of one connection. Every block has to pass through it, in order. */
export class HpackDecoder {
  /** The newest first. */
  #table: Field[] = [];
  #tableBytes = 0;
  #tableBytesMax = TABLE_BYTES_MAX;
  #block: Buffer = NOTHING;
  #at = 0;

  /**
   * @param listBytesMax The most that names, values and 32 bytes for each field may be together (RFC 9113, section 10.5.1).
   * @returns the fields; undefined where they are more than that. The table is right all the same.
   * @throws {HpackError} at a block that is none.
   */
  decode(block: Uint8Array, listBytesMax: number): Field[] | undefined {
    let fields: Field[] | undefined = [];
    let left = listBytesMax;
    let sizeMayChange = true;
    this.#block = block instanceof Buffer ? block : Buffer.from(block.buffer, block.byteOffset, block.length);
    this.#at = 0;
    while (this.#at < this.#block.length) {
      const first = this.#block[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        const size = this.#number(5);
        if (size > TABLE_BYTES_MAX || !sizeMayChange) {
          throw new HpackError("A change of the table's size is not allowed here");
        }
        this.#tableBytesMax = size;
        this.#evict();
        continue;
      }
      sizeMayChange = false;
      const field = this.#field(first);
      left -= sizeOf(field);
      if (left < 0) fields = undefined;
      fields?.push(field);
    }
    this.#block = NOTHING;
    return fields;
  }

  #field(first: number): Field {
    if (first >= 0x80) return this.#entry(this.#number(7));
    const kept = (first & 0xc0) === 0x40;
    const index = this.#number(kept ? 6 : 4);
    const field: Field = [index === 0 ? this.#text() : this.#entry(index)[0], this.#text()];
    if (kept) {
      this.#table.unshift(field);
      this.#tableBytes += sizeOf(field);
      this.#evict();
    }
    return field;
  }

  #evict(): void {
    while (this.#tableBytes > this.#tableBytesMax) this.#tableBytes -= sizeOf(this.#table.pop()!);
  }

  #entry(index: number): Field {
    const field = index <= STATIC_FIELDS.length
      ? STATIC_FIELDS[index - 1]
      : this.#table[index - STATIC_FIELDS.length - 1];
    if (field === undefined) throw new HpackError(`No header field has the index ${index}`);
    return field;
  }

  #number(prefixBits: number): number {
    const most = (1 << prefixBits) - 1;
    const byte = this.#block[this.#at++];
    if (byte === undefined) throw new HpackError("A header block ends within a field");
    let value = byte & most;
    if (value < most) return value;
    for (let shift = 0; shift <= NUMBER_SHIFT_MAX; shift += 7) {
      const digit = this.#block[this.#at++];
      if (digit === undefined) throw new HpackError("A header block ends within a number");
      value += (digit & 0x7f) << shift;
      if (digit < 0x80) return value;
    }
    throw new HpackError("A number in a header block is too large");
  }

  #text(): string {
    const packed = (this.#block[this.#at] ?? 0) >= 0x80;
    const length = this.#number(7);
    const end = this.#at + length;
    if (end > this.#block.length) throw new HpackError("A header block ends within a text");
    const text = packed
      ? huffmanDecode(this.#block.subarray(this.#at, end))
      : this.#block.toString("latin1", this.#at, end);
    this.#at = end;
    return text;
  }
}

function sizeOf([name, value]: Field): number {
  return name.length + value.length + ENTRY_OVERHEAD_BYTES;
}

/** Begins a block: the writer's table has no bytes from here on (RFC 7541, section 6.3). */
export const NO_TABLE: Uint8Array = Uint8Array.of(0x20);

/** By name: the first index of the static table that has it. */
const NAMES: ReadonlyMap<string, number> = new Map(
  STATIC_FIELDS.map(([name], at) => [name, at + 1] as const).reverse(),
);

/** Fields whose value no table on the way may keep (RFC 7541, section 7.1.3). */
const SECRET: ReadonlySet<string> = new Set(["authorization", "x-api-key", "cookie", "proxy-authorization"]);

/**
 * A header block that enters no table: it may be made once and sent on any connection, and blocks may be joined.
 * @param fields Characters beyond a byte are the caller's to encode.
 */
export function encodeFields(fields: readonly Field[]): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  for (const [name, value] of fields) {
    const whole = STATIC_FIELDS.findIndex((field) => field[0] === name && field[1] === value);
    if (whole >= 0) {
      putNumber(bytes, 0x80, 7, whole + 1);
      continue;
    }
    const index = NAMES.get(name);
    putNumber(bytes, SECRET.has(name) ? 0x10 : 0, 4, index ?? 0);
    if (index === undefined) putText(bytes, name);
    putText(bytes, value);
  }
  return new Uint8Array(bytes);
}

function putNumber(bytes: number[], first: number, prefixBits: number, value: number): void {
  const most = (1 << prefixBits) - 1;
  if (value < most) return void bytes.push(first | value);
  bytes.push(first | most);
  let rest = value - most;
  for (; rest >= 0x80; rest >>>= 7) bytes.push(rest & 0x7f | 0x80);
  bytes.push(rest);
}

function putText(bytes: number[], text: string): void {
  putNumber(bytes, 0, 7, text.length);
  for (let at = 0; at < text.length; at++) bytes.push(text.charCodeAt(at) & 0xff);
}
