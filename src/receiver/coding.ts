/**
 * Answers, gzipped where the sender asks for it and it is worth it (OTLP: the server "MAY gzip-encode the response").
 * @module
 */
import { gzipMember } from "../codec/gzip.ts";

/** From this length on, in bytes, compressing an answer is worth the work; nearly all are shorter. */
const WORTH_BYTES = 1_024;

/** The body of an answer, and what it is encoded in. */
export interface CodedBody {
  readonly body: Uint8Array<ArrayBuffer>;
  /** The `Content-Encoding`, where there is one. */
  readonly coding: "gzip" | undefined;
}

/** @param accepted The request's `Accept-Encoding`, if any. */
export function encodeAnswer(body: Uint8Array<ArrayBuffer>, accepted: string | null): CodedBody {
  if (body.length < WORTH_BYTES || !acceptsGzip(accepted)) return { body, coding: undefined };
  return { body: gzipMember(body), coding: "gzip" };
}

/** Reads `Accept-Encoding` (RFC 9110, 12.5.3): a weight of 0 is a no, and gzip's own entry wins over `*`. */
function acceptsGzip(header: string | null): boolean {
  let any = false;
  for (const entry of header?.toLowerCase().split(",") ?? []) {
    const [coding = "", ...parameters] = entry.split(";").map((part) => part.trim());
    const wanted = !parameters.some((parameter) => /^q\s*=\s*0(\.0*)?$/.test(parameter));
    if (coding === "gzip" || coding === "x-gzip") return wanted;
    if (coding === "*") any = wanted;
  }
  return any;
}
