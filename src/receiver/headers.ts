/**
 * What a request's header says of its body: type, coding and length.
 * @module
 */
import { Refusal } from "../errors.ts";
import type { MediaType } from "../otlp/response.ts";
import { tooLarge } from "./body.ts";
import { soleValue } from "./senders/peer.ts";

/** The content codings that are taken. OTLP: `gzip` and none MUST be; `deflate`, which a Collector calls `zlib` too, and `zstd` are ours. */
export type ContentEncoding = "identity" | "gzip" | "deflate" | "zstd";

/** Reads `Content-Encoding`; absent, `identity` and `none` are the same. Refuses what is unknown with 415. */
export function contentEncodingOf(header: string | null): ContentEncoding {
  switch (header?.trim().toLowerCase() ?? "") {
    case "":
    case "none":
    case "identity":
      return "identity";
    case "gzip":
    case "x-gzip":
      return "gzip";
    case "deflate":
    case "zlib":
      return "deflate";
    case "zstd":
      return "zstd";
    case "snappy":
    case "x-snappy-framed":
    case "lz4":
      // What a Collector's exporter may be set to besides; no library for them is kept well enough to read strangers' bodies with.
      throw unsupportedEncoding(
        "Content-Encoding snappy, x-snappy-framed or lz4 is not supported",
        "set the sender's compression to gzip or zstd (in a Collector: compression of its exporter)",
      );
    default:
      throw unsupportedEncoding("Content-Encoding is not supported", "use gzip, deflate, zstd or none, one alone");
  }
}

function unsupportedEncoding(what: string, remedy: string): Refusal {
  // RFC 9110, 15.5.16: says what would be taken.
  return new Refusal("unsupported_encoding", what, {
    remedy,
    headers: { "accept-encoding": "gzip, deflate, zstd" },
  });
}

/** Reads `Content-Type`, parameters allowed; undefined when it is neither of OTLP/HTTP's two. */
export function knownMediaType(header: string | null): MediaType | undefined {
  // As nearly every sender writes it.
  if (header === "application/x-protobuf" || header === "application/json") return header;
  const essence = header === null ? "" : soleValue(header).split(";", 1)[0]!.trim().toLowerCase();
  return essence === "application/x-protobuf" || essence === "application/json" ? essence : undefined;
}

/** Reads `Content-Type`. Refuses all but the two of OTLP/HTTP with 415. */
export function mediaTypeOf(header: string | null): MediaType {
  const mediaType = knownMediaType(header);
  if (mediaType !== undefined) return mediaType;
  throw new Refusal("unsupported_type", `Content-Type is ${header === null ? "missing" : "not supported"}`, {
    remedy: "use application/x-protobuf or application/json",
  });
}

/**
 * The size that a request states for its body, in bytes; undefined when it states none. Over the limit it is refused at once
 * with 413, before a byte of it is read.
 */
export function statedLength(header: string | null, bodyBytesMax: number): number | undefined {
  if (header === null) return undefined;
  if (!/^\d+$/.test(header)) {
    throw new Refusal("malformed", "Content-Length is not a number of bytes", {
      remedy: "state the body's length or leave it out",
    });
  }
  const length = Number(header);
  if (length > bodyBytesMax) throw tooLarge(bodyBytesMax, "Body");
  return length;
}
