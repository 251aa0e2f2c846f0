import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  decodeGrpcMessage,
  decodeStatusDetails,
  encodeGrpcMessage,
  encodeStatusDetails,
  formatGrpcTimeout,
  GRPC_CODE,
  grpcCodeName,
  messagePrefix,
  parseGrpcTimeout,
} from "../../src/otlp/grpc.ts";

Deno.test("a code without a name has its number", () => {
  assert.equal(grpcCodeName(GRPC_CODE.ABORTED), "ABORTED");
  assert.equal(grpcCodeName(99), "99");
});

Deno.test("the prefix of a message", () => {
  assert.deepEqual([...messagePrefix(0x01020304, true)], [1, 1, 2, 3, 4]);
  assert.deepEqual([...messagePrefix(0, false)], [0, 0, 0, 0, 0]);
});

Deno.test("grpc-message is escaped as the specification has it, and read again", () => {
  assert.equal(encodeGrpcMessage("100 % of ä\n~"), "100 %25 of %C3%A4%0A~");
  for (const message of ["", "plain", "100 %", "naïve 日本 😀", "a\r\nb\0", "%41", " words ", "  ", " "]) {
    const encoded = encodeGrpcMessage(message);
    assert.match(encoded, /^(?:[!-~](?:[ -~]*[!-~])?)?$/, "HTTP/2 has no blank at either end of a value");
    assert.equal(decodeGrpcMessage(encoded), message);
  }
  assert.equal(decodeGrpcMessage("50% %zz %4"), "50% %zz %4");
});

Deno.test("grpc-status-details-bin: the bytes of a Status with RetryInfo", () => {
  // code = 1 varint 14, message = 2, details = 3 { type_url = 1, value = 2 { retry_delay = 1 { seconds = 1 varint 2 } } }
  const type = Buffer.from("type.googleapis.com/google.rpc.RetryInfo").toString("hex");
  assert.equal(
    Buffer.from(encodeStatusDetails({ code: 14, message: "full" }, 2_000), "base64").toString("hex"),
    `080e120466756c6c1a300a28${type}12040a020802`,
  );
  assert.doesNotMatch(encodeStatusDetails({ code: 3, message: "x" }), /=/);
});

Deno.test("grpc-status-details-bin is read again, beside other details", () => {
  const violation = { field: "resourceSpans[0]", description: "bad" };
  for (const retryMs of [undefined, 0, 1, 999, 1_000, 2_500, 3_600_000]) {
    for (const status of [{ code: GRPC_CODE.UNAVAILABLE, message: "full" }, { code: 3, message: "bad", violation }]) {
      const { code, message } = status;
      assert.deepEqual(decodeStatusDetails(encodeStatusDetails(status, retryMs)), { code, message, retryMs });
    }
  }
  const other = Buffer.from("1a060a0178120161", "hex");
  const both = Buffer.concat([other, Buffer.from(encodeStatusDetails({ code: 8, message: "" }, 70), "base64"), other]);
  assert.deepEqual(decodeStatusDetails(both.toString("base64")), { code: 8, message: "", retryMs: 70 });
  assert.equal(decodeStatusDetails("/////w"), undefined);
  assert.deepEqual(decodeStatusDetails(""), { code: 0, message: "", retryMs: undefined });
});

Deno.test("a negative delay is none", () => {
  const type = Buffer.from("type.googleapis.com/google.rpc.RetryInfo").toString("hex");
  const status = Buffer.from(`1a390a28${type}120d0a0b08ffffffffffffffffff01`, "hex");
  assert.equal(decodeStatusDetails(status.toString("base64"))?.retryMs, 0);
});

Deno.test("grpc-timeout, every unit, and what is none", () => {
  const read = ["1H", "2M", "3S", "4m", "5000u", "6000000n", "0m", "99999999H"].map(parseGrpcTimeout);
  assert.deepEqual(read.slice(0, 7), [3_600_000, 120_000, 3_000, 4, 5, 6, 0]);
  assert.equal(read[7], 315_360_000_000);
  for (const none of ["", "1", "S", "-1S", "1.5S", "123456789S", "1s", " 1S"]) {
    assert.equal(parseGrpcTimeout(none), undefined);
  }
  assert.deepEqual([10_000, 0.5, -1, 1e9, 1e15].map(formatGrpcTimeout), [
    "10000m",
    "0m",
    "0m",
    "1000000S",
    "99999999S",
  ]);
});
