/**
 * Profiles through the relay to the real Collector, whose pipelines for them stand behind a feature gate. What it hands on is, byte
 * for byte, what a second Collector hands on that got the same without the relay; and each request arrives by itself.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { REQUEST_MESSAGE } from "../../src/otlp/schema.ts";
import { signalOf } from "../../src/signal.ts";
import { Walker } from "../../src/otlp/wire.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { PROFILES_GATE, startCollector } from "../support/tools/collector.ts";
import { requestOf } from "../support/relay/exporting.ts";
import { folder } from "../support/files/folder.ts";
import { booksIn, ENGINES, startRelayProcess } from "../support/relay/relay.ts";
import { encodeJson, encodeProtobuf, Random, randomRequest, type TestMessage } from "../support/bodies/requests.ts";
import { type Sink, startSink } from "../support/far_end/sink.ts";

const { path } = signalOf("profiles");
const PROTOBUF = "application/x-protobuf";
const JSON_TYPE = "application/json";
const ARRIVAL_MS = 30_000;
const NOTHING_ELSE = { rejectedByCollector: 0, deadLettered: 0, expired: 0, abandoned: 0 };
const WITH_PROFILES = "service: { pipelines: { profiles: { receivers: [otlp], exporters: [otlp_http/sink] } } }";
const PLAIN_HTTP = "receivers: { otlp: { protocols: { http: { tls: null } } } }";

const CODINGS: Readonly<Record<string, (body: Uint8Array) => Uint8Array>> = {
  none: (body) => body,
  gzip: gzipSync,
  deflate: deflateSync,
  zstd: zstdCompressSync,
};

/** A request at random that a Collector does not drop for want of samples. */
function profilesWithSamples(random: Random): TestMessage {
  for (;;) {
    const request = randomRequest(random, "profiles");
    if (/"samples":\[\{/.test(encodeJson(REQUEST_MESSAGE.profiles, request, new Random(1)))) return request;
  }
}

async function post(base: string, body: Uint8Array, headers: Record<string, string>): Promise<void> {
  const answer = await fetch(base + path, { method: "POST", headers, body: new Uint8Array(body) });
  assert.equal(answer.status, 200, await answer.text());
  assert.equal(answer.headers.get("content-type"), headers["content-type"]);
}

/** The bodies of profiles that a sink has got, in one order; Go has another NaN than JavaScript. */
function bodiesAt(sink: Sink): string[] {
  const own = sink.requests.filter((request) => request.path === path);
  const texts = own.map(({ body }) => Buffer.from(body).toString("hex"));
  return texts.map((text) => text.replaceAll("010000000000f87f", "000000000000f87f")).sort();
}

for (const engine of ENGINES) {
  Deno.test(`profiles through a relay with storage: ${engine}`, async () => {
    await using stack = new AsyncDisposableStack();
    const certs = stack.use(await testCertificates());
    const [sink, controlSink] = [stack.use(startSink()), stack.use(startSink())];
    const options = { certsDir: certs.dir, sinkEncoding: "proto", featureGates: PROFILES_GATE } as const;
    const collector = stack.use(await startCollector({ ...options, sink, config: WITH_PROFILES }));
    const control = stack.use(
      await startCollector({ ...options, sink: controlSink, config: [WITH_PROFILES, PLAIN_HTTP] }),
    );
    const relay = stack.use(
      await startRelayProcess({ engine, collectorUrl: collector.httpUrl, certsDir: certs.dir }),
    );
    const random = new Random(engine.length);
    const walker = new Walker();
    let profiles = 0;
    let requests = 0;
    const sending: Promise<void>[] = [];
    for (const json of [false, true]) {
      for (const [coding, encode] of Object.entries(CODINGS)) {
        for (let count = 0; count < 10; count++, requests++) {
          const request = profilesWithSamples(random);
          const protobuf = encodeProtobuf(REQUEST_MESSAGE.profiles, request);
          profiles += walker.walk("profiles", protobuf).items;
          const body = json ? Buffer.from(encodeJson(REQUEST_MESSAGE.profiles, request, random)) : protobuf;
          const headers = { "content-type": json ? JSON_TYPE : PROTOBUF };
          const authorization = `Bearer ${relay.token}`;
          sending.push(
            post(relay.url, encode(body), { ...headers, "content-encoding": coding, authorization }),
            post(`http://127.0.0.1:${control.httpPort}`, body, headers),
          );
        }
      }
    }
    await Promise.all(sending);
    await Promise.all(
      [sink, controlSink].map((end) => end.waitFor(() => bodiesAt(end).length >= requests, ARRIVAL_MS)),
    );
    const expected = bodiesAt(controlSink);
    for (const [index, body] of bodiesAt(sink).entries()) assert.equal(body, expected[index]);
    const { code } = await relay.stop();
    assert.equal(code, 0, relay.log().join("\n"));
    assert.equal(bodiesAt(sink).length, requests);
    if (engine === "none") return;
    assert.deepEqual(booksIn(relay.queuePath).profiles, {
      accepted: profiles,
      delivered: profiles,
      queued: 0,
      ...NOTHING_ELSE,
    });
  });
}

Deno.test("a Collector without profiles holds up nothing else; what was taken goes to one that has them", async () => {
  await using at = await folder();
  await using certs = await testCertificates();
  const queuePath = `${at.path}/queue.db`;
  const body = requestOf("profiles", ["a", "b"]);
  {
    await using sink = startSink();
    await using collector = await startCollector({ certsDir: certs.dir, sink });
    await using relay = await startRelayProcess({
      engine: "sqlite",
      collectorUrl: collector.httpUrl,
      certsDir: certs.dir,
      queuePath,
    });
    const headers = { "content-type": PROTOBUF, authorization: `Bearer ${relay.token}` };
    await post(relay.url, body, headers);
    const line = await relay.line(/"level":"error".*"signal":"profiles"/);
    assert.match(line, /404/);
    const traces = requestOf("traces", ["a"]);
    const answer = await fetch(`${relay.url}/v1/traces`, { method: "POST", headers, body: traces });
    assert.equal(answer.status, 200, await answer.text());
    await sink.waitFor(() => sink.requests.some((request) => request.path === "/v1/traces"), ARRIVAL_MS);
    await relay.stop();
    const books = booksIn(queuePath);
    assert.deepEqual(books.profiles, { accepted: 2, delivered: 0, queued: 2, ...NOTHING_ELSE });
    assert.equal(books.traces.queued, 0);
  }
  await using sink = startSink();
  await using collector = await startCollector({
    certsDir: certs.dir,
    sink,
    sinkEncoding: "proto",
    config: WITH_PROFILES,
    featureGates: PROFILES_GATE,
  });
  await using relay = await startRelayProcess({
    engine: "sqlite",
    collectorUrl: collector.httpUrl,
    certsDir: certs.dir,
    queuePath,
  });
  await sink.waitFor(() => bodiesAt(sink).length > 0, ARRIVAL_MS);
  await relay.stop();
  assert.deepEqual(booksIn(queuePath).profiles, { accepted: 2, delivered: 2, queued: 0, ...NOTHING_ELSE });
});
