/**
 * Protobuf written front to back (protobuf, "Encoding"). The length of a message stands before its content and is known after
 * it: room for it is left as the last message of that field needed it, and where that was wrong, the content is moved.
 *
 * No nesting makes the moving more than linear: what grows past the room of its own length grows past that of all messages
 * around it, so all of them are given room at once, and no byte is moved more than once for each byte that a length may have.
 * @module
 */
import { ATTRIBUTE_ROOM_BYTES, copyAttribute } from "./attribute.ts";
import { decodeBase64 } from "./base64.ts";
import { discard } from "../../codec/bytes.ts";
import { Fault } from "./error.ts";
import { copyId } from "./id.ts";
import type { JsonReader } from "./reader.ts";

/** The request would be over the bound as protobuf. */
export class TranscodedTooLargeError extends Error {
  override readonly name = "TranscodedTooLargeError";
  readonly bytesMax: number;

  constructor(bytesMax: number) {
    super(`Body is more than ${bytesMax} bytes as protobuf`);
    this.bytesMax = bytesMax;
  }
}

/** A field with a length, as far as the writer cares. */
interface Prefixed {
  /** The one or two bytes of its tag, the first in the low eight bits. */
  readonly tag: number;
  /** How many bytes the length took last, 1 or 2. */
  lengthBytes: number;
}

/** Memory that is kept between requests; a larger one gets memory of its own. */
const SCRATCH_BYTES = 128 * 1024;
/** What a value takes at most, a string apart: a tag of two bytes, a length or ten bytes of varint; and an id. */
const VALUE_BYTES_MAX = 32;
/** A length of this many bytes holds whatever a buffer does. */
const LENGTH_BYTES_MAX = 5;

