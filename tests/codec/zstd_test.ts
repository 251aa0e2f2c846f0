import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { constants, zstdCompressSync } from "node:zlib";
import { InflatedTooLargeError } from "../../src/codec/gzip.ts";
import { unzstd, ZstdError } from "../../src/codec/zstd.ts";
import { Random } from "../support/bodies/requests.ts";

const BOUND = 4 << 20;

/** Text that compresses, in more than one block where it is long. */
function content(random: Random, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, () => 97 + (random.below(256) & random.below(256) & 15)));
}

function frame(data: Uint8Array, params: Record<number, number> = {}): Buffer {
  return zstdCompressSync(data, { params });
}

function skippable(bytes: number): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a5f, 0);
  head.writeUInt32LE(bytes, 4);
  return Buffer.concat([head, Buffer.alloc(bytes, 7)]);
}

function unpacked(body: Uint8Array, bytesMax = BOUND): Buffer {
  return Buffer.from(unzstd(new Uint8Array(body), bytesMax));
}

const CHECKSUM = { [constants.ZSTD_c_checksumFlag]: 1 };
const NO_SIZE = { [constants.ZSTD_c_contentSizeFlag]: 0 };

Deno.test("frames of every framing are read whole", () => {
  const random = new Random(5);
  for (const bytes of [0, 1, 255, 256, 65_791, 65_792, 300_000, 3_000_000]) {
    const data = content(random, bytes);
    for (const params of [{}, CHECKSUM, NO_SIZE, { ...CHECKSUM, ...NO_SIZE }]) {
      assert.deepEqual(unpacked(frame(data, params)), data, `${bytes} bytes`);
    }
  }
  assert.deepEqual(unpacked(frame(Buffer.alloc(1_000_000))), Buffer.alloc(1_000_000));
});

Deno.test("frames follow each other, and skippable ones are skipped", () => {
  const random = new Random(6);
  const [one, two] = [content(random, 100_000), content(random, 10)];
  const body = Buffer.concat([skippable(9), frame(one), skippable(0), frame(two, CHECKSUM), skippable(3)]);
  assert.deepEqual(unpacked(body), Buffer.concat([one, two]));
  assert.deepEqual(unpacked(Buffer.concat([frame(two), frame(two)])), Buffer.concat([two, two]));
  assert.deepEqual(unpacked(skippable(5)), Buffer.alloc(0));
});

Deno.test("a body cut at any byte, or with any byte behind it, is refused", () => {
  const random = new Random(7);
  const whole = Buffer.concat([frame(content(random, 2_000), CHECKSUM), frame(content(random, 300), NO_SIZE)]);
  const first = frame(content(new Random(7), 2_000), CHECKSUM).length;
  for (let length = 1; length < whole.length; length++) {
    if (length === first) continue;
    assert.throws(() => unpacked(whole.subarray(0, length)), ZstdError, `${length} of ${whole.length}`);
  }
  for (let byte = 0; byte < 256; byte++) {
    assert.throws(() => unpacked(Buffer.concat([whole, Buffer.from([byte])])), ZstdError);
    assert.throws(() => unpacked(Buffer.concat([whole, Buffer.from([byte, 0, 1, 2, 3])])), /behind its zstd frame$/);
  }
});

Deno.test("the bound is to the byte, over all frames, and before memory is taken", () => {
  const data = Buffer.alloc(1_000_000, "ab");
  for (const params of [{}, NO_SIZE]) {
    assert.equal(unpacked(frame(data, params), 1_000_000).length, 1_000_000);
    assert.throws(() => unpacked(frame(data, params), 999_999), InflatedTooLargeError);
    assert.throws(() => unpacked(Buffer.concat([frame(data, params), frame(data)]), 1_999_999), InflatedTooLargeError);
    assert.throws(() => unpacked(Buffer.concat([frame(data, params), frame(data)]), 1_000_000), InflatedTooLargeError);
  }
  assert.deepEqual(unpacked(frame(Buffer.alloc(0)), 0), Buffer.alloc(0));
  // A single segment that states 2 GiB.
  const liar = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x80, 1, 0, 0]);
  assert.throws(() => unpacked(liar), InflatedTooLargeError);
});

