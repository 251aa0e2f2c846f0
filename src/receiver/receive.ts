/**
 * The steps of a request, in order: authentication, the headers that describe the body, room, the body, the queue, the answer. They
 * are the same for each way in.
 * @module
 */
import { OwnedBytes } from "../codec/owned_bytes.ts";
import { Refusal } from "../errors.ts";
import type { PartialSuccess } from "../otlp/response.ts";
import type { RedactionSettings } from "../otlp/rewrite/redaction.ts";
import type { Submission } from "../queue/batcher.ts";
import type { Accepted, TargetId } from "../queue/queue.ts";
import type { Signal, SignalName } from "../signal.ts";
import type { Admission, Permit } from "./admission.ts";
import { refusalAnswer, success } from "./answer.ts";
import { type BodyLimits, readBody } from "./body.ts";
import { contentEncodingOf, mediaTypeOf, statedLength } from "./headers.ts";
import type { Answer, Inbound } from "./inbound.ts";
import type { Limiter } from "./limiter.ts";
import type { Preparer } from "./preparer.ts";
import type { RetryAfter } from "./retry_after.ts";
import { type Authenticator, FormerToken } from "./senders/authenticator.ts";
import { authorize, type Sender } from "./senders/sender.ts";
import type { From, Usage } from "./senders/usage.ts";

/** A request that was refused. */
export interface RefusedRequest {
  readonly refusal: Refusal;
  readonly signal?: SignalName | undefined;
  /** The id of a sender that has proved who it is. */
  readonly sender?: string | undefined;
  /** Only where the walk had counted them. */
  readonly items?: number | undefined;
  /** The origin of the page that sent it; a caller can choose it freely. */
  readonly origin?: string | undefined;
  /** The path of a request for no signal, without its query; a caller can choose it freely. */
  readonly path?: string | undefined;
}

/** Hears the result of each request. */
export interface ReceiverEvents {
  /** Answered 200: `items` are kept. */
  accepted(signal: SignalName, sender: string, items: number): void;
  /** Answered with a refusal. */
  refused(request: RefusedRequest): void;
  /** Answered 200: how many attributes each of the redactor's rules matched. */
  redacted(signal: SignalName, redaction: RedactionSettings, hits: readonly number[]): void;
  /** Answered 200 with a warning: a JSON body with `names` unknown names, of which no item is kept. */
  unrecognised(signal: SignalName, sender: string, names: number): void;
  /** A fault of ours that no refusal names; the sender was told to retry. */
  failed(error: unknown): void;
}

/** What the steps are made of. */
export interface ReceiverOptions {
  readonly authenticator: Authenticator;
  readonly admission: Admission;
  readonly limits: BodyLimits;
  /** The limits of each sender. */
  readonly limiter: Limiter;
  /** Computes `Retry-After` for refusals that may be retried. */
  readonly retryAfter: RetryAfter;
  /** Turns bodies into what is kept. */
  readonly preparer: Preparer;
  /** Counts the use of each token, where there is one. */
  readonly usage?: Usage;
  /** Why the queue would refuse so many payload bytes for these targets now; undefined where it would take them. */
  readonly admits: (targets: readonly TargetId[], bytes: number) => Refusal | undefined;
  /** The queue's entrance; see `Batcher.append`. */
  readonly append: (submission: Submission) => Promise<Accepted>;
  /** Where the sender's data of a signal goes. */
  readonly targetsFor: (signal: SignalName, sender: string) => readonly TargetId[];
  readonly events: ReceiverEvents;
}

/** A request on its way through the steps, and what is known of it by now. */
interface InProgress {
  readonly signal: Signal;
  readonly inbound: Inbound;
  sender: Sender | undefined;
  items: number | undefined;
}

/** Takes a request for a signal, or refuses it. Never rejects. */
export async function receive(options: ReceiverOptions, signal: Signal, inbound: Inbound): Promise<Answer> {
  const request: InProgress = { signal, inbound, sender: undefined, items: undefined };
  try {
    return await take(options, request);
  } catch (error) {
    if (error instanceof Refusal) {
      if (options.usage !== undefined) countRefusal(options.usage, error, request);
      if (error.code === "throttled" && request.sender !== undefined) {
        const toldS = options.retryAfter.told(error);
        if (toldS !== undefined) await options.limiter.holdBack(request.sender, toldS);
        return refuse(options, request, error, toldS);
      }
      return refuse(options, request, error);
    }
    options.events.failed(error);
    // Never 500, which a conforming sender does not retry: the fault is ours, so the data stays the sender's.
    return refuse(
      options,
      request,
      new Refusal("internal", "The relay failed to take the request", { remedy: "retry" }),
    );
  }
}

