/**
 * A receiver for tests, asked over each way in: web objects, as an app that embeds it brings them, and sockets of `node:http` and of
 * `Deno.serve`, where each request is bytes on a connection of its own.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { Hono } from "hono";
import type { Refusal } from "../../../src/errors.ts";
import { UNBOUNDED } from "../../../src/otlp/bounds.ts";
import { transcodeJson } from "../../../src/otlp/json/transcode.ts";
import { decodeStatus, type MediaType } from "../../../src/otlp/response.ts";
import { SIGNAL_NAMES, type SignalName, SIGNALS } from "../../../src/signal.ts";
import type { Submission } from "../../../src/queue/batcher.ts";
import { Shares } from "../../../src/queue/shares.ts";
import { Admission } from "../../../src/receiver/admission.ts";
import { mountReceiver, type ReceiverAppOptions, type ReceiverEnvironment } from "../../../src/receiver/app.ts";
import { Deadlines } from "../../../src/receiver/deadlines.ts";
import { Limiter } from "../../../src/receiver/limiter.ts";
import { listenOnGrpc } from "../../../src/receiver/grpc/listener.ts";
import { listenOnNode } from "../../../src/receiver/listener/node_listener.ts";
import type { PreparationSettings } from "../../../src/receiver/preparation.ts";
import { Preparer } from "../../../src/receiver/preparer.ts";
import { RetryAfter } from "../../../src/receiver/retry_after.ts";
import { digestOf, INSECURE, TokenAuthenticator } from "../../../src/receiver/senders/authenticator.ts";
import type { TokenEntry } from "../../../src/receiver/senders/tokens_schema.ts";
import { openRaw } from "../bodies/raw_http.ts";
import { releasesAll } from "../owners.ts";

/** How requests come in. */
export const WAYS_IN = ["web", "node", "deno_serve"] as const;
export type WayIn = typeof WAYS_IN[number] | "grpc";

/** The limit on bodies, in bytes. */
export const BODY_BYTES_MAX = 10_000;
export const PROTOBUF: MediaType = "application/x-protobuf";
export const JSON_TYPE: MediaType = "application/json";

/** What the receiver has told. */
export type Told =
  | { kind: "accepted"; signal: SignalName; sender: string; items: number }
  | { kind: "refused"; code: string; signal: SignalName | undefined; sender: string | undefined; items?: number }
  | { kind: "unrecognised"; signal: SignalName; sender: string; names: number }
  | { kind: "redacted"; signal: SignalName; hits: readonly number[] }
  | { kind: "failed"; error: unknown };

/** A body, and header fields beside what a request has in any case. */
export type PostBody = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
export type PostOptions = Record<string, string> & { path?: string; type?: string; method?: string };

/** A receiver that is asked. */
export interface TestReceiver {
  readonly way: WayIn;
  readonly app: Hono;
  readonly submissions: Kept[];
  readonly told: Told[];
  readonly admission: Admission;
  /** Where its socket is. */
  url(): Promise<string>;
  /** Posts; rejects where the connection ends without an answer. */
  post(body: PostBody, options?: PostOptions): Promise<Response>;
}

/** What a test may choose: of the receiver, and of what makes payloads. */
export type TestReceiverOptions = Partial<ReceiverAppOptions> & Partial<PreparationSettings>;

/** A submission whose payload the queue has taken over. */
type Kept = Omit<Submission, "payload"> & { readonly payload: Uint8Array<ArrayBuffer> };

/** Makes receivers, of one way in. */
export type MakeReceiver = (options?: TestReceiverOptions, instrumented?: (app: Hono) => void) => TestReceiver;

/** A test for each way in; what it has made is closed behind it, and holds no bytes then. */
export function testEachWay(name: string, test: (receiver: MakeReceiver, way: WayIn) => Promise<void>): void {
  for (const way of WAYS_IN) {
    Deno.test(`${way}: ${name}`, () =>
      releasesAll(async () => {
        await using stack = new AsyncDisposableStack();
        await test((options, instrumented) => makeReceiver(way, stack, options, instrumented), way);
      }));
  }
}

const fail = (cause: string): never => assert.fail(cause);

