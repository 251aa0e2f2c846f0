/**
 * Queued bytes inflated, and compressed anew as the exporter is told to. One step for the event loop and for the thread.
 * @module
 */
import { constants, gunzipSync, gzipSync, zstdCompressSync, type ZstdOptions } from "node:zlib";
import { discard } from "../../codec/bytes.ts";
import { gunzip, gzipMember } from "../../codec/gzip.ts";
import { messageOf } from "../../errors.ts";
import type { PayloadEncoding } from "../../queue/queue.ts";

/**
 * `exporter.compression`: members as the senders made them, one body made anew by gzip or zstd, or what was inflated.
 */
export type Compression = "passthrough" | "gzip" | "zstd" | "none";

/** `Content-Encoding` of a body; `identity` is not named there (RFC 9110, 8.4.1). */
export type Coding = "identity" | "gzip" | "zstd";

/** The storage has damaged the bytes: they do not inflate, or to more than was found at the door. */
export class DamagedError extends Error {
  override readonly name = "DamagedError";
}

/** For merged requests of 10 spans, level 3 makes 694 bytes a request and 6 makes 632, for 2.7 times the CPU; 1 makes 804. */
const GZIP_LEVEL = 3;
/** Level 1 makes 662 bytes of the same, 3 makes 653 for 1.8 times the CPU. */
const ZSTD_LEVEL = 1;

/** How a body is encoded that is made anew. */
export const CODINGS: Readonly<Record<Compression, Coding>> = {
  passthrough: "gzip",
  gzip: "gzip",
  zstd: "zstd",
  none: "identity",
};

/**
 * Payloads of one encoding that follow each other as one uncompressed request, all their members inflated.
 * @param inflatedBytes What was found at the door.
 * @throws {DamagedError}
 */
export function inflate(bytes: Uint8Array, encoding: PayloadEncoding, inflatedBytes: number): Uint8Array {
  if (encoding === "identity") return bytes;
  // A bound of 0 is not taken by zlib. One chunk for all of it: it is not held in pieces and as a whole then.
  const options = { maxOutputLength: Math.max(1, inflatedBytes), chunkSize: Math.max(64, inflatedBytes + 1) };
  try {
    const content = gunzipSync(bytes, options);
    // zlib is silent about what comes behind a member and is none.
    if (content.length !== inflatedBytes) gunzip(bytes, options.maxOutputLength).content[Symbol.dispose]();
    return content;
  } catch (error) {
    throw new DamagedError(messageOf(error), { cause: error });
  }
}

/** An uncompressed request, encoded; in a buffer of its own where it is compressed. */
export function encode(content: Uint8Array, compression: Compression): Uint8Array<ArrayBuffer> {
  switch (compression) {
    case "none":
      return inArrayBuffer(content);
    case "passthrough":
      return gzipMember(content);
    case "gzip":
      return alone(gzipSync(content, { level: GZIP_LEVEL }));
    case "zstd":
      return alone(zstdCompressSync(content, zstdOptions(content.length)));
  }
}

/** Node's options, one of which its types do not have yet. */
interface SizedZstdOptions extends ZstdOptions {
  /** RFC 8878, 3.1.1.1.4: by the content's size a reader knows what memory it takes. */
  readonly pledgedSrcSize: number;
}

function zstdOptions(bytes: number): SizedZstdOptions {
  // gzip has a checksum, too.
  const params = { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL, [constants.ZSTD_c_checksumFlag]: 1 };
  // More than ZSTD_compressBound: behind output that takes a second piece Deno 2.9.6 writes a frame with nothing in it.
  return { pledgedSrcSize: bytes, chunkSize: bytes + (bytes >> 7) + 1_024, params };
}

/** What is recoded. */
export interface Recoding {
  readonly encoding: PayloadEncoding;
  /** What it inflates to. */
  readonly inflatedBytes: number;
  readonly compression: Compression;
}

/** Inflates, and compresses anew. @throws {DamagedError} */
export function recode(bytes: Uint8Array, { encoding, inflatedBytes, compression }: Recoding): Uint8Array<ArrayBuffer> {
  const content = inflate(bytes, encoding, inflatedBytes);
  const encoded = encode(content, compression);
  if (content !== bytes && encoded.buffer !== content.buffer) discard(content);
  return encoded;
}

/** The bytes, in a buffer that is not shared with other threads. */
export function inArrayBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? bytes as Uint8Array<ArrayBuffer> : bytes.slice();
}

/** The bytes in a buffer that holds nothing else: zlib's may be a piece of a larger one. */
function alone(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer, byteLength } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) return new Uint8Array(buffer);
  const copy = new Uint8Array(bytes);
  discard(bytes);
  return copy;
}
