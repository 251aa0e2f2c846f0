/**
 * Exactly one gzip member a request (RFC 1952), so that members of several requests can follow each other in one body.
 *
 * `node:zlib`'s gunzip returns the first member and is silent about what follows it, and takes header fields that the
 * Collector's reader refuses. So the framing is read and written here, and zlib sees the deflate data alone.
 * @module
 */
import { crc32 } from "node:zlib";
import { concatenate } from "./bytes.ts";
import { OwnedBytes } from "./owned_bytes.ts";
import { Deflater, Inflater } from "./zlib.ts";

/** The body is not gzip, or not all of it is. */
export class GzipError extends Error {
  override readonly name = "GzipError";
}

/** The body inflates to more than was allowed. */
export class InflatedTooLargeError extends Error {
  override readonly name = "InflatedTooLargeError";
  readonly bytesMax: number;

  constructor(bytesMax: number) {
    super(`Body inflates to more than ${bytesMax} bytes`);
    this.bytesMax = bytesMax;
  }
}

/** What a gzip body holds. */
export interface Gunzipped {
  /** The content, inflated. To be given back before the next call of this module. */
  readonly content: OwnedBytes;
  /** Where the deflate data begins of the one member that there is; undefined where there are several. */
  readonly dataStart: number | undefined;
}

const HEADER_BYTES = 10;
const TRAILER_BYTES = 8;
const FLAG_HCRC = 2;
const FLAG_EXTRA = 4;
const FLAG_NAME = 8;
const FLAG_COMMENT = 16;
const FLAGS_RESERVED = 0xe0;
/** Go's reader holds names and comments in 512 bytes and refuses longer ones. */
const TEXT_FIELD_MAX = 512;
/** Our members: deflate at its fastest; a body that came plain costs about 30 us for 4 KB. */
const LEVEL = 1;
/** As many members as a body may have; each costs a call into zlib. */
const MEMBERS_MAX = 1_000;

/**
 * Inflates a gzip body, bounded.
 * @param bytesMax The most bytes that it may inflate to.
 * @throws {GzipError} when it is not gzip to the last byte; {InflatedTooLargeError} when it is over the bound.
 */
export function gunzip(body: Uint8Array, bytesMax: number): Gunzipped {
  try {
    const first = readMember(body, 0, bytesMax);
    if (first.end === body.length) {
      return { content: new OwnedBytes(first.inflated, giveBack), dataStart: first.dataStart };
    }
    // Several members: their content is one request all the same (RFC 1952, 2.2).
    const pieces = [first.inflated.slice()];
    let length = first.inflated.length;
    for (let position = first.end; position < body.length;) {
      if (pieces.length === MEMBERS_MAX) throw new GzipError(`Gzip body has more than ${MEMBERS_MAX} members`);
      const member = readMember(body, position, bytesMax - length);
      pieces.push(member.inflated.slice());
      length += member.inflated.length;
      if (length > bytesMax) throw new InflatedTooLargeError(bytesMax);
      position = member.end;
    }
    giveBack();
    return { content: new OwnedBytes(concatenate(pieces)), dataStart: undefined };
  } catch (error) {
    giveBack();
    throw error;
  }
}

/**
 * The content of a gzip body as one member under a header of ours, with nothing behind it, in a buffer of its own. Where that can be
 * the body's it is: the header is then written over the sender's.
 * @param body The body that was inflated. It and its content are taken over.
 */
export function reframe(body: OwnedBytes, { content, dataStart }: Gunzipped): Uint8Array<ArrayBuffer> {
  if (dataStart === undefined) return gzipOwned(content);
  content[Symbol.dispose]();
  const start = dataStart - HEADER_BYTES;
  if (start > 0) {
    using longer = body;
    const member = new Uint8Array(longer.bytes.subarray(start));
    writeHeader(member, 0);
    return member;
  }
  const member = body.take();
  writeHeader(member, 0);
  return member;
}

/** One member with `content`, at the fastest level. */
export function gzipMember(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return makeMember(content, undefined);
}

/** One member with `content`, which is given back before the member is made. */
export function gzipOwned(content: OwnedBytes): Uint8Array<ArrayBuffer> {
  return makeMember(content.bytes, content);
}

