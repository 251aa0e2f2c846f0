/**
 * From queued parts to the body of one request.
 * @module
 */
import { gunzipSync, gzipSync } from "node:zlib";
import { concatenate } from "../codec/bytes.ts";
import { gzipMember } from "../codec/gzip.ts";
import type { Delivery, Part, PayloadEncoding } from "../queue/queue.ts";

/** `exporter.compression`: members as the senders made them, one recompressed member, or none. */
export type Compression = "passthrough" | "gzip" | "none";

/** One part of a record. */
export interface Piece {
  readonly delivery: Delivery;
  /** Index of the part in its record. */
  readonly index: number;
  /** Where its bytes begin in the record's payload. */
  readonly offset: number;
}

/** The parts of a record, in order. */
export function piecesOf(delivery: Delivery): Piece[] {
  let offset = 0;
  return delivery.parts.map(({ bytes }, index) => {
    const piece = { delivery, index, offset };
    offset += bytes;
    return piece;
  });
}

/** A body, ready to be sent. */
export interface RequestBody {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether the bytes are the body's alone, and not a record's payload. */
  readonly own: boolean;
  readonly encoding: PayloadEncoding;
  /** gzip members in it; 1 where it is not compressed. */
  readonly members: number;
}

/** The part of a piece: its sender and its counts. */
export function partOf({ delivery, index }: Piece): Part {
  return delivery.parts[index]!;
}

/** Spans, data points or log records of pieces. */
export function itemsOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + partOf(piece).items, 0);
}

/**
 * Pieces of one encoding as one uncompressed request, all their members inflated.
 * @throws {Error} when they do not inflate, or to more than was found at the door: the storage has damaged them.
 */
export function contentOf(pieces: readonly Piece[]): Uint8Array {
  const bytes = join(pieces);
  if (pieces[0]!.delivery.encoding === "identity") return bytes;
  const inflatedBytes = pieces.reduce((sum, piece) => sum + partOf(piece).inflatedBytes, 0);
  // A bound of 0 is not taken by zlib. One chunk for all of it: it is not held in pieces and as a whole then.
  return gunzipSync(bytes, { maxOutputLength: Math.max(1, inflatedBytes), chunkSize: Math.max(64, inflatedBytes + 1) });
}

/** Puts pieces of one encoding into one body. A single piece is not copied. */
export function compose(pieces: readonly Piece[], compression: Compression): RequestBody {
  const { encoding } = pieces[0]!.delivery;
  if (compression === "passthrough" && encoding === "gzip") {
    // What does not compress has grown by its framing, perhaps over what the Collector takes of a body.
    if (pieces.length === 1 && isLargeAndGrown(pieces[0]!)) {
      return { bytes: owned(contentOf(pieces)), own: true, encoding: "identity", members: 1 };
    }
    return {
      bytes: join(pieces),
      own: pieces.some(({ delivery }) => delivery !== pieces[0]!.delivery),
      encoding,
      members: pieces.length,
    };
  }
  return encodeContent(contentOf(pieces), compression);
}

/** From here on, in bytes, a body is near the 20 MiB that are the Collector's own limit. */
const LARGE_BYTES = 16 * 1024 * 1024;

function isLargeAndGrown(piece: Piece): boolean {
  const { bytes, inflatedBytes } = partOf(piece);
  return bytes > LARGE_BYTES && bytes > inflatedBytes;
}

/** Encodes an uncompressed request as the exporter is told to. */
export function encodeContent(content: Uint8Array, compression: Compression): RequestBody {
  if (compression === "none") return { bytes: owned(content), own: false, encoding: "identity", members: 1 };
  return {
    bytes: compression === "gzip" ? owned(gzipSync(content)) : gzipMember(content),
    own: true,
    encoding: "gzip",
    members: 1,
  };
}

function join(pieces: readonly Piece[]): Uint8Array<ArrayBuffer> {
  const runs = runsOf(pieces);
  return runs.length === 1 ? owned(runs[0]!) : concatenate(runs);
}

/** Views of the payloads, pieces that follow each other in one: most requests are made of whole records. */
function runsOf(pieces: readonly Piece[]): Uint8Array[] {
  const runs: Uint8Array[] = [];
  for (let index = 0; index < pieces.length;) {
    const first = pieces[index]!;
    let end = first.offset;
    let last = index;
    for (; last < pieces.length; last++) {
      const piece = pieces[last]!;
      if (piece.delivery !== first.delivery || piece.offset !== end) break;
      end += partOf(piece).bytes;
    }
    runs.push(first.delivery.payload.subarray(first.offset, end));
    index = last;
  }
  return runs;
}

function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? bytes as Uint8Array<ArrayBuffer> : bytes.slice();
}
