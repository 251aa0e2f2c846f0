import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { crc32, deflateRawSync, gzipSync, inflateRawSync } from "node:zlib";
import { gunzip, GzipError, gzipMember } from "../../../src/codec/gzip.ts";
import { decodeAll } from "../../support/tools/decoder.ts";
import { Random } from "../../support/bodies/requests.ts";
import {
  bytesMax,
  content,
  type Fields,
  frame,
  join,
  letters,
  ourHeader,
  taken,
} from "../../support/bodies/gzip_frames.ts";

/** Damaged bodies in the differential test: more by `GZIP_CASES=100000`. */
const damagedCases = Number(process.env["GZIP_CASES"] ?? 6_000);
Deno.test("members of every framing are taken as Go takes them, and what it refuses is refused", async () => {
  const one = frame(content);
  // The one deviation: reserved flags "must be zero", and a reader must refuse others (RFC 1952, 2.3.1.2); Go ignores them.
  const deviating = new Set(["a reserved flag", "the highest flag"]);
  const table: [string, Uint8Array<ArrayBuffer>, boolean][] = [
    ["plain", one, true],
    ["of node", new Uint8Array(gzipSync(content)), true],
    ["ours", gzipMember(content), true],
    ["empty content", frame(new Uint8Array(0)), true],
    ["stored", join(ourHeader, deflateRawSync(content, { level: 0 }), one.subarray(-8)), true],
    ["a name", frame(content, { name: letters(20) }), true],
    ["a name of 511 bytes", frame(content, { name: letters(511) }), true],
    ["a name of 512 bytes", frame(content, { name: letters(512) }), false],
    ["a comment of 511 bytes", frame(content, { comment: letters(511) }), true],
    ["a comment of 512 bytes", frame(content, { comment: letters(512) }), false],
    ["a name in Latin-1", frame(content, { name: Buffer.from([0xe9, 0xff]) }), true],
    ["extra", frame(content, { extra: letters(300) }), true],
    ["empty extra", frame(content, { extra: new Uint8Array(0) }), true],
    [
      "all fields",
      frame(content, { extra: letters(3), name: letters(4), comment: letters(5), headerCrc: "right" }),
      true,
    ],
    ["a header checksum", frame(content, { headerCrc: "right" }), true],
    ["a wrong header checksum", frame(content, { headerCrc: "wrong" }), false],
    ["the text flag", frame(content, { flags: 1 }), true],
    ["a reserved flag", frame(content, { flags: 0x20 }), false],
    ["the highest flag", frame(content, { flags: 0x80 }), false],
    ["another method", frame(content, { method: 7 }), false],
    ["a wrong CRC32", frame(content, { crc: crc32(content) ^ 1 }), false],
    ["a wrong length", frame(content, { size: content.length + 1 }), false],
    ["two members", join(one, frame(content)), true],
    ["two members, the first empty", join(frame(new Uint8Array(0)), one), true],
    ["two members, the second with a name", join(one, frame(content, { name: letters(9) })), true],
    ["two members, the second with a long name", join(one, frame(content, { name: letters(512) })), false],
    [
      "two members, the second cut inside its name",
      join(one, frame(content, { name: letters(20) }).subarray(0, 15)),
      false,
    ],
    ["two members, the second wrong", join(one, frame(content, { crc: 1 })), false],
    ["a zero behind", join(one, Buffer.alloc(1)), false],
    ["zeros behind", join(one, Buffer.alloc(512)), false],
    ["a member, a zero, a member", join(one, Buffer.alloc(1), one), false],
    ["text behind", join(one, Buffer.from("x")), false],
    ["a header alone behind", join(one, one.subarray(0, 10)), false],
    ["a magic alone behind", join(one, one.subarray(0, 2)), false],
    ["no gzip", new Uint8Array(content), false],
    ["zlib", new Uint8Array([0x78, 0x9c, 3, 0, 0, 0, 0, 1]), false],
  ];
  const verdicts = await decodeAll(table.map(([, body]) => ({ form: "gzip", body })));
  for (const [index, [name, body, takes]] of table.entries()) {
    const verdict = verdicts[index]!;
    assert.equal(verdict.ok, takes || deviating.has(name), `Go on ${name}`);
    if (verdict.ok && takes) taken(body, Buffer.from(verdict.content, "hex"));
    else assert.throws(() => gunzip(body, bytesMax), GzipError, name);
  }
});

Deno.test("what is let in of damaged bodies Go lets in, with the same content, and the other way round", async () => {
  const random = new Random(21);
  const bodies: Uint8Array<ArrayBuffer>[] = [];
  for (let index = 0; index < damagedCases; index++) {
    const data = Buffer.concat(
      Array.from({ length: random.below(6) }, () => random.chance(0.5) ? content : random.bytes(random.below(60))),
    );
    const fields: Fields = {
      ...(random.chance(0.3) ? { name: letters(random.pick([0, 1, 510, 511, 512])) } : {}),
      ...(random.chance(0.2) ? { extra: random.bytes(random.below(30)) } : {}),
      ...(random.chance(0.2) ? { headerCrc: "right" } : {}),
    };
    let body = frame(data, fields);
    if (random.chance(0.3)) body = join(body, frame(content, random.chance(0.5) ? fields : {}));
    const kind = random.below(4);
    if (kind === 0) body = body.map((byte) => random.chance(1 / body.length) ? byte ^ (1 << random.below(8)) : byte);
    else if (kind === 1) body = join(body.subarray(0, random.below(body.length)), random.bytes(random.below(4)));
    else if (kind === 2) body = join(ourHeader, damagedDeflate(random, data));
    bodies.push(body);
  }
  const verdicts = await decodeAll(bodies.map((body) => ({ form: "gzip", body })));
  const counts = { taken: 0, refused: 0 };
  const members: Uint8Array[] = [];
  const contents: string[] = [];
  for (const [index, body] of bodies.entries()) {
    const verdict = verdicts[index]!;
    const said = Buffer.from(body).toString("hex");
    if (verdict.ok && !hasReservedFlags(body)) {
      counts.taken++;
      members.push(taken(body, Buffer.from(verdict.content, "hex")));
      contents.push(verdict.content);
    } else {
      counts.refused++;
      assert.throws(() => gunzip(body, bytesMax), GzipError, said);
    }
  }
  assert.ok(Math.min(counts.taken, counts.refused) > damagedCases / 10, JSON.stringify(counts));
  for (const [index, verdict] of (await decodeAll(members.map((body) => ({ form: "gzip", body })))).entries()) {
    assert.ok(verdict.ok && verdict.content === contents[index]);
  }
});

/** Deflate data with a fault, under checksums that are right where it still inflates: so the fault reaches the inflater alone. */
function damagedDeflate(random: Random, data: Uint8Array): Uint8Array {
  const deflated = deflateRawSync(data);
  const at = random.below(deflated.length);
  deflated[at] = deflated[at]! ^ (1 << random.below(8));
  const trailer = Buffer.alloc(8);
  try {
    const inflated = inflateRawSync(deflated, { maxOutputLength: bytesMax });
    trailer.writeUInt32LE(crc32(inflated), 0);
    trailer.writeUInt32LE(inflated.length, 4);
  } catch {
    // Then any trailer does.
  }
  return Buffer.concat([deflated, trailer]);
}

function hasReservedFlags(body: Uint8Array<ArrayBuffer>): boolean {
  try {
    gunzip(body.slice(), bytesMax);
    return false;
  } catch (error) {
    return error instanceof GzipError && error.message === "Gzip header has reserved flags set";
  }
}