/** A receiver of one way in; its socket is closed with the stack. */
export function makeReceiver(
  way: WayIn,
  stack: AsyncDisposableStack,
  { payloadEncoding = "gzip", bounds = UNBOUNDED, redactor, ...options }: TestReceiverOptions = {},
  instrumented?: (app: Hono) => void,
): TestReceiver {
  const submissions: Kept[] = [];
  const told: Told[] = [];
  const admission = new Admission(1 << 20);
  const app = new Hono();
  instrumented?.(app);
  const all: ReceiverAppOptions = {
    authenticator: INSECURE,
    admission,
    limits: { bodyBytesMax: BODY_BYTES_MAX, deadlines: new Deadlines(10_000) },
    retryAfter: new RetryAfter({ maxMs: 5_000, random: () => 0 }),
    limiter: new Limiter({ defaults: {}, queueBytesMax: 1 << 30, shares: new Shares(Date.now) }),
    preparer: stack.use(new Preparer({ payloadEncoding, bounds, redactor }, { threadless: fail, crashed: fail })),
    targetsFor: () => [1],
    admits: () => undefined,
    append: ({ payload, ...submission }) => {
      submissions.push({ ...submission, payload: payload.take() });
      return Promise.resolve({});
    },
    events: {
      accepted: (signal, sender, items) => told.push({ kind: "accepted", signal, sender, items }),
      refused: ({ signal, sender, refusal: { code }, items }) =>
        told.push({ kind: "refused", code, signal, sender, ...(items === undefined ? {} : { items }) }),
      unrecognised: (signal, sender, names) => told.push({ kind: "unrecognised", signal, sender, names }),
      redacted: (signal, _, hits) => told.push({ kind: "redacted", signal, hits }),
      failed: (error) => told.push({ kind: "failed", error }),
    },
    allowedOrigins: [],
    ...options,
  };
  mountReceiver(app, all);
  const fetch = async (request: Request, environment: ReceiverEnvironment) => await app.fetch(request, environment);
  let opened: Promise<string> | undefined;
  const url = () => opened ??= openWay(way, fetch, all, stack);
  return {
    way,
    app,
    submissions,
    told,
    admission,
    url,
    async post(body, { path = "/v1/traces", type = JSON_TYPE, method = "POST", ...more } = {}) {
      const headers = { ...(type === "" ? {} : { "content-type": type }), ...more };
      if (way === "web") return await app.request(path, { method, body, headers });
      return await exchange(await url(), method, path, headers, body);
    },
  };
}

async function openWay(
  way: WayIn,
  fetch: (request: Request, environment: ReceiverEnvironment) => Promise<Response>,
  { events }: ReceiverAppOptions,
  stack: AsyncDisposableStack,
): Promise<string> {
  const at = { hostname: "127.0.0.1", port: 0 };
  if (way === "deno_serve") {
    const server = Deno.serve({ ...at, onListen: () => {} }, (request, info) => fetch(request, { info }));
    stack.defer(() => server.shutdown());
    return `http://127.0.0.1:${server.addr.port}`;
  }
  const common = {
    ...at,
    limits: {
      connectionsMax: 1_000,
      addressConnectionsMax: 0,
      headerBytesMax: 16_384,
      headerMs: 10_000,
      bodyMs: 10_000,
      idleMs: 10_000,
    },
    answer: fetch,
    events: {
      refused: (refusal: Refusal) => events.refused({ refusal }),
      failed: (error: unknown) => events.failed(error),
      dropped: () => {},
    },
  };
  const listener = way === "grpc"
    ? await listenOnGrpc({ ...common, streamsMax: 100, unreadBytesMax: 1 << 20, isReady: () => true })
    : await listenOnNode({ ...common, lightPaths: new Set(SIGNALS.map(({ path }) => path)) });
  stack.defer(async () => {
    const closed = listener.close();
    listener.abandon();
    await closed;
  });
  return `http://127.0.0.1:${listener.port}`;
}

