/** Small OTLP/JSON requests around one value, and what the transcoder makes of a text. */
import assert from "node:assert/strict";
import { JsonError, transcodeJson } from "../../../src/otlp/json/transcode.ts";
import type { SignalName } from "../../../src/signal.ts";
export const bytesMax = 1 << 20;
export const encoder = new TextEncoder();

export function transcode(text: string, signal: SignalName = "traces"): Uint8Array<ArrayBuffer> {
  return transcodeJson(signal, encoder.encode(text), bytesMax).protobuf;
}

export function faultOf(text: string, signal: SignalName = "traces"): string {
  try {
    transcode(text, signal);
  } catch (error) {
    assert.ok(error instanceof JsonError, String(error));
    return error.message;
  }
  return assert.fail(`taken: ${text}`);
}

/** A traces request with one span of these members. */
export const span = (members: string) => `{"resourceSpans":[{"scopeSpans":[{"spans":[{${members}}]}]}]}`;
/** A metrics request with one gauge point of these members. */
export const point = (members: string) =>
  `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{${members}}]}}]}]}]}`;
/** A logs request with one record whose body is this AnyValue. */
export const log = (value: string) => `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":${value}}]}]}]}`;