function makeMember(content: Uint8Array, owner: OwnedBytes | undefined): Uint8Array<ArrayBuffer> {
  const deflated = deflater.deflate(content);
  const checksum = crc32(content);
  const { length } = content;
  owner?.[Symbol.dispose]();
  const member = new Uint8Array(HEADER_BYTES + deflated.length + TRAILER_BYTES);
  member.set(deflated, HEADER_BYTES);
  deflater.free();
  writeHeader(member, 0);
  const view = new DataView(member.buffer);
  view.setUint32(member.length - 8, checksum, true);
  view.setUint32(member.length - 4, length, true);
  return member;
}

interface Member {
  readonly inflated: Uint8Array;
  /** Where the deflate data starts. */
  readonly dataStart: number;
  /** The first byte behind the member. */
  readonly end: number;
}

function readMember(body: Uint8Array, start: number, bytesMax: number): Member {
  const dataStart = readHeader(body, start);
  const { inflated, consumed } = inflate(body.subarray(dataStart), bytesMax);
  const trailer = dataStart + consumed;
  const end = trailer + TRAILER_BYTES;
  if (end > body.length) throw new GzipError("Gzip body ends before its checksum");
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (view.getUint32(trailer, true) !== crc32(inflated)) throw new GzipError("Gzip body does not match its checksum");
  if (view.getUint32(trailer + 4, true) !== inflated.length >>> 0) {
    throw new GzipError("Gzip body does not match the length it states");
  }
  return { inflated, dataStart, end };
}

/** Reads a member's header (RFC 1952, 2.3) and returns where the deflate data starts. */
function readHeader(body: Uint8Array, start: number): number {
  if (body[start] !== 0x1f || body[start + 1] !== 0x8b) {
    throw new GzipError(
      start === 0 ? "Body is not gzip" : `Body has ${body.length - start} bytes behind its gzip member`,
    );
  }
  if (start + HEADER_BYTES > body.length) throw new GzipError("Gzip body ends inside its header");
  if (body[start + 2] !== 8) throw new GzipError(`Gzip method ${body[start + 2]} is unknown, 8 (deflate) wanted`);
  const flags = body[start + 3]!;
  if ((flags & FLAGS_RESERVED) !== 0) throw new GzipError("Gzip header has reserved flags set");
  let position = start + HEADER_BYTES;
  if ((flags & FLAG_EXTRA) !== 0) position += 2 + (body[position] ?? 0) + 256 * (body[position + 1] ?? 0);
  for (const flag of [FLAG_NAME, FLAG_COMMENT]) {
    if ((flags & flag) === 0) continue;
    const zero = body.indexOf(0, position);
    if (zero < 0) throw new GzipError("Gzip body ends inside its header");
    if (zero - position >= TEXT_FIELD_MAX) {
      throw new GzipError(`Gzip header has a name or comment of ${TEXT_FIELD_MAX} bytes or more`);
    }
    position = zero + 1;
  }
  if ((flags & FLAG_HCRC) !== 0) {
    const stated = (body[position] ?? 0) + 256 * (body[position + 1] ?? 0);
    if (stated !== (crc32(body.subarray(start, position)) & 0xffff)) {
      throw new GzipError("Gzip header does not match its checksum");
    }
    position += 2;
  }
  if (position > body.length) throw new GzipError("Gzip body ends inside its header");
  return position;
}

/** One state each for the process: a call never awaits, so none can meet another. */
const inflater = new Inflater();
const deflater = new Deflater(LEVEL);
const giveBack = (): void => inflater.free();

function inflate(data: Uint8Array, bytesMax: number): { inflated: Uint8Array; consumed: number } {
  const result = inflater.inflate(data, bytesMax);
  switch (result.kind) {
    case "done":
      return { inflated: result.content, consumed: result.consumed };
    case "too_large":
      throw new InflatedTooLargeError(bytesMax);
    case "truncated":
      throw new GzipError("Gzip body is truncated");
    case "damaged":
      throw new GzipError("Gzip body is damaged");
  }
}

/** How each member begins that is made here: deflate, no flags. */
export const MEMBER_START = [0x1f, 0x8b, 8, 0] as const;

/** No time, no name; operating system unknown (255). */
const MEMBER_HEADER = [...MEMBER_START, 0, 0, 0, 0, 0, 255];

function writeHeader(target: Uint8Array, offset: number): void {
  target.set(MEMBER_HEADER, offset);
}
