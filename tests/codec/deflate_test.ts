import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateRawSync, deflateSync } from "node:zlib";
import { DeflateError, inflateZlib } from "../../src/codec/deflate.ts";
import { InflatedTooLargeError } from "../../src/codec/gzip.ts";

const content = Buffer.from("resource spans ".repeat(40));
const stream = deflateSync(content);

Deno.test("a zlib stream is inflated, bounded to the byte", () => {
  assert.ok(content.equals(inflateZlib(stream, content.length)));
  assert.throws(
    () => inflateZlib(stream, content.length - 1),
    (error) => error instanceof InflatedTooLargeError && error.bytesMax === content.length - 1,
  );
});

Deno.test("a stream that is cut at any byte, has a byte changed or a byte behind it, is refused", () => {
  for (let length = 0; length < stream.length; length++) {
    assert.throws(() => inflateZlib(stream.subarray(0, length), 1 << 20), DeflateError, `${length} bytes`);
  }
  for (const behind of [Buffer.alloc(1), stream]) {
    assert.throws(() => inflateZlib(Buffer.concat([stream, behind]), 1 << 20), {
      name: "DeflateError",
      message: `Body has ${behind.length} bytes behind its deflate stream`,
    });
  }
  const wrong = Uint8Array.from(stream);
  wrong[wrong.length - 1]! ^= 1;
  assert.throws(() => inflateZlib(wrong, 1 << 20), DeflateError, "the checksum");
  assert.throws(() => inflateZlib(deflateRawSync(content), 1 << 20), DeflateError, "no header");
});
