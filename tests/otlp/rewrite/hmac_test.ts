import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { HmacSha256 } from "../../../src/otlp/rewrite/hmac.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const repeated = (byte: number, count: number) => new Uint8Array(count).fill(byte);

Deno.test("the test cases of RFC 4231", () => {
  const cases: readonly [key: Uint8Array, data: Uint8Array, digest: string][] = [
    [
      repeated(0x0b, 20),
      utf8("Hi There"),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ],
    [
      utf8("Jefe"),
      utf8("what do ya want for nothing?"),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ],
    [
      repeated(0xaa, 20),
      repeated(0xdd, 50),
      "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ],
    [
      Uint8Array.from({ length: 25 }, (_, index) => index + 1),
      repeated(0xcd, 50),
      "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ],
    // Truncated to 128 bits there.
    [repeated(0x0c, 20), utf8("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"],
    [
      repeated(0xaa, 131),
      utf8("Test Using Larger Than Block-Size Key - Hash Key First"),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ],
    [
      repeated(0xaa, 131),
      utf8(
        "This is a test using a larger than block-size key and a larger than block-size data. " +
          "The key needs to be hashed before being used by the HMAC algorithm.",
      ),
      "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ],
  ];
  for (const [key, data, digest] of cases) {
    assert.equal(new HmacSha256(key).hex(data).slice(0, digest.length), digest);
  }
});

Deno.test("keys and messages of every length are as node:crypto has them, whatever came before", () => {
  for (const length of [0, 1, 63, 64, 65, 200]) {
    const key = repeated(0x5a, length);
    const hmac = new HmacSha256(key);
    for (const size of [4_097, 0, 1, 100, 4_095, 4_096, 100_000, 32, 3]) {
      const message = Uint8Array.from({ length: size }, (_, index) => index * 7 & 0xff);
      assert.equal(hmac.hex(message), createHmac("sha256", key).update(message).digest("hex"), `${length}, ${size}`);
      assert.deepEqual(message[0] ?? 0, 0, "the message is not touched");
    }
  }
  const text = "Größe";
  assert.equal(
    new HmacSha256(text).hex(Buffer.from("x")),
    createHmac("sha256", Buffer.from(text, "utf8")).update("x").digest("hex"),
  );
});
