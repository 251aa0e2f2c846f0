/**
 * The framing of a zstd body (RFC 8878), read here because `node:zlib` in Deno 2.9.6 is silent about it: of a body cut short it
 * returns what it has, of two frames the first, and of what follows a frame it says nothing. Each would be a loss behind a 200.
 * @module
 */
import { codeOf } from "../errors.ts";
import { constants, createZstdDecompress, zstdDecompressSync } from "node:zlib";
import { concatenate } from "./bytes.ts";
import { InflatedTooLargeError } from "./gzip.ts";

/** The body is not zstd, or not all of it is. */
export class ZstdError extends Error {
  override readonly name = "ZstdError";
  /** How much may have been inflated before it was found, in bytes. */
  inflatedBytes = 0;
}

const MAGIC = 0xfd2fb528;
/** Skippable frames have sixteen magic numbers from here on (RFC 8878, 3.1.2). */
const SKIPPABLE_MAGIC = 0x184d2a50;
/** The most memory that a frame may want, in bytes: RFC 9659 has this bound for zstd as a content coding. */
const WINDOW_BYTES_MAX = 8 * 1024 * 1024;
/** The most that a compressed block stands for, in bytes (RFC 8878, 3.1.1.2.4). */
const BLOCK_BYTES_MAX = 128 * 1024;
/** From what its blocks may stand for on, in bytes, a frame's content is given room as a whole. */
const IN_ONE_PIECE_BYTES = 256 * 1024;
/** As many frames as a body may have; each costs a call, some 40 us. */
export const FRAMES_MAX = 1_000;

/** The body has more frames than was asked for. */
export class TooManyFramesError extends ZstdError {}

/**
 * Inflates a zstd body, bounded. Frames follow each other, as gzip members do; skippable ones are skipped.
 * @param framesMax The most frames that it may have.
 * @throws {ZstdError} when it is not zstd to the last byte; {TooManyFramesError}; {InflatedTooLargeError} when it is over the bound.
 */
export function unzstd(body: Uint8Array, bytesMax: number, framesMax: number = FRAMES_MAX): Uint8Array {
  const pieces: Uint8Array[] = [];
  let length = 0;
  let frames = 0;
  try {
    for (let position = 0; position < body.length;) {
      if (++frames > framesMax) throw new TooManyFramesError(`Zstd body has more than ${framesMax} frames`);
      const { end, contentBytes, contentBytesMax, skippable } = readFrame(body, position);
      if (!skippable) {
        // Before anything is set aside for it: a frame of a single segment wants memory for all that it states.
        if (contentBytes !== undefined && contentBytes > bytesMax - length) throw new InflatedTooLargeError(bytesMax);
        const content = decompress(body.subarray(position, end), bytesMax - length, contentBytesMax);
        length += content.length;
        if (contentBytes !== undefined && contentBytes !== BigInt(content.length)) {
          throw new ZstdError("Zstd body does not match the length it states");
        }
        pieces.push(content);
      }
      position = end;
    }
  } catch (error) {
    if (error instanceof ZstdError) error.inflatedBytes += length;
    throw error;
  }
  return pieces.length === 1 ? pieces[0]! : concatenate(pieces);
}

function decompress(frame: Uint8Array, bytesMax: number, contentBytesMax: number): Uint8Array {
  // A bound of 0 is not taken by zlib.
  const maxOutputLength = Math.max(1, bytesMax);
  const contentMax = Math.min(maxOutputLength, contentBytesMax);
  // A large content comes in one piece: zlib otherwise makes pieces of 16 KiB, joins them, and leaves them all as garbage. Not written
  // to, the room costs nothing.
  const options = contentMax < IN_ONE_PIECE_BYTES
    ? { maxOutputLength }
    : { maxOutputLength, chunkSize: contentMax + 1 };
  const stream = createZstdDecompress(options);
  // What is wrong is thrown; a stream without a listener would end the process with it.
  stream.on("error", () => {});
  try {
    const content = isSynchronous(stream)
      ? stream._processChunk(frame, constants.ZSTD_e_end)
      : zstdDecompressSync(frame, options);
    if (content.length > bytesMax) throw new InflatedTooLargeError(bytesMax);
    return content;
  } catch (error) {
    if (error instanceof InflatedTooLargeError) throw error;
    if (codeOf(error) === "ERR_BUFFER_TOO_LARGE") {
      throw new InflatedTooLargeError(bytesMax);
    }
    const damaged = new ZstdError("Zstd body is damaged");
    damaged.inflatedBytes = Math.min(bytesMax, contentBytesMax);
    throw damaged;
  } finally {
    stream.destroy();
  }
}

