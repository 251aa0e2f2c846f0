import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { crc32, deflateRawSync, gunzipSync, gzipSync, inflateRawSync } from "node:zlib";
import { gunzip, GzipError, gzipMember, InflatedTooLargeError } from "../../src/codec/gzip.ts";
import { decodeAll } from "../support/tools/decoder.ts";
import { Random } from "../support/bodies/requests.ts";

/** Damaged bodies in the differential test: more by `GZIP_CASES=100000`. */
const damagedCases = Number(process.env["GZIP_CASES"] ?? 6_000);
const bytesMax = 1 << 20;
const content = Buffer.from("resource spans ".repeat(40));
const ourHeader = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

interface Fields {
  extra?: Uint8Array;
  name?: Uint8Array;
  comment?: Uint8Array;
  /** "right", "wrong" or none. */
  headerCrc?: "right" | "wrong";
  flags?: number;
  method?: number;
  crc?: number;
  size?: number;
}

/** One member as a sender may frame it. */
function frame(data: Uint8Array, fields: Fields = {}): Uint8Array<ArrayBuffer> {
  const flags = fields.flags ??
    ((fields.headerCrc === undefined ? 0 : 2) | (fields.extra === undefined ? 0 : 4) |
      (fields.name === undefined ? 0 : 8) | (fields.comment === undefined ? 0 : 16));
  const pieces: Uint8Array[] = [Buffer.from([0x1f, 0x8b, fields.method ?? 8, flags, 1, 2, 3, 4, 2, 3])];
  if (fields.extra !== undefined) {
    pieces.push(Buffer.from([fields.extra.length & 255, fields.extra.length >> 8]), fields.extra);
  }
  for (const text of [fields.name, fields.comment]) if (text !== undefined) pieces.push(text, Buffer.alloc(1));
  if (fields.headerCrc !== undefined) {
    const sum = crc32(Buffer.concat(pieces)) ^ (fields.headerCrc === "wrong" ? 1 : 0);
    pieces.push(Buffer.from([sum & 255, (sum >> 8) & 255]));
  }
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE((fields.crc ?? crc32(data)) >>> 0, 0);
  trailer.writeUInt32LE((fields.size ?? data.length) >>> 0, 4);
  pieces.push(deflateRawSync(data), trailer);
  return new Uint8Array(Buffer.concat(pieces));
}

function join(...pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(pieces));
}

function letters(length: number): Uint8Array {
  return Buffer.alloc(length, "n");
}

/** Of a body that is taken: the content is right, and the member is one, ours, exact, and holds the same. */
function taken(body: Uint8Array<ArrayBuffer>, expected: Uint8Array): Uint8Array<ArrayBuffer> {
  const { inflated, member: reframed } = gunzip(body, bytesMax);
  assert.ok(Buffer.from(expected).equals(inflated));
  const member = reframed();
  assert.ok(ourHeader.equals(member.subarray(0, 10)));
  assert.ok(Buffer.from(expected).equals(gunzipSync(member)));
  assert.equal(member.byteLength, member.buffer.byteLength, "a buffer of its own");
  // The same reader takes it again: one member, and not a byte behind it.
  assert.ok(Buffer.from(expected).equals(gunzip(member.slice(), bytesMax).inflated));
  return member;
}

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

Deno.test("the bound is to the byte, over all members", () => {
  const whole = 2 * content.length;
  const two = () => join(frame(content), frame(content));
  assert.equal(gunzip(frame(content), content.length).inflated.length, content.length);
  assert.throws(() => gunzip(frame(content), content.length - 1), InflatedTooLargeError);
  assert.equal(gunzip(two(), whole).inflated.length, whole);
  for (const bound of [whole - 1, content.length, content.length - 1]) {
    assert.throws(() => gunzip(two(), bound), InflatedTooLargeError);
  }
  // An empty member behind a body that fills the bound fits.
  assert.equal(gunzip(join(frame(content), frame(new Uint8Array(0))), content.length).inflated.length, content.length);
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
  assert.equal(gunzip(join(...Array<Uint8Array>(1_000).fill(small)), bytesMax).inflated.length, 0);
});

Deno.test("deflate data passes through untouched, in place where the buffer is the body's own", () => {
  const own = frame(content);
  const data = own.slice(10);
  const member = gunzip(own, bytesMax).member();
  assert.equal(member.buffer, own.buffer);
  assert.deepEqual(member.subarray(10), data);

  const named = frame(content, { name: letters(7) });
  const copy = named.slice();
  const reframed = gunzip(named, bytesMax).member();
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
  assert.ok(Buffer.concat([content, Buffer.from("x")]).equals(gunzip(join(...members), bytesMax).inflated));
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