/** One instance writes request after request, which is safe because writing never awaits. */
export class ProtobufWriter {
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);
  #buffer = this.#scratch;
  #view = new DataView(this.#buffer.buffer);
  /** The next byte to write. */
  #at = 0;
  #bytesMax = 0;
  #depth = 0;
  /** Where the length of each open message, and of the request, stands, and how many bytes are reserved for it. */
  readonly #starts: Uint32Array;
  readonly #widths: Uint8Array;

  /** @param depthMax How deep messages may nest. */
  constructor(depthMax: number) {
    this.#starts = new Uint32Array(depthMax + 2);
    this.#widths = new Uint8Array(depthMax + 2);
    this.#widths[0] = LENGTH_BYTES_MAX;
  }

  /**
   * Begins a request.
   * @param capacity About how many bytes it will have. @param bytesMax How many it may have.
   */
  begin(capacity: number, bytesMax: number): void {
    this.#at = 0;
    this.#depth = 0;
    this.#bytesMax = bytesMax;
    // Growing takes both buffers at once; memory that is not written to is not taken.
    const most = this.#most();
    if (capacity > SCRATCH_BYTES) this.#use(new Uint8Array(2 * capacity > most ? most : capacity + VALUE_BYTES_MAX));
  }

  /** The most bytes of a buffer: what is open may turn out a byte a level shorter, so the bound is held to the byte at the end only. */
  #most(): number {
    return this.#bytesMax + this.#starts.length + VALUE_BYTES_MAX;
  }

  /** The request: a view that is valid until {@link end}. @throws {TranscodedTooLargeError} */
  finish(): Uint8Array<ArrayBuffer> {
    if (this.#at > this.#bytesMax) throw new TranscodedTooLargeError(this.#bytesMax);
    return this.#buffer.subarray(0, this.#at);
  }

  /** Gives back what a large request took. */
  end(): void {
    if (this.#buffer === this.#scratch) return;
    discard(this.#buffer);
    this.#use(this.#scratch);
  }

  #use(buffer: Uint8Array<ArrayBuffer>): void {
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer);
  }

  /** Makes room for one value that is no string; {@link tag} does so for the value behind it. */
  room(): void {
    this.#room(VALUE_BYTES_MAX);
  }

  #room(bytes: number): void {
    if (this.#at + bytes > this.#buffer.length) this.#grow(bytes);
  }

  #grow(bytes: number): void {
    const most = this.#most();
    if (this.#at + bytes > most) throw new TranscodedTooLargeError(this.#bytesMax);
    const grown = new Uint8Array(Math.min(most, 2 * (this.#buffer.length + bytes)));
    grown.set(this.#buffer.subarray(0, this.#at));
    this.end();
    this.#use(grown);
  }

  /** A field's tag, and room for the value behind it. */
  tag(tag: number): void {
    this.#room(VALUE_BYTES_MAX);
    this.#buffer[this.#at++] = tag;
    if (tag > 0xff) this.#buffer[this.#at++] = tag >> 8;
  }

  /** Begins a value with a length: a message, or packed scalars. */
  open(field: Prefixed): void {
    this.tag(field.tag);
    // Never more than around it, so that `#widen` can stop at the first that has enough.
    const width = Math.min(field.lengthBytes, this.#widths[this.#depth]!);
    const depth = ++this.#depth;
    this.#starts[depth] = this.#at;
    this.#widths[depth] = width;
    this.#at += width;
  }

  /** Ends the value that was begun last. */
  close(field: Prefixed): void {
    const depth = this.#depth;
    let start = this.#starts[depth]!;
    const width = this.#widths[depth]!;
    const length = this.#at - start - width;
    const needed = lengthBytesOf(length);
    if (needed !== width) {
      if (needed < width) {
        this.#buffer.copyWithin(start + needed, start + width, this.#at);
        this.#at -= width - needed;
      } else {
        this.#widen(needed);
        start = this.#starts[depth]!;
      }
      field.lengthBytes = Math.min(needed, 2);
    }
    putVarint(this.#buffer, start, length);
    this.#depth--;
  }

  /** Gives the length of the innermost message, and of all around it that have less, room of so many bytes. */
  #widen(needed: number): void {
    let more = 0;
    let first = this.#depth + 1;
    while (this.#widths[first - 1]! < needed) more += needed - this.#widths[--first]!;
    this.#room(more);
    const buffer = this.#buffer;
    let end = this.#at;
    this.#at += more;
    for (let depth = this.#depth; depth >= first; depth--) {
      const start = this.#starts[depth]!;
      const content = start + this.#widths[depth]!;
      buffer.copyWithin(content + more, content, end);
      more -= needed - this.#widths[depth]!;
      this.#starts[depth] = start + more;
      this.#widths[depth] = needed;
      end = start;
    }
  }

  /** A varint of at most 2^53. */
  varint(value: number): void {
    this.#at = putVarint(this.#buffer, this.#at, value);
  }

  /** An int32 or an enum: a negative one has the ten bytes of its 64-bit form. */
  signedVarint(value: number): void {
    if (value >= 0) this.varint(value);
    else this.varint64(value >>> 0, 0xffff_ffff);
  }

  /** A varint of 64 bits. */
  varint64(lowWord: number, highWord: number): void {
    if (highWord < 0x20_0000) {
      this.varint(highWord * 2 ** 32 + lowWord);
      return;
    }
    let low = lowWord;
    let high = highWord;
    while (high !== 0 || low >= 0x80) {
      this.#buffer[this.#at++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.#buffer[this.#at++] = low;
  }

  /** The string that is next in `reader`, and its length. */
  string(reader: JsonReader): void {
    const start = this.#at;
    const end = this.#copy(reader);
    this.#prefix(start, end - start - 1);
  }

  /**
   * The attribute that is next in `reader`, with its tag, where it is spelled as nearly all are. False where it is not, and then
   * nothing has been taken or written.
   */
  attribute(field: Prefixed, reader: JsonReader): boolean {
    if (this.#at + ATTRIBUTE_ROOM_BYTES > this.#buffer.length) return false;
    const end = copyAttribute(reader, this.#buffer, this.#view, this.#at, field.tag);
    if (end < 0) return false;
    this.#at = end;
    return true;
  }

  /** The base64 that is next in `reader` as bytes, and their length. @throws {Fault} when it is none. */
  base64(reader: JsonReader): void {
    const start = this.#at;
    const end = decodeBase64(this.#buffer, start + 1, this.#copy(reader));
    if (end < 0) throw new Fault("a string that is not base64");
    this.#prefix(start, end - start - 1);
  }

  /** Copies the string behind the one byte that most lengths take. Returns the byte behind it. */
  #copy(reader: JsonReader): number {
    // What a string means is never longer than how it is spelled.
    if (this.#at + reader.left + LENGTH_BYTES_MAX > this.#buffer.length) {
      this.#room(reader.stringLength() + LENGTH_BYTES_MAX);
    }
    return reader.copyString(this.#buffer, this.#at + 1);
  }

  /** Writes the length of what stands behind the one byte from `start` on. */
  #prefix(start: number, length: number): void {
    const width = lengthBytesOf(length);
    if (width > 1) this.#buffer.copyWithin(start + width, start + 1, start + 1 + length);
    this.#at = putVarint(this.#buffer, start, length) + length;
  }

  /** The id of `bytes` bytes in hex that is next in `reader`, or an empty one, and its length. @throws {Fault} */
  id(reader: JsonReader, bytes: number): void {
    const length = copyId(reader, this.#buffer, this.#at + 1, bytes);
    this.#buffer[this.#at] = length;
    this.#at += 1 + length;
  }

  fixed32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  fixed64(low: number, high: number): void {
    this.#view.setUint32(this.#at, low, true);
    this.#view.setUint32(this.#at + 4, high, true);
    this.#at += 8;
  }

  double(value: number): void {
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }
}

function lengthBytesOf(length: number): number {
  if (length < 0x80) return 1;
  return length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : length < 0x1000_0000 ? 4 : 5;
}

/** Returns the byte behind it. */
function putVarint(buffer: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  // Below 2^31 by shifts, which are fast.
  for (; rest >= 0x8000_0000; rest = Math.floor(rest / 128)) buffer[at++] = (rest % 128) | 0x80;
  for (; rest >= 0x80; rest >>>= 7) buffer[at++] = (rest & 0x7f) | 0x80;
  buffer[at++] = rest;
  return at;
}
