import assert from "node:assert/strict";
import { Refusal, type RefusalCode, REFUSALS } from "../../../src/errors.ts";
import { HpackDecoder } from "../../../src/http2/hpack.ts";
import { fieldOf } from "../../../src/http2/fields.ts";
import type { Http2Stream } from "../../../src/http2/stream.ts";
import { decodeGrpcMessage, GRPC_CODE, grpcCodeName } from "../../../src/otlp/grpc.ts";
import { answerRefusal, grpcCodeOf } from "../../../src/receiver/grpc/answer.ts";
import { RETRYABLE_CODES } from "../../support/far_end/grpc_codes.ts";

/** The code of each refusal. */
const CODES: Readonly<Record<RefusalCode, keyof typeof GRPC_CODE>> = {
  malformed: "INVALID_ARGUMENT",
  rejected_upstream: "INVALID_ARGUMENT",
  unauthenticated: "UNAUTHENTICATED",
  keys_unavailable: "UNAVAILABLE",
  forbidden: "PERMISSION_DENIED",
  not_found: "UNIMPLEMENTED",
  method_not_allowed: "UNIMPLEMENTED",
  body_incomplete: "UNAVAILABLE",
  body_timeout: "DEADLINE_EXCEEDED",
  header_timeout: "DEADLINE_EXCEEDED",
  header_too_large: "RESOURCE_EXHAUSTED",
  too_large: "RESOURCE_EXHAUSTED",
  unsupported_type: "INVALID_ARGUMENT",
  unsupported_encoding: "UNIMPLEMENTED",
  throttled: "RESOURCE_EXHAUSTED",
  queue_full: "UNAVAILABLE",
  storage_failed: "UNAVAILABLE",
  upstream_unavailable: "UNAVAILABLE",
  overloaded: "UNAVAILABLE",
  shutting_down: "UNAVAILABLE",
  internal: "UNAVAILABLE",
};

for (const [code, expected] of Object.entries(CODES) as [RefusalCode, keyof typeof GRPC_CODE][]) {
  Deno.test(`${code} is ${expected}, which a sender retries exactly where it may`, () => {
    assert.equal(grpcCodeName(grpcCodeOf(code)), expected);
    const { retryable } = REFUSALS[code];
    // RESOURCE_EXHAUSTED is retried with RetryInfo alone, which what may be retried has.
    const retried = RETRYABLE_CODES.has(GRPC_CODE[expected]) || (expected === "RESOURCE_EXHAUSTED" && retryable);
    assert.equal(retried, retryable);
  });
}

/** What was sent as a header with the end of the stream. */
function answered(refusal: Refusal, toldS?: number) {
  let block: Uint8Array | undefined;
  const stream: Http2Stream = {
    id: 1,
    waitingBytes: 0,
    sent: true,
    sendHeaders(bytes, end) {
      assert(end === true && block === undefined);
      block = bytes;
    },
    sendData: () => assert.fail("trailers alone"),
    sendTrailers: () => assert.fail("trailers alone"),
    consumed() {},
    reset() {},
  };
  answerRefusal(stream, refusal, toldS);
  return { block: block!, fields: new HpackDecoder().decode(block!, 1 << 20)! };
}

Deno.test("the longest answer fits what the smallest clients take", () => {
  const words = "€".repeat(10_000);
  const { fields } = answered(new Refusal("malformed", words, { field: words }), 5);
  const listBytes = fields.reduce((bytes, [name, value]) => bytes + name.length + value.length + 32, 0);
  // The soft limit of gRPC's C core: above it some answers are taken for RESOURCE_EXHAUSTED.
  assert(listBytes < 8_192, `${listBytes} bytes`);
  const plain = answered(new Refusal("malformed", "x".repeat(10_000), { field: "x".repeat(10_000) }), 5);
  assert(plain.block.length < 8_192, `${plain.block.length} bytes`);
  assert.equal(fieldOf(fields, "grpc-status"), "3");
  assert.match(decodeGrpcMessage(fieldOf(fields, "grpc-message")!), /^€+…$/);
});
