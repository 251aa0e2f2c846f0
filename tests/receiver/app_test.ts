import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { Hono } from "hono";
import { Refusal } from "../../src/errors.ts";
import { UNBOUNDED } from "../../src/otlp/bounds.ts";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { Redactor } from "../../src/otlp/rewrite/redaction.ts";
import { decodeStatus, decodeSuccess, type MediaType } from "../../src/otlp/response.ts";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { SIGNAL_NAMES, type SignalName, signalOf, SIGNALS } from "../../src/signal.ts";
import { Walker } from "../../src/otlp/wire.ts";
import type { Submission } from "../../src/queue/batcher.ts";
import type { Accepted } from "../../src/queue/queue.ts";
import { Shares } from "../../src/queue/shares.ts";
import { Deadlines } from "../../src/receiver/deadlines.ts";
import { Admission } from "../../src/receiver/admission.ts";
import { mountReceiver, type ReceiverOptions } from "../../src/receiver/app.ts";
import { digestOf, INSECURE, TokenAuthenticator } from "../../src/receiver/senders/authenticator.ts";
import type { TokenEntry } from "../../src/receiver/senders/tokens_schema.ts";
import { Limiter } from "../../src/receiver/limiter.ts";
import { RetryAfter } from "../../src/receiver/retry_after.ts";
import { encodeJson, encodeProtobuf, Random, randomRequest } from "../support/bodies/requests.ts";

const bodyBytesMax = 10_000;
const protobuf = "application/x-protobuf";
const json = "application/json";
const both: readonly MediaType[] = [protobuf, json];

type Told =
  | { kind: "accepted"; signal: SignalName; sender: string; items: number }
  | { kind: "refused"; code: string; signal: SignalName | undefined; sender: string | undefined; items?: number }
  | { kind: "redacted"; signal: SignalName; hits: readonly number[] }
  | { kind: "failed"; error: unknown };

function receiver(options: Partial<ReceiverOptions> = {}) {
  const submissions: Submission[] = [];
  const told: Told[] = [];
  const admission = new Admission(1 << 20);
  const app = new Hono();
  mountReceiver(app, {
    authenticator: INSECURE,
    admission,
    limits: { bodyBytesMax, deadlines: new Deadlines(10_000) },
    retryAfter: new RetryAfter({ maxMs: 5_000, random: () => 0 }),
    limiter: new Limiter({ defaults: {}, queueBytesMax: 1 << 30, shares: new Shares(Date.now) }),
    payloadEncoding: "gzip",
    bounds: UNBOUNDED,
    append: (submission) => {
      submissions.push(submission);
      return Promise.resolve({});
    },
    events: {
      accepted: (signal, sender, items) => told.push({ kind: "accepted", signal, sender, items }),
      refused: (signal, sender, { code }, items) =>
        told.push({ kind: "refused", code, signal, sender, ...(items === undefined ? {} : { items }) }),
      redacted: (signal, _, hits) => told.push({ kind: "redacted", signal, hits }),
      failed: (error) => told.push({ kind: "failed", error }),
    },
    allowedOrigins: [],
    ...options,
  });
  const post = (
    body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null,
    { path = "/v1/traces", type = json, method = "POST", ...headers }: Record<string, string> & {
      path?: string;
      type?: string;
      method?: string;
    } = {},
  ) =>
    Promise.resolve(app.request(path, {
      method,
      body,
      headers: { ...(type === "" ? {} : { "content-type": type }), ...headers },
    }));
  return { app, post, submissions, told, admission };
}

