import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { gunzip, GzipError, gzipMember, InflatedTooLargeError, reframe } from "../../src/codec/gzip.ts";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { bytesMax, content, frame, join, letters, ourHeader, taken } from "../support/bodies/gzip_frames.ts";

Deno.test("a body cut at any byte, or with any byte behind it, is refused", () => {
  for (
    const fields of [{}, { extra: letters(4), name: letters(3), comment: letters(2), headerCrc: "right" } as const]
  ) {
    const body = frame(content, fields);
    for (let length = 0; length < body.length; length++) {
      assert.throws(() => gunzip(body.slice(0, length), bytesMax), GzipError, `${length} bytes`);
    }
    for (let byte = 0; byte < 256; byte++) {
      assert.throws(() => gunzip(join(body, Buffer.from([byte])), bytesMax), GzipError, `byte ${byte} behind`);
    }
  }
});

Deno.test("the bound is to the byte, over all members", () => {
  const whole = 2 * content.length;
  const two = () => join(frame(content), frame(content));
  assert.equal(gunzip(frame(content), content.length).content.bytes.length, content.length);
  assert.throws(() => gunzip(frame(content), content.length - 1), InflatedTooLargeError);
  assert.equal(gunzip(two(), whole).content.bytes.length, whole);
  for (const bound of [whole - 1, content.length, content.length - 1]) {
    assert.throws(() => gunzip(two(), bound), InflatedTooLargeError);
  }
  // An empty member behind a body that fills the bound fits.
  assert.equal(
    gunzip(join(frame(content), frame(new Uint8Array(0))), content.length).content.bytes.length,
    content.length,
  );
});

Deno.test("a bomb is refused before it is inflated, in one member or in many", () => {
  const bomb = new Uint8Array(gzipSync(Buffer.alloc(64 << 20)));
  assert.ok(bomb.length < 100_000);
  const before = process.memoryUsage().arrayBuffers;
  assert.throws(
    () => gunzip(bomb, bytesMax),
    (error) => error instanceof InflatedTooLargeError && error.bytesMax === bytesMax,
  );
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 << 20);
  const small = gzipMember(new Uint8Array(0));
  assert.throws(() => gunzip(join(...Array<Uint8Array>(1_001).fill(small)), bytesMax), /more than 1000 members/);
  assert.equal(gunzip(join(...Array<Uint8Array>(1_000).fill(small)), bytesMax).content.bytes.length, 0);
});

Deno.test("deflate data passes through untouched, in place where the buffer is the body's own", () => {
  const own = frame(content);
  const data = own.slice(10);
  const member = reframe(new OwnedBytes(own), gunzip(own, bytesMax));
  assert.equal(member.buffer, own.buffer);
  assert.deepEqual(member.subarray(10), data);

  const named = frame(content, { name: letters(7) });
  const copy = named.slice();
  const reframed = reframe(new OwnedBytes(named), gunzip(named, bytesMax));
  assert.notEqual(reframed.buffer, named.buffer);
  assert.deepEqual(reframed.subarray(10), data);
  assert.deepEqual(named, copy, "a body that had to be copied stays as it was");
});

Deno.test("a body that is a view into more is never written to", () => {
  const around = new Uint8Array(Buffer.concat([Buffer.from("before"), frame(content), Buffer.from("after")]));
  const copy = around.slice();
  taken(around.subarray(6, around.length - 5), content);
  assert.deepEqual(around, copy);
  // The slice of a Buffer is a view.
  const buffer = Buffer.concat([Buffer.from("before"), frame(content, { name: letters(3) })]);
  const unchanged = Uint8Array.from(buffer);
  taken(buffer.subarray(6), content);
  assert.deepEqual(Uint8Array.from(buffer), unchanged);
});

Deno.test("reading alone writes nothing", () => {
  const body = frame(content);
  const copy = body.slice();
  gunzip(body, bytesMax);
  assert.deepEqual(body, copy);
});

Deno.test("members of several requests follow each other in one body", () => {
  const members = [content, new Uint8Array(0), Buffer.from("x")].map((one) => taken(frame(one), one));
  assert.ok(Buffer.concat([content, Buffer.from("x")]).equals(gunzip(join(...members), bytesMax).content.bytes));
});

Deno.test("faults name what is wrong", () => {
  const table: [Uint8Array<ArrayBuffer>, RegExp][] = [
    [new Uint8Array(0), /^Body is not gzip$/],
    [new Uint8Array(content), /^Body is not gzip$/],
    [frame(content).slice(0, 9), /^Gzip body ends inside its header$/],
    [frame(content).slice(0, 30), /^Gzip body is truncated$/],
    [frame(content).slice(0, -3), /^Gzip body ends before its checksum$/],
    [frame(content, { method: 3 }), /^Gzip method 3 is unknown, 8 \(deflate\) wanted$/],
    [frame(content, { flags: 0xe0 }), /^Gzip header has reserved flags set$/],
    [frame(content, { headerCrc: "wrong" }), /^Gzip header does not match its checksum$/],
    [frame(content, { name: letters(600) }), /^Gzip header has a name or comment of 512 bytes or more$/],
    [frame(content, { crc: 7 }), /^Gzip body does not match its checksum$/],
    [frame(content, { size: 7 }), /^Gzip body does not match the length it states$/],
    [join(frame(content), Buffer.from("abc")), /^Body has 3 bytes behind its gzip member$/],
    [join(ourHeader, Buffer.alloc(30, 0xff)), /^Gzip body is damaged$/],
  ];
  for (const [body, message] of table) assert.throws(() => gunzip(body, bytesMax), { name: "GzipError", message });
});
