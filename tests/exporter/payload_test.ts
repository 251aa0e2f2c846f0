import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";
import {
  compose as composeBy,
  contentOf,
  encodeContent,
  itemsOf,
  partOf,
  type Piece,
  piecesOf,
  RequestBody,
} from "../../src/exporter/payload.ts";
import { concatenate } from "../../src/codec/bytes.ts";
import { gzipMember } from "../../src/codec/gzip.ts";
import { unzstd } from "../../src/codec/zstd.ts";
import { type Compression, DamagedError } from "../../src/exporter/recode/recode.ts";
import { Recoder } from "../../src/exporter/recode/recoder.ts";
import { SEAL } from "../../src/exporter/seal.ts";
import type { Delivery, PayloadEncoding } from "../../src/queue/queue.ts";
import { namesIn, requestOf } from "../support/relay/exporting.ts";

const recoder = new Recoder({ recodesInline: assert.fail });
const compose = (pieces: readonly Piece[], compression: Compression) => composeBy(pieces, compression, recoder);

function deliveryOf(encoding: PayloadEncoding, ...requests: readonly (readonly string[])[]): Delivery {
  const contents = requests.map((names) => requestOf("traces", names));
  const payloads = contents.map((content) => encoding === "gzip" ? gzipMember(content) : content);
  return {
    id: 1,
    target: 1,
    enqueuedAt: 0,
    signal: "traces",
    encoding,
    mergeable: true,
    parts: payloads.map((payload, index) => ({
      sender: `s${index}`,
      items: requests[index]!.length,
      bytes: payload.length,
      inflatedBytes: contents[index]!.length,
    })),
    payload: concatenate(payloads),
    settle: () => Promise.resolve(),
  };
}

Deno.test("a part that does not begin as a gzip member is damage, and no end of what is merged before it", async () => {
  for (const compression of ["passthrough", "gzip", "zstd", "none"] as const) {
    for (const at of [0, 1, 2, 3]) {
      const delivery = deliveryOf("gzip", ["a"], ["b"], ["c"]);
      const [, second] = piecesOf(delivery);
      delivery.payload[second!.offset + at]! ^= 0xff;
      const pieces = piecesOf(delivery);
      await assert.rejects(async () => await compose(pieces, compression), DamagedError, `${compression} ${at}`);
      assert.throws(() => contentOf(pieces), DamagedError);
      using sound = await compose([pieces[0]!], compression);
      assert(sound.bytes.length > 0);
    }
  }
});

Deno.test("of one part of several members, as damage may leave it, all are read, or none", () => {
  const delivery = deliveryOf("gzip", ["a"], ["b"]);
  const [first, second] = piecesOf(delivery);
  const sum = (pick: (piece: Piece) => number) => pick(first!) + pick(second!);
  const whole = {
    ...delivery,
    parts: [{
      sender: "",
      items: 2,
      bytes: sum((piece) => partOf(piece).bytes),
      inflatedBytes: sum((piece) => partOf(piece).inflatedBytes),
    }],
  };
  assert.deepEqual(namesIn("traces", contentOf(piecesOf(whole))), ["a", "b"]);
  delivery.payload[second!.offset] = 0;
  assert.throws(() => contentOf(piecesOf(whole)), DamagedError);
});

Deno.test("a record is cut at its parts, in order", () => {
  for (const encoding of ["gzip", "identity"] as const) {
    const pieces = piecesOf(deliveryOf(encoding, ["a", "b"], ["c"], ["d", "e", "f"]));
    assert.deepEqual(pieces.map((piece) => namesIn("traces", contentOf([piece]))), [["a", "b"], ["c"], [
      "d",
      "e",
      "f",
    ]]);
    assert.deepEqual(pieces.map((piece) => partOf(piece).sender), ["s0", "s1", "s2"]);
    assert.equal(itemsOf(pieces), 6);
    assert.deepEqual(namesIn("traces", contentOf(pieces)), ["a", "b", "c", "d", "e", "f"]);
  }
});

Deno.test("passthrough forwards the senders' members as they are behind a seal, and compresses what came plain", async () => {
  const gzipped = deliveryOf("gzip", ["a"], ["b"]);
  const forwarded = await compose(piecesOf(gzipped), "passthrough");
  assert.equal(forwarded.encoding, "gzip");
  assert.deepEqual(forwarded.bytes, concatenate([SEAL, gzipped.payload]));
  assert.equal(forwarded.members, 4);
  const plain = await compose(piecesOf(deliveryOf("identity", ["a"], ["b"])), "passthrough");
  assert.equal(plain.encoding, "gzip");
  assert.deepEqual(namesIn("traces", gunzipSync(plain.bytes)), ["a", "b"]);
});

