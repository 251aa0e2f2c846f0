import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { Refusal } from "../../src/errors.ts";
import { UNBOUNDED } from "../../src/otlp/bounds.ts";
import type { MediaType } from "../../src/otlp/response.ts";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import type { ContentEncoding } from "../../src/receiver/headers.ts";
import { type BodyForm, prepare } from "../../src/receiver/preparation.ts";

const form = (mediaType: MediaType, encoding: ContentEncoding, bytesMax = 1_000): BodyForm => ({
  signal: "traces",
  mediaType,
  encoding,
  bytesMax,
});
const refusal = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Refusal, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

const coders: Readonly<Record<ContentEncoding, (bytes: Uint8Array) => Uint8Array>> = {
  identity: (bytes) => bytes,
  gzip: gzipSync,
  deflate: deflateSync,
  zstd: zstdCompressSync,
};
const codings = Object.keys(coders) as ContentEncoding[];

Deno.test("of every form of a request the payload holds the same protobuf, in a buffer of its own", () => {
  const protobuf = Uint8Array.of(0x0a, 0);
  for (
    const [mediaType, plain] of [["application/x-protobuf", protobuf], [
      "application/json",
      '{"resourceSpans":[{}]}',
    ]] as const
  ) {
    for (const encoding of codings) {
      for (const payloadEncoding of ["gzip", "identity"] as const) {
        const body = new Uint8Array(coders[encoding](Buffer.from(plain)));
        const { payload, ...found } = prepare(
          { payloadEncoding, bounds: UNBOUNDED },
          form(mediaType, encoding),
          new OwnedBytes(body),
        );
        assert.deepEqual(found, { items: 0, mergeable: true, inflatedBytes: 2, hits: undefined, ignored: 0 });
        assert.equal(payload.byteLength, payload.buffer.byteLength);
        assert.deepEqual(Uint8Array.from(payloadEncoding === "gzip" ? gunzipSync(payload) : payload), protobuf);
      }
    }
  }
});

Deno.test("an empty body is empty in every coding, and no JSON", () => {
  for (const coding of codings) {
    const empty = () => new OwnedBytes(new Uint8Array(0));
    assert.equal(
      prepare({ payloadEncoding: "gzip", bounds: UNBOUNDED }, form("application/x-protobuf", coding), empty())
        .inflatedBytes,
      0,
    );
    assert.throws(
      () => prepare({ payloadEncoding: "gzip", bounds: UNBOUNDED }, form("application/json", coding), empty()),
      refusal("malformed", /the body is empty/),
    );
  }
});

Deno.test("what is over the limit inflated or as protobuf is too large, and what is damaged malformed", () => {
  const large = Buffer.concat([Buffer.from([0x1a, 0xe8, 0x07]), Buffer.alloc(1_000, "x")]);
  const body = Buffer.concat([Buffer.from([0x0a, 0xeb, 0x07]), large]);
  for (const coding of codings.slice(1)) {
    const coded = () => new Uint8Array(coders[coding](body));
    assert.throws(
      () =>
        prepare(
          { payloadEncoding: "gzip", bounds: UNBOUNDED },
          form("application/x-protobuf", coding),
          new OwnedBytes(coded()),
        ),
      refusal("too_large", /^Body after inflating is over the limit of 1000 bytes; send smaller batches$/),
    );
    assert.throws(
      () =>
        prepare(
          { payloadEncoding: "gzip", bounds: UNBOUNDED },
          form("application/x-protobuf", coding, 2_000),
          new OwnedBytes(coded().slice(0, -1)),
        ),
      refusal("malformed", /./),
    );
  }
});
