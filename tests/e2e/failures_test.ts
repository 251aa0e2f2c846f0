/**
 * What a sender sees when the Collector does not take its data and nothing is stored (`storage: none`): always an answer that lets
 * it retry, with Retry-After and a Status in its own encoding; never 500, which a conforming sender does not retry.
 */
import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type EmbeddedCollector,
  type Misbehaviour,
  startCollector as startEmbedded,
} from "../../src/collector/server.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { startCollector } from "../support/tools/collector.ts";
import { booksIn, type RelayHere, startRelayHere, startRelayProcess } from "../support/relay/relay.ts";
import { startSink } from "../support/far_end/sink.ts";

const TEXT = new TextDecoder();
/** When senders give up, in ms. */
const SENDER_MS = 10_000;

/** One span, traceId and spanId all ones, name "a", in each encoding. */
const SPAN_JSON = JSON.stringify({
  resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: "01".repeat(16), spanId: "01".repeat(8), name: "a" }] }] }],
});
const SPAN = message(2, [
  ...message(1, Array(16).fill(1)),
  ...message(2, Array(8).fill(1)),
  ...message(5, [97]),
]);
const SPAN_PROTOBUF = Uint8Array.from(message(1, message(2, SPAN)));

function message(field: number, content: readonly number[]): number[] {
  return [field << 3 | 2, content.length, ...content];
}

const ENCODINGS = {
  "application/json": SPAN_JSON,
  "application/x-protobuf": SPAN_PROTOBUF,
} as const;
type Encoding = keyof typeof ENCODINGS;
const BOTH = Object.keys(ENCODINGS) as Encoding[];

interface Seen {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly contentType: string | null;
  readonly body: Uint8Array;
}

async function post({ url, token }: { url: string; token: string }, encoding: Encoding): Promise<Seen> {
  const answer = await fetch(`${url}/v1/traces`, {
    method: "POST",
    headers: { "content-type": encoding, authorization: `Bearer ${token}` },
    body: ENCODINGS[encoding],
    signal: AbortSignal.timeout(SENDER_MS),
  });
  return {
    status: answer.status,
    retryAfter: answer.headers.get("retry-after"),
    contentType: answer.headers.get("content-type"),
    body: await answer.bytes(),
  };
}

/** Code and message of a google.rpc.Status, and whether it has details, read without the relay's own decoder. */
function statusIn({ contentType, body }: Seen): { code: number; message: string; detailed: boolean } {
  if (contentType === "application/json") {
    const { code, message, details } = JSON.parse(TEXT.decode(body));
    return { code, message, detailed: details !== undefined };
  }
  assert.equal(contentType, "application/x-protobuf");
  // 1: code, a varint below 128; 2: message; 3: details.
  assert.deepEqual([body[0], body[2]], [0x08, 0x12]);
  const start = body[3]! < 128 ? 4 : 5;
  const end = start + (start === 4 ? body[3]! : (body[3]! & 127) + body[4]! * 128);
  if (end < body.length) assert.equal(body[end], 0x1a);
  return { code: body[1]!, message: TEXT.decode(body.subarray(start, end)), detailed: end < body.length };
}

/** Both encodings at once; each is told to retry, by a message that matches. */
async function toldToRetry(relay: RelayHere, reason: RegExp): Promise<void> {
  for (const [encoding, seen] of await Promise.all(BOTH.map(async (one) => [one, await post(relay, one)] as const))) {
    assert(seen.status === 503 || seen.status === 429, `${seen.status} is not a status that OTLP lets a sender retry`);
    // Never more than stock SDKs wait, whatever the Collector asks for.
    assert.match(seen.retryAfter ?? "", /^[1-5]$/);
    assert.equal(seen.contentType, encoding);
    const { code, message } = statusIn(seen);
    // UNAVAILABLE or RESOURCE_EXHAUSTED.
    assert(code === 14 || code === 8, String(code));
    assert.match(message, reason);
  }
}

async function taken(relay: RelayHere): Promise<void> {
  for (const encoding of BOTH) {
    const seen = await post(relay, encoding);
    assert.equal(seen.status, 200, TEXT.decode(seen.body));
    assert.equal(TEXT.decode(seen.body), encoding === "application/json" ? "{}" : "");
  }
}

/** Without telemetry of its own, which would make requests to the Collector beside those of the test. */
const QUIET = { traces: { enabled: false }, metrics: { enabled: false } };

