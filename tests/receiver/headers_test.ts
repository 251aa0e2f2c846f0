import assert from "node:assert/strict";
import { Refusal } from "../../src/errors.ts";
import {
  type ContentEncoding,
  contentEncodingOf,
  knownMediaType,
  mediaTypeOf,
  statedLength,
} from "../../src/receiver/headers.ts";

const refusal = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Refusal, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

Deno.test("content codings are read in any case; absent, none and identity are the same", () => {
  const table: [string | null, ContentEncoding][] = [
    [null, "identity"],
    ["", "identity"],
    ["none", "identity"],
    ["Identity", "identity"],
    [" gzip ", "gzip"],
    ["GZip", "gzip"],
    ["x-gzip", "gzip"],
    ["deflate", "deflate"],
    ["zlib", "deflate"],
    ["zstd", "zstd"],
  ];
  for (const [header, coding] of table) assert.equal(contentEncodingOf(header), coding);
  for (const header of ["br", "gzip, gzip", "gzip;q=1", "compress"]) {
    assert.throws(() => contentEncodingOf(header), (error) => {
      assert.ok(refusal("unsupported_encoding", /use gzip, deflate, zstd or none/)(error));
      // RFC 9110, 15.5.16: says what would be taken.
      assert.equal((error as Refusal).headers["accept-encoding"], "gzip, deflate, zstd");
      return true;
    });
  }
});

Deno.test("a coding that a Collector may be set to and that is not taken is answered with what to set", () => {
  for (const header of ["snappy", "x-snappy-framed", "LZ4"]) {
    assert.throws(
      () => contentEncodingOf(header),
      refusal("unsupported_encoding", /set the sender's compression to gzip or zstd \(in a Collector: compression/),
    );
  }
});

Deno.test("media types are read with parameters and in any case", () => {
  assert.equal(mediaTypeOf("application/json"), "application/json");
  assert.equal(mediaTypeOf(" Application/JSON ; charset=UTF-8"), "application/json");
  assert.equal(mediaTypeOf("application/x-protobuf;a=b;c=d"), "application/x-protobuf");
  // Said twice is said once.
  assert.equal(mediaTypeOf("application/json, application/json"), "application/json");
  assert.throws(() => mediaTypeOf("application/json, text/plain"), refusal("unsupported_type", /not supported/));
  for (
    const header of ["", "text/plain", "application/protobuf", "application/jsonp", "application", ";application/json"]
  ) {
    assert.equal(knownMediaType(header), undefined);
    assert.throws(() => mediaTypeOf(header), refusal("unsupported_type", /^Content-Type is not supported; use/));
  }
  assert.throws(() => mediaTypeOf(null), refusal("unsupported_type", /^Content-Type is missing; use/));
});

Deno.test("a stated length is a number of bytes, refused at once over the limit", () => {
  assert.equal(statedLength(null, 10), undefined);
  assert.equal(statedLength("0", 10), 0);
  assert.equal(statedLength("10", 10), 10);
  for (const header of ["11", "9".repeat(400)]) {
    assert.throws(
      () => statedLength(header, 10),
      refusal("too_large", /^Body is over the limit of 10 bytes; send smaller/),
    );
  }
  for (const header of ["", "-1", "1.5", "0x5", "1e1", " 5", "5, 5", "NaN"]) {
    assert.throws(() => statedLength(header, 10), refusal("malformed", /^Content-Length is not a number of bytes/));
  }
});
