import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { Refusal } from "../../src/errors.ts";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { decodeSuccess, type MediaType } from "../../src/otlp/response.ts";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { SIGNAL_NAMES, signalOf, SIGNALS } from "../../src/signal.ts";
import { Walker } from "../../src/otlp/wire.ts";
import type { Accepted } from "../../src/queue/queue.ts";
import { Deadlines } from "../../src/receiver/deadlines.ts";
import { Admission } from "../../src/receiver/admission.ts";
import type { ReceiverAppOptions } from "../../src/receiver/app.ts";
import { digestOf, TokenAuthenticator } from "../../src/receiver/senders/authenticator.ts";
import { encodeJson, encodeProtobuf, Random, randomRequest } from "../support/bodies/requests.ts";
import {
  assertRefused,
  BODY_BYTES_MAX,
  JSON_TYPE,
  MEDIA_TYPES,
  ONE_SPAN,
  ONE_SPAN_PROTOBUF,
  PROTOBUF,
  requestOf,
  testEachWay,
  wrap,
} from "../support/relay/receiver.ts";

const bodyBytesMax = BODY_BYTES_MAX;
const protobuf = PROTOBUF;
const json = JSON_TYPE;
const both = MEDIA_TYPES;

/** A field of a message, of any length. */
function nestedIn(field: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const length: number[] = [];
  for (let rest = content.length;; rest >>>= 7) {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    if (rest <= 0x7f) break;
  }
  return Buffer.concat([Uint8Array.of(field * 8 + 2, ...length), content]);
}

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

