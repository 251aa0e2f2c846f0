/**
 * The two tables of HPACK: header fields by index (RFC 7541, appendix A), and the Huffman code (appendix B).
 * @module
 */
import { Buffer } from "node:buffer";

/** A header field; the name in small letters, each character of both one byte. */
export type Field = readonly [name: string, value: string];

/** A fault of the peer's header block: COMPRESSION_ERROR, which ends the connection (RFC 9113, section 4.3). */
export class HpackError extends Error {}

/** Fields that every peer knows, from index 1 on (RFC 7541, appendix A). */
export const STATIC_FIELDS: readonly Field[] = `
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

// RFC 7541, appendix B: the length in bits of each byte's code, a digit of base 36 each. The code is canonical: codes of one length follow
// each other in the order of their symbols, so that the lengths are the whole table.
const CODE_BITS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6f56565666577666567655677777fbeds\
kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq";

/** The canonical code, by length. */
interface Codes {
  /** The first code of each length. */
  readonly first: Int32Array;
  /** Where its symbols start. */
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

/** The longest code, in bits. */
const CODE_BITS_MAX = 30;

/** The text of a Huffman code, each character a byte. @throws {HpackError} at what is no code, or is padded with anything but ones. */
export function huffmanDecode(bytes: Uint8Array): string {
  // No code is shorter than 5 bits.
  const text = Buffer.allocUnsafe(Math.ceil(bytes.length * 8 / 5));
  let length = 0;
  let code = 0;
  let bits = 0;
  for (const byte of bytes) {
    for (let at = 7; at >= 0; at--) {
      code = code << 1 | byte >> at & 1;
      if (++bits > CODE_BITS_MAX) throw new HpackError("A Huffman code is longer than any");
      const offset = code - CODES.first[bits]!;
      if (offset >= 0 && offset < CODES.count[bits]!) {
        text[length++] = CODES.symbols[CODES.start[bits]! + offset]!;
        code = 0;
        bits = 0;
      }
    }
  }
  if (bits > 7 || code !== (1 << bits) - 1) throw new HpackError("The padding of a Huffman text is not ones");
  return text.toString("latin1", 0, length);
}
