import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { encodeAnswer } from "../../src/receiver/coding.ts";

const long = new Uint8Array(2_000).fill(97);

Deno.test("an answer is gzipped where that is asked for", () => {
  const table: [string | null, boolean][] = [
    [null, false],
    ["", false],
    ["identity", false],
    ["br, deflate", false],
    ["gzip", true],
    ["GZIP", true],
    ["x-gzip", true],
    ["br;q=1.0, gzip;q=0.8", true],
    ["gzip; q=0.001", true],
    ["gzip;q=0", false],
    ["gzip; q = 0.000", false],
    ["*", true],
    ["*;q=0", false],
    ["gzip;q=0, *", false],
    ["*;q=0, gzip", true],
    ["gzipped", false],
  ];
  for (const [accepted, gzipped] of table) {
    const { body, coding } = encodeAnswer(long, accepted);
    assert.equal(coding, gzipped ? "gzip" : undefined, String(accepted));
    assert.deepEqual(new Uint8Array(gzipped ? gunzipSync(body) : body), long);
  }
});

Deno.test("a short answer is sent as it is", () => {
  const short = long.subarray(0, 1_023);
  assert.deepEqual(encodeAnswer(short, "gzip"), { body: short, coding: undefined });
  assert.equal(encodeAnswer(long.subarray(0, 1_024), "gzip").coding, "gzip");
});