function relayTo(collectorUrl: string, certsDir: string): Promise<RelayHere> {
  return startRelayHere({
    engine: "none",
    collectorUrl,
    certsDir,
    config: { telemetry: { admin: { endpoint: "127.0.0.1:0" }, ...QUIET } },
  });
}

Deno.test("the real Collector: its backend refuses, it is frozen, it is down, it is back", async (t) => {
  await using certificates = await testCertificates();
  await using sink = startSink();
  await using first = await startCollector({ certsDir: certificates.dir, sink });
  await using relay = await relayTo(first.httpUrl, certificates.dir);
  await t.step("all is well", () => taken(relay));
  await t.step("503 of its backend", async () => {
    sink.answerNext(2, { status: 503, message: "backend full", retryAfter: "9" });
    await toldToRetry(relay, /503|unavailable/i);
  });
  // What it says of its backend is permanent for the Collector, and still no reason to drop the data.
  for (const status of [500, 413, 401]) {
    await t.step(`${status} of its backend`, async () => {
      sink.answerNext(2, { status, message: "backend broken" });
      await toldToRetry(relay, /Permanent error/);
    });
  }
  await t.step("frozen", async () => {
    first.signal("SIGSTOP");
    await toldToRetry(relay, /8000 ms/);
    first.signal("SIGCONT");
  });
  await t.step("down", async () => {
    await first.stop();
    await toldToRetry(relay, /./);
  });
  await t.step("back", async () => {
    const address = { httpPort: first.httpPort, grpcPort: first.grpcPort };
    await using _second = await startCollector({ certsDir: certificates.dir, sink, ...address });
    await taken(relay);
  });
});

Deno.test("the relay and the real Collector do not trust each other", async (t) => {
  await using certificates = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certificates.dir, sink });
  const sides = [
    // Under TLS 1.3 the refusal comes after the relay's handshake is done: it sees an alert, or only a closed connection.
    ["the Collector refuses the relay", "ca", /certificate|closed|broken pipe|reset/i],
    ["the relay refuses the Collector", "otherCa", /certificate/i],
  ] as const;
  for (const [name, ca, reason] of sides) {
    await t.step(name, async () => {
      await using folder = await identityFolder(certificates, ca);
      await using relay = await relayTo(collector.httpUrl, folder.path);
      await toldToRetry(relay, reason);
      assert(relay.log().some((line) => /"level":"(error|warn)".*certificate/.test(line)), relay.log().join("\n"));
    });
  }
  assert.equal(sink.requests.length, 0);
});

/** As certs/ is, with a client of another CA in it. */
async function identityFolder(certificates: TestCertificates, ca: "ca" | "otherCa") {
  const path = await mkdtemp(join(tmpdir(), "edgeferry-identity-"));
  await cp(certificates[ca].certificateFile, join(path, "ca.crt"));
  await cp(certificates.otherClient.certificateFile, join(path, "client.crt"));
  await cp(certificates.otherClient.keyFile, join(path, "client.key"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

interface Scene extends AsyncDisposable {
  readonly certificates: TestCertificates;
  readonly embedded: EmbeddedCollector;
  misbehaviour: Misbehaviour | undefined;
}

/** A Collector that does what the test says. */
async function embeddedScene(): Promise<Scene> {
  const certificates = await testCertificates();
  const scene: Scene = {
    certificates,
    misbehaviour: undefined,
    embedded: await startEmbedded({
      host: "127.0.0.1",
      port: 0,
      tls: {
        ca: [certificates.ca.certificate],
        cert: certificates.server.certificate,
        key: certificates.server.key,
      },
      misbehave: () => scene.misbehaviour,
    }),
    async [Symbol.asyncDispose]() {
      await scene.embedded.stop();
      await certificates[Symbol.asyncDispose]();
    },
  };
  return scene;
}

Deno.test("every answer of a Collector that is not a 2xx and not about the data lets the sender retry", async (t) => {
  await using scene = await embeddedScene();
  await using relay = await relayTo(scene.embedded.url, scene.certificates.dir);
  const said = (status: number, headers: Record<string, string> = {}): Misbehaviour => ({
    kind: "status",
    status,
    message: "says the Collector",
    headers,
  });
  const cases: [name: string, Misbehaviour, RegExp][] = [
    ["429", said(429), /429 says the Collector/],
    [
      "429, Retry-After: 7",
      said(429, { "retry-after": "7" }),
      /429 says the Collector\); it asks for 7 s/,
    ],
    [
      "503, Retry-After: 3",
      said(503, { "retry-after": "3" }),
      /503 says the Collector\); it asks for 3 s/,
    ],
    [
      "503, Retry-After as a date",
      said(503, { "retry-after": new Date(Date.now() + 3_000_000).toUTCString() }),
      /503 says the Collector\); it asks for (?:2\d{3}|3000) s/,
    ],
    ["502", said(502), /502 says the Collector/],
    ["504", said(504), /504 says the Collector/],
    ["500", said(500), /500 says the Collector/],
    ["501", said(501), /501 says the Collector/],
    ["401", said(401, { "www-authenticate": "Bearer" }), /401 says the Collector/],
    ["403", said(403), /403 says the Collector/],
    ["404", said(404), /404 says the Collector/],
    ["405", said(405), /405 says the Collector/],
    ["415", said(415), /415 says the Collector/],
    ["301", said(301, { location: "https://elsewhere.test/" }), /301 redirected/],
    ["a connection that is cut", { kind: "disconnect" }, /./],
  ];
  for (const [name, misbehaviour, reason] of cases) {
    await t.step(name, async () => {
      scene.misbehaviour = misbehaviour;
      await toldToRetry(relay, reason);
      scene.misbehaviour = undefined;
      await taken(relay);
    });
  }
});