testEachWay(
  "each signal is taken in both encodings and every coding, and kept as the same request",
  async (receiver) => {
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
          for (
            const mediaType of [...both, "Application/X-Protobuf; charset=utf-8", "application/json;charset=utf-8"]
          ) {
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
            const { payload, ...kept } = submissions.pop()!;
            const { items } = new Walker().walk(name, expected);
            // Some have members that nobody knows; beside items they are ignored without a word.
            const warned = items === 0 && isJson && transcodeJson(name, Buffer.from(text), 1 << 20).ignored > 0;
            const answer = await response.text();
            if (!warned) assert.equal(answer, isJson ? "{}" : "");
            else {
              assert.match(answer, /^{"partialSuccess":{"errorMessage":"The body holds no/);
              assert.equal(told.pop()?.kind, "unrecognised");
            }
            assert.deepEqual(kept, {
              signal: name,
              encoding: payloadEncoding,
              mergeable: name !== "profiles",
              targets: [1],
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
  },
);

testEachWay("the 200 waits for append", async (receiver) => {
  let keep: (accepted: Accepted) => void = () => {};
  const appended = Promise.withResolvers<void>();
  const { post } = receiver({
    append: () => {
      appended.resolve();
      return new Promise((resolve) => keep = resolve);
    },
  });
  let answered = false;
  const answer = post(ONE_SPAN).then((response) => {
    answered = true;
    return response;
  });
  await appended.promise;
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(answered, false);
  keep({});
  assert.equal((await answer).status, 200);
});

testEachWay("an empty request succeeds and keeps nothing", async (receiver) => {
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

testEachWay("JSON of which nothing is known is answered 200 with a warning, and counted", async (receiver) => {
  const { post, submissions, told } = receiver();
  const unknown: [string, number, boolean][] = [
    // Of another signal; with names in another spelling, at the top and further in; with nothing that OTLP has.
    ['{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}', 1, false],
    ['{"ResourceSpans":[{}]}', 1, false],
    ['{"resourceSpans":[{"scopespans":[{"spans":[{"name":"a"}]}],"x":1}]}', 2, true],
    ['{"batch":[],"sentAt":"now"}', 2, false],
  ];
  for (const [body, names, kept] of unknown) {
    const response = await post(body);
    assert.equal(response.status, 200);
    const partial = decodeSuccess("traces", json, new Uint8Array(await response.arrayBuffer()));
    assert.equal(partial?.rejected, 0);
    assert.match(
      partial.message,
      new RegExp(`^The body holds no span, and ${names} of its names are no fields of OTLP`),
    );
    assert.deepEqual(told.splice(0).map(({ kind }) => kind), ["accepted", "unrecognised"]);
    assert.equal(submissions.splice(0).length, kept ? 1 : 0);
  }
  // Names of the .proto are known, and an unknown one beside items is ignored, as OTLP wants.
  for (
    const body of [
      '{"resource_spans":[{"scope_spans":[{"spans":[{"start_time_unix_nano":"1"}]}]}]}',
      '{"resourceSpans":[{"scopeSpans":[{"spans":[{"later":1}]}]}],"new":[]}',
    ]
  ) {
    assert.equal(await (await post(body)).text(), "{}");
    assert.deepEqual(told.splice(0).map(({ kind }) => kind), ["accepted"]);
    assert.equal(submissions.splice(0)[0]?.items, 1);
  }
  const both = receiver({
    append: () => Promise.resolve({ partialSuccess: { rejected: 0, message: "of the Collector" } }),
  });
  const body = await (await both.post('{"resourceSpans":[{"a":1}]}')).text();
  assert.match(body, /of the Collector/);
});

testEachWay("a partial success reaches the sender, in its encoding", async (receiver) => {
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

testEachWay(
  "bad input has a status and a message that names the fault, in the request's encoding",
  async (receiver, way) => {
    const { post, submissions, admission } = receiver();
    const deep = wrap(1, wrap(2, wrap(2, Uint8Array.of(0x28, 7))));
    const bomb = new Uint8Array(gzipSync(Buffer.alloc(1 << 24)));
    assert.ok(bomb.length > bodyBytesMax && gzipSync(Buffer.alloc(1 << 22)).length < bodyBytesMax);
    const smallBomb = new Uint8Array(gzipSync(Buffer.alloc(1 << 22)));
    const unframed: [string, Uint8Array<ArrayBuffer> | string, Record<string, string>, number, RegExp][] = [
      ["no length", ONE_SPAN, { "content-length": "-1" }, 400, /^Content-Length is not a number of bytes/],
      [
        "a length that is not the body's",
        ONE_SPAN,
        { "content-length": "5" },
        400,
        /^Body has \d+ bytes, its Content-Length says 5/,
      ],
    ];
    const table: [string, Uint8Array<ArrayBuffer> | string, Record<string, string>, number, RegExp][] = [
      [
        "truncated protobuf",
        ONE_SPAN_PROTOBUF.slice(0, -1),
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
      ["JSON as protobuf", ONE_SPAN, { type: protobuf }, 400, /^Malformed protobuf/],
      ["protobuf as JSON", ONE_SPAN_PROTOBUF, { type: json }, 400, /^Malformed JSON/],
      ["broken JSON", '{"resourceSpans":[', {}, 400, /^Malformed JSON: the body ends too early$/],
      ["broken JSON within", '{"resourceSpans": 1 1}', {}, 400, /^Malformed JSON: unexpected character 20 of the body/],
      ["an array", "[]", {}, 400, /an array at the top, an object wanted$/],
      [
        "an enum by a name that it has not",
        '{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_X"}]}]}]}',
        {},
        400,
        /kind: a string that is none of the enum's names$/,
      ],
      ["an empty body as JSON", "", {}, 400, /^Malformed JSON: the body is empty, \{\} is the empty request$/],
      ["no UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), { type: json }, 400, /the body is not UTF-8$/],
      ["no gzip", ONE_SPAN_PROTOBUF, { "content-encoding": "gzip" }, 400, /^Body is not gzip$/],
      [
        "rubbish behind gzip",
        new Uint8Array(Buffer.concat([gzipSync(ONE_SPAN_PROTOBUF), Buffer.alloc(1)])),
        { "content-encoding": "gzip" },
        400,
        /^Body has 1 bytes behind its gzip member$/,
      ],
      [
        "truncated gzip",
        new Uint8Array(gzipSync(ONE_SPAN_PROTOBUF).subarray(0, -9)),
        { "content-encoding": "gzip" },
        400,
        /^Gzip body is truncated$/,
      ],
      [
        "truncated gzip of JSON",
        new Uint8Array(gzipSync(ONE_SPAN).subarray(0, -9)),
        { "content-encoding": "gzip", type: json },
        400,
        /^Gzip body is truncated$/,
      ],
      ["no zstd", ONE_SPAN_PROTOBUF, { "content-encoding": "zstd" }, 400, /^Body is not zstd$/],
      [
        "zstd that is cut short",
        new Uint8Array(zstdCompressSync(ONE_SPAN_PROTOBUF).subarray(0, -1)),
        { "content-encoding": "zstd" },
        400,
        /^Zstd body is truncated$/,
      ],
      [
        "bytes behind the deflate stream",
        Buffer.concat([deflateSync(ONE_SPAN_PROTOBUF), deflateSync(ONE_SPAN_PROTOBUF)]),
        { "content-encoding": "deflate" },
        400,
        /^Body has \d+ bytes behind its deflate stream$/,
      ],
      ["no deflate", ONE_SPAN_PROTOBUF, { "content-encoding": "deflate" }, 400, /^Body is not deflate, as/],
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
        ONE_SPAN,
        { type: "text/plain" },
        415,
        /^Content-Type is not supported; use application\/x-protobuf or application\/json$/,
      ],
      ["a type that only begins right", ONE_SPAN, { type: "application/jsonl" }, 415, /^Content-Type is not supported/],
      ["no type", ONE_SPAN_PROTOBUF, { type: "" }, 415, /^Content-Type is missing; use application\/x-protobuf/],
      [
        "an unknown coding",
        ONE_SPAN,
        { "content-encoding": "br" },
        415,
        /^Content-Encoding is not supported; use gzip, deflate, zstd or none/,
      ],
      ["two codings", ONE_SPAN, { "content-encoding": "gzip, gzip" }, 415, /^Content-Encoding is not supported/],
      // On a socket the first is nothing that HTTP could be read from, and the second a body that is cut at five bytes.
      ...(way === "web" ? unframed : []),
      [
        "a wrong path",
        ONE_SPAN,
        { path: "/v1/profiles" },
        404,
        /^No such path; use \/v1\/traces, \/v1\/metrics, \/v1\/logs, \/v1development\/profiles$/,
      ],
      ["a path below", ONE_SPAN, { path: "/v1/traces/x" }, 404, /^No such path/],
      ["the root", ONE_SPAN, { path: "/" }, 404, /^No such path/],
    ];
    for (const [name, body, headers, status, message] of table) {
      const type = headers["type"] ?? (typeof body === "string" ? json : protobuf);
      const response = await post(body, { ...headers, type });
      const mediaType = both.includes(type as MediaType) ? type as MediaType : json;
      await assertRefused(response, status, message, mediaType).catch((error) => {
        throw new Error(`${name}: ${error instanceof Error ? error.message : error}`);
      });
      assert.equal(admission.bytes, 0, name);
    }
    assert.deepEqual(submissions, []);
  },
);

testEachWay("a body of exactly the limit is taken, raw, inflated, stated or not", async (receiver) => {
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

testEachWay("what is over a bound has the answer and the reason of README.md's table", async (receiver) => {
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
    await assertRefused(await post(body, headers), status, message, headers["type"] === protobuf ? protobuf : json);
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
    permit.arrived(held);
    await assertRefused(await post("{}", { "content-length": "2" }), status, /in flight/);
    assert.deepEqual(told.splice(0).map((one) => "code" in one ? one.code : one.kind), [reason]);
    permit.release();
  }
});

testEachWay(
  "what the queue has no room for is refused before its body is read, of a stated length and of none",
  async (receiver) => {
    const full = new Refusal("queue_full", "The queue is full for eu; retry", { retryAfterS: 1 });
    const asked: [readonly number[], number][] = [];
    let read = 0;
    const body = () =>
      new ReadableStream({
        pull(controller) {
          read++;
          controller.enqueue(new Uint8Array(16));
          if (read > 1_000) controller.error(new Error("It is read on and on"));
        },
      }, { highWaterMark: 0 });
    const { post, told, submissions } = receiver({
      targetsFor: (signal, sender) => signal === "logs" && sender === "anonymous" ? [2, 7] : [1],
      admits: (targets, bytes) => {
        asked.push([targets, bytes]);
        return targets.includes(7) ? full : undefined;
      },
    });
    const logs = { path: "/v1/logs", type: PROTOBUF };
    await assertRefused(
      await post(body(), { ...logs, "content-length": "500" }),
      503,
      /^The queue is full for eu/,
      PROTOBUF,
    );
    await assertRefused(
      await post(body(), { ...logs, "content-length": "500", "content-encoding": "gzip" }),
      503,
      /full for eu/,
      PROTOBUF,
    );
    assert.ok(read < 1_000, `${read} pieces were read`);
    await assertRefused(await post(body(), logs), 503, /full for eu/, PROTOBUF);
    // Only what comes as it is kept has a length that is known; of an empty request nothing is kept.
    assert.deepEqual(asked.splice(0), [[[2, 7], 0], [[2, 7], 500], [[2, 7], 0]]);
    assert.equal((await post(new Uint8Array(0), { ...logs, "content-length": "0" })).status, 200);
    assert.deepEqual(asked, []);
    assert.equal((await post(ONE_SPAN_PROTOBUF, { type: PROTOBUF })).status, 200);
    assert.deepEqual(asked, [[[1], 0]]);
    assert.equal(submissions.length, 1);
    assert.deepEqual(told.map((one) => "code" in one ? one.code : one.kind), [
      "queue_full",
      "queue_full",
      "queue_full",
      "accepted",
      "accepted",
    ]);
  },
);

testEachWay("refusals of append keep their status, Retry-After and words", async (receiver) => {
  const refusals: [Refusal, number, string | null][] = [
    [new Refusal("queue_full", "The queue is full; retry", { retryAfterS: 17 }), 503, "2"],
    [new Refusal("throttled", "The Collector throttles; retry", { retryAfterS: 2.5 }), 429, "3"],
    [new Refusal("storage_failed", "Cannot write; retry"), 503, "1"],
    [new Refusal("rejected_upstream", "The Collector refused it"), 400, null],
  ];
  for (const [refusal, status, retryAfter] of refusals) {
    for (const type of both) {
      const { post, told } = receiver({ append: () => Promise.reject(refusal) });
      const response = await post(type === json ? ONE_SPAN : ONE_SPAN_PROTOBUF, { type });
      assert.equal(response.headers.get("retry-after"), retryAfter);
      await assertRefused(response, status, new RegExp(`^${refusal.message}$`), type);
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

testEachWay(
  "a defect never leaves as 500, nor its words: 503 with Retry-After, and the fault is told",
  async (receiver) => {
    const defect = new TypeError("undefined is not a function at /home/secret");
    const boom = () => {
      throw defect;
    };
    const broken: [string, Partial<ReceiverAppOptions>, number][] = [
      ["append rejects", { append: () => Promise.reject(defect) }, 2],
      ["append throws", { append: boom }, 2],
      ["the authenticator throws", { authenticator: { authenticate: boom } }, 1],
      ["events throw", {
        events: { accepted: boom, unrecognised: () => {}, redacted: () => {}, refused: () => {}, failed: () => {} },
      }, 0],
    ];
    for (const [name, options, toldOf] of broken) {
      for (const type of both) {
        const { post, told, admission } = receiver(options);
        const response = await post(type === json ? ONE_SPAN : ONE_SPAN_PROTOBUF, { type });
        await assertRefused(response, 503, /^The relay failed to take the request; retry$/, type);
        assert.equal(admission.bytes, 0, name);
        if (toldOf === 0) continue;
        assert.deepEqual(told[0], { kind: "failed", error: defect });
        assert.equal(told[1]!.kind === "refused" && told[1]!.code, "internal");
      }
    }
  },
);

testEachWay("401 has WWW-Authenticate and 403 has not; neither reads the body or holds room", async (receiver) => {
  const secret = "s3cret-s3cret";
  const authenticator = new TokenAuthenticator([{ id: "edge", sha256: digestOf(secret), signals: ["traces"] }]);
  for (const type of both) {
    const { post, told, admission, submissions } = receiver({ authenticator });
    const body = type === json ? ONE_SPAN : ONE_SPAN_PROTOBUF;
    await assertRefused(
      await post(body, { type }),
      401,
      /^Not authenticated: no token; set Authorization: Bearer TOKEN, or x-api-key$/,
      type,
    );
    await assertRefused(
      await post(body, { type, authorization: "Bearer wrong" }),
      401,
      /^Not authenticated: the token is not known$/,
      type,
    );
    const forbidden = await post(body, { type, path: "/v1/logs", authorization: `Bearer ${secret}` });
    await assertRefused(forbidden, 403, /^Token edge may not send logs; it may send traces$/, type);
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
    await assertRefused(await post(endless, { type, authorization: "Bearer wrong" }), 401, /not known/, type);
  }
});

testEachWay("no refusal repeats what the sender sent", async (receiver) => {
  const secret = "hunter2";
  const authenticator = new TokenAuthenticator([{ id: "edge", sha256: digestOf(secret), signals: ["traces"] }]);
  const { post } = receiver({ authenticator });
  const authorization = `Bearer ${secret}`;
  const inSpan = (members: string) => `{"resourceSpans":[{"scopeSpans":[{"spans":[{${members}}]}]}]}`;
  const answers = [
    await post(ONE_SPAN, { authorization: "Basic zzyzx" }),
    await post(ONE_SPAN, { authorization: "Bearer zzyzx" }),
    await post(ONE_SPAN, { "x-api-key": "zzyzx" }),
    await post(ONE_SPAN, { authorization, path: "/zzyzx" }),
    await post(ONE_SPAN, { authorization, type: "text/zzyzx" }),
    await post(ONE_SPAN, { authorization, "content-encoding": "zzyzx" }),
    await post(ONE_SPAN, { authorization, "content-length": "zzyzx" }),
    await post('{"zzyzx":', { authorization }),
    await post("zzyzx", { authorization }),
    await post(inSpan('"traceId":"zzyzx"'), { authorization }),
    await post(inSpan('"startTimeUnixNano":"zzyzx"'), { authorization }),
    await post(inSpan('"zzyzx":1,"kind":"zzyzx"'), { authorization }),
    await post("zzyzx zzyzx zzyzx", { authorization, type: protobuf }),
    await post(ONE_SPAN, { authorization, path: "/v1/logs", "x-zzyzx": "1" }),
  ];
  for (const response of answers) {
    assert.ok(response.status >= 400);
    const said = `${await response.text()} ${JSON.stringify([...response.headers])}`;
    assert.ok(!said.includes("zzyzx") && !said.includes("hunter2"), said);
  }
});

testEachWay(
  "whatever happens to requests, the room they held is given back, and none is answered 500",
  async (receiver, way) => {
    for (let seed = 1; seed <= 15; seed++) {
      const random = new Random(seed);
      const { post, admission, told } = receiver({
        admission: new Admission(600_000),
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
        const whole = type === json ? new Uint8Array(Buffer.from(ONE_SPAN)) : ONE_SPAN_PROTOBUF.slice();
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
      // A body that breaks off takes its connection along, where there is one.
      const settled = await Promise.allSettled(answers);
      const statuses = settled.filter((one) => one.status === "fulfilled").map(({ value: { status } }) => status);
      assert.ok(statuses.length === 60 || way !== "web");
      assert.ok(statuses.every((status) => [200, 400, 413, 415, 429, 503].includes(status)), statuses.join(" "));
      assert.ok(new Set(statuses).size >= 4, statuses.join(" "));
      const outcomes = () => told.filter(({ kind }) => kind !== "failed").length;
      for (let left = 400; outcomes() < 60 && left > 0; left--) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(outcomes(), 60, "each request has one outcome");
      assert.equal(admission.bytes, 0);
    }
  },
);

testEachWay("what is kept may be longer than what was sent, and is held for", async (receiver) => {
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

testEachWay("when the relay stops, new requests are refused and those inside are answered", async (receiver) => {
  let keep: (accepted: Accepted) => void = () => {};
  const appended = Promise.withResolvers<void>();
  const { post, admission } = receiver({
    append: () => {
      appended.resolve();
      return new Promise((resolve) => keep = resolve);
    },
  });
  const inside = post(ONE_SPAN);
  await appended.promise;
  admission.close();
  const late = await post(ONE_SPAN);
  assert.equal(late.headers.get("connection"), "close");
  await assertRefused(late, 503, /^The relay is shutting down; retry/);
  keep({});
  assert.equal((await inside).status, 200);
});

testEachWay("a request that cannot be merged says so", async (receiver) => {
  const { post, submissions } = receiver();
  const body = new Uint8Array(Buffer.concat([ONE_SPAN_PROTOBUF, wrap(2, new Uint8Array(1))]));
  assert.equal((await post(body, { type: protobuf })).status, 200);
  assert.equal(submissions[0]!.mergeable, false);
});
