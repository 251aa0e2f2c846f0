import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import type { Hono } from "hono";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { type DropReason, Refusal } from "../../../src/errors.ts";
import { ERROR_CODE, FLAG, frame, FRAME_TYPE, SETTING } from "../../../src/http2/frame.ts";
import { encodeFields } from "../../../src/http2/hpack.ts";
import type { Field } from "../../../src/http2/hpack_tables.ts";
import { GRPC_CODE, messagePrefix } from "../../../src/otlp/grpc.ts";
import { RETRYABLE_CODES } from "../../support/far_end/grpc_codes.ts";
import { decodeSuccess } from "../../../src/otlp/response.ts";
import { Walker } from "../../../src/otlp/wire.ts";
import type { Accepted } from "../../../src/queue/queue.ts";
import { Deadlines } from "../../../src/receiver/deadlines.ts";
import { type GrpcListenOptions, listenOnGrpc } from "../../../src/receiver/grpc/listener.ts";
import { refusalAnswer } from "../../../src/receiver/answer.ts";
import type { Answer, Inbound } from "../../../src/receiver/inbound.ts";
import { SIGNALS } from "../../../src/signal.ts";
import { instrument } from "../../../src/telemetry/instrument.ts";
import { Random } from "../../support/bodies/requests.ts";
import { sendRaw } from "../../support/bodies/raw_http.ts";
import { GrpcClient, TRACES } from "../../support/far_end/grpc_client.ts";
import { RawHttp2 } from "../../support/far_end/raw_http2.ts";
import {
  BODY_BYTES_MAX,
  makeReceiver,
  ONE_SPAN_PROTOBUF,
  requestOf,
  type TestReceiverOptions,
  withToken,
} from "../../support/relay/receiver.ts";
import { MetricCollector } from "../../support/relay/telemetry.ts";
import { waitWhile } from "../../support/wait_while.ts";

