/** Gzip members as senders may frame them, and what the relay must make of one that it takes. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { crc32, deflateRawSync, gunzipSync } from "node:zlib";
import { gunzip, reframe } from "../../../src/codec/gzip.ts";
import { OwnedBytes } from "../../../src/codec/owned_bytes.ts";
export const bytesMax = 1 << 20;
export const content = Buffer.from("resource spans ".repeat(40));
export const ourHeader = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

export interface Fields {
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
export function frame(data: Uint8Array, fields: Fields = {}): Uint8Array<ArrayBuffer> {
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

export function join(...pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(pieces));
}

export function letters(length: number): Uint8Array {
  return Buffer.alloc(length, "n");
}

/** Of a body that is taken: the content is right, and the member is one, ours, exact, and holds the same. */
export function taken(body: Uint8Array<ArrayBuffer>, expected: Uint8Array): Uint8Array<ArrayBuffer> {
  const gunzipped = gunzip(body, bytesMax);
  assert.ok(Buffer.from(expected).equals(gunzipped.content.bytes));
  const member = reframe(new OwnedBytes(body), gunzipped);
  assert.ok(ourHeader.equals(member.subarray(0, 10)));
  assert.ok(Buffer.from(expected).equals(gunzipSync(member)));
  assert.equal(member.byteLength, member.buffer.byteLength, "a buffer of its own");
  // The same reader takes it again: one member, and not a byte behind it.
  assert.ok(Buffer.from(expected).equals(gunzip(member.slice(), bytesMax).content.bytes));
  return member;
}
