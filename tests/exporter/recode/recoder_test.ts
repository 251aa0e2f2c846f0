import assert from "node:assert/strict";
import { concatenate } from "../../../src/codec/bytes.ts";
import { gzipMember } from "../../../src/codec/gzip.ts";
import { DamagedError, recode } from "../../../src/exporter/recode/recode.ts";
import { INLINE_BYTES_MAX, Recoder } from "../../../src/exporter/recode/recoder.ts";
import { makeBodies } from "../../bench/bodies.ts";

const small = new Uint8Array(makeBodies("plain", 10, 1)[0]!.bytes);
const large = new Uint8Array(makeBodies("plain", 400, 1)[0]!.bytes);
assert(small.length < INLINE_BYTES_MAX && large.length > INLINE_BYTES_MAX);
const quiet = { recodesInline: assert.fail };
const zstd = (content: Uint8Array) =>
  ({ encoding: "gzip", inflatedBytes: content.length, compression: "zstd" }) as const;

Deno.test("what is small is done at once, what is large by a thread, to the same bytes; what is given stays as it is", async () => {
  using recoder = new Recoder(quiet);
  const little = gzipMember(small);
  assert.deepEqual(recoder.recode([little], zstd(small)), recode(little, zstd(small)));
  assert.equal(recoder.threaded, false);
  const [first, second] = [gzipMember(large), gzipMember(large)];
  const both = concatenate([first, second]);
  const recoding = { ...zstd(large), inflatedBytes: 2 * large.length };
  const made = recoder.recode([first, second], recoding);
  assert(made instanceof Promise);
  const again = recoder.recode([both], recoding);
  assert.deepEqual(await made, recode(both, recoding));
  assert.deepEqual(await again, await made);
  assert.equal(recoder.threaded, true);
  assert.equal(first.length + second.length, both.length);
});

Deno.test("what nothing is to be done to needs no thread", () => {
  using recoder = new Recoder(quiet);
  const made = recoder.recode([large], { encoding: "identity", inflatedBytes: large.length, compression: "none" });
  assert.equal(made, large);
});

Deno.test("damaged bytes are an error of their own, and the next ones are recoded", async () => {
  using recoder = new Recoder(quiet);
  const damaged = gzipMember(large);
  damaged[damaged.length - 6]! ^= 0xff;
  await assert.rejects(async () => await recoder.recode([damaged], zstd(large)), DamagedError);
  const whole = gzipMember(large);
  assert.deepEqual(await recoder.recode([whole], zstd(large)), recode(whole, zstd(large)));
});

for (const module of ["./no_such_thread.ts", "../../support/threads/ending_thread.ts"]) {
  Deno.test(`without a thread, or with one that ends, the event loop does it, and it is told once: ${module}`, async () => {
    const told: string[] = [];
    const events = { recodesInline: (cause: string) => told.push(cause) };
    using recoder = new Recoder(events, new URL(module, import.meta.url));
    const members = gzipMember(large);
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(await recoder.recode([members], zstd(large)), recode(members, zstd(large)));
    }
    assert.equal(told.length, 1);
  });
}

Deno.test("what waits when it is ended is done all the same", async () => {
  const recoder = new Recoder(quiet);
  const members = gzipMember(large);
  const waiting = [recoder.recode([members], zstd(large)), recoder.recode([members], zstd(large))];
  recoder[Symbol.dispose]();
  for (const made of await Promise.all(waiting)) assert.deepEqual(made, recode(members, zstd(large)));
});
