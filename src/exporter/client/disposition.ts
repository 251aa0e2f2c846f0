/**
 * What the Collector's answer means for the data. Source: OTLP 1.11 "Failures" and "OTLP/HTTP Throttling"; where this table
 * holds what OTLP says not to retry, it is because the relay has answered 200 for it already.
 * @module
 */
import { concernsTheWay } from "../../diagnosis/faults.ts";
import { GRPC_CODE } from "../../otlp/grpc.ts";

/**
 * - `delivered`: settled.
 * - `retry`: the Collector asks for it (OTLP: 429, 502, 503 and 504 are retryable).
 * - `inspect`: the answer is about the records sent: one of them is guilty, and has to be found.
 * - `hold`: the answer is about us or the way (credentials, path, proxy, the Collector's own fault, a 2xx of something else): nothing is wrong with the
 *   records, so they are held, a person is told, and one request at a time asks again.
 */
export type Disposition = "delivered" | "retry" | "inspect" | "hold";

/** What of an answer decides. */
export interface Judged {
  readonly status: number;
  /** The answer's own words: a proxy in which TLS ends may answer 400 for the relay's certificate; the records are not wrong then. */
  readonly message?: string;
  /** A 2xx that is no success of OTLP: whoever answered has not taken the data. */
  readonly foreign?: boolean;
}

/** The disposition of an answer. */
export function dispositionOf({ status, message = "", foreign = false }: Judged): Disposition {
  if (foreign || concernsTheWay(status, message)) return "hold";
  if (status >= 200 && status < 300) return "delivered";
  switch (status) {
    case 429:
    case 502:
    case 503:
    case 504:
      return "retry";
    case 400:
    case 413:
    case 422:
      return "inspect";
    default:
      return "hold";
  }
}

/**
 * What a gRPC code means, as the status of OTLP/HTTP that means the same, so that one table decides. OTLP 1.11, "OTLP/gRPC Response": a
 * client may retry 1, 4, 10, 11, 14 and 15. What it must not retry is held where it is about us or the way, as over HTTP.
 */
const GRPC_STATUSES: Readonly<Record<number, number>> = {
  [GRPC_CODE.OK]: 200,
  [GRPC_CODE.CANCELLED]: 503,
  [GRPC_CODE.UNKNOWN]: 500,
  [GRPC_CODE.INVALID_ARGUMENT]: 400,
  [GRPC_CODE.DEADLINE_EXCEEDED]: 504,
  [GRPC_CODE.NOT_FOUND]: 404,
  [GRPC_CODE.ALREADY_EXISTS]: 409,
  [GRPC_CODE.PERMISSION_DENIED]: 403,
  [GRPC_CODE.FAILED_PRECONDITION]: 412,
  [GRPC_CODE.ABORTED]: 503,
  [GRPC_CODE.OUT_OF_RANGE]: 503,
  // No such service or method: this port takes no such signal.
  [GRPC_CODE.UNIMPLEMENTED]: 404,
  [GRPC_CODE.INTERNAL]: 500,
  [GRPC_CODE.UNAVAILABLE]: 503,
  [GRPC_CODE.DATA_LOSS]: 503,
  [GRPC_CODE.UNAUTHENTICATED]: 401,
};

/**
 * Refusals of a message over the server's bound: grpc-go, grpc-js, C, Java, .NET and Connect by RESOURCE_EXHAUSTED, tonic by OUT_OF_RANGE as it
 * is sent, and by RESOURCE_EXHAUSTED as it is inflated.
 */
const TOO_LARGE =
  /larger than (?:configured )?max|size larger than \d|exceeds maximum(?: frame)? size|exceeds the maximum configured message size|frame size \d+ exceeds maximum|size limit, of \d+ bytes, exceeded|too large/i;
/** What is no message of the method, which each library tells by INTERNAL: grpc-go, Python, Java, tonic and grpc-js. */
const UNDECODABLE = /unmarshal|deserializ|invalid protobuf|decode protobuf|decompress/i;
/** grpc-go, Java and C: the server knows the method, and not the coding. */
const UNKNOWN_CODING = /decompress|compress|grpc-encoding/i;

/**
 * The status of OTLP/HTTP that means what a gRPC code does.
 * @param words The answer's own; several libraries say by them alone what is about the message that was sent.
 * @param asksToWait Whether it has RetryInfo: without it RESOURCE_EXHAUSTED is no back-pressure.
 */
export function statusOfGrpc(code: number, words: string, asksToWait: boolean): number {
  switch (code) {
    case GRPC_CODE.RESOURCE_EXHAUSTED:
      return asksToWait ? 429 : TOO_LARGE.test(words) ? 413 : 507;
    case GRPC_CODE.OUT_OF_RANGE:
      return TOO_LARGE.test(words) ? 413 : 503;
    case GRPC_CODE.INTERNAL:
      return UNDECODABLE.test(words) ? 400 : 500;
    case GRPC_CODE.UNIMPLEMENTED:
      return UNKNOWN_CODING.test(words) ? 415 : 404;
    default:
      return GRPC_STATUSES[code] ?? 500;
  }
}