/** One request by hand: a stream goes in chunks, all else has its length stated. */
async function exchange(
  url: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: PostBody,
): Promise<Response> {
  using connection = await openRaw(url);
  const bytes = body instanceof ReadableStream || body === null ? undefined : Buffer.from(body as string);
  const chunked = body instanceof ReadableStream && headers["content-length"] === undefined;
  const framing = chunked
    ? { "transfer-encoding": "chunked" }
    : bytes !== undefined || method === "POST"
    ? { "content-length": String(bytes?.length ?? 0) }
    : {};
  const fields = Object.entries({ host: "localhost", ...framing, ...headers });
  connection.write([`${method} ${path} HTTP/1.1`, ...fields.map((field) => field.join(": ")), "", ""].join("\r\n"));
  if (bytes !== undefined) connection.write(bytes);
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  let done = false;
  const sent = (async () => {
    if (!(body instanceof ReadableStream)) return;
    reader = body.getReader();
    try {
      for (;;) {
        const { done: ended, value } = await reader.read();
        if (done) return;
        if (ended) return chunked ? connection.write("0\r\n\r\n") : undefined;
        if (chunked && value.length > 0) connection.write(`${value.length.toString(16)}\r\n`);
        connection.write(value);
        if (chunked && value.length > 0) connection.write("\r\n");
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    } catch {
      // The body breaks off, and its connection with it.
      connection[Symbol.dispose]();
    }
  })();
  const { status, headers: answered, body: content } = await connection.answer();
  done = true;
  await reader?.cancel().catch(() => {});
  await sent;
  if (status === 0) throw new Error("The connection ended without an answer");
  return new Response(status === 204 ? null : new Uint8Array(content), { status, headers: answered });
}

/** Both types of OTLP/HTTP. */
export const MEDIA_TYPES: readonly MediaType[] = [PROTOBUF, JSON_TYPE];

/** Asserts the one shape that every refusal has: a Status in `mediaType` with a message, and the headers of its kind. */
export async function assertRefused(
  response: Response,
  status: number,
  message: RegExp,
  mediaType: MediaType = JSON_TYPE,
): Promise<void> {
  assert.equal(response.status, status);
  assert.equal(response.headers.get("content-type"), mediaType);
  const body = new Uint8Array(await response.arrayBuffer());
  const said = decodeStatus(mediaType, body);
  assert.match(said, message);
  assert.ok(body.length > 0);
  if (mediaType === JSON_TYPE) {
    assert.deepEqual(Object.keys(JSON.parse(Buffer.from(body).toString())), [
      "code",
      "message",
      ...(status === 400 ? ["details"] : []),
    ]);
  }
  const retryable = status === 429 || status === 503;
  assert.equal(response.headers.has("retry-after"), retryable);
  if (retryable) assert.match(response.headers.get("retry-after")!, /^[1-9]\d*$/);
  assert.equal(response.headers.has("www-authenticate"), status === 401);
  assert.equal(response.headers.has("allow"), status === 405);
}

/** A request with two spans, as JSON and as protobuf. */
export const ONE_SPAN = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}';
export const ONE_SPAN_PROTOBUF = transcodeJson("traces", Buffer.from(ONE_SPAN), 1_000).protobuf;

/** A traces request in protobuf of exactly `length` bytes. */
export function requestOf(length: number): Uint8Array<ArrayBuffer> {
  for (let name = length; name >= 0; name--) {
    const text = `{"resourceSpans":[{"schemaUrl":"${"x".repeat(name)}"}]}`;
    const body = transcodeJson("traces", Buffer.from(text), length * 2 + 100).protobuf;
    if (body.length === length) return body;
  }
  return assert.fail(`no request has ${length} bytes`);
}

/** A field of a message, of fewer than 128 bytes. */
export function wrap(number: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  assert.ok(content.length < 128);
  return Uint8Array.of(number * 8 + 2, content.length, ...content);
}

/** What a sender with {@link withToken}'s token shows. */
export const BEARER = { authorization: "Bearer secret" };

/** A receiver that knows one token. */
export function withToken(
  receiver: MakeReceiver,
  entry: Partial<TokenEntry>,
  options: TestReceiverOptions = {},
) {
  const authenticator = new TokenAuthenticator([{
    id: "web",
    sha256: digestOf("secret"),
    signals: SIGNAL_NAMES,
    ...entry,
  }]);
  return receiver({ authenticator, tokenOrigins: () => authenticator.origins, ...options });
}
