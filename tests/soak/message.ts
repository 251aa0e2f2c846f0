/** Length-prefixed gRPC messages: a flag byte, four bytes of length, the message. */
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";

export const BODY_BYTES_MAX = 1_000_000;
export const EMPTY_MESSAGE: Buffer = Buffer.alloc(5);
export const EXPORT_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/** The one message of a body, inflated; `undefined` when it is none. */
export function messageIn(body: Buffer, encoding: string | undefined): Buffer | undefined {
  if (body.length < 5 || body.readUInt32BE(1) !== body.length - 5) return undefined;
  const message = body.subarray(5);
  if (body[0] === 0) return message;
  if (body[0] !== 1 || encoding !== "gzip") return undefined;
  return gunzipSync(message, { maxOutputLength: BODY_BYTES_MAX });
}

/** A body of one message. */
export function framed(flag: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}
