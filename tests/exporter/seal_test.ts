import assert from "node:assert/strict";
import { gunzipSync, inflateRawSync } from "node:zlib";
import { concatenate } from "../../src/codec/bytes.ts";
import { gzipMember } from "../../src/codec/gzip.ts";
import { SEAL } from "../../src/exporter/seal.ts";
import { Walker } from "../../src/otlp/wire.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";
import { namesIn, requestOf } from "../support/relay/exporting.ts";

Deno.test("who reads all members reads what is behind the seal; who reads the first alone reads no request of any signal", () => {
  for (const signal of SIGNAL_NAMES) {
    const body = concatenate([SEAL, gzipMember(requestOf(signal, ["a"])), gzipMember(requestOf(signal, ["b"]))]);
    const content = new Uint8Array(gunzipSync(body));
    assert.equal(new Walker().walk(signal, content).items, 2);
    assert.deepEqual(namesIn(signal, content), ["a", "b"]);
    // Behind the ten bytes of the header zlib stops at the end of the first member.
    const first = new Uint8Array(inflateRawSync(body.subarray(10)));
    assert.throws(() => new Walker().walk(signal, first));
  }
});

Deno.test("it costs a merged body less than 64 bytes", () => {
  assert(SEAL.length < 64, `${SEAL.length}`);
});
