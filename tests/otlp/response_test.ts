import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  decodeStatus,
  decodeSuccess,
  encodeStatus,
  encodeSuccess,
  type MediaType,
  type PartialSuccess,
} from "../../src/otlp/response.ts";
import { SIGNAL_NAMES, signalOf } from "../../src/signal.ts";

const both: readonly MediaType[] = ["application/x-protobuf", "application/json"];
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

Deno.test("a full success is the empty message: no byte in protobuf, {} in JSON", () => {
  for (const signal of SIGNAL_NAMES) {
    assert.equal(encodeSuccess(signal, "application/x-protobuf").length, 0);
    assert.equal(text(encodeSuccess(signal, "application/json")), "{}");
  }
});

Deno.test("a partial success has the field of its signal, an int64 as a decimal string in JSON", () => {
  const partial = { rejected: 300, message: "too old" };
  for (const signal of SIGNAL_NAMES) {
    assert.deepEqual(JSON.parse(text(encodeSuccess(signal, "application/json", partial))), {
      partialSuccess: { [signalOf(signal).rejectedField]: "300", errorMessage: "too old" },
    });
    // partial_success = 1 { rejected = 1 varint 300, error_message = 2 }
    assert.equal(
      hex(encodeSuccess(signal, "application/x-protobuf", partial)),
      `0a0c08ac0212${"07"}${Buffer.from("too old").toString("hex")}`,
    );
  }
});

Deno.test("what is encoded is read again, in both encodings, warnings among it", () => {
  const partials: PartialSuccess[] = [
    { rejected: 1, message: "" },
    { rejected: 0, message: "deprecated" },
    { rejected: 2 ** 40, message: "naïve 日本 😀" },
    { rejected: 127, message: "x".repeat(1_000) },
  ];
  for (const mediaType of both) {
    for (const signal of SIGNAL_NAMES) {
      for (const partial of partials) {
        assert.deepEqual(decodeSuccess(signal, mediaType, encodeSuccess(signal, mediaType, partial)), partial);
        const charset = mediaType.replace("json", "JSON") + "; charset=utf-8";
        assert.deepEqual(decodeSuccess(signal, charset, encodeSuccess(signal, mediaType, partial)), partial);
      }
      assert.equal(decodeSuccess(signal, mediaType, encodeSuccess(signal, mediaType)), undefined);
      // Set, and saying nothing: the same as unset.
      assert.equal(
        decodeSuccess(signal, mediaType, encodeSuccess(signal, mediaType, { rejected: 0, message: "" })),
        undefined,
      );
    }
  }
});

Deno.test("a 200 whose body says nothing that can be read is a full success", () => {
  const bodies = [
    "",
    "null",
    "[]",
    "{",
    "7",
    '{"partialSuccess":null}',
    '{"partialSuccess":7}',
    '{"partialSuccess":{}}',
  ];
  for (
    const body of [...bodies, '{"partialSuccess":{"rejectedSpans":"x"}}', '{"partialSuccess":{"rejectedSpans":-5}}']
  ) {
    assert.equal(decodeSuccess("traces", "application/json", Buffer.from(body)), undefined, body);
  }
  for (
    const body of ["", "ff", "0a", "0aff", "0a05", "08", "0d", "09ff", "0f", "0a0208ff", "ffffffffffffffffffffffff"]
  ) {
    assert.equal(decodeSuccess("traces", "application/x-protobuf", Buffer.from(body, "hex")), undefined, body);
  }
  assert.equal(decodeSuccess("traces", null, Buffer.from("<html>")), undefined);
  // Another signal's field is not this one's.
  assert.equal(
    decodeSuccess("logs", "application/json", Buffer.from('{"partialSuccess":{"rejectedSpans":"5"}}')),
    undefined,
  );
});

