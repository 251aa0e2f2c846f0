/** HPACK (RFC 7541) as far as unary gRPC needs it: decodes everything, encodes without a table and without Huffman codes. */
import { Buffer } from "node:buffer";

/** A fault of the peer's header block: COMPRESSION_ERROR, which ends the connection (RFC 9113, section 4.3). */
export class HpackError extends Error {}

export type Field = readonly [name: string, value: string];

// RFC 7541, appendix A, from index 1 on.
const STATIC: readonly Field[] = `
:authority=
:method=GET
:method=POST
:path=/
:path=/index.html
:scheme=http
:scheme=https
:status=200
:status=204
:status=206
:status=304
:status=400
:status=404
:status=500
accept-charset=
accept-encoding=gzip, deflate
accept-language=
accept-ranges=
accept=
access-control-allow-origin=
age=
allow=
authorization=
cache-control=
content-disposition=
content-encoding=
content-language=
content-length=
content-location=
content-range=
content-type=
cookie=
date=
etag=
expect=
expires=
from=
host=
if-match=
if-modified-since=
if-none-match=
if-range=
if-unmodified-since=
last-modified=
link=
location=
max-forwards=
proxy-authenticate=
proxy-authorization=
range=
referer=
refresh=
retry-after=
server=
set-cookie=
strict-transport-security=
transfer-encoding=
user-agent=
vary=
via=
www-authenticate=
`.trim().split("\n").map((line): Field => {
  const at = line.indexOf("=");
  return [line.slice(0, at), line.slice(at + 1)];
});
const ENTRY_OVERHEAD_BYTES = 32;
const TABLE_BYTES_MAX = 4096;

// RFC 7541, appendix B: the length in bits of each byte's code, a digit of base 36 each. The code is canonical: codes of one length follow
// each other in the order of their symbols, so that the lengths are the whole table.
const CODE_BITS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6f56565666577666567655677777fbeds\
kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq";

interface Codes {
  /** By length: the first code, and where its symbols start. */
  readonly first: Int32Array;
  readonly start: Int32Array;
  readonly count: Int32Array;
  readonly symbols: readonly number[];
}

const CODES: Codes = (() => {
  const first = new Int32Array(31);
  const start = new Int32Array(31);
  const count = new Int32Array(31);
  const symbols: number[] = [];
  let code = 0;
  for (let bits = 1; bits <= 30; bits++) {
    code <<= 1;
    first[bits] = code;
    start[bits] = symbols.length;
    for (let symbol = 0; symbol < 256; symbol++) {
      if (Number.parseInt(CODE_BITS[symbol]!, 36) === bits) symbols.push(symbol);
    }
    count[bits] = symbols.length - start[bits]!;
    code += count[bits]!;
  }
  return { first, start, count, symbols };
})();

function inflateText(bytes: Buffer): string {
  const out: number[] = [];
  let code = 0;
  let bits = 0;
  for (const byte of bytes) {
    for (let at = 7; at >= 0; at--) {
      code = code << 1 | byte >> at & 1;
      if (++bits > 30) throw new HpackError("A Huffman code is longer than any");
      const offset = code - CODES.first[bits]!;
      if (offset >= 0 && offset < CODES.count[bits]!) {
        out.push(CODES.symbols[CODES.start[bits]! + offset]!);
        code = 0;
        bits = 0;
      }
    }
  }
  if (bits > 7 || code !== (1 << bits) - 1) throw new HpackError("The padding of a Huffman text is not ones");
  return String.fromCharCode(...out);
}

/** The reading side of one connection. */
export class HpackDecoder {
  #table: Field[] = []; // The newest first.
  #bytes = 0;
  #bytesMax = TABLE_BYTES_MAX;
  #at = 0;

  /** @throws {HpackError} at a damaged block, or at more than `textBytesMax` of names and values. */
  decode(block: Buffer, textBytesMax: number): Field[] {
    const fields: Field[] = [];
    let left = textBytesMax;
    this.#at = 0;
    while (this.#at < block.length) {
      const byte = block[this.#at]!;
      if ((byte & 0xe0) === 0x20) {
        const size = this.#integer(block, 5);
        if (size > TABLE_BYTES_MAX || fields.length > 0) {
          throw new HpackError("A change of the table's size is not allowed here");
        }
        this.#bytesMax = size;
        this.#evict();
        continue;
      }
      const indexed = byte >= 0x80;
      const kept = (byte & 0xc0) === 0x40;
      const index = this.#integer(block, indexed ? 7 : kept ? 6 : 4);
      const field: Field = indexed
        ? this.#entry(index)
        : [index === 0 ? this.#text(block) : this.#entry(index)[0], this.#text(block)];
      left -= field[0].length + field[1].length + ENTRY_OVERHEAD_BYTES;
      if (left < 0) throw new HpackError(`The headers are larger than ${textBytesMax} bytes`);
      if (kept) {
        this.#table.unshift(field);
        this.#bytes += field[0].length + field[1].length + ENTRY_OVERHEAD_BYTES;
        this.#evict();
      }
      fields.push(field);
    }
    return fields;
  }

  #evict(): void {
    while (this.#bytes > this.#bytesMax) {
      const [name, value] = this.#table.pop()!;
      this.#bytes -= name.length + value.length + ENTRY_OVERHEAD_BYTES;
    }
  }

  #entry(index: number): Field {
    const field = index <= STATIC.length ? STATIC[index - 1] : this.#table[index - STATIC.length - 1];
    if (field === undefined) throw new HpackError(`No header has the index ${index}`);
    return field;
  }

  #integer(block: Buffer, prefixBits: number): number {
    const most = (1 << prefixBits) - 1;
    let value = block[this.#at++]! & most;
    if (value < most) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = block[this.#at++];
      if (byte === undefined) throw new HpackError("A header block ends within a number");
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new HpackError("A number in a header block is too large");
  }

  #text(block: Buffer): string {
    const packed = (block[this.#at] ?? 0) >= 0x80;
    if (this.#at >= block.length) throw new HpackError("A header block ends within a field");
    const length = this.#integer(block, 7);
    const end = this.#at + length;
    if (end > block.length) throw new HpackError("A header block ends within a text");
    const bytes = block.subarray(this.#at, end);
    this.#at = end;
    return packed ? inflateText(bytes) : bytes.toString("latin1");
  }
}

const NAMES = new Map(STATIC.map(([name], at) => [name, STATIC.findIndex((field) => field[0] === name) + 1 || at + 1]));

function integer(prefix: number, prefixBits: number, value: number): number[] {
  const most = (1 << prefixBits) - 1;
  if (value < most) return [prefix | value];
  const bytes = [prefix | most];
  for (value -= most; value >= 0x80; value >>>= 7) bytes.push(value & 0x7f | 0x80);
  return [...bytes, value];
}

/** A header block of literals that enter no table: it can be made once and sent on any connection. */
export function encodeHeaders(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => {
    const whole = STATIC.findIndex((field) => field[0] === name && field[1] === value);
    if (whole >= 0) return [Buffer.from(integer(0x80, 7, whole + 1))];
    const index = NAMES.get(name);
    const text = (part: string) => [Buffer.from(integer(0, 7, part.length)), Buffer.from(part, "latin1")];
    return [Buffer.from(integer(0, 4, index ?? 0)), ...(index === undefined ? text(name) : []), ...text(value)];
  }));
}