/**
 * What `zstdDecompressSync` calls on a stream of its own. In Deno 2.9.6 it does not close that one when the data is damaged, and
 * each damaged body leaves 30 KB behind for good.
 */
interface Synchronous {
  _processChunk(chunk: Uint8Array, flush: number): Uint8Array;
}

function isSynchronous(stream: object): stream is Synchronous {
  return "_processChunk" in stream && typeof stream._processChunk === "function";
}

interface Frame {
  /** The first byte behind the frame. */
  readonly end: number;
  /** Length of its content, where it states one. */
  readonly contentBytes: bigint | undefined;
  /** The most that its blocks may stand for, in bytes. */
  readonly contentBytesMax: number;
  readonly skippable: boolean;
}

/** Finds the end of a frame: its header (RFC 8878, 3.1.1.1), its blocks (3.1.1.2), and its checksum. */
function readFrame(body: Uint8Array, start: number): Frame {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let position = start;
  const take = (bytes: number): number => {
    const at = position;
    position += bytes;
    if (position > body.length) throw new ZstdError("Zstd body is truncated");
    return at;
  };
  const magic = view.getUint32(take(4), true);
  if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
    take(view.getUint32(take(4), true));
    return { end: position, contentBytes: undefined, contentBytesMax: 0, skippable: true };
  }
  if (magic !== MAGIC) {
    throw new ZstdError(
      start === 0 ? "Body is not zstd" : `Body has ${body.length - start} bytes behind its zstd frame`,
    );
  }
  const descriptor = view.getUint8(take(1));
  const single = (descriptor & 0x20) !== 0;
  if ((descriptor & 0x08) !== 0) throw new ZstdError("Zstd header has its reserved bit set");
  let windowBytes = 0;
  if (!single) {
    const byte = view.getUint8(take(1));
    const base = 2 ** (10 + (byte >> 3));
    windowBytes = base + (base / 8) * (byte & 7);
  }
  const dictionary = descriptor & 3;
  take([0, 1, 2, 4][dictionary]!);
  if (dictionary !== 0) throw new ZstdError("Zstd body wants a dictionary; compress it without one");
  const contentBytes = contentSize(view, descriptor >> 6, single, take);
  if (windowBytes > WINDOW_BYTES_MAX) {
    throw new ZstdError(
      `Zstd body wants a window of ${windowBytes} bytes; ${WINDOW_BYTES_MAX} are the most (RFC 9659)`,
    );
  }
  let contentBytesMax = 0;
  for (let last = false; !last;) {
    const at = take(3);
    const header = body[at]! | (body[at + 1]! << 8) | (body[at + 2]! << 16);
    last = (header & 1) === 1;
    const type = (header >> 1) & 3;
    if (type === 3) throw new ZstdError("Zstd body has a block of a reserved type");
    contentBytesMax += type === 2 ? BLOCK_BYTES_MAX : header >> 3;
    // A run-length block is one byte, whatever it stands for.
    take(type === 1 ? 1 : header >> 3);
  }
  if ((descriptor & 0x04) !== 0) take(4);
  return { end: position, contentBytes, contentBytesMax, skippable: false };
}

function contentSize(
  view: DataView,
  flag: number,
  single: boolean,
  take: (bytes: number) => number,
): bigint | undefined {
  switch (flag) {
    case 0:
      return single ? BigInt(view.getUint8(take(1))) : undefined;
    case 1:
      return BigInt(view.getUint16(take(2), true)) + 256n;
    case 2:
      return BigInt(view.getUint32(take(4), true));
    default:
      return view.getBigUint64(take(8), true);
  }
}