/** Asserts the one shape that every refusal has: a Status in `mediaType` with a message, and the headers of its kind. */
async function refused(
  response: Response,
  status: number,
  message: RegExp,
  mediaType: MediaType = json,
): Promise<void> {
  assert.equal(response.status, status);
  assert.equal(response.headers.get("content-type"), mediaType);
  const body = new Uint8Array(await response.arrayBuffer());
  const said = decodeStatus(mediaType, body);
  assert.match(said, message);
  assert.ok(body.length > 0);
  if (mediaType === json) {
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

const oneSpan = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}';
const oneSpanProtobuf = transcodeJson("traces", Buffer.from(oneSpan), 1_000).protobuf;

/** A traces request in protobuf of exactly `length` bytes. */
function requestOf(length: number): Uint8Array<ArrayBuffer> {
  for (let name = length; name >= 0; name--) {
    const text = `{"resourceSpans":[{"schemaUrl":"${"x".repeat(name)}"}]}`;
    const body = transcodeJson("traces", Buffer.from(text), length * 2 + 100).protobuf;
    if (body.length === length) return body;
  }
  return assert.fail(`no request has ${length} bytes`);
}

function wrap(number: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  assert.ok(content.length < 128);
  return Uint8Array.of(number * 8 + 2, content.length, ...content);
}

Deno.test("each signal is taken in both encodings and every coding, and kept as the same request", async () => {
  const random = new Random(31);
  const codings: [string | undefined, (body: Uint8Array) => Uint8Array][] = [
    [undefined, (body) => body],
    ["none", (body) => body],
    ["identity", (body) => body],
    ["gzip", (body) => gzipSync(body)],
    ["GZIP", (body) => gzipSync(body)],
    ["x-gzip", (body) => Buffer.concat([gzipSync(body.subarray(0, 3)), gzipSync(body.subarray(3))])],
    ["deflate", (body) => deflateSync(body)],
    ["zstd", (body) => zstdCompressSync(body)],
  ];
  for (const payloadEncoding of ["gzip", "identity"] as const) {
    const { post, submissions, told } = receiver({
      payloadEncoding,
      limits: { bodyBytesMax: 1 << 20, deadlines: new Deadlines(10_000) },
    });
    for (const { name, path } of SIGNALS) {
      for (const [coding, compress] of codings) {
        for (const mediaType of [...both, "Application/X-Protobuf; charset=utf-8", "application/json;charset=utf-8"]) {
          const isJson = mediaType.startsWith(json);
          let request = randomRequest(random, name);
          while (Object.values(request).flat().length === 0) request = randomRequest(random, name);
          const text = encodeJson(REQUEST_MESSAGE[name], request, random);
          const expected = isJson
            ? transcodeJson(name, Buffer.from(text), 1 << 20).protobuf
            : encodeProtobuf(REQUEST_MESSAGE[name], request);
          const body = new Uint8Array(compress(isJson ? Buffer.from(text) : expected));
          const response = await post(body, {
            path,
            type: mediaType,
            ...(coding === undefined ? {} : { "content-encoding": coding }),
          });
          assert.equal(response.status, 200, `${name} ${coding} ${mediaType}: ${await response.clone().text()}`);
          assert.equal(response.headers.get("content-type"), isJson ? json : protobuf);
          assert.equal(await response.text(), isJson ? "{}" : "");
          const { payload, ...kept } = submissions.pop()!;
          const { items } = new Walker().walk(name, expected);
          assert.deepEqual(kept, {
            signal: name,
            encoding: payloadEncoding,
            mergeable: name !== "profiles",
            sender: "anonymous",
            items,
            inflatedBytes: expected.length,
          });
          assert.equal(payload.byteLength, payload.buffer.byteLength, "a buffer of its own");
          const content = payloadEncoding === "gzip" ? gunzipSync(payload) : payload;
          assert.ok(Buffer.from(expected).equals(content));
          assert.deepEqual(told.pop(), { kind: "accepted", signal: name, sender: "anonymous", items });
        }
      }
    }
    assert.deepEqual([submissions, told], [[], []]);
  }
});

Deno.test("the 200 waits for append", async () => {
  let keep: (accepted: Accepted) => void = () => {};
  const appended = Promise.withResolvers<void>();
  const { post } = receiver({
    append: () => {
      appended.resolve();
      return new Promise((resolve) => keep = resolve);
    },
  });
  let answered = false;
  const answer = post(oneSpan).then((response) => {
    answered = true;
    return response;
  });
  await appended.promise;
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(answered, false);
  keep({});
  assert.equal((await answer).status, 200);
});

Deno.test("an empty request succeeds and keeps nothing", async () => {
  const { post, submissions, told } = receiver({ append: () => assert.fail("nothing is to be kept") });
  const empties: [MediaType, Uint8Array<ArrayBuffer> | string | null, Record<string, string>][] = [
    [protobuf, null, {}],
    [protobuf, new Uint8Array(0), {}],
    [protobuf, new Uint8Array(0), { "content-length": "0" }],
    [protobuf, new Uint8Array(gzipSync("")), { "content-encoding": "gzip" }],
    [protobuf, new Uint8Array(0), { "content-encoding": "gzip" }],
    [json, "{}", {}],
    [json, '{"resourceSpans":[]}', {}],
    [json, new Uint8Array(gzipSync("{}")), { "content-encoding": "gzip" }],
  ];
  for (const [type, body, headers] of empties) {
    const response = await post(body, { type, ...headers });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), type);
    assert.equal(await response.text(), type === json ? "{}" : "");
    assert.deepEqual(told.pop(), { kind: "accepted", signal: "traces", sender: "anonymous", items: 0 });
  }
  assert.deepEqual(submissions, []);
});

Deno.test("a partial success reaches the sender, in its encoding", async () => {
  const partialSuccess = { rejected: 3, message: "too old" };
  for (const partial of [partialSuccess, { rejected: 0, message: "deprecated" }]) {
    const { post } = receiver({ append: () => Promise.resolve({ partialSuccess: partial }) });
    for (const type of both) {
      for (const name of SIGNAL_NAMES) {
        const body = type === json
          ? '{"resourceSpans":[{}],"resourceMetrics":[{}],"resourceLogs":[{}],"resourceProfiles":[{}]}'
          : wrap(1, new Uint8Array(0));
        const response = await post(body, { type, path: signalOf(name).path });
        assert.equal(response.status, 200);
        assert.deepEqual(decodeSuccess(name, type, new Uint8Array(await response.arrayBuffer())), partial);
      }
    }
  }
});

