/**
 * `Content-Encoding: deflate`, which is a zlib stream (RFC 1950; RFC 9110, 8.4.1.2).
 * @module
 */
import { codeOf } from "../errors.ts";
import { InflatedTooLargeError } from "./gzip.ts";
import { inflateSync } from "node:zlib";

/** The body is not a zlib stream, or not all of it is. */
export class DeflateError extends Error {
  override readonly name = "DeflateError";
}

/** What zlib answers when asked for `info`: the content, and the engine that says how much it read. */
interface InflateInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

/**
 * Inflates a zlib stream, bounded. It ends with the body: what is behind it would be lost in silence.
 * @throws {DeflateError} when it is none to the last byte; {InflatedTooLargeError} when it is over the bound.
 */
export function inflateZlib(body: Uint8Array, bytesMax: number): Uint8Array {
  let info: InflateInfo;
  try {
    info = inflateSync(body, { maxOutputLength: bytesMax, info: true }) as unknown as InflateInfo;
  } catch (error) {
    if (codeOf(error) === "ERR_BUFFER_TOO_LARGE") {
      throw new InflatedTooLargeError(bytesMax);
    }
    throw new DeflateError("Body is not deflate, as its Content-Encoding says", { cause: error });
  }
  const behind = body.length - info.engine.bytesWritten;
  if (behind > 0) throw new DeflateError(`Body has ${behind} bytes behind its deflate stream`);
  return info.buffer;
}
