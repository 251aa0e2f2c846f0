/**
 * The body of a request, read bounded in bytes and in time, inflated, and turned into protobuf.
 * @module
 */
import { inflateSync } from "node:zlib";
import { Refusal } from "../errors.ts";
import { gunzip, GzipError, gzipMember, InflatedTooLargeError } from "../codec/gzip.ts";
import { concatenate, discard } from "../codec/bytes.ts";
import { leaveGarbage } from "../codec/memory.ts";
import { JsonError, TranscodedTooLargeError, transcodeJson } from "../otlp/json/transcode.ts";
import type { MediaType } from "../otlp/response.ts";
import type { SignalName } from "../signal.ts";
import type { Walk } from "../otlp/wire.ts";
import { unzstd, ZstdError } from "../codec/zstd.ts";
import type { Deadlines } from "./deadlines.ts";

/** The content codings that are taken. OTLP: `gzip` and none MUST be; `deflate` and `zstd` are ours. */
export type ContentEncoding = "identity" | "gzip" | "deflate" | "zstd";

/** Limits on one body. */
export interface BodyLimits {
  /** The most bytes of a body, as received and after inflating. */
  readonly bodyBytesMax: number;
  /** By when a body has to have arrived. */
  readonly deadlines: Deadlines;
}

/** Reads `Content-Encoding`; absent, `identity` and `none` are the same. Refuses what is unknown with 415. */
export function contentEncodingOf(header: string | null): ContentEncoding {
  switch (header?.trim().toLowerCase() ?? "") {
    case "":
    case "none":
    case "identity":
      return "identity";
    case "gzip":
    case "x-gzip":
      return "gzip";
    case "deflate":
      return "deflate";
    case "zstd":
      return "zstd";
    default:
      throw new Refusal(
        "unsupported_encoding",
        "Content-Encoding is not supported; use gzip, deflate, zstd or none, one alone",
        { headers: { "accept-encoding": "gzip, deflate, zstd" } },
      );
  }
}

/** Reads `Content-Type`, parameters allowed; undefined when it is neither of OTLP/HTTP's two. */
export function knownMediaType(header: string | null): MediaType | undefined {
  const essence = header?.split(";", 1).at(0)?.trim().toLowerCase();
  return essence === "application/x-protobuf" || essence === "application/json" ? essence : undefined;
}

/** Reads `Content-Type`. Refuses all but the two of OTLP/HTTP with 415. */
export function mediaTypeOf(header: string | null): MediaType {
  const mediaType = knownMediaType(header);
  if (mediaType !== undefined) return mediaType;
  throw new Refusal(
    "unsupported_type",
    `Content-Type is ${header === null ? "missing" : "not supported"}; use application/x-protobuf or application/json`,
  );
}

/**
 * The size that a request states for its body, in bytes; undefined when it states none. Over the limit it is refused at once
 * with 413, before a byte of it is read.
 */
export function statedLength(header: string | null, bodyBytesMax: number): number | undefined {
  if (header === null) return undefined;
  if (!/^\d+$/.test(header)) {
    throw new Refusal("malformed", "Content-Length is not a number of bytes; state the body's length or leave it out");
  }
  const length = Number(header);
  if (length > bodyBytesMax) throw tooLarge(bodyBytesMax, "Body");
  return length;
}

function tooLarge(bytesMax: number, what: string): Refusal {
  return new Refusal("too_large", `${what} is over the limit of ${bytesMax} bytes; send smaller batches`);
}

/**
 * Reads the whole body, never holding more than the limit.
 * @param grow Called for each chunk of a body of no stated length; throws a {@link Refusal} when there is no room.
 */
export async function readBody(
  request: Request,
  stated: number | undefined,
  limits: BodyLimits,
  grow: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    if (stated === undefined) return await readChunks(request, limits, grow);
    if (stated >= PIECE_BYTES_MAX) return await readInto(new Uint8Array(stated), request, limits);
    // A stated length is held to by HTTP itself (RFC 9112, 6.3), so a short body can be taken in one piece.
    const body = await readWhole(request, limits);
    if (body.length !== stated) throw otherLength(body.length, stated);
    return body;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    // The connection broke, or the server is closing: what is there says nothing about the data, so the sender may retry.
    throw new Refusal("body_incomplete", "Body ended before it was complete; send it again", { cause: error });
  }
}

function otherLength(bytes: number, stated: number): Refusal {
  return new Refusal("malformed", `Body has ${bytes} bytes, its Content-Length says ${stated}; make them agree`);
}

function readWhole(request: Request, { deadlines }: BodyLimits): Promise<Uint8Array<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    const lift = deadlines.set(() => reject(slow(deadlines)));
    request.arrayBuffer().then((body) => {
      lift();
      resolve(new Uint8Array(body));
    }, (error) => {
      lift();
      reject(error);
    });
  });
}

/** From this size on a body is read piece by piece into its place: taken in one piece it is held twice for a while. */
const PIECE_BYTES_MAX = 256 * 1024;

async function readInto(
  place: Uint8Array<ArrayBuffer>,
  request: Request,
  limits: BodyLimits,
): Promise<Uint8Array<ArrayBuffer>> {
  let length = 0;
  if (request.body !== null) {
    await forEachChunk(request.body, limits, (chunk) => {
      if (length + chunk.length > place.length) throw otherLength(length + chunk.length, place.length);
      place.set(chunk, length);
      length += chunk.length;
      // One that is a view into more may not be this request's alone.
      if (chunk.byteLength === chunk.buffer.byteLength) discard(chunk);
    });
  }
  if (length < place.length) throw otherLength(length, place.length);
  return place;
}