Deno.test("bad input has a status and a message that names the fault, in the request's encoding", async () => {
  const { post, submissions, admission } = receiver();
  const deep = wrap(1, wrap(2, wrap(2, Uint8Array.of(0x28, 7))));
  const bomb = new Uint8Array(gzipSync(Buffer.alloc(1 << 24)));
  assert.ok(bomb.length > bodyBytesMax && gzipSync(Buffer.alloc(1 << 22)).length < bodyBytesMax);
  const smallBomb = new Uint8Array(gzipSync(Buffer.alloc(1 << 22)));
  const table: [string, Uint8Array<ArrayBuffer> | string, Record<string, string>, number, RegExp][] = [
    [
      "truncated protobuf",
      oneSpanProtobuf.slice(0, -1),
      {},
      400,
      /^Malformed protobuf at byte 0 in resourceSpans: length \d+ overruns/,
    ],
    [
      "a bad tag deep inside a span",
      deep,
      {},
      400,
      /at byte 6 in resourceSpans\.scopeSpans\.spans\.name: wire type varint is wrong/,
    ],
    [
      "a trace id of 15 bytes",
      wrap(1, wrap(2, wrap(2, wrap(1, new Uint8Array(15))))),
      {},
      400,
      /spans\.traceId: an id of 15 bytes, 16 wanted$/,
    ],
    [
      "a span id of 9 bytes",
      wrap(1, wrap(2, wrap(2, wrap(2, new Uint8Array(9))))),
      {},
      400,
      /spans\.spanId: an id of 9 bytes, 8 wanted$/,
    ],
    [
      "a trace id of 30 digits",
      `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"${"a".repeat(30)}"}]}]}]}`,
      {},
      400,
      /spans\[0\]\.traceId: an id of 30 characters, 32 hex digits wanted$/,
    ],
    ["JSON as protobuf", oneSpan, { type: protobuf }, 400, /^Malformed protobuf/],
    ["protobuf as JSON", oneSpanProtobuf, { type: json }, 400, /^Malformed JSON/],
    ["broken JSON", '{"resourceSpans":[', {}, 400, /^Malformed JSON: the body ends too early$/],
    ["broken JSON within", '{"resourceSpans": 1 1}', {}, 400, /^Malformed JSON: unexpected character 20 of the body/],
    ["an array", "[]", {}, 400, /an array at the top, an object wanted$/],
    [
      "an enum by name",
      '{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER"}]}]}]}',
      {},
      400,
      /kind: a string, the enum's integer wanted$/,
    ],
    ["an empty body as JSON", "", {}, 400, /^Malformed JSON: the body is empty, \{\} is the empty request$/],
    ["no UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), { type: json }, 400, /the body is not UTF-8$/],
    ["no gzip", oneSpanProtobuf, { "content-encoding": "gzip" }, 400, /^Body is not gzip$/],
    [
      "rubbish behind gzip",
      new Uint8Array(Buffer.concat([gzipSync(oneSpanProtobuf), Buffer.alloc(1)])),
      { "content-encoding": "gzip" },
      400,
      /^Body has 1 bytes behind its gzip member$/,
    ],
    [
      "truncated gzip",
      new Uint8Array(gzipSync(oneSpanProtobuf).subarray(0, -9)),
      { "content-encoding": "gzip" },
      400,
      /^Gzip body is truncated$/,
    ],
    [
      "truncated gzip of JSON",
      new Uint8Array(gzipSync(oneSpan).subarray(0, -9)),
      { "content-encoding": "gzip", type: json },
      400,
      /^Gzip body is truncated$/,
    ],
    ["no zstd", oneSpanProtobuf, { "content-encoding": "zstd" }, 400, /^Body is not zstd$/],
    [
      "zstd that is cut short",
      new Uint8Array(zstdCompressSync(oneSpanProtobuf).subarray(0, -1)),
      { "content-encoding": "zstd" },
      400,
      /^Zstd body is truncated$/,
    ],
    [
      "bytes behind the deflate stream",
      Buffer.concat([deflateSync(oneSpanProtobuf), deflateSync(oneSpanProtobuf)]),
      { "content-encoding": "deflate" },
      400,
      /^Body has \d+ bytes behind its deflate stream$/,
    ],
    ["no deflate", oneSpanProtobuf, { "content-encoding": "deflate" }, 400, /^Body is not deflate, as/],
    [
      "a gzip bomb",
      smallBomb,
      { "content-encoding": "gzip" },
      413,
      /^Body after inflating is over the limit of 10000 bytes; send smaller batches$/,
    ],
    [
      "a gzip bomb of JSON",
      smallBomb,
      { "content-encoding": "gzip", type: json },
      413,
      /^Body after inflating is over/,
    ],
    [
      "a zstd bomb",
      new Uint8Array(zstdCompressSync(Buffer.alloc(1 << 22))),
      { "content-encoding": "zstd" },
      413,
      /^Body after inflating/,
    ],
    [
      "a deflate bomb",
      new Uint8Array(deflateSync(Buffer.alloc(1 << 22))),
      { "content-encoding": "deflate" },
      413,
      /^Body after inflating/,
    ],
    ["1 byte over the limit", requestOf(bodyBytesMax + 1), {}, 413, /^Body is over the limit of 10000 bytes/],
    [
      "1 byte over the limit, stated",
      requestOf(bodyBytesMax + 1),
      { "content-length": String(bodyBytesMax + 1) },
      413,
      /^Body is over/,
    ],
    [
      "1 byte over the limit, inflated",
      new Uint8Array(gzipSync(requestOf(bodyBytesMax + 1))),
      { "content-encoding": "gzip" },
      413,
      /^Body after inflating/,
    ],
    [
      "JSON that is longer as protobuf",
      `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"explicitBounds":[${
        Array(2_000).fill("1").join(",")
      }]}]}}]}]}]}`,
      { path: "/v1/metrics" },
      413,
      /^Body as protobuf is over/,
    ],
    [
      "an unknown type",
      oneSpan,
      { type: "text/plain" },
      415,
      /^Content-Type is not supported; use application\/x-protobuf or application\/json$/,
    ],
    ["a type that only begins right", oneSpan, { type: "application/jsonl" }, 415, /^Content-Type is not supported/],
    ["no type", oneSpanProtobuf, { type: "" }, 415, /^Content-Type is missing; use application\/x-protobuf/],
    [
      "an unknown coding",
      oneSpan,
      { "content-encoding": "br" },
      415,
      /^Content-Encoding is not supported; use gzip, deflate, zstd or none/,
    ],
    ["two codings", oneSpan, { "content-encoding": "gzip, gzip" }, 415, /^Content-Encoding is not supported/],
    ["no length", oneSpan, { "content-length": "-1" }, 400, /^Content-Length is not a number of bytes/],
    [
      "a length that is not the body's",
      oneSpan,
      { "content-length": "5" },
      400,
      /^Body has \d+ bytes, its Content-Length says 5/,
    ],
    [
      "a wrong path",
      oneSpan,
      { path: "/v1/profiles" },
      404,
      /^No such path; use \/v1\/traces, \/v1\/metrics, \/v1\/logs, \/v1development\/profiles$/,
    ],
    ["a path below", oneSpan, { path: "/v1/traces/x" }, 404, /^No such path/],
    ["the root", oneSpan, { path: "/" }, 404, /^No such path/],
  ];
  for (const [name, body, headers, status, message] of table) {
    const type = headers["type"] ?? (typeof body === "string" ? json : protobuf);
    const response = await post(body, { ...headers, type });
    const mediaType = both.includes(type as MediaType) ? type as MediaType : json;
    await refused(response, status, message, mediaType).catch((error) => {
      throw new Error(`${name}: ${error instanceof Error ? error.message : error}`);
    });
    assert.equal(admission.bytes, 0, name);
  }
  assert.deepEqual(submissions, []);
});

Deno.test("a body of exactly the limit is taken, raw, inflated, stated or not", async () => {
  const { post, submissions } = receiver();
  const body = requestOf(bodyBytesMax);
  for (const headers of [{}, { "content-length": String(bodyBytesMax) }] as Record<string, string>[]) {
    assert.equal((await post(body, { type: protobuf, ...headers })).status, 200);
  }
  assert.equal(
    (await post(new Uint8Array(gzipSync(body)), { type: protobuf, "content-encoding": "gzip" })).status,
    200,
  );
  assert.deepEqual(submissions.map(({ inflatedBytes }) => inflatedBytes), [bodyBytesMax, bodyBytesMax, bodyBytesMax]);
});

/** A field of a message, of any length. */
function nestedIn(field: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const length: number[] = [];
  for (let rest = content.length;; rest >>>= 7) {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    if (rest <= 0x7f) break;
  }
  return Buffer.concat([Uint8Array.of(field * 8 + 2, ...length), content]);
}

Deno.test("what is over a bound has the answer and the reason of README.md's table", async () => {
  const deadlines = new Deadlines(5);
  const { post, told, admission } = receiver({ limits: { bodyBytesMax: 4 << 20, deadlines } });
  const inArrays = (depth: number) => '{"arrayValue":{"values":['.repeat(depth) + "]}}".repeat(depth);
  const attribute = (value: string) => `{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":${value}}]}}]}`;
  // AnyValue.kvlist_value (6) > KeyValueList.values (1) > KeyValue.value (2), from the inside out.
  let deep: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  for (let level = 0; level < 3_400; level++) deep = nestedIn(6, nestedIn(1, nestedIn(2, deep)));
  for (const field of [2, 1, 1, 1]) deep = nestedIn(field, deep);
  const large = "x".repeat(5 << 20);
  const gzip = { "content-encoding": "gzip" };
  const rows: [RegExp, string | Uint8Array<ArrayBuffer> | ReadableStream, Record<string, string>, number, string][] = [
    [/over the limit of 4194304/, "{}", { "content-length": String(5 << 20) }, 413, "too_large"],
    [/over the limit/, large, {}, 413, "too_large"],
    [/after inflating/, Buffer.concat([gzipSync(large)]), gzip, 413, "too_large"],
    [/within 5 ms/, new ReadableStream(), {}, 503, "body_timeout"],
    [/deep|nest/, attribute(inArrays(500)), {}, 400, "malformed"],
    [/nested deeper than 10000/, deep, { type: protobuf }, 400, "malformed"],
    [
      /more than 1000 members/,
      Buffer.concat(Array(1_001).fill(gzipSync(""))),
      { ...gzip, type: protobuf },
      400,
      "malformed",
    ],
  ];
  for (const [message, body, headers, status, reason] of rows) {
    await refused(await post(body, headers), status, message, headers["type"] === protobuf ? protobuf : json);
    assert.deepEqual(told.splice(0).map((one) => "code" in one ? one.code : one.kind), [reason], String(message));
  }
  // What others hold of 1 MiB, and what the sender itself does.
  for (
    const [held, holder, status, reason] of [[1 << 20, "other", 503, "overloaded"], [
      786_432,
      "anonymous",
      429,
      "throttled",
    ]] as const
  ) {
    const permit = admission.admit(held, holder);
    await refused(await post("{}", { "content-length": "2" }), status, /in flight/);
    assert.deepEqual(told.splice(0).map((one) => "code" in one ? one.code : one.kind), [reason]);
    permit.release();
  }
});

Deno.test("another method is 405 with Allow, on every signal, in the request's encoding", async () => {
  const { post, app, told } = receiver();
  for (const { path, name } of SIGNALS) {
    for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      for (const type of both) {
        const response = await post(null, { path, method, type });
        assert.equal(response.headers.get("allow"), "POST");
        await refused(response, 405, new RegExp(`^Method not allowed on ${path}; use POST$`), type);
        assert.deepEqual(told.pop(), { kind: "refused", code: "method_not_allowed", signal: name, sender: undefined });
      }
    }
    const head = await app.request(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("allow"), await head.text()], [405, "POST", ""]);
  }
});