async function take(options: ReceiverOptions, request: InProgress): Promise<Answer> {
  const { signal: { name: signal }, inbound } = request;
  const { headers, peer } = inbound;
  const proof = options.authenticator.authenticate(headers, peer, inbound);
  const sender = request.sender = proof instanceof Promise ? await proof : proof;
  peer.proved();
  authorize(sender, signal, headers.get("origin"));
  const mediaType = mediaTypeOf(headers.get("content-type"));
  const encoding = contentEncodingOf(headers.get("content-encoding"));
  const limits = limitsFor(options, sender);
  const stated = statedLength(headers.get("content-length"), limits.bodyBytesMax);
  const targets = options.targetsFor(signal, sender.id);
  const visit = options.limiter.enter(sender);
  let permit: Permit | undefined;
  let payload: OwnedBytes | undefined;
  let kept = false;
  try {
    const held = permit = options.admission.admit(stated, sender.id);
    if (stated !== 0) {
      // What another encoding or a redactor makes of the body may be less than is stated: whether that fits, the append says.
      const asIs = encoding === "gzip" && mediaType === "application/x-protobuf" &&
        options.preparer.settings.redactor === undefined;
      const full = options.admits(targets, asIs && stated !== undefined ? stated : 0);
      if (full !== undefined) throw full;
    }
    const reading = readBody(inbound.body, stated, limits, (bytes) => held.arrived(bytes));
    const body = reading instanceof Promise ? await reading : reading;
    held.whole();
    const bodyBytes = body.length;
    visit.bytes(bodyBytes);
    const { bodyBytesMax: bytesMax } = limits;
    const { resourceAttributes } = sender;
    const form = { signal, mediaType, encoding, bytesMax, resourceAttributes };
    const preparing = options.preparer.prepare(form, sender.id, body);
    const prepared = preparing instanceof Promise ? await preparing : preparing;
    payload = new OwnedBytes(prepared.payload);
    const { hits, ignored, items, mergeable, inflatedBytes } = prepared;
    const { redactor, payloadEncoding } = options.preparer.settings;
    // Field by field: copied by a spread it would cost as much as the sender's look-up.
    const submission: Submission = {
      signal,
      encoding: payloadEncoding,
      mergeable,
      sender: sender.id,
      targets,
      items,
      inflatedBytes,
      payload,
    };
    request.items = items;
    let accepted: Accepted = {};
    // OTLP: "The server SHOULD respond with success" to an empty request; there is nothing to keep.
    if (submission.inflatedBytes > 0) {
      if (payload.length > bodyBytes) held.grow(payload.length - bodyBytes);
      visit.append(submission.items, payload.length);
      // Awaited: from here on `append` has the data, and its promise is what the 200 below stands on.
      accepted = await options.append(submission);
    }
    kept = true;
    options.events.accepted(signal, sender.id, submission.items);
    options.usage?.accepted(sender, submission.items, fromOf(inbound));
    if (ignored > 0 && submission.items === 0) {
      options.events.unrecognised(signal, sender.id, ignored);
      accepted = { partialSuccess: unrecognisedWarning(request.signal, ignored), ...accepted };
    }
    if (hits !== undefined) options.events.redacted(signal, redactor!.settings, hits);
    return success(headers, signal, mediaType, accepted);
  } finally {
    // Only where the queue has not taken it over.
    payload?.[Symbol.dispose]();
    permit?.release();
    visit.leave(kept);
  }
}

/**
 * The warning that nothing of a non-empty body was kept, although it was answered 200. OTLP says to ignore unknown fields; the warning
 * form of `partial_success` is the way to tell a sender something beside a success.
 */
function unrecognisedWarning({ item, path }: Signal, names: number): PartialSuccess {
  return {
    rejected: 0,
    message: `The body holds no ${item}, and ${names} of its names are no fields of OTLP, which are ignored; ` +
      `compare them with OTLP/JSON, and the signal with the path ${path}`,
  };
}

/** Limits on a body of this sender. */
function limitsFor({ limits, limiter }: ReceiverOptions, sender: Sender): BodyLimits {
  const bodyBytesMax = limiter.bodyBytesMax(sender, limits.bodyBytesMax);
  return bodyBytesMax === limits.bodyBytesMax ? limits : { ...limits, bodyBytesMax };
}

function refuse(
  { events, retryAfter }: ReceiverOptions,
  { signal, sender, items, inbound }: InProgress,
  refusal: Refusal,
  toldS: number | undefined = retryAfter.told(refusal),
): Answer {
  events.refused({
    refusal,
    signal: signal.name,
    sender: sender?.id,
    items,
    origin: inbound.headers.get("origin") ?? undefined,
  });
  return refusalAnswer(inbound.headers, refusal, toldS);
}

function countRefusal(usage: Usage, refusal: Refusal, { sender, inbound }: InProgress): void {
  const from = fromOf(inbound);
  if (refusal instanceof FormerToken) usage.refused(refusal.sender, refusal.state, from);
  else if (sender !== undefined) usage.refused(sender, refusal.code, from);
}

/** Where a request came from; its address is looked at only when it is asked for. */
function fromOf({ headers, peer }: Inbound): From {
  return { origin: headers.get("origin"), address: () => peer.address() };
}
