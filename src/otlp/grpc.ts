/**
 * The words of OTLP/gRPC, in both directions: status codes, the prefix of a message, and what trailers say.
 * Source: the gRPC specification ("gRPC over HTTP2", `PROTOCOL-HTTP2.md`) and OTLP 1.11, "OTLP/gRPC Response".
 * @module
 */
import { Buffer } from "node:buffer";
import { encodeStatus, type Status, statusDetail } from "./response.ts";
import { messageField, readFields, readMessage, text, varintField } from "./small_message.ts";

/** `google.rpc.Code`. */
export const GRPC_CODE = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a code; the number of one that has none. */
export function grpcCodeName(code: number): string {
  return Object.entries(GRPC_CODE).find(([, number]) => number === code)?.[0] ?? String(code);
}

/** Before each message: whether it is compressed, and its length. */
export const MESSAGE_PREFIX_BYTES = 5;

/** @param length Of the message as it is sent, in bytes. */
export function messagePrefix(length: number, compressed: boolean): Uint8Array<ArrayBuffer> {
  const prefix = new Uint8Array(MESSAGE_PREFIX_BYTES);
  prefix[0] = compressed ? 1 : 0;
  new DataView(prefix.buffer).setUint32(1, length);
  return prefix;
}

/**
 * `grpc-message`: UTF-8 whose bytes are escaped where they are not printable ASCII, and `%`. So is a blank at either end, for which HTTP/2
 * has the peer end the call (RFC 9113, section 8.2.1).
 */
export function encodeGrpcMessage(message: string): string {
  return Buffer.from(message).toString("latin1").replaceAll(
    /[^ -$&-~]|^ | $/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}

/** Reads `grpc-message`; what is escaped badly stays as it is, as the specification asks. */
export function decodeGrpcMessage(value: string): string {
  const bytes = value.replaceAll(
    /%([0-9A-Fa-f]{2})/g,
    (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, "latin1").toString();
}

const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";

/** `grpc-status-details-bin`: the Status, and in its details when a retry may come. @param retryMs In ms; undefined: no RetryInfo. */
export function encodeStatusDetails(status: Status, retryMs?: number): string {
  const encoded = encodeStatus("application/x-protobuf", status);
  if (retryMs === undefined) return base64(encoded);
  const seconds = Math.floor(retryMs / 1_000);
  const nanos = Math.round(retryMs % 1_000 * 1e6);
  const delay = messageField(1, [
    ...(seconds === 0 ? [] : varintField(1, seconds)),
    ...(nanos === 0 ? [] : varintField(2, nanos)),
  ]);
  return base64(Buffer.concat([encoded, Uint8Array.from(statusDetail(RETRY_INFO, delay))]));
}

/** What `grpc-status-details-bin` says. */
export interface StatusDetails {
  readonly code: number;
  readonly message: string;
  /** The `retry_delay` of its RetryInfo, in ms; undefined where there is none. */
  readonly retryMs: number | undefined;
}

/** Reads `grpc-status-details-bin`; undefined where it is no Status. */
export function decodeStatusDetails(value: string): StatusDetails | undefined {
  let retryMs: number | undefined;
  const { fields, whole } = readMessage(Buffer.from(value, "base64"), (number, detail) => {
    if (number === 3 && detail instanceof Uint8Array) retryMs ??= retryDelayMs(detail);
  });
  if (!whole) return undefined;
  const code = fields.get(1);
  return { code: typeof code === "number" ? code : GRPC_CODE.OK, message: text(fields.get(2)), retryMs };
}

/** The type URL of a `google.protobuf.Any` that is RetryInfo; a Status may have several others. */
function retryDelayMs(detail: Uint8Array): number | undefined {
  const any = readFields(detail);
  const message = any.get(2);
  if (text(any.get(1)) !== RETRY_INFO) return undefined;
  const delay = message instanceof Uint8Array ? readFields(message).get(1) : undefined;
  if (!(delay instanceof Uint8Array)) return 0;
  const duration = readFields(delay);
  const [seconds = 0, nanos = 0] = [duration.get(1), duration.get(2)].map((part) =>
    typeof part === "number" ? part : 0
  );
  // A negative one is a varint of ten bytes.
  return seconds > MS_MAX / 1_000 ? 0 : seconds * 1_000 + Math.ceil(nanos / 1e6);
}

/** The longest delay or timeout that is believed, in ms: ten years. */
const MS_MAX = 10 * 365 * 86_400_000;

/** gRPC: "Implementations should emit un-padded values". */
function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Reads `grpc-timeout`, in ms; undefined where it is none. */
export function parseGrpcTimeout(value: string): number | undefined {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(value) ?? [];
  return digits === undefined || unit === undefined ? undefined : Math.min(MS_MAX, Number(digits) * UNIT_MS[unit]!);
}

/** `grpc-timeout` of so many ms, never a longer one. */
export function formatGrpcTimeout(ms: number): string {
  const whole = Math.max(0, Math.floor(ms));
  return whole < 1e8 ? `${whole}m` : `${Math.min(99_999_999, Math.floor(whole / 1_000))}S`;
}