Deno.test("a damaged body says how much of it may have been inflated: a small one has made no garbage of a large one", () => {
  const inflatedOf = (body: Buffer): number => {
    try {
      unpacked(body);
    } catch (error) {
      assert(error instanceof ZstdError);
      return error.inflatedBytes;
    }
    return assert.fail("It is damaged");
  };
  const block = 128 * 1024;
  const good = frame(content(new Random(8), 5_000), CHECKSUM);
  const damaged = Buffer.from(good);
  damaged[good.length - 1]! ^= 0xff;
  assert.equal(inflatedOf(Buffer.from("not zstd")), 0);
  assert.equal(inflatedOf(good.subarray(0, good.length - 8)), 0, "it is looked at as a whole before");
  assert(inflatedOf(damaged) <= block);
  assert(inflatedOf(Buffer.concat([good, damaged])) <= 5_000 + block);
  const large = frame(Buffer.alloc(1 << 20), CHECKSUM);
  large[large.length - 1]! ^= 0xff;
  assert(inflatedOf(large) >= 1 << 20, "where much was inflated it says so");
});

Deno.test("what is wrong is named", () => {
  const good = frame(content(new Random(8), 5_000), NO_SIZE);
  const changed = (at: number, value: number) => {
    const copy = Buffer.from(good);
    copy[at] = value;
    return copy;
  };
  const table: [Buffer, RegExp][] = [
    [Buffer.from("{}  {}"), /^Body is not zstd$/],
    [Buffer.from([0x28]), /^Zstd body is truncated$/],
    [changed(4, good[4]! | 8), /^Zstd header has its reserved bit set$/],
    [changed(4, good[4]! | 1), /^Zstd body wants a dictionary; compress it without one$/],
    [changed(5, 0xff), /^Zstd body wants a window of \d+ bytes; 8388608 are the most \(RFC 9659\)$/],
    [changed(6, good[6]! | 6), /^Zstd body has a block of a reserved type$/],
    [Buffer.concat(Array(1_001).fill(frame(Buffer.alloc(0)))), /^Zstd body has more than 1000 frames$/],
    [Buffer.concat([skippable(5), Buffer.from("rubbish")]), /^Body has 7 bytes behind its zstd frame$/],
  ];
  for (const [body, message] of table) {
    assert.throws(() => unpacked(body), (error) => {
      assert(error instanceof ZstdError);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("damage is refused or the same length as stated, and nothing else is thrown", () => {
  const random = new Random(9);
  const data = content(random, 3_000);
  const good = frame(data, CHECKSUM);
  let refused = 0;
  for (let round = 0; round < 3_000; round++) {
    const copy = Buffer.from(good);
    copy[random.below(copy.length)]! ^= 1 << random.below(8);
    try {
      assert.deepEqual(unpacked(copy), data);
    } catch (error) {
      assert(error instanceof ZstdError || error instanceof InflatedTooLargeError, String(error));
      refused++;
    }
  }
  assert(refused > 2_900, `${refused} refused`);
});

Deno.test("damaged bodies leave no memory behind", async () => {
  const good = frame(content(new Random(10), 1_000), CHECKSUM);
  const damaged = new Uint8Array(good);
  damaged[damaged.length - 1]! ^= 1;
  const refuse = async (times: number) => {
    for (let time = 0; time < times; time++) {
      try {
        unzstd(damaged, BOUND);
        assert.fail("it was taken");
      } catch (error) {
        if (!(error instanceof ZstdError)) throw error;
      }
      // What was closed is given back in a later turn.
      if (time % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  };
  const grownMiB: number[] = [];
  // Each batch left 175 MiB. Garbage is collected now and then, and others use memory too: one batch that leaves nothing is proof.
  do {
    assert(grownMiB.length < 4, grownMiB.join());
    const before = process.memoryUsage().rss;
    await refuse(6_000);
    grownMiB.push((process.memoryUsage().rss - before) / 2 ** 20);
  } while (grownMiB.at(-1)! >= 80);
});
