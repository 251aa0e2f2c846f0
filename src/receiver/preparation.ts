/**
 * From a received body to a payload for the queue: inflated, transcoded, walked, rewritten and packed. No step awaits, so that a
 * thread can do it in the same way as the event loop.
 * @module
 */
import { DeflateError, inflateZlib } from "../codec/deflate.ts";
import { gunzip, type Gunzipped, GzipError, gzipOwned, InflatedTooLargeError, reframe } from "../codec/gzip.ts";
import { leaveGarbage } from "../codec/memory.ts";
import { OwnedBytes } from "../codec/owned_bytes.ts";
import { FRAMES_MAX, TooManyFramesError, unzstd, ZstdError } from "../codec/zstd.ts";
import { Refusal } from "../errors.ts";
import { type RequestBounds, TooManyError } from "../otlp/bounds.ts";
import { JsonError, lendTranscoded, TranscodedTooLargeError } from "../otlp/json/transcode.ts";
import type { MediaType } from "../otlp/response.ts";
import { RewrittenTooLargeError } from "../otlp/rewrite/edits.ts";
import { type Redactor, TooManyHashesError } from "../otlp/rewrite/redaction.ts";
import { type ResourceAttributes, withResourceAttributes } from "../otlp/rewrite/resource_attributes.ts";
import { type Walk, Walker, WireError } from "../otlp/wire.ts";
import type { PayloadEncoding } from "../queue/queue.ts";
import type { SignalName } from "../signal.ts";
import { tooLarge } from "./body.ts";
import type { ContentEncoding } from "./headers.ts";

/** What is done with every body. */
export interface PreparationSettings {
  /** How payloads are kept. */
  readonly payloadEncoding: PayloadEncoding;
  /** What a body may hold, beside its bytes. */
  readonly bounds: RequestBounds;
  /** Takes attributes out of what is kept; absent: everything goes on as it came. */
  readonly redactor?: Redactor | undefined;
}

/** What is known of a body before it is looked at. */
export interface BodyForm {
  readonly signal: SignalName;
  readonly mediaType: MediaType;
  readonly encoding: ContentEncoding;
  /** The most bytes that it may have after inflating, as protobuf, and with what is written into it. */
  readonly bytesMax: number;
  /** What the sender's token sets on each resource. */
  readonly resourceAttributes?: ResourceAttributes | undefined;
}

/**
 * How much work one attempt may be. A body that turns out to be more work is given up, and may be begun again elsewhere.
 */
export interface Budget {
  /** The most bytes after inflating. */
  readonly inflatedBytes: number;
  /** The most bytes with what is written into it. */
  readonly rewrittenBytes: number;
  /** The most attributes to be hashed. */
  readonly hashes: number;
  /** The most frames of zstd. */
  readonly frames: number;
}

/** As much as the body's own limits allow. */
const UNLIMITED: Budget = {
  inflatedBytes: Infinity,
  rewrittenBytes: Infinity,
  hashes: Infinity,
  frames: FRAMES_MAX,
};

/** The body is more work than its budget; it is still the caller's. */
export class OverBudgetError extends Error {
  override readonly name = "OverBudgetError";
}

/** A body that may be kept. */
export interface Prepared {
  /** Spans, data points, log records or profiles. */
  readonly items: number;
  readonly mergeable: boolean;
  /** Length as protobuf, uncompressed, in bytes. */
  readonly inflatedBytes: number;
  /** A whole buffer of its own. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** How many attributes each of the redactor's rules matched; undefined where there are no rules. */
  readonly hits: readonly number[] | undefined;
  /** How many members of a JSON body were left out, because no field has their name. */
  readonly ignored: number;
}

/** From this size on, in bytes, the garbage of joined pieces is counted. */
const GARBAGE_BYTES_MIN = 256 * 1024;

/** What a byte of deflate stands for at most: 258 bytes in two bits. */
const DEFLATE_RATIO_MAX = 1_032;

const walker = new Walker();

/**
 * Prepares one body.
 * @param received Taken over, unless it is over the budget.
 * @throws {Refusal} `too_large` when it is over the limit in any of its forms, `malformed` when it is not what it says;
 *   {OverBudgetError} when it is within the limits and over the budget.
 */
export function prepare(
  settings: PreparationSettings,
  form: BodyForm,
  received: OwnedBytes,
  budget: Budget = UNLIMITED,
): Prepared {
  const bytesMax = Math.min(form.bytesMax, budget.inflatedBytes);
  const rewrittenBytesMax = Math.min(form.bytesMax, budget.rewrittenBytes);
  let opened: Opened | undefined;
  let changed: OwnedBytes | undefined;
  let again = false;
  // What is not kept goes at once, or the garbage of large bodies is many times what may be in flight. Not by `using`: V8 15 takes
  // 0.1 us for each.
  try {
    opened = open(settings, form, received, bytesMax, budget);
    const { content, gzip } = opened;
    const found = opened.found ?? walker.walk(form.signal, content.bytes, settings.bounds);
    const ignored = opened.found?.ignored ?? 0;
    const rewritten = rewrite(settings.redactor, form, content, rewrittenBytesMax, budget.hashes);
    changed = rewritten.changed;
    const kept = changed ?? content;
    const { items, mergeable } = found;
    const inflatedBytes = kept.bytes.length;
    let payload: Uint8Array<ArrayBuffer>;
    if (settings.payloadEncoding === "identity") payload = kept.take();
    else if (changed === undefined && gzip !== undefined) payload = reframe(received, gzip);
    else payload = gzipOwned(kept);
    return { items, mergeable, inflatedBytes, payload, hits: rewritten.hits, ignored };
  } catch (error) {
    again = isOverBudget(error, form, budget);
    if (again) throw new OverBudgetError("The body is more work than its budget");
    throw refusalOf(error, form, settings.bounds);
  } finally {
    changed?.[Symbol.dispose]();
    if (opened?.content !== received) opened?.content[Symbol.dispose]();
    if (!again) received[Symbol.dispose]();
  }
}