Deno.test("refusals of append keep their status, Retry-After and words", async () => {
  const refusals: [Refusal, number, string | null][] = [
    [new Refusal("queue_full", "The queue is full; retry", { retryAfterS: 17 }), 503, "2"],
    [new Refusal("throttled", "The Collector throttles; retry", { retryAfterS: 2.5 }), 429, "3"],
    [new Refusal("storage_failed", "Cannot write; retry"), 503, "1"],
    [new Refusal("rejected_upstream", "The Collector refused it"), 400, null],
  ];
  for (const [refusal, status, retryAfter] of refusals) {
    for (const type of both) {
      const { post, told } = receiver({ append: () => Promise.reject(refusal) });
      const response = await post(type === json ? oneSpan : oneSpanProtobuf, { type });
      assert.equal(response.headers.get("retry-after"), retryAfter);
      await refused(response, status, new RegExp(`^${refusal.message}$`), type);
      assert.deepEqual(told, [{
        kind: "refused",
        code: refusal.code,
        signal: "traces",
        sender: "anonymous",
        items: 2,
      }]);
    }
  }
});

Deno.test("a defect never leaves as 500, nor its words: 503 with Retry-After, and the fault is told", async () => {
  const defect = new TypeError("undefined is not a function at /home/secret");
  const boom = () => {
    throw defect;
  };
  const broken: [string, Partial<ReceiverOptions>, number][] = [
    ["append rejects", { append: () => Promise.reject(defect) }, 2],
    ["append throws", { append: boom }, 2],
    ["the authenticator throws", { authenticator: { authenticate: boom } }, 1],
    ["events throw", { events: { accepted: boom, redacted: () => {}, refused: () => {}, failed: () => {} } }, 0],
  ];
  for (const [name, options, toldOf] of broken) {
    for (const type of both) {
      const { post, told, admission } = receiver(options);
      const response = await post(type === json ? oneSpan : oneSpanProtobuf, { type });
      await refused(response, 503, /^The relay failed to take the request; retry$/, type);
      assert.equal(admission.bytes, 0, name);
      if (toldOf === 0) continue;
      assert.deepEqual(told[0], { kind: "failed", error: defect });
      assert.equal(told[1]!.kind === "refused" && told[1]!.code, "internal");
    }
  }
});

