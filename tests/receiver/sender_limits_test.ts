import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { gunzipSync, gzipSync } from "node:zlib";
import { Refusal } from "../../src/errors.ts";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { Redactor } from "../../src/otlp/rewrite/redaction.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";
import type { Accepted } from "../../src/queue/queue.ts";
import { Shares } from "../../src/queue/shares.ts";
import { Limiter } from "../../src/receiver/limiter.ts";
import {
  assertRefused,
  BEARER,
  BODY_BYTES_MAX,
  JSON_TYPE,
  ONE_SPAN,
  PROTOBUF,
  requestOf,
  testEachWay,
  withToken,
} from "../support/relay/receiver.ts";

const bodyBytesMax = BODY_BYTES_MAX;
const protobuf = PROTOBUF;
const json = JSON_TYPE;
const bearer = BEARER;

testEachWay("a token's body limit is below the relay's, stated, streamed and inflated", async (receiver) => {
  const { post, admission } = withToken(receiver, { limits: { max_request_body_size: 100 } });
  const small = requestOf(100);
  const large = requestOf(101);
  assert.equal((await post(small, { ...bearer, type: protobuf })).status, 200);
  await assertRefused(await post(large, { ...bearer, type: protobuf }), 413, /over the limit of 100 bytes/, protobuf);
  const stated = { ...bearer, type: protobuf, "content-length": "101" };
  await assertRefused(await post(large, stated), 413, /over the limit of 100 bytes/, protobuf);
  const squeezed = new Uint8Array(gzipSync(requestOf(5_000)));
  assert.ok(squeezed.length <= 100);
  const coded = { ...bearer, type: protobuf, "content-encoding": "gzip" };
  await assertRefused(await post(squeezed, coded), 413, /after inflating is over the limit of 100 bytes/, protobuf);
  assert.equal(admission.bytes, 0);
});

testEachWay(
  "over its rate a sender is told 429 before its body is read; what is answered otherwise leaves no mark",
  async (receiver, way) => {
    const { post, told } = withToken(receiver, { limits: { requests_per_second: 3, concurrent_requests: 1 } });
    for (const body of ["{", ONE_SPAN, "{}"]) await post(body, bearer);
    // On a socket it is the sender who reads it.
    const pull = () => way === "web" ? assert.fail("read") : new Promise<void>(() => {});
    const unread = new ReadableStream<Uint8Array>({ pull }, { highWaterMark: 0 });
    await assertRefused(
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
  },
);

testEachWay(
  "a sender whose request is under way is held to its number, and let in again after the answer",
  async (receiver) => {
    const appended = Promise.withResolvers<void>();
    const keep = Promise.withResolvers<Accepted>();
    const { post } = withToken(receiver, { limits: { concurrent_requests: 1 } }, {
      append: () => {
        appended.resolve();
        return keep.promise;
      },
    });
    const first = post(ONE_SPAN, bearer);
    await appended.promise;
    await assertRefused(await post(ONE_SPAN, bearer), 429, /has 1 requests under way/);
    keep.resolve({});
    assert.equal((await first).status, 200);
    assert.equal((await post(ONE_SPAN, bearer)).status, 200);
  },
);

testEachWay(
  "a token's attributes are on each resource, in every encoding, and the sender's own of that name are not",
  async (receiver) => {
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
      const { post, submissions } = withToken(receiver, { resource_attributes: { "tenant.id": "acme" } }, {
        payloadEncoding,
      });
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
      await assertRefused(
        await post(requestOf(bodyBytesMax), { ...bearer, type: protobuf }),
        413,
        /with what the relay writes into it is over the limit of 10000 bytes/,
        protobuf,
      );
    }
  },
);

testEachWay(
  "what is redacted reaches no queue; what the token sets stays, and a refused request is not counted",
  async (receiver) => {
    const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } });
    const request = (...attributes: object[]) =>
      JSON.stringify({ resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans: [{ name: "a" }] }] }] });
    const sent = request(attribute("user.email", "a@b.example"), attribute("service.name", "shop"));
    const plain = transcodeJson("traces", Buffer.from(sent), 1_000).protobuf.slice();
    const redactor = new Redactor({ rules: [{ key: "user.*", action: "delete" }], salt: undefined, dryRun: false });
    for (const payloadEncoding of ["gzip", "identity"] as const) {
      const { post, submissions, told } = withToken(receiver, { resource_attributes: { "user.group": "acme" } }, {
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
  },
);

testEachWay("a body that a hash makes too large is refused, and nothing of it kept", async (receiver) => {
  const redactor = new Redactor({ rules: [{ key: "*", action: "hash" }], salt: "salt", dryRun: false });
  const { post, submissions } = receiver({ redactor });
  const attributes = Array.from({ length: 140 }, (_, index) => ({ key: `k${index}`, value: { intValue: "1" } }));
  await assertRefused(
    await post(JSON.stringify({ resourceSpans: [{ resource: { attributes } }] })),
    413,
    /with what the relay writes into it is over the limit of 10000 bytes/,
  );
  assert.deepEqual(submissions, []);
});

testEachWay("a sender over its limit that does not wait is answered after the others", async (receiver) => {
  const limits = { requestsPerSecond: 1 };
  const senders = new Map(
    ["noisy", "quiet"].map((id) => [id, { id, proof: "none" as const, signals: new Set(SIGNAL_NAMES) }]),
  );
  const { post } = receiver({
    authenticator: { authenticate: (headers) => senders.get(headers.get("x-api-key")!)! },
    limiter: new Limiter({ defaults: limits, queueBytesMax: 1 << 30, shares: new Shares(Date.now), now: () => 0 }),
  });
  const noisy = { "x-api-key": "noisy" };
  assert.equal((await post(ONE_SPAN, noisy)).status, 200);
  assert.equal((await post(ONE_SPAN, noisy)).status, 429);
  const order: string[] = [];
  const again = post(ONE_SPAN, noisy).then(({ status }) => order.push(`noisy ${status}`));
  await post(ONE_SPAN, { "x-api-key": "quiet" }).then(({ status }) => order.push(`quiet ${status}`));
  await again;
  assert.deepEqual(order, ["quiet 200", "noisy 429"]);
});
