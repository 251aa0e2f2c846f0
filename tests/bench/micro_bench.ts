/**
 * `deno task bench:micro`: the steps of the hot path by themselves, each group with its limit beside it as the baseline: what the
 * step cannot do without. Bodies are 10 spans, 3.7 KB.
 */
import { Buffer } from "node:buffer";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateRawSync, inflateRawSync } from "node:zlib";
import { gunzip, gzipMember } from "../../src/codec/gzip.ts";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { JsonReader } from "../../src/otlp/json/reader.ts";
import { Walker } from "../../src/otlp/wire.ts";
import { Batcher, type Submission } from "../../src/queue/batcher.ts";
import { openQueue } from "../../src/queue/open.ts";
import type { SendingQueue } from "../../src/queue/queue.ts";
import { makeBodies } from "./bodies.ts";

const BODY_BYTES_MAX = 1 << 20;
const plain = makeBodies("plain", 10, 1)[0]!.bytes as Uint8Array<ArrayBuffer>;
const json = makeBodies("json", 10, 1)[0]!.bytes;
const jsonText = Buffer.from(json).toString();
const member = gzipMember(plain);
const deflated = deflateRawSync(plain, { level: 1 });

const walker = new Walker();
Deno.bench("memory bandwidth: copy the body", { group: "walk", baseline: true }, () => void plain.slice());
Deno.bench("CRC32 of the body", { group: "walk" }, () => void crc32(plain));
Deno.bench("walk", { group: "walk" }, () => void walker.walk("traces", plain));

Deno.bench("inflate rate: zlib alone", { group: "gunzip", baseline: true }, () => void inflateRawSync(deflated));
Deno.bench("gunzip, bounded and checked", { group: "gunzip" }, () => void gunzip(member, BODY_BYTES_MAX));

Deno.bench("deflate rate: zlib alone, level 1", { group: "member", baseline: true }, () => {
  deflateRawSync(plain, { level: 1 });
});
Deno.bench("make one member", { group: "member" }, () => void gzipMember(plain));

const reader = new JsonReader();
Deno.bench("read the JSON and write nothing", { group: "transcode", baseline: true }, () => {
  reader.begin(json);
  reader.skip();
});
Deno.bench("JSON.parse", { group: "transcode" }, () => void JSON.parse(jsonText));
Deno.bench("transcode JSON to protobuf", { group: "transcode" }, () => {
  transcodeJson("traces", json, BODY_BYTES_MAX);
});

const submission = (): Submission => ({
  signal: "traces",
  encoding: "gzip",
  mergeable: true,
  targets: [1],
  sender: "bench",
  items: 10,
  inflatedBytes: plain.length,
  payload: new OwnedBytes(member.slice()),
});
const limits = { bytesMax: 1 << 22, inflatedBytesMax: 1 << 24 };
const nowhere = {
  capabilities: { durable: true, deduplicates: false, itemStats: true, merges: true },
  append: () => Promise.resolve({}),
} as unknown as SendingQueue;
const batching = new Batcher(nowhere, limits);
Deno.bench("64 promises", { group: "batcher", baseline: true }, async () => {
  await Promise.all(Array.from({ length: 64 }, () => Promise.resolve(submission())));
});
Deno.bench("64 requests through the batcher", { group: "batcher" }, async () => {
  await Promise.all(Array.from({ length: 64 }, () => batching.append(submission())));
});

const folder = mkdtempSync(join(tmpdir(), "edgeferry-micro-"));
const queue = await openQueue({
  storage: "sqlite",
  path: join(folder, "queue.db"),
  bytesMax: 2 ** 34,
  deadLetterBytesMax: 1 << 20,
  log: { warn: console.warn, error: console.error },
});
const batcher = new Batcher(queue, limits);
const file = openSync(join(folder, "sync"), "w");
const block = new Uint8Array(member.length);
const blocks = new Uint8Array(64 * member.length);
globalThis.addEventListener("unload", () => {
  closeSync(file);
  rmSync(folder, { recursive: true, force: true });
});

Deno.bench("fdatasync rate: one body", { group: "append 1", baseline: true }, () => {
  writeSync(file, block, 0, block.length, 0);
  fdatasyncSync(file);
});
Deno.bench("append one request, durably", { group: "append 1" }, async () => void await batcher.append(submission()));

Deno.bench("fdatasync rate: 64 bodies", { group: "append 64", baseline: true }, () => {
  writeSync(file, blocks, 0, blocks.length, 0);
  fdatasyncSync(file);
});
Deno.bench("append 64 requests at once, durably", { group: "append 64" }, async () => {
  await Promise.all(Array.from({ length: 64 }, () => batcher.append(submission())));
});
