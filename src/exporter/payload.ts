/**
 * From queued parts to the body of one request.
 * @module
 */
import { concatenate, discard } from "../codec/bytes.ts";
import { MEMBER_START } from "../codec/gzip.ts";
import type { Delivery, Part } from "../queue/queue.ts";
import {
  type Coding,
  CODINGS,
  type Compression,
  DamagedError,
  inArrayBuffer,
  inflate,
  type Recoding,
} from "./recode/recode.ts";
import type { Recoder } from "./recode/recoder.ts";
import { SEAL, SEAL_MEMBERS } from "./seal.ts";

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
export class RequestBody implements Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly encoding: Coding;
  /** gzip members in it; 1 where it is not compressed. */
  readonly members: number;
  /** Whether the bytes are the body's alone, and not a record's payload. */
  readonly own: boolean;

  constructor(
    { bytes, encoding, members, own }: {
      readonly bytes: Uint8Array<ArrayBuffer>;
      readonly encoding: Coding;
      readonly members: number;
      readonly own: boolean;
    },
  ) {
    this.bytes = bytes;
    this.encoding = encoding;
    this.members = members;
    this.own = own;
  }

  /** Gives back what is its own. */
  [Symbol.dispose](): void {
    if (this.own) discard(this.bytes);
  }
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
 * @throws {DamagedError}
 */
export function contentOf(pieces: readonly Piece[]): Uint8Array {
  return inflate(join(pieces), pieces[0]!.delivery.encoding, inflatedBytesOf(pieces));
}

function inflatedBytesOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + partOf(piece).inflatedBytes, 0);
}

/**
 * Puts pieces of one encoding into one body. A single piece is forwarded without a copy; members that share a body have a seal before them.
 * @throws {DamagedError}
 */
export function compose(
  pieces: readonly Piece[],
  compression: Compression,
  recoder: Recoder,
): RequestBody | Promise<RequestBody> {
  const { encoding } = pieces[0]!.delivery;
  if (compression !== "passthrough" || encoding !== "gzip") return recoded(pieces, compression, recoder);
  // A body that does not compress has grown by its framing, perhaps over the Collector's limit.
  if (pieces.length === 1 && isLargeAndGrown(pieces[0]!)) return recoded(pieces, "none", recoder);
  if (pieces.length === 1) return new RequestBody({ bytes: join(pieces), own: false, encoding, members: 1 });
  const bytes = concatenate([SEAL, ...runsOf(pieces)]);
  return new RequestBody({ bytes, own: true, encoding, members: SEAL_MEMBERS + pieces.length });
}

function recoded(
  pieces: readonly Piece[],
  compression: Compression,
  recoder: Recoder,
): RequestBody | Promise<RequestBody> {
  const { encoding } = pieces[0]!.delivery;
  return anew(runsOf(pieces), { encoding, inflatedBytes: inflatedBytesOf(pieces), compression }, recoder);
}

/** An uncompressed request as a body. */
export function encodeContent(
  content: Uint8Array,
  compression: Compression,
  recoder: Recoder,
): RequestBody | Promise<RequestBody> {
  return anew([content], { encoding: "identity", inflatedBytes: content.length, compression }, recoder);
}

function anew(runs: readonly Uint8Array[], recoding: Recoding, recoder: Recoder): RequestBody | Promise<RequestBody> {
  const body = (bytes: Uint8Array<ArrayBuffer>) =>
    new RequestBody({
      bytes,
      own: runs.every(({ buffer }) => buffer !== bytes.buffer),
      encoding: CODINGS[recoding.compression],
      members: 1,
    });
  const bytes = recoder.recode(runs, recoding);
  return bytes instanceof Promise ? bytes.then(body) : body(bytes);
}

/** From here on, in bytes, a body is near the 20 MiB that are the Collector's own limit. */
const LARGE_BYTES = 16 * 1024 * 1024;

function isLargeAndGrown(piece: Piece): boolean {
  const { bytes, inflatedBytes } = partOf(piece);
  return bytes > LARGE_BYTES && bytes > inflatedBytes;
}

/**
 * Many readers, zlib's own among them, are silent about what comes behind a member and is none: one part that the storage has damaged would
 * be lost behind a success, and with it all that is merged behind it.
 * @throws {DamagedError}
 */
function checkMembers(pieces: readonly Piece[]): void {
  for (const { delivery: { id, encoding, payload }, offset } of pieces) {
    if (encoding !== "gzip" || MEMBER_START.every((byte, index) => payload[offset + index] === byte)) continue;
    throw new DamagedError(`What is stored of record ${id} does not begin as a gzip member does`);
  }
}

function join(pieces: readonly Piece[]): Uint8Array<ArrayBuffer> {
  const runs = runsOf(pieces);
  return runs.length === 1 ? inArrayBuffer(runs[0]!) : concatenate(runs);
}

/** Views of the payloads, pieces that follow each other in one: most requests are made of whole records. @throws {DamagedError} */
function runsOf(pieces: readonly Piece[]): Uint8Array[] {
  checkMembers(pieces);
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