Deno.test("401 has WWW-Authenticate and 403 has not; neither reads the body or holds room", async () => {
  const secret = "s3cret-s3cret";
  const authenticator = new TokenAuthenticator([{ id: "edge", sha256: digestOf(secret), signals: ["traces"] }]);
  for (const type of both) {
    const { post, told, admission, submissions } = receiver({ authenticator });
    const body = type === json ? oneSpan : oneSpanProtobuf;
    await refused(
      await post(body, { type }),
      401,
      /^Not authenticated: no token: set Authorization: Bearer TOKEN, or x-api-key$/,
      type,
    );
    await refused(
      await post(body, { type, authorization: "Bearer wrong" }),
      401,
      /^Not authenticated: the token is not known$/,
      type,
    );
    const forbidden = await post(body, { type, path: "/v1/logs", authorization: `Bearer ${secret}` });
    await refused(forbidden, 403, /^Token edge may not send logs; it may send traces$/, type);
    assert.equal((await post(body, { type, authorization: `Bearer ${secret}` })).status, 200);
    assert.deepEqual(told, [
      { kind: "refused", code: "unauthenticated", signal: "traces", sender: undefined },
      { kind: "refused", code: "unauthenticated", signal: "traces", sender: undefined },
      { kind: "refused", code: "forbidden", signal: "logs", sender: "edge" },
      { kind: "accepted", signal: "traces", sender: "edge", items: 2 },
    ]);
    assert.equal(submissions[0]!.sender, "edge");
    assert.equal(admission.bytes, 0);
    // A body that never ends is not waited for.
    const endless = new ReadableStream<Uint8Array>({ start() {} });
    await refused(await post(endless, { type, authorization: "Bearer wrong" }), 401, /not known/, type);
  }
});

Deno.test("no refusal repeats what the sender sent", async () => {
  const secret = "hunter2";
  const authenticator = new TokenAuthenticator([{ id: "edge", sha256: digestOf(secret), signals: ["traces"] }]);
  const { post } = receiver({ authenticator });
  const authorization = `Bearer ${secret}`;
  const inSpan = (members: string) => `{"resourceSpans":[{"scopeSpans":[{"spans":[{${members}}]}]}]}`;
  const answers = [
    await post(oneSpan, { authorization: "Basic zzyzx" }),
    await post(oneSpan, { authorization: "Bearer zzyzx" }),
    await post(oneSpan, { "x-api-key": "zzyzx" }),
    await post(oneSpan, { authorization, path: "/zzyzx" }),
    await post(oneSpan, { authorization, type: "text/zzyzx" }),
    await post(oneSpan, { authorization, "content-encoding": "zzyzx" }),
    await post(oneSpan, { authorization, "content-length": "zzyzx" }),
    await post('{"zzyzx":', { authorization }),
    await post("zzyzx", { authorization }),
    await post(inSpan('"traceId":"zzyzx"'), { authorization }),
    await post(inSpan('"startTimeUnixNano":"zzyzx"'), { authorization }),
    await post(inSpan('"zzyzx":1,"kind":"zzyzx"'), { authorization }),
    await post("zzyzx zzyzx zzyzx", { authorization, type: protobuf }),
    await post(oneSpan, { authorization, path: "/v1/logs", "x-zzyzx": "1" }),
  ];
  for (const response of answers) {
    assert.ok(response.status >= 400);
    const said = `${await response.text()} ${JSON.stringify([...response.headers])}`;
    assert.ok(!said.includes("zzyzx") && !said.includes("hunter2"), said);
  }
});

