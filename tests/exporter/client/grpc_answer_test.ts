import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { concatenate } from "../../../src/codec/bytes.ts";
import { dispositionOf } from "../../../src/exporter/client/disposition.ts";
import { GrpcAnswer } from "../../../src/exporter/client/grpc_answer.ts";
import type { Answered } from "../../../src/exporter/client/transport.ts";
import type { Field } from "../../../src/http2/hpack_tables.ts";
import { encodeStatusDetails, GRPC_CODE, messagePrefix } from "../../../src/otlp/grpc.ts";
import { ANSWER_BYTES_MAX } from "../../../src/otlp/http_answer.ts";
import { encodeSuccess } from "../../../src/otlp/response.ts";

const GRPC: readonly Field[] = [[":status", "200"], ["content-type", "application/grpc"]];
const OK: readonly Field[] = [["grpc-status", "0"]];
const framed = (message: Uint8Array, compressed = false) =>
  concatenate([messagePrefix(message.length, compressed), message]);
const partial = encodeSuccess("traces", "application/x-protobuf", { rejected: 3, message: "three" });

function answered(header: readonly Field[], data: readonly Uint8Array[], trailers: readonly Field[]): Answered {
  const answer = new GrpcAnswer("traces");
  answer.header(header);
  for (const piece of data) answer.data(piece);
  answer.trailers(trailers);
  return answer.answered();
}

Deno.test("OK with one message is a success, and its partial success is read, however it is cut and coded", () => {
  assert.deepEqual(answered(GRPC, [framed(new Uint8Array(0))], OK), {
    kind: "answer",
    status: 200,
    grpc: "OK",
    message: "",
    foreign: false,
    retryAfterMs: undefined,
    partialSuccess: undefined,
  });
  const whole = framed(partial);
  const single = [...whole].map((byte) => Uint8Array.of(byte));
  const zipped = framed(new Uint8Array(gzipSync(partial)), true);
  for (const [header, data] of [[GRPC, single], [[...GRPC, ["grpc-encoding", "gzip"]], [zipped]]] as const) {
    assert.deepEqual(answered(header, data, OK).partialSuccess, { rejected: 3, message: "three" });
  }
  const plus: Field[] = [[":status", "200"], ["content-type", "application/grpc+proto"]];
  assert.equal(answered(plus, [whole], OK).foreign, false);
});

Deno.test("what only looks like a success settles nothing", () => {
  const rows: [string, readonly Field[], readonly Uint8Array[], readonly Field[]][] = [
    ["without a message", GRPC, [], OK],
    ["half a message", GRPC, [framed(partial).subarray(0, 7)], OK],
    // What has come of it is a success by itself.
    ["a message that stops behind its prefix", GRPC, [framed(partial).subarray(0, 5)], OK],
    ["two messages", GRPC, [framed(partial), framed(partial)], OK],
    ["a message of something else", GRPC, [framed(new TextEncoder().encode("<html>"))], OK],
    ["compressed by nothing", GRPC, [framed(partial, true)], OK],
    ["a coding that was not offered", [...GRPC, ["grpc-encoding", "snappy"]], [framed(partial, true)], OK],
    ["damaged gzip", [...GRPC, ["grpc-encoding", "gzip"]], [framed(partial, true)], OK],
    ["no grpc-status", GRPC, [framed(partial)], []],
    ["a grpc-status that is none", GRPC, [framed(partial)], [["grpc-status", "fine"]]],
    ["two values of grpc-status", GRPC, [framed(partial)], [...OK, ["grpc-status", "13"]]],
    ["another in the header", [...GRPC, ["grpc-status", "13"]], [framed(partial)], OK],
    ["a page", [[":status", "200"], ["content-type", "text/html"]], [new TextEncoder().encode("<html>")], []],
    ["no type", [[":status", "204"]], [], []],
    ["over the bound", GRPC, [framed(new Uint8Array(ANSWER_BYTES_MAX + 1))], OK],
  ];
  for (const [what, header, data, trailers] of rows) {
    const answer = answered(header, data, trailers);
    assert.equal(answer.foreign, true, what);
    assert.equal(dispositionOf(answer), "hold", what);
  }
});

Deno.test("a proxy that names the type of gRPC and gives no grpc-status is read by its HTTP status", () => {
  const answer = answered([[":status", "503"], ["content-type", "application/grpc"], ["retry-after", "3"]], [], []);
  assert.deepEqual([answer.status, answer.grpc, answer.foreign, answer.retryAfterMs], [503, undefined, false, 3_000]);
  assert.equal(dispositionOf(answer), "retry");
});

