import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:https";
import { connect as connectTcp } from "node:net";
import type { IncomingHttpHeaders } from "node:http";
import { gzipSync } from "node:zlib";
import { type CollectorOptions, describeReceived, type Received, startCollector } from "../../src/collector/server.ts";
import { ConfigError } from "../../src/errors.ts";
import { concatenate } from "../../src/codec/bytes.ts";
import { gzipMember } from "../../src/codec/gzip.ts";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { decodeStatus, decodeSuccess } from "../../src/otlp/response.ts";
import { SIGNALS } from "../../src/signal.ts";
import type { Issued } from "../../src/pki/authority.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { requestOf } from "../support/relay/exporting.ts";
import { encodeProtobuf } from "../support/bodies/requests.ts";

async function setup(certs: TestCertificates, options: Partial<CollectorOptions> = {}) {
  const received: Received[] = [];
  const refused: string[] = [];
  const told = Promise.withResolvers<void>();
  const collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
    onReceived: (each) => void received.push(each),
    onRefused: (reason) => {
      refused.push(reason);
      told.resolve();
    },
    ...options,
  });
  return { collector, received, refused, told: told.promise, [Symbol.asyncDispose]: () => collector.stop() };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** One request by node:https, with the certificate given. */
function ask(
  certs: TestCertificates,
  url: string,
  options: {
    readonly body?: Uint8Array;
    readonly headers?: Record<string, string>;
    readonly method?: string;
    readonly client?: Issued | null;
  } = {},
): Promise<Answer> {
  const client = options.client === null ? undefined : options.client ?? certs.client;
  return new Promise((resolve, reject) => {
    const sent = request(url, {
      method: options.method ?? "POST",
      headers: options.headers ?? {},
      ca: certs.ca.certificate,
      ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
      agent: false,
    }, async (response) => {
      try {
        const chunks: Uint8Array[] = [];
        for await (const chunk of response) chunks.push(chunk);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: concatenate(chunks) });
      } catch (error) {
        reject(error);
      }
    });
    sent.on("error", reject);
    sent.end(options.body ?? new Uint8Array(0));
  });
}

function words({ body, headers }: Answer): string {
  return decodeStatus(headers["content-type"] ?? null, body);
}

Deno.test("it takes every signal, plain and gzip, and counts items and peers", async () => {
  await using certs = await testCertificates();
  await using ends = await setup(certs);
  for (const { name, path } of SIGNALS) {
    const body = requestOf(name, ["a"], ["b"]);
    const plain = await ask(certs, ends.collector.url + path, { body });
    assert.deepEqual([plain.status, plain.body.length, plain.headers["content-type"]], [
      200,
      0,
      "application/x-protobuf",
    ]);
    const headers = { "content-encoding": "gzip" };
    assert.equal((await ask(certs, ends.collector.url + path, { body: gzipSync(body), headers })).status, 200);
  }
  assert.deepEqual(ends.collector.items, { traces: 4, metrics: 4, logs: 4, profiles: 4 });
  assert(ends.received.every(({ peer, items }) => peer === "client-app" && items === 2));
  assert.deepEqual(ends.received[1]?.body, requestOf("traces", ["a"], ["b"]));
  assert.equal(ends.received[1]?.headers["content-encoding"], "gzip");
});

Deno.test("it takes JSON and answers in it; what is received is protobuf", async () => {
  await using certs = await testCertificates();
  await using ends = await setup(certs);
  const url = `${ends.collector.url}/v1/traces`;
  const headers = { "content-type": "application/json; charset=utf-8" };
  const text = (body: string) => new TextEncoder().encode(body);
  const span = { traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174", name: "by hand" };
  const body = text(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }));
  const taken = await ask(certs, url, { body, headers });
  assert.deepEqual([taken.status, taken.headers["content-type"]], [200, "application/json"]);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(taken.body)), {});
  assert.equal(ends.collector.items.traces, 1);
  assert.equal(
    describeReceived(ends.received[0]!),
    "traces  1 span of unnamed service (by hand), delivered by client-app",
  );
  const broken = await ask(certs, url, { body: text("{"), headers });
  assert.deepEqual([broken.status, broken.headers["content-type"]], [400, "application/json"]);
  assert.match(words(broken), /^Malformed JSON/);
});