/** Whether a bound was passed that is the budget's and not the body's own. */
function isOverBudget(error: unknown, { bytesMax }: BodyForm, { frames }: Budget): boolean {
  if (error instanceof TooManyHashesError) return true;
  if (error instanceof TooManyFramesError) return frames < FRAMES_MAX;
  const bounded = error instanceof InflatedTooLargeError || error instanceof RewrittenTooLargeError;
  return bounded && error.bytesMax < bytesMax;
}

/** A body as protobuf. */
interface Opened {
  readonly content: OwnedBytes;
  /** Where the body as it came can be kept as it is, but for its framing. */
  readonly gzip: Gunzipped | undefined;
  /** What a walk finds, where the transcoder has counted it. */
  readonly found: (Walk & { readonly ignored?: number }) | undefined;
}

function open(
  { bounds }: PreparationSettings,
  { signal, mediaType, encoding, bytesMax: protobufBytesMax }: BodyForm,
  received: OwnedBytes,
  bytesMax: number,
  budget: Budget,
): Opened {
  const gzip = encoding === "gzip" && received.bytes.length > 0 ? gunzip(received.bytes, bytesMax) : undefined;
  const plain = gzip?.content ?? inflate(encoding, received, bytesMax, budget.frames);
  if (mediaType !== "application/json") return { content: plain, gzip, found: undefined };
  try {
    const found = lendTranscoded(signal, plain.bytes, protobufBytesMax, bounds);
    return { content: found.protobuf, gzip: undefined, found };
  } finally {
    // With a budget the body may be needed once more.
    if (plain !== received || budget === UNLIMITED) plain[Symbol.dispose]();
  }
}

/** The refusal for each fault of a body; any other error is returned as it is. */
function refusalOf(error: unknown, { bytesMax }: BodyForm, { resourcesMax, messagesMax }: RequestBounds): unknown {
  if (error instanceof InflatedTooLargeError) return tooLarge(bytesMax, "Body after inflating");
  if (error instanceof TranscodedTooLargeError) return tooLarge(bytesMax, "Body as protobuf");
  if (error instanceof RewrittenTooLargeError) return tooLarge(bytesMax, "Body with what the relay writes into it");
  if (error instanceof TooManyError) {
    const [what, key] = error.of === "resources"
      ? [`${resourcesMax} resources`, "max_request_resources"]
      : [`${messagesMax} nested messages`, "max_request_messages"];
    return new Refusal("too_large", `Body holds more than ${what} (receiver.http.${key})`, {
      remedy: "send smaller batches",
    });
  }
  if (error instanceof JsonError) return new Refusal("malformed", error.message, { field: error.path });
  if (error instanceof WireError) return new Refusal("malformed", error.message, { field: error.path });
  if (error instanceof GzipError || error instanceof ZstdError || error instanceof DeflateError) {
    return new Refusal("malformed", error.message, { cause: error.cause });
  }
  return error;
}

function inflate(encoding: ContentEncoding, received: OwnedBytes, bytesMax: number, framesMax: number): OwnedBytes {
  const { bytes } = received;
  if (encoding === "identity" || bytes.length === 0) {
    if (bytes.length > bytesMax) throw new InflatedTooLargeError(bytesMax);
    return received;
  }
  let garbage = 0;
  try {
    const content = encoding === "zstd" ? unzstd(bytes, bytesMax, framesMax) : inflateZlib(bytes, bytesMax);
    garbage = content.length;
    return new OwnedBytes(content);
  } catch (error) {
    garbage = inflatedBefore(error, bytes, bytesMax);
    throw error;
  } finally {
    // Node inflates these by pieces, which it then joins.
    if (garbage >= GARBAGE_BYTES_MIN) leaveGarbage(garbage);
  }
}

/** How much of a body may have been inflated, in bytes, before something was found to be wrong with it. */
function inflatedBefore(error: unknown, { length }: Uint8Array, bytesMax: number): number {
  if (error instanceof InflatedTooLargeError) return bytesMax;
  return Math.min(bytesMax, error instanceof ZstdError ? error.inflatedBytes : length * DEFLATE_RATIO_MAX);
}

/**
 * The request without what is redacted and with what the sender's token sets on each resource, which the operator has chosen and no
 * rule is for; `changed` is undefined where nothing is.
 */
function rewrite(
  redactor: Redactor | undefined,
  { signal, resourceAttributes }: BodyForm,
  content: OwnedBytes,
  bytesMax: number,
  hashesMax: number,
): { readonly changed: OwnedBytes | undefined; readonly hits: readonly number[] | undefined } {
  const { request, hits } = redactor?.redact(signal, content.bytes, { bytesMax, hashesMax }) ?? {};
  if (resourceAttributes === undefined) return { changed: request && new OwnedBytes(request), hits };
  const redacted = request && new OwnedBytes(request);
  try {
    const changed = withResourceAttributes(redacted?.bytes ?? content.bytes, resourceAttributes, bytesMax);
    return { changed: new OwnedBytes(changed), hits };
  } finally {
    redacted?.[Symbol.dispose]();
  }
}