Deno.test("fields of later versions are skipped, a number in JSON is taken too", () => {
  const partial = Buffer.from("0a10" + "0805" + "190000000000000000" + "1201" + "61" + "2001", "hex");
  assert.deepEqual(decodeSuccess("traces", "application/x-protobuf", partial), { rejected: 5, message: "a" });
  const fixed = Buffer.from("1d00000000" + "0a02" + "0807", "hex");
  assert.deepEqual(decodeSuccess("traces", "application/x-protobuf", fixed), { rejected: 7, message: "" });
  const json = Buffer.from('{"new":1,"partialSuccess":{"rejectedSpans":5,"errorMessage":"a","new":[]}}');
  assert.deepEqual(decodeSuccess("traces", "application/json", json), { rejected: 5, message: "a" });
});

Deno.test("a Status has its code and message in both encodings", () => {
  const status = { code: 14, message: "retry" };
  assert.equal(hex(encodeStatus("application/x-protobuf", status)), "080e1205" + Buffer.from("retry").toString("hex"));
  assert.deepEqual(JSON.parse(text(encodeStatus("application/json", status))), status);
  for (const mediaType of both) {
    assert.equal(decodeStatus(mediaType, encodeStatus(mediaType, status)), "retry");
    assert.equal(decodeStatus(`${mediaType}; charset=utf-8`, encodeStatus(mediaType, status)), "retry");
  }
});

Deno.test("what is bad of a request stands in the details of its Status, as a BadRequest", () => {
  const type = "type.googleapis.com/google.rpc.BadRequest";
  for (const field of ["resourceSpans[0].kind", ""]) {
    const status = { code: 3, message: "bad", violation: { field, description: "a string" } };
    const details = [{
      "@type": type,
      fieldViolations: [{ ...(field === "" ? {} : { field }), description: "a string" }],
    }];
    assert.deepEqual(JSON.parse(text(encodeStatus("application/json", status))), { code: 3, message: "bad", details });
    const len = (number: number, ...content: (string | Uint8Array)[]): Uint8Array => {
      const bytes = Buffer.concat(content.map((one) => typeof one === "string" ? Buffer.from(one) : one));
      return Buffer.from([number * 8 + 2, bytes.length, ...bytes]);
    };
    const violation = len(1, ...(field === "" ? [] : [len(1, field)]), len(2, "a string"));
    const expected = Buffer.concat([Buffer.from([8, 3]), len(2, "bad"), len(3, len(1, type), len(2, violation))]);
    assert.equal(hex(encodeStatus("application/x-protobuf", status)), expected.toString("hex"));
    for (const mediaType of ["application/x-protobuf", "application/json"] as const) {
      assert.equal(decodeStatus(mediaType, encodeStatus(mediaType, status)), "bad");
    }
  }
});

Deno.test("the words of a proxy are kept, bounded, whatever they are", () => {
  assert.equal(decodeStatus("text/plain", Buffer.from(" bad gateway \n")), "bad gateway");
  assert.equal(decodeStatus(null, Buffer.from("x".repeat(1 << 20))).length, 2_000);
  assert.equal(decodeStatus("application/json", Buffer.from('{"error":"x"}')), '{"error":"x"}');
  assert.equal(decodeStatus("application/json", Buffer.from("<html>")), "<html>");
  assert.equal(decodeStatus("application/x-protobuf", Buffer.from("ffff", "hex")), "");
  assert.equal(decodeStatus(null, new Uint8Array(0)), "");
});

Deno.test("messages are bounded in both directions", () => {
  const long = "x".repeat(50_000);
  for (const mediaType of both) {
    assert.ok(encodeStatus(mediaType, { code: 3, message: long }).length < 2_100);
    const violation = { field: long, description: long };
    assert.ok(encodeStatus(mediaType, { code: 3, message: long, violation }).length < 6_300);
    const partial = encodeSuccess("traces", mediaType, { rejected: 1, message: long });
    assert.ok(partial.length < 2_200);
    assert.equal(decodeSuccess("traces", mediaType, partial)?.message.length, 2_000);
  }
  const json = Buffer.from(JSON.stringify({ message: long }));
  assert.equal(decodeStatus("application/json", json).length, 2_000);
});