Deno.test("whatever happens to requests, the room they held is given back, and none is answered 500", async () => {
  for (let seed = 1; seed <= 15; seed++) {
    const random = new Random(seed);
    const { post, admission, told } = receiver({
      admission: new Admission(30_000),
      limits: { bodyBytesMax, deadlines: new Deadlines(5) },
      append: () => {
        const fate = random.below(4);
        if (fate === 0) return Promise.reject(new Refusal("queue_full", "full"));
        if (fate === 1) return Promise.reject(new Error("defect"));
        return new Promise((resolve) => setTimeout(() => resolve({}), random.below(3)));
      },
    });
    const answers = Array.from({ length: 60 }, () => {
      const type = random.pick(both);
      const whole = type === json ? new Uint8Array(Buffer.from(oneSpan)) : oneSpanProtobuf.slice();
      const coding = random.pick(["none", "gzip", "br"]);
      const coded = coding === "gzip" && random.chance(0.8) ? new Uint8Array(gzipSync(whole)) : whole;
      const body = random.chance(0.2) ? random.bytes(random.below(12_000)) : coded;
      const headers = {
        type,
        "content-encoding": coding,
        ...(random.chance(0.4) ? { "content-length": String(body.length + (random.chance(0.2) ? 1 : 0)) } : {}),
      };
      return random.chance(0.4) ? post(body, headers) : post(streamOf(random, body), headers);
    });
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    assert.ok(statuses.every((status) => [200, 400, 413, 415, 429, 503].includes(status)), statuses.join(" "));
    assert.ok(new Set(statuses).size >= 4, statuses.join(" "));
    assert.equal(told.filter(({ kind }) => kind !== "failed").length, 60, "each request has one outcome");
    assert.equal(admission.bytes, 0);
  }
});

/** A body in chunks that may stop short, fail or never end. */
function streamOf(random: Random, body: Uint8Array): ReadableStream<Uint8Array> {
  const end = random.pick(["close", "close", "close", "error", "never"]);
  let sent = 0;
  return new ReadableStream({
    pull(controller) {
      if (sent < body.length) {
        const length = 1 + random.below(3_000);
        controller.enqueue(body.slice(sent, sent + length));
        sent += length;
      } else if (end === "close") controller.close();
      else if (end === "error") controller.error(new TypeError("connection reset"));
      else return new Promise(() => {});
    },
  });
}

Deno.test("what is kept may be longer than what was sent, and is held for", async () => {
  const held: number[] = [];
  const admission = new Admission(1 << 20);
  const { post } = receiver({
    admission,
    payloadEncoding: "identity",
    append: ({ payload }) => {
      held.push(admission.bytes);
      assert.equal(payload.length, bodyBytesMax);
      return Promise.resolve({});
    },
  });
  const body = new Uint8Array(gzipSync(requestOf(bodyBytesMax)));
  const headers = { type: protobuf, "content-encoding": "gzip" };
  assert.equal((await post(body, headers)).status, 200);
  assert.equal((await post(body, { ...headers, "content-length": String(body.length) })).status, 200);
  assert.deepEqual(held, [bodyBytesMax, bodyBytesMax]);
  assert.equal(admission.bytes, 0);
});

Deno.test("when the relay stops, new requests are refused and those inside are answered", async () => {
  let keep: (accepted: Accepted) => void = () => {};
  const appended = Promise.withResolvers<void>();
  const { post, admission } = receiver({
    append: () => {
      appended.resolve();
      return new Promise((resolve) => keep = resolve);
    },
  });
  const inside = post(oneSpan);
  await appended.promise;
  admission.close();
  const late = await post(oneSpan);
  assert.equal(late.headers.get("connection"), "close");
  await refused(late, 503, /^The relay is shutting down; retry/);
  keep({});
  assert.equal((await inside).status, 200);
});

Deno.test("a request that cannot be merged says so", async () => {
  const { post, submissions } = receiver();
  const body = new Uint8Array(Buffer.concat([oneSpanProtobuf, wrap(2, new Uint8Array(1))]));
  assert.equal((await post(body, { type: protobuf })).status, 200);
  assert.equal(submissions[0]!.mergeable, false);
});

Deno.test("without allowed origins no answer has a header of CORS", async () => {
  const { post } = receiver();
  for (
    const response of [await post(oneSpan, { origin: "https://app.example" }), await post(null, { method: "OPTIONS" })]
  ) {
    assert.deepEqual(
      [...response.headers.keys()].filter((name) => name.startsWith("access-control") || name === "vary"),
      [],
    );
  }
});

Deno.test("a preflight of an allowed origin is answered before authentication", async () => {
  const allowedOrigins = ["https://app.example", "https://other.example:8443"];
  const authenticator = new TokenAuthenticator([]);
  const { post, told } = receiver({ allowedOrigins, authenticator });
  for (const { path } of SIGNALS) {
    for (const origin of allowedOrigins) {
      const response = await post(null, {
        path,
        method: "OPTIONS",
        type: "",
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      });
      assert.equal(response.status, 204);
      const { headers } = response;
      assert.equal(headers.get("access-control-allow-origin"), origin);
      assert.equal(headers.get("access-control-allow-credentials"), "true");
      assert.equal(headers.get("access-control-allow-methods"), "POST");
      assert.equal(headers.get("access-control-max-age"), "600");
      assert.match(headers.get("vary")!, /\bOrigin\b/);
      const allowed = headers.get("access-control-allow-headers")!.split(",");
      for (const name of ["authorization", "content-type", "content-encoding", "x-api-key", "traceparent"]) {
        assert.ok(allowed.includes(name), name);
      }
    }
  }
  assert.deepEqual(told, [], "a preflight is no request of a sender");
});

Deno.test("a page of an allowed origin can read every answer, Retry-After too; another's cannot", async () => {
  const { post } = receiver({
    allowedOrigins: ["https://app.example"],
    append: () => Promise.reject(new Refusal("queue_full", "full", { retryAfterS: 4 })),
  });
  const answers = [
    [await post("{}", { origin: "https://app.example" }), 200],
    [await post("{", { origin: "https://app.example" }), 400],
    [await post(oneSpan, { origin: "https://app.example" }), 503],
    [await post(null, { origin: "https://app.example", method: "PUT" }), 405],
  ] as const;
  for (const [{ status, headers }, expected] of answers) {
    assert.equal(status, expected);
    assert.equal(headers.get("access-control-allow-origin"), "https://app.example");
    assert.equal(headers.get("access-control-expose-headers"), "retry-after");
    assert.equal(headers.get("vary"), "Origin");
    assert.equal(headers.get("content-type"), json);
  }
  assert.equal(answers[2][0].headers.get("retry-after"), "4");
  for (const origin of ["https://evil.example", "https://app.example.evil", "http://app.example", "null", ""]) {
    for (const response of [await post("{}", { origin }), await post(null, { origin, method: "OPTIONS", type: "" })]) {
      assert.equal(response.headers.get("access-control-allow-origin"), null, origin);
      assert.match(response.headers.get("vary")!, /\bOrigin\b/);
    }
  }
});

