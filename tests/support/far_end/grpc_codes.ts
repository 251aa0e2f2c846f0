import { GRPC_CODE } from "../../../src/otlp/grpc.ts";

/**
 * The codes that OTLP lets a sender retry (OTLP 1.11, OTLP/gRPC, "Failures"). RESOURCE_EXHAUSTED is one "only if the server signals
 * backpressure", by RetryInfo.
 */
export const RETRYABLE_CODES: ReadonlySet<number> = new Set([
  GRPC_CODE.CANCELLED,
  GRPC_CODE.DEADLINE_EXCEEDED,
  GRPC_CODE.ABORTED,
  GRPC_CODE.OUT_OF_RANGE,
  GRPC_CODE.UNAVAILABLE,
  GRPC_CODE.DATA_LOSS,
]);
