/**
 * From queued parts to the body of one request.
 * @module
 */
import { gunzipSync, gzipSync } from "node:zlib";
import { gzipMember } from "../otlp/gzip.ts";
import type { PayloadEncoding, QueueRecord } from "../queue/queue.ts";

/** `exporter.compression`: members as the senders made them, one recompressed member, or none. */
export type Compression = "passthrough" | "gzip" | "none";

/** One part of a record, with its bytes. */
export interface Piece {
  readonly record: QueueRecord;
  /** Index of the part in its record. */
  readonly index: number;
  /** A view into the record's payload. */
  readonly bytes: Uint8Array;
}

/** The parts of a record, in order. */
export function piecesOf(record: QueueRecord): Piece[] {
  let offset = 0;
  return record.parts.map((part, index) => {
    const bytes = record.payload.subarray(offset, offset + part.bytes);
    offset += part.bytes;
    return { record, index, bytes };
  });
}

/** A body, ready to be sent. */
export interface Body {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly encoding: PayloadEncoding;
}

/** Inflated content of what the queue holds; all its members. The bound is what the door let in, and holds by itself. */
export function contentOf(encoding: PayloadEncoding, bytes: Uint8Array): Uint8Array {
  return encoding === "gzip" ? gunzipSync(bytes) : bytes;
}

/** Puts pieces of one encoding into one body. A single piece that is a whole payload is not copied. */
export function compose(pieces: readonly Piece[], compression: Compression): Body {
  const encoding = pieces[0]!.record.encoding;
  const bytes = join(pieces.map((piece) => piece.bytes));
  if (compression === "passthrough" && encoding === "gzip") return { bytes, encoding };
  return encodeContent(contentOf(encoding, bytes), compression);
}

/** Encodes an uncompressed request as the exporter is told to. */
export function encodeContent(content: Uint8Array, compression: Compression): Body {
  if (compression === "none") return { bytes: owned(content), encoding: "identity" };
  return {
    bytes: compression === "gzip" ? owned(gzipSync(content)) : gzipMember(content),
    encoding: "gzip",
  };
}

/** Concatenates; encoded requests, and gzip members, are a request again (protobuf "Encoding"; RFC 1952, 2.2). */
export function join(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  if (chunks.length === 1) return owned(chunks[0]!);
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}

function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? bytes as Uint8Array<ArrayBuffer> : bytes.slice();
}