Deno.test("`*` is every origin, without credentials", async () => {
  const { post } = receiver({ allowedOrigins: ["https://app.example", "*"] });
  for (const method of ["POST", "OPTIONS"]) {
    const { headers } = await post(method === "POST" ? "{}" : null, { origin: "https://any.example", method });
    assert.equal(headers.get("access-control-allow-origin"), "*");
    assert.equal(headers.get("access-control-allow-credentials"), null);
  }
});

function withToken(entry: Partial<TokenEntry>, options: Partial<ReceiverOptions> = {}) {
  const authenticator = new TokenAuthenticator([{
    id: "web",
    sha256: digestOf("secret"),
    signals: SIGNAL_NAMES,
    ...entry,
  }]);
  return receiver({ authenticator, tokenOrigins: () => authenticator.origins, ...options });
}
const bearer = { authorization: "Bearer secret" };

Deno.test("a token for origins: its preflights are answered, and it is of no use from elsewhere", async () => {
  const { post, submissions, told } = withToken({ origins: ["https://app.example"] });
  const preflight = (origin: string) => post(null, { method: "OPTIONS", type: "", origin });
  assert.equal(
    (await preflight("https://app.example")).headers.get("access-control-allow-origin"),
    "https://app.example",
  );
  assert.equal((await preflight("https://evil.example")).headers.get("access-control-allow-origin"), null);
  assert.equal((await post(oneSpan, { ...bearer, origin: "https://app.example" })).status, 200);
  await refused(await post(oneSpan, { ...bearer, origin: "https://evil.example" }), 403, /from this origin/);
  await refused(await post(oneSpan, bearer), 403, /is for web pages, and the request has no Origin/);
  assert.equal(submissions.length, 1);
  assert.deepEqual(told.map(({ kind }) => kind), ["accepted", "refused", "refused"]);
});

Deno.test("while no token is for an origin, no answer has a header of CORS", async () => {
  const { post } = withToken({});
  const { headers } = await post(oneSpan, { ...bearer, origin: "https://app.example" });
  assert.deepEqual([...headers.keys()].filter((name) => name.startsWith("access-control") || name === "vary"), []);
});

Deno.test("a token's body limit is below the relay's, stated, streamed and inflated", async () => {
  const { post, admission } = withToken({ limits: { max_request_body_size: 100 } });
  const small = requestOf(100);
  const large = requestOf(101);
  assert.equal((await post(small, { ...bearer, type: protobuf })).status, 200);
  await refused(await post(large, { ...bearer, type: protobuf }), 413, /over the limit of 100 bytes/, protobuf);
  const stated = { ...bearer, type: protobuf, "content-length": "101" };
  await refused(await post(large, stated), 413, /over the limit of 100 bytes/, protobuf);
  const squeezed = new Uint8Array(gzipSync(requestOf(5_000)));
  assert.ok(squeezed.length <= 100);
  const coded = { ...bearer, type: protobuf, "content-encoding": "gzip" };
  await refused(await post(squeezed, coded), 413, /after inflating is over the limit of 100 bytes/, protobuf);
  assert.equal(admission.bytes, 0);
});

Deno.test("over its rate a sender is told 429 before its body is read; what is answered otherwise leaves no mark", async () => {
  const { post, told } = withToken({ limits: { requests_per_second: 3, concurrent_requests: 1 } });
  for (const body of ["{", oneSpan, "{}"]) await post(body, bearer);
  const unread = new ReadableStream<Uint8Array>({ pull: () => assert.fail("read") }, { highWaterMark: 0 });
  await refused(
    await post(unread, bearer),
    429,
    /^Sender web is over its limit of 3 requests a second; retry after 1 s$/,
  );
  assert.deepEqual(told.map((one) => one.kind === "refused" ? one.code : one.kind), [
    "malformed",
    "accepted",
    "accepted",
    "throttled",
  ]);
});

Deno.test("a sender whose request is under way is held to its number, and let in again after the answer", async () => {
  const appended = Promise.withResolvers<void>();
  const keep = Promise.withResolvers<Accepted>();
  const { post } = withToken({ limits: { concurrent_requests: 1 } }, {
    append: () => {
      appended.resolve();
      return keep.promise;
    },
  });
  const first = post(oneSpan, bearer);
  await appended.promise;
  await refused(await post(oneSpan, bearer), 429, /has 1 requests under way/);
  keep.resolve({});
  assert.equal((await first).status, 200);
  assert.equal((await post(oneSpan, bearer)).status, 200);
});