Deno.test("pieces that do not follow each other are joined in their order; a piece by itself is forwarded without a copy", async () => {
  const first = deliveryOf("gzip", ["a"], ["b"], ["c"]);
  const second = deliveryOf("gzip", ["d"], ["e"]);
  const [a, b, c] = piecesOf(first);
  const [d, e] = piecesOf(second);
  const sets: [Piece[], string[], boolean][] = [
    [[a!, b!, c!], ["a", "b", "c"], true],
    [[b!], ["b"], false],
    [[a!, b!, c!, d!, e!], ["a", "b", "c", "d", "e"], true],
    [[a!, c!, e!], ["a", "c", "e"], true],
  ];
  for (const [pieces, names, own] of sets) {
    const body = await compose(pieces, "passthrough");
    assert.deepEqual(namesIn("traces", gunzipSync(body.bytes)), names);
    assert.equal(body.own, own);
    assert.equal(body.bytes.buffer === first.payload.buffer, !own);
    body[Symbol.dispose]();
    assert(first.payload.length > 0, "a record's payload is not the body's to give back");
  }
});

Deno.test("a body gives back what is its own", () => {
  const bytes = new Uint8Array(1 << 20);
  new RequestBody({ bytes, own: false, encoding: "identity", members: 1 })[Symbol.dispose]();
  assert.equal(bytes.length, 1 << 20);
  new RequestBody({ bytes, own: true, encoding: "identity", members: 1 })[Symbol.dispose]();
  assert.equal(bytes.length, 0);
});

Deno.test("gzip and zstd make one body of several, none sends what was inflated", async () => {
  for (const encoding of ["gzip", "identity"] as const) {
    const pieces = piecesOf(deliveryOf(encoding, ["a"], ["b"]));
    const one = await compose(pieces, "gzip");
    assert.equal(one.encoding, "gzip");
    assert.deepEqual(namesIn("traces", gunzipSync(one.bytes)), ["a", "b"]);
    const zstd = await compose(pieces, "zstd");
    assert.equal(zstd.encoding, "zstd");
    assert.deepEqual(namesIn("traces", unzstd(zstd.bytes, 1 << 20, 1)), ["a", "b"]);
    const none = await compose(pieces, "none");
    assert.equal(none.encoding, "identity");
    assert.deepEqual(namesIn("traces", none.bytes), ["a", "b"]);
  }
  const content = requestOf("traces", ["x"]);
  assert.deepEqual(
    await encodeContent(content, "none", recoder),
    new RequestBody({ bytes: content, own: false, encoding: "identity", members: 1 }),
  );
});

Deno.test("what the storage has damaged is an error, and so is what inflates to more than was let in", () => {
  const damaged = deliveryOf("gzip", ["a".repeat(500)]);
  damaged.payload[damaged.payload.length - 5]! ^= 0xff;
  assert.throws(() => contentOf(piecesOf(damaged)), DamagedError);
  const whole = deliveryOf("gzip", ["a".repeat(500)]);
  const lying = { ...whole, parts: whole.parts.map((part) => ({ ...part, inflatedBytes: part.inflatedBytes - 1 })) };
  assert.throws(() => contentOf(piecesOf(lying)), DamagedError);
});

Deno.test("a large body that did not compress goes as it came: its framing could be too much for the Collector", async () => {
  const content = new Uint8Array(16 * 1024 * 1024 + 1);
  for (let at = 0; at < content.length; at += 65_536) crypto.getRandomValues(content.subarray(at, at + 65_536));
  const payload = gzipMember(content);
  const part = { sender: "s", items: 1, bytes: payload.length, inflatedBytes: content.length };
  const large: Delivery = {
    id: 1,
    target: 1,
    enqueuedAt: 0,
    signal: "traces",
    encoding: "gzip",
    mergeable: true,
    parts: [part],
    payload,
    settle: () => Promise.resolve(),
  };
  using recoder = new Recoder({ recodesInline: assert.fail });
  const body = await composeBy(piecesOf(large), "passthrough", recoder);
  assert.equal(body.encoding, "identity");
  assert.equal(Buffer.compare(body.bytes, content), 0);
});
