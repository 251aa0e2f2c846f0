/**
 * The worst bodies of each kind that were found: what takes the longest or the most memory of all that is within the limits. Each
 * is 20 MiB inflated, or as much of it as the bounds let in.
 */
import { Buffer } from "node:buffer";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import type { MediaType } from "../../../src/otlp/response.ts";
import type { RedactionRule } from "../../../src/otlp/rewrite/redaction.ts";
import type { ContentEncoding } from "../../../src/receiver/headers.ts";
import type { SignalName } from "../../../src/signal.ts";

export const LIMIT = 20 << 20;

/** One kind. */
export interface WorstBody {
  readonly name: string;
  readonly signal?: SignalName;
  readonly mediaType?: MediaType;
  readonly encoding?: ContentEncoding;
  readonly rule?: RedactionRule;
  /** Whether the sender's token sets attributes. */
  readonly attributes?: boolean;
  /** The code of its refusal; absent: it is taken. */
  readonly refused?: string;
  /** The body, inflated. */
  content(): Uint8Array;
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (value: string) => new Uint8Array(Buffer.from(value));

/** A unit again and again, up to so many bytes. */
function repeated(unit: Uint8Array, length: number): Uint8Array {
  return new Uint8Array(Buffer.alloc(Math.floor(length / unit.length) * unit.length, unit));
}

function field(number: number, content: Uint8Array): Uint8Array {
  const head = [number * 8 + 2];
  let length = content.length;
  for (; length >= 0x80; length >>>= 7) head.push((length & 0x7f) | 0x80);
  return new Uint8Array(Buffer.concat([bytes(...head, length), content]));
}

/** A span of such fields. */
const span = (unit: Uint8Array, length: number) => field(1, field(2, field(2, repeated(unit, length))));

function json(head: string, unit: string, tail: string, length: number = LIMIT): Uint8Array {
  const count = Math.floor((length - head.length - tail.length) / (unit.length + 1));
  return text(`${head}${Array<string>(count).fill(unit).join(",")}${tail}`);
}

/** `a` with an empty text; as many as the bound on messages lets in take 17 MiB. */
const attribute = bytes(0x4a, 7, 0x0a, 1, 0x61, 0x12, 2, 0x0a, 0);
const other = bytes(0x4a, 7, 0x0a, 1, 0x62, 0x12, 2, 0x0a, 0);
const ATTRIBUTES_BYTES = 8_900_000;

const inHistogram = (name: string) =>
  `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"${name}":[`;

export const WORST_BODIES: readonly WorstBody[] = [
  {
    name: "JSON: arrays in arrays that nobody knows",
    mediaType: "application/json",
    encoding: "gzip",
    content: () => text(`{"x":${"[".repeat(LIMIT / 2 - 4)}${"]".repeat(LIMIT / 2 - 4)}}`),
  },
  {
    name: "JSON: names that nobody knows",
    mediaType: "application/json",
    encoding: "gzip",
    content: () => json("{", '"a":0', "}"),
  },
  {
    name: "JSON: attributes",
    mediaType: "application/json",
    encoding: "gzip",
    content: () =>
      json(
        '{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[',
        '{"key":"a","value":{"intValue":1}}',
        "]}]}]}]}",
      ),
  },
  {
    name: "JSON: numbers in odd spellings, and more as protobuf than the limit",
    signal: "metrics",
    mediaType: "application/json",
    encoding: "gzip",
    refused: "too_large",
    content: () => json(inHistogram("bucketCounts"), "1e0", "]}]}}]}]}]}"),
  },
  {
    name: "protobuf, gzip: attributes",
    encoding: "gzip",
    content: () => span(attribute, ATTRIBUTES_BYTES),
  },
  { name: "protobuf, gzip: fields of two bytes", encoding: "gzip", content: () => span(bytes(0x50, 0), LIMIT - 40) },
  {
    name: "protobuf, gzip: empty resources",
    encoding: "gzip",
    refused: "too_large",
    content: () => repeated(bytes(0x0a, 0), LIMIT),
  },
  { name: "protobuf, deflate: attributes", encoding: "deflate", content: () => span(attribute, ATTRIBUTES_BYTES) },
  { name: "protobuf, zstd: attributes", encoding: "zstd", content: () => span(attribute, ATTRIBUTES_BYTES) },
  {
    name: "protobuf, uncompressed: what does not compress",
    content: () => {
      const noise = new Uint8Array(LIMIT - 20);
      for (let at = 0; at < noise.length; at += 65_536) crypto.getRandomValues(noise.subarray(at, at + 65_536));
      return field(1, field(3, noise));
    },
  },
  {
    name: "redaction, delete: every second attribute",
    encoding: "gzip",
    rule: { key: "a", action: "delete" },
    content: () => span(new Uint8Array(Buffer.concat([attribute, other])), ATTRIBUTES_BYTES),
  },
  {
    name: "redaction, hash: as many as the limit has room for",
    encoding: "gzip",
    rule: { key: "a", action: "hash" },
    content: () => span(attribute, 2_400_000),
  },
  {
    name: "redaction, hash: more than the limit has room for",
    encoding: "gzip",
    rule: { key: "a", action: "hash" },
    refused: "too_large",
    content: () => span(attribute, ATTRIBUTES_BYTES),
  },
  {
    name: "redaction, no hit: keys that differ",
    encoding: "gzip",
    rule: { key: "user.*secret*", action: "delete" },
    content: () => {
      const parts = Buffer.alloc(900_000 * 14);
      for (let index = 0; index < 900_000; index++) {
        const at = index * 14;
        parts.set([0x4a, 12, 0x0a, 6], at);
        parts.write(index.toString(36).padStart(6, "z"), at + 4, "latin1");
        parts.set([0x12, 2, 0x0a, 0], at + 10);
      }
      return field(1, field(2, field(2, parts)));
    },
  },
  {
    name: "resource_attributes: on as many resources as may be",
    encoding: "gzip",
    attributes: true,
    content: () => repeated(bytes(0x0a, 0), 100_000),
  },
  {
    name: "profiles: as many empty strings as may be, with redaction and resource_attributes",
    signal: "profiles",
    encoding: "gzip",
    rule: { key: "a", action: "delete" },
    attributes: true,
    content: () => field(2, repeated(bytes(0x2a, 0), 3_999_000)),
  },
];

const CODERS: Readonly<Record<ContentEncoding, (content: Uint8Array) => Uint8Array>> = {
  identity: (content) => content,
  gzip: gzipSync,
  deflate: deflateSync,
  zstd: zstdCompressSync,
};

/** As it is sent. */
export function coded(encoding: ContentEncoding, content: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(CODERS[encoding](content));
}
