/** Protobuf requests written byte by byte, and what the walk finds wrong with one. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { REQUEST_MESSAGE } from "../../../src/otlp/schema.ts";
import type { SignalName } from "../../../src/signal.ts";
import { Walker, WireError } from "../../../src/otlp/wire.ts";
import { encodeProtobuf, type TestMessage, varint } from "./requests.ts";

export const walker = new Walker();

export function encode(signal: SignalName, request: TestMessage): Uint8Array<ArrayBuffer> {
  return encodeProtobuf(REQUEST_MESSAGE[signal], request);
}

export function bytes(...pieces: (number | bigint | string | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(pieces.map((piece) => {
    if (typeof piece === "number") return Buffer.from([piece]);
    if (typeof piece === "bigint") return varint(piece);
    return typeof piece === "string" ? Buffer.from(piece, "hex") : piece;
  })));
}

/** `content` as field `number`, length-delimited. */
export function wrap(number: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes(BigInt(number * 8 + 2), BigInt(content.length), content);
}

/** A span with these raw fields, in a traces request. */
export function requestOfSpan(span: Uint8Array): Uint8Array<ArrayBuffer> {
  return wrap(1, wrap(2, wrap(2, span)));
}

export function faultOf(body: Uint8Array, signal: SignalName = "traces"): WireError {
  try {
    walker.walk(signal, body);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return error;
  }
  return assert.fail("the walk let it in");
}
