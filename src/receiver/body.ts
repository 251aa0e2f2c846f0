/**
 * The body of a request, read bounded in bytes and in time, and what its headers say of it.
 * @module
 */
import { Refusal } from "../errors.ts";
import { concatenate, discard } from "../codec/bytes.ts";
import type { MediaType } from "../otlp/response.ts";
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