Deno.test("whoever has no certificate of its CA, in date and for clients, is refused, and it is told why", async (t) => {
  await using certs = await testCertificates();
  const cases: [string, Issued | null][] = [
    ["none", null],
    ["of another CA", certs.otherClient],
    ["of a CA of the same name", certs.namesakeClient],
    ["expired", certs.expiredClient],
    ["not valid yet", certs.futureClient],
    ["for servers", certs.wrongUsageClient],
  ];
  for (const [what, client] of cases) {
    await t.step(what, async () => {
      await using ends = await setup(certs);
      await assert.rejects(ask(certs, `${ends.collector.url}/v1/traces`, { body: requestOf("traces", ["a"]), client }));
      await ends.told;
      assert.match(ends.refused[0]!, /certificate/);
      assert.deepEqual(ends.received, []);
    });
  }
});

Deno.test("plain HTTP gets no answer", async () => {
  await using certs = await testCertificates();
  await using ends = await setup(certs);
  const socket = connectTcp(ends.collector.port, "127.0.0.1");
  const answered: Uint8Array[] = [];
  socket.on("data", (chunk) => answered.push(chunk));
  socket.on("error", () => {});
  socket.write("POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
  await once(socket, "close");
  assert(!new TextDecoder().decode(concatenate(answered)).includes("HTTP/1.1 200"));
  assert.deepEqual(ends.received, []);
});

Deno.test("bad requests have the answers of the real one, as a Status", async () => {
  await using certs = await testCertificates();
  await using ends = await setup(certs);
  const { url } = ends.collector;
  assert.equal((await ask(certs, `${url}/v1/other`)).status, 404);
  const method = await ask(certs, `${url}/v1/traces`, { method: "GET" });
  assert.deepEqual([method.status, method.headers["allow"]], [405, "POST"]);
  const bad = await ask(certs, `${url}/v1/traces`, { body: new Uint8Array([0x0a, 0x7f]) });
  assert.equal(bad.status, 400);
  assert(words(bad).length > 0);
  const gzip = await ask(certs, `${url}/v1/traces`, {
    body: concatenate([gzipMember(requestOf("traces", ["a"])), new Uint8Array([0])]),
    headers: { "content-encoding": "gzip" },
  });
  assert.equal(gzip.status, 400);
  const large = await ask(certs, `${url}/v1/traces`, { body: new Uint8Array(20 * 1024 * 1024 + 1) });
  assert.deepEqual([large.status, words(large)], [400, "http: request body too large"]);
  const bomb = await ask(certs, `${url}/v1/traces`, {
    body: gzipSync(new Uint8Array(20 * 1024 * 1024 + 1)),
    headers: { "content-encoding": "gzip" },
  });
  assert.equal(bomb.status, 400);
  assert.deepEqual(ends.received, []);
});

Deno.test("it misbehaves as it is told to, request by request", async () => {
  await using certs = await testCertificates();
  const body = requestOf("traces", ["a"], ["b"]);
  const seen: [string, number, number][] = [];
  await using ends = await setup(certs, {
    misbehave: (signal, request, raw) => {
      seen.push([signal, request, raw.length]);
      return ([
        { kind: "status", status: 429, message: "slowly", headers: { "retry-after": "3" } },
        { kind: "partial_success", rejected: 1, message: "one is old" },
        { kind: "disconnect" },
        { kind: "disconnect", accepted: true },
        { kind: "first_member_only" },
        undefined,
      ] as const)[request - 1];
    },
  });
  const url = `${ends.collector.url}/v1/traces`;
  const throttled = await ask(certs, url, { body });
  assert.deepEqual([throttled.status, throttled.headers["retry-after"], words(throttled)], [429, "3", "slowly"]);
  const partial = await ask(certs, url, { body });
  assert.deepEqual(decodeSuccess("traces", partial.headers["content-type"]!, partial.body), {
    rejected: 1,
    message: "one is old",
  });
  assert.equal(ends.collector.items.traces, 1);
  await assert.rejects(ask(certs, url, { body }));
  assert.equal(ends.collector.items.traces, 1);
  await assert.rejects(ask(certs, url, { body }));
  assert.equal(ends.collector.items.traces, 3, "taken, and the acknowledgement lost");
  const two = concatenate([gzipMember(body), gzipMember(body)]);
  const headers = { "content-encoding": "gzip" };
  assert.equal((await ask(certs, url, { body: two, headers })).status, 200);
  assert.equal(ends.collector.items.traces, 5, "the first member alone");
  assert.equal((await ask(certs, url, { body: two, headers })).status, 200);
  assert.equal(ends.collector.items.traces, 9);
  assert.deepEqual(seen.map(([signal, number]) => `${signal} ${number}`), [1, 2, 3, 4, 5, 6].map((n) => `traces ${n}`));
  assert.equal(seen[0]![2], body.length);
});

Deno.test("a stop ends connections that have no answer", async () => {
  await using certs = await testCertificates();
  const asked = Promise.withResolvers<void>();
  const ends = await setup(certs, {
    misbehave: () => {
      asked.resolve();
      return { kind: "silence" };
    },
  });
  const answer = assert.rejects(ask(certs, `${ends.collector.url}/v1/traces`, { body: requestOf("traces", ["a"]) }));
  await asked.promise;
  await ends.collector.stop();
  await answer;
});

Deno.test("a port that is taken is named, with how to use the Collector that is there", async () => {
  await using certs = await testCertificates();
  await using ends = await setup(certs);
  const { port } = ends.collector;
  await assert.rejects(setup(certs, { port }), (error) => {
    assert(error instanceof ConfigError);
    assert.match(
      error.message,
      new RegExp(`port ${port} of 127\\.0\\.0\\.1 is taken; to use the Collector that is there`),
    );
    assert.match(error.message, /--no-collector/);
    assert(!error.message.includes("\n"));
    return true;
  });
  await assert.rejects(
    setup(certs, { host: "192.0.2.1" }),
    (error) =>
      error instanceof ConfigError && error.message.startsWith("Cannot start the embedded Collector on 192.0.2.1:0: "),
  );
});

Deno.test("what is received is one line for people, and a sender's text cannot draw on the terminal", () => {
  const attributes = [{ key: "service.name", value: { stringValue: "shop\u001b[31m" } }];
  const spans = ["GET /", "GET /a", "GET /b", "x".repeat(100), "y"].map((name) => ({ name }));
  const body = encodeProtobuf(REQUEST_MESSAGE.traces, {
    resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans }] }],
  });
  const line = describeReceived({ signal: "traces", items: 5, peer: "client-app", body, headers: {} });
  assert.equal(line, "traces  5 spans of shop?[31m (GET /, GET /a, GET /b, and 2 more), delivered by client-app");
  assert.equal(
    describeReceived({
      signal: "logs",
      items: 1,
      peer: "client-app",
      body: requestOf("logs", ["z".repeat(80)]),
      headers: {},
    }),
    `logs    1 log record of unnamed service (${"z".repeat(59)}…), delivered by client-app`,
  );
  assert.equal(
    describeReceived({ signal: "metrics", items: 0, peer: "p", body: new Uint8Array(0), headers: {} }),
    "metrics 0 data points of unnamed service, delivered by p",
  );
  const marks = new Map([["env", "dev"], ["a", "b\u001b[31m"]]);
  const of = (signal: "metrics" | "traces", names: string[]) =>
    describeReceived({ signal, items: 1, peer: "p", body: requestOf(signal, names), headers: {} }, marks);
  assert.equal(
    of("metrics", ["m"]),
    "metrics 1 data point of unnamed service (m) with env=dev, a=b?[31m, delivered by p",
  );
  assert.equal(of("traces", ["s"]), "traces  1 span of unnamed service (s), delivered by p");
});
