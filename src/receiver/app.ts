/**
 * The receiver: OTLP/HTTP as a Hono app. The steps of a request stand in {@link take}, in order.
 * @module
 */
import type { IncomingMessage } from "node:http";
import type { Context, Hono } from "hono";
import { cors } from "hono/cors";
import { Refusal, REFUSALS } from "../errors.ts";
import { encodeStatus, encodeSuccess } from "../otlp/response.ts";
import type { RedactionSettings } from "../otlp/rewrite/redaction.ts";
import { type Signal, type SignalName, SIGNALS } from "../signal.ts";
import type { Submission } from "../queue/batcher.ts";
import type { Accepted } from "../queue/queue.ts";
import type { Admission, Permit } from "./admission.ts";
import { type Authenticator, FormerToken } from "./senders/authenticator.ts";
import { type BodyLimits, contentEncodingOf, knownMediaType, mediaTypeOf, readBody, statedLength } from "./body.ts";
import { encodeAnswer } from "./coding.ts";
import type { Limiter } from "./limiter.ts";
import { type BodyForm, type PreparationSettings, prepare } from "./preparation.ts";
import type { RetryAfter } from "./retry_after.ts";
import { authorize, type Sender } from "./senders/sender.ts";
import type { From, Usage } from "./senders/usage.ts";

/** What the receiver tells of each request. */
export interface ReceiverEvents {
  /** Answered 200: `items` are kept. */
  accepted(signal: SignalName, sender: string, items: number): void;
  /** Answered with a refusal. `items` only where the walk had counted them. */
  refused(
    signal: SignalName | undefined,
    sender: string | undefined,
    refusal: Refusal,
    items: number | undefined,
  ): void;
  /** Answered 200: how many attributes each of the redactor's rules was for. */
  redacted(signal: SignalName, redaction: RedactionSettings, hits: readonly number[]): void;
  /** A fault of ours that no refusal names; the sender was told to retry. */
  failed(error: unknown): void;
}

/** What the receiver is made of. */
export interface ReceiverOptions extends PreparationSettings {
  readonly authenticator: Authenticator;
  readonly admission: Admission;
  readonly limits: BodyLimits;
  /** The limits of each sender. */
  readonly limiter: Limiter;
  /** What those are told whose requests may be retried. */
  readonly retryAfter: RetryAfter;
  /** Counts what each token is used for; absent: nobody does. */
  readonly usage?: Usage;
  /** The queue's entrance; see `Batcher.append`. */
  readonly append: (submission: Submission) => Promise<Accepted>;
  readonly events: ReceiverEvents;
  /** Web origins whose pages may post, e.g. `https://app.example`; `*` is every one. None by default. */
  readonly allowedOrigins: readonly string[];
  /** The origins that tokens are bound to, now: their preflights are answered too. */
  readonly tokenOrigins?: () => ReadonlySet<string>;
}

/** How long a browser may keep a preflight's answer, in seconds. */
const PREFLIGHT_MAX_AGE_S = 600;
const NO_ORIGINS: ReadonlySet<string> = new Set();
/** What a page may send: OTLP's own headers, those of a token, and trace context. */
const CORS_REQUEST_HEADERS = [
  "authorization",
  "baggage",
  "content-encoding",
  "content-type",
  "traceparent",
  "tracestate",
  "x-api-key",
];

/**
 * Adds the receiver to an app, after whatever middleware it has. Routes: POST `/v1/traces`, `/v1/metrics`, `/v1/logs`; another
 * method is 405 with `Allow`, another path 404.
 */