Deno.test("a token's attributes are on each resource, in every encoding, and the sender's own of that name are not", async () => {
  const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } });
  const request = (...attributes: object[]) =>
    JSON.stringify({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans: [{ name: "a" }] }] }] });
  const sent = request(attribute("tenant.id", "evil"), attribute("service.name", "shop"));
  const expected = transcodeJson(
    "traces",
    Buffer.from(request(attribute("service.name", "shop"), attribute("tenant.id", "acme"))),
    1_000,
  ).protobuf.slice();
  for (const payloadEncoding of ["gzip", "identity"] as const) {
    const { post, submissions } = withToken({ resource_attributes: { "tenant.id": "acme" } }, { payloadEncoding });
    const encoded = transcodeJson("traces", Buffer.from(sent), 1_000).protobuf.slice();
    const bodies: [Uint8Array<ArrayBuffer> | string, Record<string, string>][] = [
      [sent, { type: json }],
      [encoded, { type: protobuf }],
      [new Uint8Array(gzipSync(encoded)), { type: protobuf, "content-encoding": "gzip" }],
    ];
    for (const [body, headers] of bodies) {
      assert.equal((await post(body, { ...bearer, ...headers })).status, 200);
      const { payload, inflatedBytes, sender, items } = submissions.pop()!;
      const kept = payloadEncoding === "gzip" ? gunzipSync(payload) : payload;
      assert.ok(Buffer.from(expected).equals(kept));
      assert.deepEqual([inflatedBytes, sender, items], [expected.length, "web", 1]);
      assert.equal(payload.byteLength, payload.buffer.byteLength, "a buffer of its own");
    }
    assert.equal((await post(null, { ...bearer, type: protobuf })).status, 200);
    assert.deepEqual(submissions, [], "nothing is nothing");
    await refused(
      await post(requestOf(bodyBytesMax), { ...bearer, type: protobuf }),
      413,
      /with what the relay writes into it is over the limit of 10000 bytes/,
      protobuf,
    );
  }
});

Deno.test("what is redacted reaches no queue; what the token sets stays, and a refused request is not counted", async () => {
  const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } });
  const request = (...attributes: object[]) =>
    JSON.stringify({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans: [{ name: "a" }] }] }] });
  const sent = request(attribute("user.email", "a@b.example"), attribute("service.name", "shop"));
  const plain = transcodeJson("traces", Buffer.from(sent), 1_000).protobuf.slice();
  const redactor = new Redactor({ rules: [{ key: "user.*", action: "delete" }], salt: undefined, dryRun: false });
  for (const payloadEncoding of ["gzip", "identity"] as const) {
    const { post, submissions, told } = withToken({ resource_attributes: { "user.group": "acme" } }, {
      payloadEncoding,
      redactor,
    });
    const expected = transcodeJson(
      "traces",
      Buffer.from(request(attribute("service.name", "shop"), attribute("user.group", "acme"))),
      1_000,
    ).protobuf.slice();
    for (
      const [body, headers] of [
        [sent, { type: json }],
        [plain, { type: protobuf }],
        [new Uint8Array(gzipSync(plain)), { type: protobuf, "content-encoding": "gzip" }],
      ] as const
    ) {
      assert.equal((await post(body, { ...bearer, ...headers })).status, 200);
      const { payload, inflatedBytes } = submissions.pop()!;
      assert.ok(Buffer.from(expected).equals(payloadEncoding === "gzip" ? gunzipSync(payload) : payload));
      assert.equal(inflatedBytes, expected.length);
      assert.deepEqual(told.splice(0), [
        { kind: "accepted", signal: "traces", sender: "web", items: 1 },
        { kind: "redacted", signal: "traces", hits: [1] },
      ]);
    }
  }
  const full = receiver({ redactor, append: () => Promise.reject(new Refusal("queue_full", "The queue is full")) });
  assert.equal((await full.post(sent)).status, 503);
  assert.deepEqual(full.told.map(({ kind }) => kind), ["refused"]);
  const dry = receiver({
    redactor: new Redactor({ rules: [{ key: "user.*", action: "delete" }], salt: undefined, dryRun: true }),
  });
  const member = new Uint8Array(gzipSync(plain));
  assert.equal((await dry.post(member, { type: protobuf, "content-encoding": "gzip" })).status, 200);
  assert.ok(Buffer.from(plain).equals(gunzipSync(dry.submissions[0]!.payload)));
  assert.deepEqual(dry.told.map(({ kind }) => kind), ["accepted", "redacted"]);
});

Deno.test("a body that a hash makes too large is refused, and nothing of it kept", async () => {
  const redactor = new Redactor({ rules: [{ key: "*", action: "hash" }], salt: "salt", dryRun: false });
  const { post, submissions } = receiver({ redactor });
  const attributes = Array.from({ length: 140 }, (_, index) => ({ key: `k${index}`, value: { intValue: "1" } }));
  await refused(
    await post(JSON.stringify({ resourceSpans: [{ resource: { attributes } }] })),
    413,
    /with what the relay writes into it is over the limit of 10000 bytes/,
  );
  assert.deepEqual(submissions, []);
});

Deno.test("a sender over its limit that does not wait is answered after the others", async () => {
  const limits = { requestsPerSecond: 1 };
  const senders = new Map(["noisy", "quiet"].map((id) => [id, { id, proof: "none", signals: new Set(SIGNAL_NAMES) }]));
  const { post } = receiver({
    authenticator: { authenticate: (headers) => senders.get(headers.get("x-api-key")!)! },
    retryAfter: new RetryAfter({ maxMs: 5_000, random: () => 0 }),
    limiter: new Limiter({ defaults: limits, queueBytesMax: 1 << 30, shares: new Shares(Date.now), now: () => 0 }),
  });
  const noisy = { "x-api-key": "noisy" };
  assert.equal((await post(oneSpan, noisy)).status, 200);
  assert.equal((await post(oneSpan, noisy)).status, 429);
  const order: string[] = [];
  const again = post(oneSpan, noisy).then(({ status }) => order.push(`noisy ${status}`));
  await post(oneSpan, { "x-api-key": "quiet" }).then(({ status }) => order.push(`quiet ${status}`));
  await again;
  assert.deepEqual(order, ["quiet 200", "noisy 429"]);
});
