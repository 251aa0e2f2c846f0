import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { concatenate } from "../../../src/codec/bytes.ts";
import { gzipMember } from "../../../src/codec/gzip.ts";
import { unzstd } from "../../../src/codec/zstd.ts";
import { CODINGS, type Compression, DamagedError, encode, recode } from "../../../src/exporter/recode/recode.ts";
import { makeBodies } from "../../bench/bodies.ts";

const plain = makeBodies("plain", 10, 100).map(({ bytes }) => new Uint8Array(bytes));
const content = concatenate(plain);
const members = concatenate(plain.map((each) => gzipMember(each)));
const decoded: Readonly<Record<Compression, (bytes: Uint8Array) => Uint8Array>> = {
  passthrough: (bytes) => gunzipSync(bytes),
  gzip: (bytes) => gunzipSync(bytes),
  zstd: (bytes) => unzstd(bytes, content.length, 1),
  none: (bytes) => bytes,
};

for (const compression of Object.keys(CODINGS) as Compression[]) {
  Deno.test(`${compression}: what goes in comes out`, () => {
    for (const [bytes, encoding] of [[members, "gzip"], [content, "identity"]] as const) {
      const made = recode(bytes, { encoding, inflatedBytes: content.length, compression });
      assert.deepEqual([...decoded[compression](made)], [...content]);
    }
    assert.equal(decoded[compression](encode(new Uint8Array(0), compression)).length, 0);
  });
}

Deno.test("requests compressed together are at most 0.6 of what they are one by one", () => {
  for (const compression of ["gzip", "zstd"] as const) {
    const made = recode(members, { encoding: "gzip", inflatedBytes: content.length, compression });
    assert(made.length <= 0.6 * members.length, `${compression}: ${made.length} of ${members.length}`);
  }
});

Deno.test("a zstd frame states its size, and has a checksum", () => {
  const made = encode(content, "zstd");
  // RFC 8878, 3.1.1.1.1: Frame_Content_Size_flag in bits 7 and 6, Content_Checksum_flag in bit 2.
  assert.notEqual(made[4]! >> 6, 0);
  assert.equal(made[4]! & 4, 4);
});

Deno.test("what does not inflate, or to more than was let in, is damaged", () => {
  const recoding = { encoding: "gzip", inflatedBytes: content.length, compression: "zstd" } as const;
  const damaged = members.slice();
  damaged[members.length - 6]! ^= 0xff;
  assert.throws(() => recode(damaged, recoding), DamagedError);
  assert.throws(() => recode(members, { ...recoding, inflatedBytes: content.length - 1 }), DamagedError);
});
