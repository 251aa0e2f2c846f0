/** Damage done to encoded requests at random: what a broken sender, a cut connection or an attacker may send. */
import { Buffer } from "node:buffer";
import { type Random, varint } from "./requests.ts";

/** The same bytes with one to three faults. */
export function mutate(random: Random, body: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(body);
  for (let faults = 1 + random.below(3); faults > 0; faults--) {
    bytes = new Uint8Array(random.pick(FAULTS)(random, bytes, other));
  }
  return bytes;
}

type Fault = (random: Random, bytes: Uint8Array, other: Uint8Array) => Uint8Array;

/** Places that are a tag or a length byte as often as not: after most bytes of text they are not. */
function place(random: Random, bytes: Uint8Array): number {
  return random.below(bytes.length + 1);
}

function splice(bytes: Uint8Array, start: number, removed: number, added: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, start), added, bytes.subarray(Math.min(bytes.length, start + removed))]);
}

const FAULTS: readonly Fault[] = [
  // One bit.
  (random, bytes) => {
    const at = random.below(bytes.length);
    return bytes.map((byte, index) => index === at ? byte ^ (1 << random.below(8)) : byte);
  },
  // One byte.
  (random, bytes) => {
    const at = random.below(bytes.length);
    const value = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
    return bytes.map((byte, index) => index === at ? value : byte);
  },
  // The wire type of what may be a tag: group start, group end, 6 and 7 too.
  (random, bytes) => {
    const at = random.below(bytes.length);
    return bytes.map((byte, index) => index === at ? (byte & 0xf8) | random.below(8) : byte);
  },
  // Cut short.
  (random, bytes) => bytes.subarray(0, place(random, bytes)),
  // Bytes lost, doubled, or of another request.
  (random, bytes) => splice(bytes, place(random, bytes), 1 + random.below(8), new Uint8Array(0)),
  (random, bytes) => {
    const at = place(random, bytes);
    return splice(bytes, at, 0, bytes.subarray(at, at + random.below(40)));
  },
  (random, bytes, other) => {
    const from = place(random, other);
    return splice(bytes, place(random, bytes), random.below(20), other.subarray(from, from + random.below(60)));
  },
  // A varint in place of a byte, the over-long and the huge included.
  (random, bytes) => splice(bytes, random.below(bytes.length), 1, varint(random.pick(HUGE))),
  (random, bytes) =>
    splice(
      bytes,
      random.below(bytes.length),
      1,
      Buffer.from([...Array(random.below(11)).fill(0x80), random.below(256)]),
    ),
  // A field of any number and wire type, with or without what its type needs.
  (random, bytes) => {
    const number = BigInt(random.pick([0, 1, 2, 3, 15, 16, 17, 99, 1000, 2 ** 29 - 1, 2 ** 31, 2 ** 32 + 1, 2 ** 35]));
    const tag = varint((number << 3n) | BigInt(random.below(8)));
    return splice(bytes, place(random, bytes), 0, Buffer.concat([tag, random.bytes(random.below(12))]));
  },
  // Groups, whole and not.
  (random, bytes) => {
    const start = varint((BigInt(20 + random.below(3)) << 3n) | 3n);
    const end = varint((BigInt(20 + random.below(3)) << 3n) | 4n);
    const nested = 1 + random.below(4);
    const starts = Array<Uint8Array>(nested).fill(start);
    const ends = Array<Uint8Array>(random.below(nested + 2)).fill(end);
    const inner = random.chance(0.5) ? [varint(BigInt(30 << 3)), varint(5n)] : [];
    return splice(bytes, place(random, bytes), 0, Buffer.concat([...starts, ...inner, ...ends]));
  },
];

const HUGE = [
  0n,
  127n,
  128n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 64n,
  2n ** 69n,
];