export function mountReceiver(app: Hono, options: ReceiverOptions): void {
  const { allowedOrigins, tokenOrigins = () => NO_ORIGINS } = options;
  const everyOrigin = allowedOrigins.includes("*");
  const listed = new Set(allowedOrigins);
  // Before the routes: a preflight carries no token, and a page has to be able to read a refusal.
  const crossOrigin = cors({
    origin: everyOrigin ? "*" : (origin) => listed.has(origin) || tokenOrigins().has(origin) ? origin : undefined,
    // Pages that send by `sendBeacon` ask with credentials. None is looked at here; with `*` browsers forbid it (Fetch, 3.2.5).
    credentials: !everyOrigin,
    allowMethods: ["POST"],
    allowHeaders: CORS_REQUEST_HEADERS,
    exposeHeaders: ["retry-after"],
    maxAge: PREFLIGHT_MAX_AGE_S,
  });
  const ofOrigins = (answer: Answer): Answer => {
    if (listed.size === 0 && options.tokenOrigins === undefined) return answer;
    return async (context) => {
      if (listed.size === 0 && tokenOrigins().size === 0) return await answer(context);
      const preflight = await crossOrigin(context, async () => void (context.res = await answer(context)));
      return preflight ?? context.res;
    };
  };
  for (const signal of SIGNALS) {
    app.post(
      signal.path,
      ofOrigins((context) => handle(options, signal, context.req.raw, (context.env ?? {}) as Connection)),
    );
    app.all(
      signal.path,
      ofOrigins((context) =>
        refuse(
          options,
          context.req.raw,
          new Refusal("method_not_allowed", `Method not allowed on ${signal.path}; use POST`, {
            headers: { allow: "POST" },
          }),
          { signal: signal.name },
        )
      ),
    );
  }
  app.notFound((context) =>
    refuse(
      options,
      context.req.raw,
      new Refusal("not_found", `No such path; use ${SIGNALS.map(({ path }) => path).join(", ")}`),
      {},
    )
  );
}

/** A route's handler. Not a middleware before it: each of those costs a request more than its token does. */
type Answer = (context: Context) => Response | Promise<Response>;

/** What is known of a request when it is refused. */
interface Known {
  signal?: SignalName;
  sender?: Sender;
  items?: number;
  /** Of the redactor. */
  hits?: readonly number[];
}

/** What a listener passes along as an app's environment. */
export interface Connection {
  /** The request of `node:http`, by that listener. */
  readonly incoming?: IncomingMessage;
  /** What `Deno.serve` knows of the peer, by that one. */
  readonly info?: { readonly remoteAddr: { readonly hostname: string } };
}

/** Where a request came from; its address is looked at only when it is asked for. */
function fromOf(origin: string | null, { incoming, info }: Connection): From {
  return {
    origin,
    address: () => incoming?.socket.remoteAddress ?? info?.remoteAddr.hostname,
  };
}

async function handle(
  options: ReceiverOptions,
  signal: Signal,
  request: Request,
  connection: Connection,
): Promise<Response> {
  const known: Known = { signal: signal.name };
  try {
    return await take(options, signal, request, connection, known);
  } catch (error) {
    if (error instanceof Refusal) {
      if (options.usage !== undefined) {
        countRefusal(options.usage, error, known.sender, fromOf(request.headers.get("origin"), connection));
      }
      if (error.code === "throttled" && known.sender !== undefined) {
        const toldS = options.retryAfter.told(error);
        if (toldS !== undefined) await options.limiter.holdBack(known.sender, toldS);
        return refuse(options, request, error, known, toldS);
      }
      return refuse(options, request, error, known);
    }
    options.events.failed(error);
    // Never 500, which a conforming sender does not retry: the fault is ours, so the data stays the sender's.
    return refuse(options, request, new Refusal("internal", "The relay failed to take the request; retry"), known);
  }
}

function countRefusal(usage: Usage, refusal: Refusal, sender: Sender | undefined, from: From): void {
  if (refusal instanceof FormerToken) usage.refused(refusal.sender, refusal.state, from);
  else if (sender !== undefined) usage.refused(sender, refusal.code, from);
}

