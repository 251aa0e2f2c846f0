/**
 * What a call is answered: a message and OK, or a refusal as trailers alone.
 * @module
 */
import { Buffer } from "node:buffer";
import { type Refusal, type RefusalCode, REFUSALS } from "../../errors.ts";
import { encodeFields } from "../../http2/hpack.ts";
import type { Field } from "../../http2/hpack_tables.ts";
import type { Http2Stream } from "../../http2/stream.ts";
import {
  encodeGrpcMessage,
  encodeStatusDetails,
  GRPC_CODE,
  MESSAGE_PREFIX_BYTES,
  messagePrefix,
} from "../../otlp/grpc.ts";

/**
 * The gRPC code of a refusal, where it is not that of its Status over HTTP. OTLP/gRPC has other codes retried than `google.rpc.Code`
 * says: INTERNAL is not, and a fault of ours must be. For what is not implemented gRPC has a code of its own.
 */
const CODES: Readonly<Partial<Record<RefusalCode, number>>> = {
  internal: GRPC_CODE.UNAVAILABLE,
  not_found: GRPC_CODE.UNIMPLEMENTED,
  unsupported_encoding: GRPC_CODE.UNIMPLEMENTED,
};

/** The gRPC code of a refusal. */
export function grpcCodeOf(code: RefusalCode): number {
  return CODES[code] ?? REFUSALS[code].grpcCode;
}

/**
 * The longest message that is sent, in bytes of UTF-8: some clients take no more than 8 KiB of metadata (gRPC's C core). It stands there
 * as `grpc-message`, where a byte may take three, and up to three times in the details, where three take four.
 */
const MESSAGE_BYTES_MAX = 800;

const HEADER: readonly Field[] = [[":status", "200"], ["content-type", "application/grpc"]];
const HEADER_BLOCK = encodeFields(HEADER);
const OK_BLOCK = encodeFields([["grpc-status", "0"]]);
const EMPTY_MESSAGE = messagePrefix(0, false);

/** Answers OK, with a message. */
export function answerMessage(stream: Http2Stream, message: Uint8Array): void {
  beginMessages(stream);
  sendMessage(stream, message);
  stream.sendTrailers(OK_BLOCK);
}

/** Begins an answer of messages. */
export function beginMessages(stream: Http2Stream): void {
  stream.sendHeaders(HEADER_BLOCK);
}

/** Sends one of them. */
export function sendMessage(stream: Http2Stream, message: Uint8Array): void {
  if (message.length === 0) return stream.sendData(EMPTY_MESSAGE);
  const framed = Buffer.allocUnsafe(MESSAGE_PREFIX_BYTES + message.length);
  framed.set(messagePrefix(message.length, false));
  framed.set(message, MESSAGE_PREFIX_BYTES);
  stream.sendData(framed);
}

/** What a call is told that is not taken. */
export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

/** Answers with trailers alone, or where messages have been sent with trailers behind them. */
export function answerStatus(
  stream: Http2Stream,
  { code, message }: GrpcStatus,
  { begun = false, more = [] }: { readonly begun?: boolean; readonly more?: readonly Field[] } = {},
): void {
  const fields: Field[] = [
    ...(begun ? [] : HEADER),
    ["grpc-status", String(code)],
    ["grpc-message", encodeGrpcMessage(cut(message))],
    ...more,
  ];
  if (begun) stream.sendTrailers(encodeFields(fields));
  else stream.sendHeaders(encodeFields(fields), true);
}

/**
 * Answers with a refusal.
 * @param toldS What the sender is told to wait, in seconds: RetryInfo, without which it drops what RESOURCE_EXHAUSTED refuses.
 */
export function answerRefusal(stream: Http2Stream, refusal: Refusal, toldS: number | undefined): void {
  const code = grpcCodeOf(refusal.code);
  const message = cut(refusal.message);
  const violation = REFUSALS[refusal.code].status === 400
    ? { field: cut(refusal.field ?? ""), description: message }
    : undefined;
  const details = encodeStatusDetails({ code, message, violation }, toldS === undefined ? undefined : toldS * 1_000);
  const encodings = refusal.headers["accept-encoding"];
  answerStatus(stream, { code, message }, {
    more: [
      ["grpc-status-details-bin", details],
      ...(encodings === undefined ? [] : [["grpc-accept-encoding", `identity, ${encodings}`] as const]),
    ],
  });
}

function cut(text: string): string {
  // No character has more than three bytes of UTF-8 for each of its units.
  if (text.length * 3 <= MESSAGE_BYTES_MAX || Buffer.byteLength(text) <= MESSAGE_BYTES_MAX) return text;
  const room = new Uint8Array(MESSAGE_BYTES_MAX - Buffer.byteLength("…"));
  return `${text.slice(0, new TextEncoder().encodeInto(text, room).read)}…`;
}