async function readChunks(
  request: Request,
  limits: BodyLimits,
  grow: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  if (request.body === null) return new Uint8Array(0);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  await forEachChunk(request.body, limits, (chunk) => {
    length += chunk.length;
    if (length > limits.bodyBytesMax) throw tooLarge(limits.bodyBytesMax, "Body");
    grow(chunk.length);
    chunks.push(chunk);
  });
  // One chunk may be a view into more: the payload needs a buffer of its own.
  return concatenate(chunks);
}

/** Hands over each chunk as it comes. No race against a promise of the deadline: that would hold every chunk until its end. */
async function forEachChunk(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  { deadlines }: BodyLimits,
  take: (chunk: Uint8Array<ArrayBuffer>) => void,
): Promise<void> {
  const reader = body.getReader();
  let late = false;
  const lift = deadlines.set(() => {
    late = true;
    // Ends the read that is under way.
    reader.cancel().catch(() => {});
  });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (late) throw slow(deadlines);
      if (done) return;
      take(value);
    }
  } catch (error) {
    // What is left unread is given up: an answer follows, and the connection with it.
    reader.cancel().catch(() => {});
    throw late ? slow(deadlines) : error;
  } finally {
    lift();
  }
}

function slow({ ms }: Deadlines): Refusal {
  return new Refusal("body_timeout", `Body did not arrive within ${ms} ms; retry`);
}

/** A request body in both forms: to be walked, and to be kept. */
export interface ReadyBody {
  /** The export request as protobuf: a view, valid until the next body is opened. */
  readonly protobuf: Uint8Array;
  /** The same as one gzip member, in a buffer of its own; `protobuf` is of no use afterwards. */
  readonly member: () => Uint8Array<ArrayBuffer>;
  /** What a walk over `protobuf` finds, where the transcoder has counted it. */
  readonly found?: Walk;
  /** Whether `protobuf` has a buffer that is nobody else's, which may be kept, or given up when it is not. */
  readonly own: boolean;
}

/**
 * Inflates and transcodes a body.
 * @throws {Refusal} `too_large` when it is over the limit inflated, `malformed` when it is not what it says.
 */
export function openBody(
  signal: SignalName,
  mediaType: MediaType,
  encoding: ContentEncoding,
  body: Uint8Array<ArrayBuffer>,
  limits: BodyLimits,
): ReadyBody {
  try {
    if (mediaType === "application/x-protobuf" && encoding === "gzip" && body.length > 0) {
      const { inflated, member } = gunzip(body, limits.bodyBytesMax);
      return { protobuf: inflated, member, own: false };
    }
    const plain = inflate(encoding, body, limits.bodyBytesMax);
    const own = encoding === "deflate" || encoding === "zstd";
    if (mediaType !== "application/json") return { protobuf: plain, member: () => gzipMember(plain, true), own };
    try {
      const found = transcodeJson(signal, plain, limits.bodyBytesMax);
      const { protobuf } = found;
      return { protobuf, member: () => gzipMember(protobuf, true), found, own: true };
    } finally {
      if (own) discard(plain);
    }
  } catch (error) {
    if (error instanceof InflatedTooLargeError) throw tooLarge(limits.bodyBytesMax, "Body after inflating");
    if (error instanceof TranscodedTooLargeError) throw tooLarge(limits.bodyBytesMax, "Body as protobuf");
    if (error instanceof JsonError) throw new Refusal("malformed", error.message, { field: error.path });
    if (error instanceof GzipError || error instanceof ZstdError) throw new Refusal("malformed", error.message);
    throw error;
  }
}

function inflate(encoding: ContentEncoding, body: Uint8Array<ArrayBuffer>, bytesMax: number): Uint8Array {
  if (encoding === "identity" || body.length === 0) return body;
  if (encoding === "gzip") return gunzip(body, bytesMax).inflated;
  let garbage = bytesMax;
  try {
    const content = encoding === "zstd" ? unzstd(body, bytesMax) : inflateZlib(body, bytesMax);
    garbage = content.length;
    return content;
  } finally {
    // Node inflates these by pieces, which it then joins.
    if (garbage >= PIECE_BYTES_MAX) leaveGarbage(garbage);
  }
}

/** What zlib answers when asked for `info`: the content, and the engine that says how much it read. */
interface InflateInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

/** `deflate` is a zlib stream (RFC 9110, 8.4.1.2), and ends with the body: what is behind it would be lost in silence. */
function inflateZlib(body: Uint8Array<ArrayBuffer>, bytesMax: number): Uint8Array {
  let info: InflateInfo;
  try {
    info = inflateSync(body, { maxOutputLength: bytesMax, info: true }) as unknown as InflateInfo;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE") {
      throw new InflatedTooLargeError(bytesMax);
    }
    throw new Refusal("malformed", "Body is not deflate, as its Content-Encoding says", { cause: error });
  }
  const behind = body.length - info.engine.bytesWritten;
  if (behind > 0) throw new Refusal("malformed", `Body has ${behind} bytes behind its deflate stream`);
  return info.buffer;
}