Deno.test("a code, its words and its wait, in trailers or in the only block", () => {
  const words: Field[] = [["grpc-message", "caf%C3%A9 100%25"]];
  const details: Field = ["grpc-status-details-bin", encodeStatusDetails({ code: 14, message: "later" }, 1_500)];
  const refused = answered(GRPC, [], [["grpc-status", "14"], ...words, details]);
  assert.deepEqual([refused.status, refused.grpc, refused.message, refused.retryAfterMs], [
    503,
    "UNAVAILABLE",
    "café 100%",
    1_500,
  ]);
  const alone = answered([...GRPC, ["grpc-status", "16"], ["grpc-message", "who?"]], [], []);
  assert.deepEqual([alone.status, alone.grpc, alone.message], [401, "UNAUTHENTICATED", "who?"]);
  const only = answered(GRPC, [], [["grpc-status", "14"], details]);
  assert.equal(only.message, "later", "the words of the details, where there are no others");
  const hour = encodeStatusDetails({ code: 14, message: "" }, 86_400_000);
  const long = answered(GRPC, [], [["grpc-status", "14"], ["grpc-status-details-bin", hour]]);
  assert.equal(long.retryAfterMs, 3_600_000, "an hour at most");
});

Deno.test("what stands before the Collector answers as HTTP", () => {
  const page = new TextEncoder().encode("<html><head><title>502 Bad Gateway</title></head></html>");
  const bad = answered([[":status", "502"], ["content-type", "text/html"], ["retry-after", "7"]], [page], []);
  assert.deepEqual([bad.status, bad.grpc, bad.foreign, bad.retryAfterMs], [502, undefined, false, 7_000]);
  assert.match(bad.message, /502 Bad Gateway/);
  const moved = answered([[":status", "307"], ["location", "https://elsewhere"]], [], []);
  assert.equal(moved.message, "redirected to https://elsewhere");
});

Deno.test("each code has a meaning for the data", () => {
  const inspect = ["INVALID_ARGUMENT"];
  // OTLP 1.11, "OTLP/gRPC Response": those that a client may retry.
  const retry = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"];
  for (const [name, code] of Object.entries(GRPC_CODE)) {
    if (name === "OK") continue;
    const answer = answered(GRPC, [], [["grpc-status", String(code)]]);
    const expected = inspect.includes(name) ? "inspect" : retry.includes(name) ? "retry" : "hold";
    assert.equal(dispositionOf(answer), expected, name);
  }
  assert.equal(dispositionOf(answered(GRPC, [], [["grpc-status", "99"]])), "hold", "one that nobody knows");
});

Deno.test("RESOURCE_EXHAUSTED is retried only with RetryInfo; a message that is too large or not to be read is looked into", () => {
  const says = (code: number, message: string, more: Field[] = []) =>
    dispositionOf(answered(GRPC, [], [["grpc-status", String(code)], ["grpc-message", message], ...more]));
  const wait: Field = ["grpc-status-details-bin", encodeStatusDetails({ code: 8, message: "" }, 0)];
  assert.equal(says(8, "slow down", [wait]), "retry");
  assert.equal(says(8, "quota"), "hold");
  const about: [number, string][] = [
    // In the words of grpc-go, grpc-js, Java (then and now), .NET, Connect, C, tonic and Python.
    [8, "grpc: received message larger than max (5000000 vs. 4194304)"],
    [8, "grpc: received message after decompression larger than max (5000000 vs. 4194304)"],
    [8, "Received message larger than max (5000000 vs 4194304)"],
    [8, "gRPC message exceeds maximum size 4194304: 5000000"],
    [8, "io.grpc.netty.NettyServerStream$TransportState: Frame size 5000000 exceeds maximum: 4194304. "],
    [8, "Received message exceeds the maximum configured message size."],
    [8, "message size 5000000 is larger than configured max 4194304"],
    [8, "Received message that decompresses to a size larger than 4194304"],
    [8, "Decompressed message larger than max"],
    [8, "Decompressed gRPC message exceeds maximum size 4194304"],
    [8, "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message"],
    [11, "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes"],
    [13, "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"],
    [13, "Exception deserializing request!"],
    [13, "Invalid protobuf byte sequence"],
    [13, "failed to decode Protobuf message: invalid wire type"],
  ];
  for (const [code, words] of about) assert.equal(says(code, words), "inspect", words);
  assert.equal(says(13, "backend failed"), "hold");
  const unknown = answered(GRPC, [], [
    ["grpc-status", "12"],
    ["grpc-message", 'grpc: Decompressor is not installed for grpc-encoding "zstd"'],
  ]);
  assert.equal(unknown.status, 415);
});