/** A receiver that is asked by gRPC, and one connection to it. */
async function receiving(options: TestReceiverOptions = {}, instrumented?: (app: Hono) => void) {
  const stack = new AsyncDisposableStack();
  const receiver = makeReceiver("grpc", stack, options, instrumented);
  const client = stack.use(await GrpcClient.connect(await receiver.url()));
  return { ...receiver, client, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const GRPC_HEADER: readonly Field[] = [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", TRACES],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
];

Deno.test("each signal is taken in every coding, and kept as the same request", async () => {
  const codings: Readonly<Record<string, (body: Uint8Array) => Uint8Array>> = {
    gzip: (body) => gzipSync(body),
    deflate: (body) => deflateSync(body),
    zstd: (body) => zstdCompressSync(body),
    identity: (body) => body,
  };
  const bodies = {
    traces: ONE_SPAN_PROTOBUF,
    // A metric's data point, a log record, a profile: field 1 > 2 > 2 (> 5 > 1).
    metrics: Uint8Array.of(10, 8, 18, 6, 18, 4, 42, 2, 10, 0),
    logs: Uint8Array.of(10, 4, 18, 2, 18, 0),
    profiles: Uint8Array.of(10, 4, 18, 2, 18, 0),
  };
  await using one = await receiving();
  for (const { name, grpcPath } of SIGNALS) {
    for (const [encoding, compress] of Object.entries(codings)) {
      const message = compress(bodies[name]);
      const answer = await one.client.call(message, {
        path: grpcPath,
        metadata: [["grpc-encoding", encoding]],
        compressed: encoding !== "identity",
      });
      assert.deepEqual([answer.code, answer.messages.map((each) => each.length)], [0, [0]], `${name} ${encoding}`);
      assert.deepEqual(answer.fields.slice(0, 2), [[":status", "200"], ["content-type", "application/grpc"]]);
      const { payload, ...kept } = one.submissions.pop()!;
      assert(gunzipSync(payload).equals(bodies[name]));
      const { items } = new Walker().walk(name, bodies[name]);
      assert.deepEqual([kept.signal, kept.items, kept.inflatedBytes, kept.sender], [
        name,
        items,
        bodies[name].length,
        "anonymous",
      ]);
      assert.deepEqual(one.told.pop(), { kind: "accepted", signal: name, sender: "anonymous", items });
    }
  }
});

Deno.test("what is not flagged is not inflated, whatever grpc-encoding says", async () => {
  await using one = await receiving();
  const { code } = await one.client.call(ONE_SPAN_PROTOBUF, { metadata: [["grpc-encoding", "gzip"]] });
  assert.equal(code, 0);
  assert.equal(one.submissions.length, 1);
});

Deno.test("an empty message succeeds and keeps nothing", async () => {
  await using one = await receiving({ append: () => assert.fail("nothing is to be kept") });
  assert.equal((await one.client.call(new Uint8Array(0))).code, 0);
});

Deno.test("a message of exactly the limit is taken, in as many frames as it comes", async () => {
  await using one = await receiving();
  assert.equal((await one.client.call(requestOf(BODY_BYTES_MAX))).code, 0);
  const { stream, answer } = one.client.open();
  const bytes = Buffer.concat([messagePrefix(ONE_SPAN_PROTOBUF.length, false), ONE_SPAN_PROTOBUF]);
  for (const byte of bytes) {
    stream.sendData(Uint8Array.of(byte));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  stream.sendData(new Uint8Array(0), true);
  assert.equal((await answer).code, 0);
  assert.deepEqual(one.submissions.map(({ items }) => items), [0, 2]);
});

Deno.test("a partial success reaches the sender", async () => {
  const partialSuccess = { rejected: 3, message: "too old" };
  await using one = await receiving({ append: () => Promise.resolve({ partialSuccess }) });
  const { code, messages: [message] } = await one.client.call(ONE_SPAN_PROTOBUF);
  assert.equal(code, 0);
  assert.deepEqual(decodeSuccess("traces", "application/x-protobuf", message!), partialSuccess);
});

Deno.test("OK waits for append", async () => {
  let keep: (accepted: Accepted) => void = () => {};
  const appended = Promise.withResolvers<void>();
  await using one = await receiving({
    append: () => {
      appended.resolve();
      return new Promise((resolve) => keep = resolve);
    },
  });
  let answered = false;
  const answer = one.client.call(ONE_SPAN_PROTOBUF).finally(() => answered = true);
  await appended.promise;
  // Another call of the connection is answered meanwhile.
  assert.equal((await one.client.call(new Uint8Array(0))).code, 0);
  assert.equal(answered, false);
  keep({});
  assert.equal((await answer).code, 0);
});

/** What is refused, and as what. */
const REFUSED: Readonly<
  Record<
    string,
    readonly [
      code: keyof typeof GRPC_CODE,
      told: string,
      message: RegExp,
      act: (client: GrpcClient) => Promise<unknown>,
    ]
  >
> = {
  "a message over the limit, before a byte of it": [
    "RESOURCE_EXHAUSTED",
    "too_large",
    /over the limit of 10000 bytes/,
    (client) => {
      const { stream, answer } = client.open();
      stream.sendData(messagePrefix(BODY_BYTES_MAX + 1, false));
      return answer;
    },
  ],
  "a message that inflates over the limit": [
    "RESOURCE_EXHAUSTED",
    "too_large",
    /over the limit of 10000 bytes/,
    (client) =>
      client.call(gzipSync(requestOf(BODY_BYTES_MAX + 1)), { compressed: true, metadata: [["grpc-encoding", "gzip"]] }),
  ],
  "bytes behind the message": ["INVALID_ARGUMENT", "malformed", /bytes behind its message/, (client) => {
    const { stream, answer } = client.open();
    stream.sendData(Buffer.concat([messagePrefix(2, false), Buffer.from("abc")]), true);
    return answer;
  }],
  "two messages": ["INVALID_ARGUMENT", "malformed", /bytes behind its message/, (client) => {
    const { stream, answer } = client.open();
    const one = Buffer.concat([messagePrefix(ONE_SPAN_PROTOBUF.length, false), ONE_SPAN_PROTOBUF]);
    stream.sendData(one);
    stream.sendData(one, true);
    return answer;
  }],
  "no message": ["INVALID_ARGUMENT", "malformed", /has no message/, (client) => {
    const { stream, answer } = client.open();
    stream.sendData(new Uint8Array(0), true);
    return answer;
  }],
  "half a prefix": ["INVALID_ARGUMENT", "malformed", /ends within the prefix/, (client) => {
    const { stream, answer } = client.open();
    stream.sendData(new Uint8Array(3), true);
    return answer;
  }],
  "half a message": ["INVALID_ARGUMENT", "malformed", /has 1 bytes, its prefix says 2/, (client) => {
    const { stream, answer } = client.open();
    stream.sendData(Buffer.concat([messagePrefix(2, false), Buffer.from("a")]), true);
    return answer;
  }],
  "a flag that is none": ["INVALID_ARGUMENT", "malformed", /neither 0 nor 1/, (client) => {
    const { stream, answer } = client.open();
    stream.sendData(Uint8Array.of(2, 0, 0, 0, 0), true);
    return answer;
  }],
  "a flag without grpc-encoding": [
    "INVALID_ARGUMENT",
    "malformed",
    /flagged as compressed/,
    (client) => client.call(gzipSync(ONE_SPAN_PROTOBUF), { compressed: true }),
  ],
  "a flag with a grpc-encoding that names none": [
    "INVALID_ARGUMENT",
    "malformed",
    /flagged as compressed/,
    (client) => client.call(ONE_SPAN_PROTOBUF, { compressed: true, metadata: [["grpc-encoding", ""]] }),
  ],
  "an unknown grpc-encoding": [
    "UNIMPLEMENTED",
    "unsupported_encoding",
    /not supported/,
    (client) => client.call(ONE_SPAN_PROTOBUF, { compressed: true, metadata: [["grpc-encoding", "br"]] }),
  ],
  "what is no gzip": [
    "INVALID_ARGUMENT",
    "malformed",
    /./,
    (client) => client.call(ONE_SPAN_PROTOBUF, { compressed: true, metadata: [["grpc-encoding", "gzip"]] }),
  ],
  "what is no protobuf": ["INVALID_ARGUMENT", "malformed", /./, (client) => client.call(Buffer.from("hello"))],
  "a grpc-timeout that is none": [
    "INVALID_ARGUMENT",
    "malformed",
    /grpc-timeout/,
    (client) => client.call(ONE_SPAN_PROTOBUF, { metadata: [["grpc-timeout", "soon"]] }),
  ],
  "an unknown method": [
    "UNIMPLEMENTED",
    "not_found",
    /No such method; use \/opentelemetry/,
    (client) => client.call(ONE_SPAN_PROTOBUF, { path: "/opentelemetry.proto.collector.trace.v1.TraceService/Import" }),
  ],
  "a path of OTLP/HTTP": [
    "UNIMPLEMENTED",
    "not_found",
    /No such method/,
    (client) => client.call(ONE_SPAN_PROTOBUF, { path: "/v1/traces" }),
  ],
  "a path that is none": [
    "UNIMPLEMENTED",
    "not_found",
    /No such method/,
    (client) => client.call(ONE_SPAN_PROTOBUF, { path: "*" }),
  ],
  "a header over the limit": [
    "RESOURCE_EXHAUSTED",
    "header_too_large",
    /16384 bytes/,
    (client) =>
      client.call(ONE_SPAN_PROTOBUF, { metadata: Array.from({ length: 450 }, (_, at) => [`a${at}`, "0"] as const) }),
  ],
};

for (const [name, [code, told, message, act]] of Object.entries(REFUSED)) {
  Deno.test(`refused with ${code}: ${name}`, async () => {
    await using one = await receiving();
    const answer = await act(one.client) as Awaited<ReturnType<GrpcClient["call"]>>;
    assert.deepEqual([answer.code, answer.retryMs, answer.messages], [GRPC_CODE[code], undefined, []], answer.message);
    assert.match(answer.message, message);
    assert(answer.trailersOnly);
    assert.deepEqual(one.told.map((each) => each.kind === "refused" ? each.code : each.kind), [told]);
    // The connection goes on, and the room is given back.
    assert.equal((await one.client.call(ONE_SPAN_PROTOBUF)).code, 0);
    assert.equal(one.admission.bytes, 0);
  });
}

Deno.test("a grpc-timeout that is none, or odd, ends its own call and no other", async () => {
  await using one = await receiving();
  const call = (...values: readonly string[]) =>
    one.client.call(ONE_SPAN_PROTOBUF, { metadata: values.map((value) => ["grpc-timeout", value] as const) });
  for (
    const none of [
      "",
      "S",
      "1",
      "-1S",
      "+1S",
      "1.5S",
      "1s",
      "0x1S",
      "1S1S",
      "1 S",
      "123456789S",
      "1e3S",
      "NaNS",
      "1\xc3S",
    ]
  ) {
    const { code, message } = await call(none);
    assert.deepEqual([code, /grpc-timeout/.test(message)], [GRPC_CODE.INVALID_ARGUMENT, true], none);
  }
  for (const long of ["1H", "99999999H", "00000010S", "99999999M"]) assert.equal((await call(long)).code, 0, long);
  assert.equal((await call("99999999H", "soon")).code, 0, "of several the first counts");
  assert.equal((await call("soon", "1H")).code, GRPC_CODE.INVALID_ARGUMENT);
});

Deno.test("a grpc-timeout of nothing ends a call that waits", async () => {
  await using one = await receiving({ append: () => new Promise(() => {}) });
  for (const none of ["0H", "0n", "1n", "00000000S"]) {
    const { code } = await one.client.call(ONE_SPAN_PROTOBUF, { metadata: [["grpc-timeout", none]] });
    assert.equal(code, GRPC_CODE.DEADLINE_EXCEEDED, none);
  }
});

Deno.test("what stands behind a message, or in its place, ends its own call and no other", async () => {
  await using one = await receiving();
  const peer = await RawHttp2.connect(Number(new URL(await one.url()).port));
  peer.begin();
  const status = async (id: number) => {
    for (;;) {
      const { id: of, fields } = await peer.next(FRAME_TYPE.headers);
      const code = fields?.find(([name]) => name === "grpc-status")?.[1];
      if (of === id && code !== undefined) return Number(code);
    }
  };
  const empty = messagePrefix(0, false);
  // Trailers in the place of END_STREAM, which no client of gRPC sends.
  peer.headers(1, GRPC_HEADER);
  peer.data(1, empty);
  peer.headers(1, [["x-late", "1"]], true);
  assert.equal(await status(1), GRPC_CODE.OK);
  // Trailers before the message has come whole.
  peer.headers(3, GRPC_HEADER);
  peer.data(3, empty.subarray(0, 3));
  peer.headers(3, [["x-late", "1"]], true);
  assert.equal(await status(3), GRPC_CODE.INVALID_ARGUMENT);
  // A header alone.
  peer.headers(5, GRPC_HEADER, true);
  assert.equal(await status(5), GRPC_CODE.INVALID_ARGUMENT);
  // A prefix in padded frames of a byte each.
  peer.headers(7, GRPC_HEADER);
  for (const byte of empty) peer.write(frame(FRAME_TYPE.data, FLAG.padded, 7, Buffer.of(2, byte, 0, 0)));
  peer.data(7, "", true);
  assert.equal(await status(7), GRPC_CODE.OK);
  // The largest length that a prefix can state.
  peer.headers(9, GRPC_HEADER);
  peer.data(9, Uint8Array.of(0, 255, 255, 255, 255));
  assert.equal(await status(9), GRPC_CODE.RESOURCE_EXHAUSTED);
  peer.destroy();
});

Deno.test("an unknown grpc-encoding is told which ones are known", async () => {
  await using one = await receiving();
  const { fields } = await one.client.call(ONE_SPAN_PROTOBUF, {
    compressed: true,
    metadata: [["grpc-encoding", "lz4"]],
  });
  assert(fields.some(([name, value]) => name === "grpc-accept-encoding" && value === "identity, gzip, deflate, zstd"));
});

Deno.test("tokens as metadata: authorization and x-api-key; without one UNAUTHENTICATED, and the connection is given up", async () => {
  await using stack = new AsyncDisposableStack();
  const one = withToken((options) => makeReceiver("grpc", stack, options), { signals: ["traces"] });
  const url = await one.url();
  // Go's library and C's send metadata as they are given, with a blank at the end.
  for (const metadata of [["authorization", "Bearer secret"], ["x-api-key", " secret "]] as const) {
    await using client = await GrpcClient.connect(url);
    assert.equal((await client.call(ONE_SPAN_PROTOBUF, { metadata: [metadata] })).code, 0);
    const path = SIGNALS[2]!.grpcPath;
    const { code } = await client.call(ONE_SPAN_PROTOBUF, { metadata: [metadata], path });
    assert.equal(code, GRPC_CODE.PERMISSION_DENIED);
    // Who has proved who it is keeps its connection, whatever it says next.
    assert.equal((await client.call(ONE_SPAN_PROTOBUF)).code, GRPC_CODE.UNAUTHENTICATED);
    assert.equal((await client.call(ONE_SPAN_PROTOBUF, { metadata: [metadata] })).code, 0);
  }
  for (const metadata of [[], [["authorization", "Bearer other"]]] as const) {
    await using client = await GrpcClient.connect(url);
    const answer = await client.call(ONE_SPAN_PROTOBUF, { metadata });
    assert.equal(answer.code, GRPC_CODE.UNAUTHENTICATED);
    assert.doesNotMatch(answer.message, /other/);
    await client.goaway;
    assert.equal((await client.ended).reason, "closed");
  }
  assert.equal(one.submissions.length, 4);
});

Deno.test("what may be retried has a code that OTLP lets be retried, and RetryInfo, never above max_retry_after", async () => {
  const refusals: readonly (readonly [Refusal, keyof typeof GRPC_CODE])[] = [
    [new Refusal("queue_full", "The queue is full", { retryAfterS: 3_600 }), "UNAVAILABLE"],
    [new Refusal("storage_failed", "The disk failed"), "UNAVAILABLE"],
    [new Refusal("throttled", "Too much", { retryAfterS: 2, spread: false }), "RESOURCE_EXHAUSTED"],
    [new Refusal("internal", "A fault"), "UNAVAILABLE"],
    [new Refusal("upstream_unavailable", "The Collector is away"), "UNAVAILABLE"],
  ];
  for (const [refusal, code] of refusals) {
    await using one = await receiving({ append: () => Promise.reject(refusal) });
    const answer = await one.client.call(ONE_SPAN_PROTOBUF);
    assert.deepEqual([answer.code, answer.message], [GRPC_CODE[code], refusal.message]);
    assert(answer.retryMs !== undefined && answer.retryMs >= 1_000 && answer.retryMs <= 5_000, `${answer.retryMs}`);
    assert(RETRYABLE_CODES.has(answer.code) || answer.code === GRPC_CODE.RESOURCE_EXHAUSTED);
  }
});

Deno.test("a defect leaves as UNAVAILABLE without its words, and is told", async () => {
  await using one = await receiving({ append: () => Promise.reject(new Error("secret words")) });
  const answer = await one.client.call(ONE_SPAN_PROTOBUF);
  assert.equal(answer.code, GRPC_CODE.UNAVAILABLE);
  assert.doesNotMatch(answer.message, /secret/);
  assert(one.told.some((each) => each.kind === "failed" && String(each.error).includes("secret words")));
});

Deno.test("a body that breaks off is refused, and gives its room back", async () => {
  await using one = await receiving();
  const { stream } = one.client.open();
  stream.sendData(Buffer.concat([messagePrefix(5_000, false), Buffer.alloc(3_000)]));
  await waitWhile(() => one.admission.bytes === 0);
  stream.reset();
  await waitWhile(() => one.told.length === 0);
  assert.equal(one.admission.bytes, 0);
  const [refused] = one.told;
  assert(refused?.kind === "refused" && refused.code === "body_incomplete");
});

Deno.test("a body that does not come in time is DEADLINE_EXCEEDED, and may be sent again", async () => {
  await using one = await receiving({ limits: { bodyBytesMax: BODY_BYTES_MAX, deadlines: new Deadlines(20) } });
  const { stream, answer } = one.client.open();
  stream.sendData(messagePrefix(100, false));
  const { code, retryMs } = await answer;
  assert.equal(code, GRPC_CODE.DEADLINE_EXCEEDED);
  assert.equal(retryMs, 1_000);
  assert(one.told.some((each) => each.kind === "refused" && each.code === "body_timeout"));
});

Deno.test("grpc-timeout that ends before the commit is DEADLINE_EXCEEDED; what was under way is kept", async () => {
  let keep: (accepted: Accepted) => void = () => {};
  await using one = await receiving({ append: () => new Promise((resolve) => keep = resolve) });
  const metadata = [["grpc-timeout", "50m"]] as const;
  const answer = await one.client.call(ONE_SPAN_PROTOBUF, { metadata });
  assert.equal(answer.code, GRPC_CODE.DEADLINE_EXCEEDED);
  assert.match(answer.message, /may have been kept/);
  keep({});
  await waitWhile(() => one.told.length === 0);
  assert.deepEqual(one.told.map(({ kind }) => kind), ["accepted"]);
  // And while its message is still to come.
  const late = one.client.open({ metadata });
  assert.equal((await late.answer).code, GRPC_CODE.DEADLINE_EXCEEDED);
  const half = one.client.open({ metadata });
  half.stream.sendData(messagePrefix(100, false));
  assert.equal((await half.answer).code, GRPC_CODE.DEADLINE_EXCEEDED);
  await waitWhile(() => one.told.length < 3);
  assert.deepEqual(one.told.slice(1).map((each) => each.kind === "refused" && each.code), [
    "body_timeout",
    "body_timeout",
  ]);
  assert.equal(one.admission.bytes, 0);
});

Deno.test("a request is seen by the instrumentation as one of OTLP/HTTP is", async () => {
  const seen = async (way: "grpc" | "node") => {
    await using stack = new AsyncDisposableStack();
    const reader = new MetricCollector();
    const meterProvider = new MeterProvider({ readers: [reader] });
    const receiver = makeReceiver(way, stack, {}, (app) => instrument(app, { meterProvider }));
    if (way === "node") {
      await (await receiver.post(ONE_SPAN_PROTOBUF, { type: "application/x-protobuf" })).body?.cancel();
      await (await receiver.post("hello", { type: "application/x-protobuf" })).body?.cancel();
    } else {
      await using client = await GrpcClient.connect(await receiver.url());
      await client.call(ONE_SPAN_PROTOBUF);
      await client.call(Buffer.from("hello"));
    }
    const metric = (await reader.byName()).get("http.server.request.duration");
    return metric?.dataPoints.map(({ attributes }) => attributes);
  };
  const [byHttp, byGrpc] = [await seen("node"), await seen("grpc")];
  assert.equal(byHttp?.length, 2);
  assert.deepEqual(byGrpc, byHttp);
});

// The listener itself.

const LIMITS: GrpcListenOptions["limits"] = {
  connectionsMax: 10,
  addressConnectionsMax: 0,
  headerBytesMax: 8_192,
  headerMs: 10_000,
  bodyMs: 10_000,
  idleMs: 10_000,
};

async function listening(options: Partial<GrpcListenOptions> = {}, answer?: (inbound: Inbound) => Promise<Answer>) {
  const dropped: DropReason[] = [];
  const refused: Refusal[] = [];
  const failed: unknown[] = [];
  const listener = await listenOnGrpc({
    hostname: "127.0.0.1",
    port: 0,
    limits: LIMITS,
    streamsMax: 5,
    unreadBytesMax: 1 << 20,
    isReady: () => true,
    answer: async (request, { inbound }) => {
      if (inbound === undefined) return new Response(request.url, { status: 404 });
      return await (answer ?? ok)(inbound) as unknown as Response;
    },
    events: {
      dropped: (reason) => void dropped.push(reason),
      refused: (refusal) => void refused.push(refusal),
      failed: (error) => void failed.push(error),
    },
    ...options,
  });
  const url = `http://127.0.0.1:${listener.port}`;
  return {
    ...listener,
    url,
    dropped,
    refused,
    failed,
    connect: () => GrpcClient.connect(url),
    raw: () => RawHttp2.connect(listener.port),
    async [Symbol.asyncDispose]() {
      const closed = listener.close();
      listener.abandon();
      await closed;
    },
  };
}

const TAKEN: Answer = { status: 200, headers: {}, body: new Uint8Array(0) };

async function ok({ body }: Inbound): Promise<Answer> {
  await body.forEachPiece(() => {});
  return TAKEN;
}

Deno.test("the app gets what gRPC says by the names of HTTP, and metadata as header fields", async () => {
  const seen: unknown[] = [];
  await using one = await listening({}, async ({ url, headers, body }) => {
    const pieces: Uint8Array[] = [];
    seen.push(
      url,
      ...["content-type", "content-encoding", "content-length", "accept-encoding", "x-a", "x-b", "user-agent"]
        .map((name) => headers.get(name)),
    );
    await body.forEachPiece((piece) => void pieces.push(piece));
    seen.push(Buffer.concat(pieces).toString());
    return { status: 200, headers: {}, body: new Uint8Array(Buffer.from("answer")) };
  });
  await using client = await one.connect();
  const { messages } = await client.call(Buffer.from("hello"), {
    compressed: true,
    metadata: [
      ["grpc-encoding", "gzip"],
      ["grpc-accept-encoding", "gzip"],
      ["accept-encoding", "gzip"],
      ["content-encoding", "br"],
      ["x-a", "1"],
      ["x-a", "2"],
      ["user-agent", "grpc-go/1"],
    ],
  });
  assert.deepEqual(seen, [
    "http://localhost/v1/traces",
    "application/x-protobuf",
    "gzip",
    "5",
    null,
    "1, 2",
    null,
    "grpc-go/1",
    "hello",
  ]);
  assert.deepEqual(messages.map(String), ["answer"]);
});

Deno.test("what is no gRPC is told so: OTLP/HTTP over HTTP/2 and over HTTP/1.1", async () => {
  await using one = await listening();
  await using client = await one.connect();
  const header: Field[] = [[":method", "POST"], [":scheme", "http"], [":path", "/v1/traces"], [
    "content-type",
    "application/json",
  ]];
  const { fields, code } = await client.call(Buffer.from("{}"), { header });
  assert.deepEqual([fields[0], code], [[":status", "415"], -1]);
  const answer = await sendRaw(one.url, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  assert.equal(answer.status, 400);
  assert.match(answer.body.toString(), /This port speaks OTLP\/gRPC; set the sender's protocol to grpc/);
  await assert.rejects(GrpcClient.connect(one.url.replace("http", "https")));
  assert.deepEqual(one.refused.map(({ code }) => code), ["unsupported_type", "malformed", "malformed"]);
  assert.match(one.refused[2]!.message, /^The connection is TLS, and this port serves none/);
});

Deno.test("a call whose message does not begin is waited for no longer than for a header", async () => {
  const limits = { ...LIMITS, headerMs: 50, bodyMs: 1 };
  await using one = await listening({ limits }, reading);
  await using client = await one.connect();
  const { code, retryMs } = await client.open().answer;
  assert.deepEqual([code, retryMs], [GRPC_CODE.DEADLINE_EXCEEDED, 1_000]);
});

Deno.test("bodies of senders that are not known yet are held up to a bound, over all connections", async () => {
  const known = Promise.withResolvers<void>();
  const codes: string[] = [];
  await using one = await listening({ unreadBytesMax: 100_000 }, async ({ body, headers }) => {
    await known.promise;
    try {
      await body.forEachPiece(() => {});
      codes.push("whole");
      return TAKEN;
    } catch (error) {
      assert(error instanceof Refusal);
      codes.push(error.code);
      return refusalAnswer(headers, error, error.retryAfterS);
    }
  });
  await using first = await one.connect();
  await using second = await one.connect();
  const answers = [first, second].map((client) => client.call(Buffer.alloc(60_000)));
  const third = second.call(new Uint8Array(0));
  // A PING that is answered says that what was sent before has been read.
  known.resolve();
  assert.equal((await third).code, 0);
  await Promise.all(answers);
  assert.deepEqual(codes.sort(), ["overloaded", "whole", "whole"]);
});

Deno.test("of a connection that has proved nothing a few calls are looked at, the others wait; with a proof all are", async () => {
  const seen: Inbound[] = [];
  const known = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  await using one = await listening({ streamsMax: 50 }, async (inbound) => {
    if (seen.push(inbound) === 20) all.resolve();
    await known.promise;
    inbound.peer.proved();
    await all.promise;
    return await reading(inbound);
  });
  await using client = await one.connect();
  const answers = Array.from({ length: 20 }, () => client.call(new Uint8Array(0)));
  // Another connection's calls do not wait for them; its answer says that what came before has been read.
  await using other = await one.connect();
  const first = other.call(new Uint8Array(0));
  await waitWhile(() => seen.length < 5);
  assert.equal(seen.length, 5);
  known.resolve();
  assert.deepEqual((await Promise.all([first, ...answers])).map(({ code }) => code), Array(21).fill(0));
});

/** As an app answers that reads the body. */
async function reading({ body, headers }: Inbound): Promise<Answer> {
  try {
    await body.forEachPiece(() => {});
    return TAKEN;
  } catch (error) {
    assert(error instanceof Refusal);
    return refusalAnswer(headers, error, error.retryAfterS);
  }
}

Deno.test("calls whose messages are waited for make room, those that wait longest first, and keep no sender out", async () => {
  await using one = await listening({ unreadBytesMax: 100_000, streamsMax: 200 }, reading);
  await using stranger = await one.connect();
  const metadata: readonly Field[] = [["x-long", "a".repeat(3_000)]];
  // Each is 5 KiB.
  const waiting = Array.from({ length: 60 }, () => stranger.open({ metadata }));
  for (const { answer } of waiting.slice(0, 40)) assert.equal((await answer).code, GRPC_CODE.UNAVAILABLE);
  await using sender = await one.connect();
  assert.equal((await sender.call(Buffer.alloc(60_000))).code, 0);
  const last = waiting.at(-1)!;
  last.stream.sendData(messagePrefix(0, false), true);
  assert.equal((await last.answer).code, 0);
  // What they held is given back, whichever way they ended.
  stranger.http2.destroy();
  await using next = await one.connect();
  const again = Array.from({ length: 15 }, () => next.open({ metadata }));
  for (const { stream } of again) stream.sendData(messagePrefix(0, false), true);
  for (const { answer } of again) assert.equal((await answer).code, 0);
});

Deno.test("many calls that are late at once are all told so", async () => {
  const limits = { ...LIMITS, headerMs: 50 };
  await using one = await listening({ limits, streamsMax: 200 }, reading);
  await using client = await one.connect();
  assert.equal((await client.call(new Uint8Array(0))).code, 0);
  const calls = Array.from({ length: 130 }, () => client.open());
  for (const { answer } of calls) assert.equal((await answer).code, GRPC_CODE.DEADLINE_EXCEEDED);
});

Deno.test("a small part of a body does not hold the packet that it came in", async () => {
  const known = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const held: number[] = [];
  await using one = await listening({}, async ({ body }) => {
    begun.resolve();
    await known.promise;
    await body.forEachPiece((piece) => void held.push(piece.buffer.byteLength));
    return TAKEN;
  });
  const peer = await one.raw();
  peer.begin();
  peer.headers(1, GRPC_HEADER);
  peer.data(1, messagePrefix(3, false));
  await begun.promise;
  const other = frame(FRAME_TYPE.data, FLAG.padded, 1, Buffer.concat([Buffer.from([255]), Buffer.alloc(255)]));
  for (const byte of [1, 2, 3]) {
    // A PING that is answered says that it has been read.
    peer.write(frame(FRAME_TYPE.data, 0, 1, Uint8Array.of(byte)), other, frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8)));
    await peer.next(FRAME_TYPE.ping);
  }
  peer.data(1, "", true);
  known.resolve();
  await peer.next(FRAME_TYPE.data);
  assert.deepEqual(held, [1, 1, 1]);
  peer.destroy();
});

Deno.test("what begins like application/grpc and is not it is told so, and not waited for", async () => {
  await using one = await listening({}, reading);
  for (const type of ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"]) {
    await using client = await one.connect();
    const header: readonly Field[] = [...GRPC_HEADER.slice(0, -1), ["content-type", type]];
    assert.equal((await client.call(new Uint8Array(0), { header })).code, 0, type);
  }
  for (const type of ["application/grpc-web", "application/grpc-web+proto", "application/grpcx"]) {
    const peer = await one.raw();
    peer.begin([[SETTING.streamWindow, 0]]);
    peer.headers(1, [...GRPC_HEADER.slice(0, -1), ["content-type", type]]);
    assert.deepEqual((await peer.next(FRAME_TYPE.headers)).fields![0], [":status", "415"], type);
    await peer.next(FRAME_TYPE.reset);
    peer.destroy();
  }
});

Deno.test("floods and what is against the rules are counted as dropped; so is who is idle", async () => {
  const limits = { ...LIMITS, headerMs: 1_000, bodyMs: 1, idleMs: 50 };
  await using one = await listening({ limits });
  const flood = await one.raw();
  flood.begin();
  flood.write(...Array.from({ length: 2_000 }, () => frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8))));
  assert.equal(await flood.goaway(), ERROR_CODE.calm);
  const wrong = await one.raw();
  wrong.begin();
  wrong.data(0, "a");
  assert.equal(await wrong.goaway(), ERROR_CODE.protocol);
  const idle = await one.raw();
  idle.begin();
  assert.equal(await idle.goaway(), ERROR_CODE.none);
  await Promise.all([flood.closed, wrong.closed, idle.closed]);
  for (const peer of [flood, wrong, idle]) peer.destroy();
  await waitWhile(() => one.dropped.length < 3);
  assert.deepEqual(one.dropped, ["protocol", "protocol", "idle"]);
});

Deno.test("a request that HTTP/2 has none of is reset, and counted as a refusal that says why", async () => {
  await using one = await listening();
  const peer = await one.raw();
  peer.begin();
  const fields = [[":method", "POST"], [":scheme", "http"], [":path", TRACES], [
    "content-type",
    "application/grpc",
  ]] as const;
  peer.headers(1, [...fields, ["connection", "keep-alive"]]);
  peer.headers(3, [...fields, ["content-length", "1.5"]]);
  peer.headers(5, [...fields, ["content-length", "7"]], true);
  for (const id of [1, 3, 5]) {
    const reset = await peer.next(FRAME_TYPE.reset);
    assert.deepEqual([reset.id, reset.body.readUInt32BE(0)], [id, ERROR_CODE.protocol]);
  }
  peer.destroy();
  assert.deepEqual(one.refused.map(({ code, message }) => [code, message.split(";")[0]]), [
    ["malformed", "The header field connection is not for HTTP/2"],
    ["malformed", "The header field content-length is not a number of bytes"],
    ["malformed", "The body is shorter than its content-length"],
  ]);
});

Deno.test("connections are bounded: who has proved nothing makes room", async () => {
  const limits = { ...LIMITS, connectionsMax: 2, headerMs: 9_000, bodyMs: 1, idleMs: 9_000 };
  await using one = await listening({ limits }, ({ peer }) => {
    peer.proved();
    return Promise.resolve(TAKEN);
  });
  await using known = await one.connect();
  assert.equal((await known.call(new Uint8Array(0))).code, 0);
  const stranger = await one.raw();
  await using next = await one.connect();
  await stranger.closed;
  stranger.destroy();
  assert.equal((await next.call(new Uint8Array(0))).code, 0);
  assert.equal((await known.call(new Uint8Array(0))).code, 0);
  assert.deepEqual(one.dropped, ["max_connections"]);
  assert.equal(one.connections(), 2);
});

Deno.test("it drains: calls under way are answered, later ones are not taken, and it closes", async () => {
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  await using one = await listening({}, async () => {
    begun.resolve();
    await go.promise;
    return TAKEN;
  });
  await using client = await one.connect();
  const answer = client.call(new Uint8Array(0));
  await begun.promise;
  const closed = one.close();
  await client.goaway;
  assert.equal(client.http2.usable, false);
  go.resolve();
  assert.equal((await answer).code, 0);
  await client.ended;
  await closed;
  await assert.rejects(one.connect());
});

Deno.test("a connection that comes while it drains is asked to go elsewhere at once", async () => {
  await using one = await listening({});
  // As one that was on its way when the drain began, or shook hands meanwhile.
  one.drain();
  await using late = await one.connect();
  // What it asks before it knows is taken.
  assert.equal((await late.call(new Uint8Array(0))).code, 0);
  assert.equal(late.http2.usable, false);
  await late.ended;
});

Deno.test("a connection that has its age takes its next call, and asks for the ones after it to go elsewhere", async () => {
  let now = 0;
  const limits = {
    connectionsMax: 10,
    addressConnectionsMax: 0,
    headerBytesMax: 8_192,
    headerMs: 10_000,
    bodyMs: 10_000,
    idleMs: 60_000,
    ageMs: 60_000,
  };
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let calls = 0;
  await using one = await listening({ limits, now: () => now }, async () => {
    if (++calls === 3) begun.resolve();
    if (calls >= 3) await go.promise;
    return { status: 200, headers: {}, body: new Uint8Array(0) };
  });
  await using client = await one.connect();
  assert.equal((await client.call(new Uint8Array(0))).code, 0);
  now = 53_000;
  assert.equal((await client.call(new Uint8Array(0))).code, 0);
  assert.equal(client.http2.usable, true);
  now = 67_000;
  const under = client.call(new Uint8Array(0));
  await begun.promise;
  await client.goaway;
  assert.equal(client.http2.usable, false);
  go.resolve();
  assert.equal((await under).code, 0);
  await client.ended;
  await using next = await one.connect();
  assert.equal((await next.call(new Uint8Array(0))).code, 0);
  assert.equal(next.http2.usable, true);
});

Deno.test("what hangs is cut when it is abandoned", async () => {
  await using one = await listening({}, () => new Promise(() => {}));
  await using client = await one.connect();
  const answer = client.call(new Uint8Array(0));
  const closed = one.close();
  one.abandon();
  await assert.rejects(answer, (cause: unknown) => typeof cause === "object" && cause !== null && "reason" in cause);
  await closed;
});

// The health service.

const CHECK = "/grpc.health.v1.Health/Check";
const WATCH = "/grpc.health.v1.Health/Watch";
const service = (name: string) => Uint8Array.of(10, name.length, ...Buffer.from(name));

Deno.test("health: Check says what /readyz says, for each service, and without a token", async () => {
  let ready = true;
  await using one = await listening({ isReady: () => ready }, () => assert.fail("the app is not asked"));
  await using client = await one.connect();
  for (const name of ["", "opentelemetry.proto.collector.trace.v1.TraceService"]) {
    ready = true;
    const message = name === "" ? new Uint8Array(0) : service(name);
    assert.deepEqual((await client.call(message, { path: CHECK })).messages.map((each) => [...each]), [[8, 1]]);
    ready = false;
    assert.deepEqual((await client.call(message, { path: CHECK })).messages.map((each) => [...each]), [[8, 2]]);
  }
  assert.equal((await client.call(service("other"), { path: CHECK })).code, GRPC_CODE.NOT_FOUND);
  assert.equal((await client.call(Buffer.alloc(2_000), { path: CHECK })).code, GRPC_CODE.RESOURCE_EXHAUSTED);
  const empty = client.open({ path: CHECK });
  empty.stream.sendData(new Uint8Array(0), true);
  assert.equal((await empty.answer).code, GRPC_CODE.INVALID_ARGUMENT);
  assert.equal((await client.call(service(""), { path: "/grpc.health.v1.Health/List" })).code, GRPC_CODE.UNIMPLEMENTED);
});

Deno.test("health: Watch tells of each change, and of the end", async () => {
  let ready = true;
  await using one = await listening({ isReady: () => ready });
  await using client = await one.connect();
  const watch = client.open({ path: WATCH });
  const unknown = client.open({ path: WATCH });
  watch.stream.sendData(Buffer.concat([messagePrefix(0, false)]), true);
  unknown.stream.sendData(Buffer.concat([messagePrefix(7, false), service("other")]), true);
  assert.deepEqual([...await watch.next()], [8, 1]);
  assert.deepEqual([...await unknown.next()], [8, 3]);
  ready = false;
  assert.deepEqual([...await watch.next()], [8, 2]);
  ready = true;
  assert.deepEqual([...await watch.next()], [8, 1]);
  one.drain();
  assert.deepEqual([...await watch.next()], [8, 2]);
  assert.equal((await watch.answer).code, GRPC_CODE.UNAVAILABLE);
  assert.equal((await unknown.answer).code, GRPC_CODE.UNAVAILABLE);
});

Deno.test("health: a request that does not arrive is waited for no longer than a header, and strangers make room", async () => {
  const limits = { ...LIMITS, headerMs: 500, bodyMs: 50, idleMs: 500 };
  await using one = await listening({ limits, streamsMax: 600 });
  await using client = await one.connect();
  assert.equal((await client.call(new Uint8Array(0), { path: CHECK })).code, 0);
  const asked = Array.from({ length: 501 }, () => client.open({ path: CHECK }));
  assert.equal((await asked[0]!.answer).code, GRPC_CODE.UNAVAILABLE);
  assert.equal((await client.call(new Uint8Array(0), { path: CHECK })).code, 0);
  for (const { answer } of asked.slice(2)) assert.equal((await answer).code, GRPC_CODE.DEADLINE_EXCEEDED);
  assert.equal((await client.ended).reason, "closed");

  // Nor is it held what the sender does not take.
  const peer = await one.raw();
  peer.begin([[SETTING.streamWindow, 0]]);
  const header = GRPC_HEADER.map(([name, value]) => [name, name === ":path" ? CHECK : value] as const);
  const block = encodeFields(header);
  peer.write(
    ...Array.from({ length: 502 }, (_, at) => [
      frame(FRAME_TYPE.headers, FLAG.endHeaders, 2 * at + 1, block),
      frame(FRAME_TYPE.data, FLAG.endStream, 2 * at + 1, messagePrefix(0, false)),
    ]).flat(),
  );
  assert.equal((await peer.next(FRAME_TYPE.reset)).id, 1);
  assert.equal(await peer.goaway(), ERROR_CODE.none);
  await peer.closed;
  assert.equal(peer.seen.filter(({ type }) => type === FRAME_TYPE.reset).length, 502);
  peer.destroy();
  await waitWhile(() => one.dropped.length < 2);
  assert.deepEqual([one.dropped, one.failed], [["idle", "idle"], []]);
});

Deno.test("health: strangers who watch make room for each other, and senders keep their places", async () => {
  await using one = await listening({ streamsMax: 200 }, ({ peer }) => {
    peer.proved();
    return Promise.resolve(TAKEN);
  });
  const watchOn = async (client: GrpcClient) => {
    const watch = client.open({ path: WATCH });
    watch.stream.sendData(messagePrefix(0, false), true);
    return await Promise.race([watch.next().then(() => watch), watch.answer]);
  };
  await using sender = await one.connect();
  assert.equal((await sender.call(new Uint8Array(0))).code, 0);
  const kept = await watchOn(sender);
  await using stranger = await one.connect();
  const first = await watchOn(stranger);
  for (let count = 0; count < 98; count++) await watchOn(stranger);
  const [, over] = [await watchOn(sender), await watchOn(sender)];
  assert("answer" in first && "answer" in kept && "answer" in over);
  const { code, message } = await first.answer;
  assert.deepEqual([code, message], [GRPC_CODE.UNAVAILABLE, "At most 100 may watch; use Check"]);
  // Only senders' are left.
  for (let count = 0; count < 97; count++) await watchOn(sender);
  assert("code" in await watchOn(sender));
  one.drain();
  assert.deepEqual([...await kept.next()], [8, 2]);
});

Deno.test("calls from a seed: each is answered or cut, the room is given back, and nothing fails", async () => {
  await using one = await receiving();
  const random = new Random(11);
  const url = await one.url();
  for (let round = 0; round < 60; round++) {
    await using client = await GrpcClient.connect(url);
    const answers = Array.from({ length: 8 }, () => {
      const { stream, answer } = client.open({
        metadata: [["grpc-encoding", random.pick(["gzip", "identity", "br"])], [
          "grpc-timeout",
          random.pick(["1S", "10m", "x"]),
        ]],
      });
      const message = random.pick([
        ONE_SPAN_PROTOBUF,
        gzipSync(ONE_SPAN_PROTOBUF),
        Buffer.from("x"),
        new Uint8Array(0),
      ]);
      const bytes = Buffer.concat([
        messagePrefix(message.length + random.pick([0, 0, 0, 1, -1]) >>> 0, random.chance(0.5)),
        message,
      ]);
      const cut = random.below(bytes.length + 1);
      stream.sendData(bytes.subarray(0, cut));
      const next = random.below(4);
      if (next === 0) stream.reset();
      else if (next < 3) stream.sendData(bytes.subarray(cut), true);
      else stream.sendData(new Uint8Array(0), true);
      return answer.catch(() => undefined);
    });
    await Promise.all(answers);
  }
  await waitWhile(() => one.admission.bytes > 0);
  assert(one.told.every(({ kind }) => kind !== "failed"));
  assert(one.told.some(({ kind }) => kind === "accepted"));
});

Deno.test("a raw call in one write is answered in one", async () => {
  await using one = await listening();
  const peer = await one.raw();
  peer.begin();
  peer.headers(1, GRPC_HEADER);
  peer.write(frame(FRAME_TYPE.data, FLAG.endStream, 1, messagePrefix(0, false)));
  const header = await peer.next(FRAME_TYPE.headers);
  assert.deepEqual(header.fields, [[":status", "200"], ["content-type", "application/grpc"]]);
  assert.equal((await peer.next(FRAME_TYPE.data)).length, 5);
  const trailers = await peer.next(FRAME_TYPE.headers);
  assert.deepEqual([trailers.fields, trailers.flags & FLAG.endStream], [[["grpc-status", "0"]], 1]);
  peer.destroy();
});