Deno.test("a Collector that refuses the data itself: 400, which is not to be retried", async (t) => {
  await using scene = await embeddedScene();
  await using relay = await relayTo(scene.embedded.url, scene.certificates.dir);
  for (const status of [400, 413, 422]) {
    await t.step(String(status), async () => {
      scene.misbehaviour = { kind: "status", status, message: "no such span" };
      for (const encoding of BOTH) {
        const seen = await post(relay, encoding);
        assert.deepEqual([seen.status, seen.retryAfter, seen.contentType], [400, null, encoding]);
        // INVALID_ARGUMENT.
        assert.deepEqual(statusIn(seen), { code: 3, message: "no such span", detailed: true });
      }
    });
  }
});

Deno.test("partial success reaches the sender in its own encoding", async () => {
  await using scene = await embeddedScene();
  await using relay = await relayTo(scene.embedded.url, scene.certificates.dir);
  scene.misbehaviour = { kind: "partial_success", rejected: 1, message: "too old" };
  const json = await post(relay, "application/json");
  assert.equal(json.status, 200);
  const told = { partialSuccess: { rejectedSpans: "1", errorMessage: "too old" } };
  assert.deepEqual(JSON.parse(TEXT.decode(json.body)), told);
  const protobuf = await post(relay, "application/x-protobuf");
  assert.equal(protobuf.status, 200);
  const text = [...new TextEncoder().encode("too old")];
  assert.deepEqual([...protobuf.body], message(1, [0x08, 1, ...message(2, text)]));

  // The warning form: nothing rejected, and a message.
  scene.misbehaviour = { kind: "partial_success", rejected: 0, message: "old" };
  const warned = await post(relay, "application/json");
  assert.deepEqual(JSON.parse(TEXT.decode(warned.body)), { partialSuccess: { errorMessage: "old" } });
});

Deno.test("a durable relay counts what the Collector rejects by partial success", async () => {
  await using scene = await embeddedScene();
  scene.misbehaviour = { kind: "partial_success", rejected: 1, message: "too old" };
  await using relay = await startRelayProcess({
    engine: "sqlite",
    collectorUrl: scene.embedded.url,
    certsDir: scene.certificates.dir,
    config: { telemetry: { admin: { endpoint: "127.0.0.1:0" }, log: { format: "json" }, ...QUIET } },
  });
  const seen = await post(relay, "application/json");
  assert.deepEqual([seen.status, TEXT.decode(seen.body)], [200, "{}"]);
  await relay.line(/"level":"error".*rejected.*"items":1.*too old/);
  assert.equal((await relay.stop()).code, 0);
  const { traces } = booksIn(relay.queuePath);
  assert.deepEqual(traces, {
    accepted: 1,
    delivered: 0,
    rejectedByCollector: 1,
    deadLettered: 0,
    expired: 0,
    abandoned: 0,
    queued: 0,
  });
});