async function take(
  options: ReceiverOptions,
  signal: Signal,
  request: Request,
  connection: Connection,
  known: Known,
): Promise<Response> {
  const { headers } = request;
  const proved = options.authenticator.authenticate(headers, connection.incoming, request);
  const sender: Sender = proved instanceof Promise ? await proved : proved;
  known.sender = sender;
  const origin = headers.get("origin");
  authorize(sender, signal.name, origin);
  const mediaType = mediaTypeOf(headers.get("content-type"));
  const encoding = contentEncodingOf(headers.get("content-encoding"));
  const limits = limitsFor(options, sender);
  const stated = statedLength(headers.get("content-length"), limits.bodyBytesMax);
  const visit = options.limiter.enter(sender);
  let permit: Permit | undefined;
  let kept = false;
  try {
    const held = permit = options.admission.admit(stated ?? 0, sender.id);
    const body = await readBody(request, stated, limits, (bytes) => held.grow(bytes));
    const bodyBytes = body.length;
    visit.bytes(bodyBytes);
    const form = {
      signal: signal.name,
      mediaType,
      encoding,
      bytesMax: limits.bodyBytesMax,
      resourceAttributes: sender.resourceAttributes,
    };
    const submission = submissionOf(options, form, sender, body, known);
    known.items = submission.items;
    let accepted: Accepted = {};
    // OTLP: "The server SHOULD respond with success" to an empty request; there is nothing to keep.
    if (submission.inflatedBytes > 0) {
      if (submission.payload.length > bodyBytes) held.grow(submission.payload.length - bodyBytes);
      visit.append(submission.items, submission.payload.length);
      // Awaited: from here on `append` has the data, and its promise is what the 200 below stands on.
      accepted = await options.append(submission);
    }
    kept = true;
    options.events.accepted(signal.name, sender.id, submission.items);
    options.usage?.accepted(sender, submission.items, fromOf(origin, connection));
    if (known.hits !== undefined) options.events.redacted(signal.name, options.redactor!.settings, known.hits);
    const success = encodeSuccess(signal.name, mediaType, accepted.partialSuccess);
    return respond(request, 200, success, { "content-type": mediaType });
  } finally {
    permit?.release();
    visit.leave(kept);
  }
}

/** Limits on a body of this sender. */
function limitsFor({ limits, limiter }: ReceiverOptions, sender: Sender): BodyLimits {
  const bodyBytesMax = limiter.bodyBytesMax(sender, limits.bodyBytesMax);
  return bodyBytesMax === limits.bodyBytesMax ? limits : { ...limits, bodyBytesMax };
}

/** Prepares a body. Apart from {@link take}, so that what is inflated is not held while the queue commits. */
function submissionOf(
  options: ReceiverOptions,
  form: BodyForm,
  sender: Sender,
  body: Uint8Array<ArrayBuffer>,
  known: Known,
): Submission {
  const { hits, ...prepared } = prepare(options, form, body);
  if (hits !== undefined) known.hits = hits;
  return { ...prepared, signal: form.signal, encoding: options.payloadEncoding, sender: sender.id };
}

/** A Status in the request's own encoding (OTLP: MUST); JSON where the request names none that we speak. */
function refuse(
  options: ReceiverOptions,
  request: Request,
  refusal: Refusal,
  known: Known,
  toldS: number | undefined = options.retryAfter.told(refusal),
): Response {
  options.events.refused(known.signal, known.sender?.id, refusal, known.items);
  const mediaType = knownMediaType(request.headers.get("content-type")) ?? "application/json";
  const { status, grpcCode } = REFUSALS[refusal.code];
  const { message, field = "" } = refusal;
  const violation = status === 400 ? { field, description: message } : undefined;
  return respond(request, status, encodeStatus(mediaType, { code: grpcCode, message, violation }), {
    ...refusal.headers,
    "content-type": mediaType,
    ...(toldS === undefined ? {} : { "retry-after": String(toldS) }),
  });
}

function respond(
  request: Request,
  status: number,
  content: Uint8Array<ArrayBuffer>,
  headers: Record<string, string>,
): Response {
  // Looked up only for an answer that has content: most have none.
  if (content.length === 0) return new Response(content, { status, headers });
  const { body, coding } = encodeAnswer(content, request.headers.get("accept-encoding"));
  return new Response(body, {
    status,
    headers: coding === undefined ? headers : { ...headers, "content-encoding": coding },
  });
}
