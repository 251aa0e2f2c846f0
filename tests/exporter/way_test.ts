import assert from "node:assert/strict";
import type { Answer } from "../../src/exporter/client/client.ts";
import { RequestBody } from "../../src/exporter/payload.ts";
import { Way, type WayEvents } from "../../src/exporter/way.ts";
import { startFreezingProxy } from "../support/far_end/freezing_proxy.ts";
import { startMtlsEndpoint } from "../support/far_end/mtls_endpoint.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { clientFor, requestOf } from "../support/relay/exporting.ts";

const BODY = new RequestBody({ bytes: requestOf("traces", ["a"]), own: false, encoding: "identity", members: 1 });

/** A way to an endpoint whose answers are given, and what it tells. */
async function setup(stack: AsyncDisposableStack, options: { timeoutMs?: number; frozen?: boolean } = {}) {
  const certs = stack.use(await testCertificates());
  const endpoint = stack.use(await startMtlsEndpoint(certs));
  const proxy = options.frozen ? stack.use(await startFreezingProxy(endpoint.port)) : undefined;
  const client = clientFor(proxy === undefined ? endpoint.url : `https://localhost:${proxy.port}`, {
    caCerts: [certs.ca.certificate],
    cert: certs.client.certificate,
    key: certs.client.key,
  }, options.timeoutMs);
  stack.defer(() => client.close());
  const told: string[] = [];
  const events: WayEvents = {
    sent: (_, { items, requests }) => told.push(`sent ${items} of ${requests}`),
    rejected: (_, items, message) => told.push(`rejected ${items}: ${message}`),
    failed: (_, fault, { failures }) => told.push(`failed ${fault.code} ${failures}`),
    recovered: (_, failures) => told.push(`recovered ${failures}`),
    members: (_, members) => told.push(`members ${members}`),
    silent: (_, fault) => told.push(`silent ${fault.code}`),
  };
  const way = new Way("traces", {
    client,
    compression: "passthrough",
    retry: { initialMs: 1_000, maxMs: 8_000, random: () => 0 },
    events,
  });
  const post = () => way.post(BODY, { items: 3, requests: 2, sender: "s", permit: way.breaker.pass() });
  return { endpoint, way, told, post, proxy, client };
}

Deno.test("what an answer means for what was sent", async () => {
  await using stack = new AsyncDisposableStack();
  const { endpoint, post, way, told } = await setup(stack);
  const kinds: [number, string][] = [
    [200, "taken"],
    [400, "refused"],
    [413, "refused"],
    [422, "refused"],
    [429, "stopped"],
    [401, "stopped"],
    [404, "stopped"],
    [500, "failing"],
    [501, "stopped"],
    [502, "failing"],
    [503, "failing"],
    [504, "failing"],
    [505, "stopped"],
    [206, "stopped"],
  ];
  for (const [status, kind] of kinds) {
    endpoint.answer({ status });
    assert.equal((await post()).kind, kind, `${status}`);
  }
  assert.equal(way.taken, 1);
  assert.deepEqual(told, ["sent 3 of 2"]);
});

Deno.test("what is rejected is no more than was sent", async () => {
  await using stack = new AsyncDisposableStack();
  const { endpoint, way, post, told } = await setup(stack);
  // 2^52 in a varint.
  endpoint.answer({
    status: 200,
    body: new Uint8Array([0x0a, 0x09, 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x08]),
  });
  assert.deepEqual(await post(), { kind: "taken", empty: true, rejected: 3, message: "" });
  assert.deepEqual([way.taken, way.evidence.lastTaken("s")], [0, 0], "none of it was taken: that proves nothing");
  assert.deepEqual(told, ["sent 3 of 2", "rejected 3: "]);
});

Deno.test("a failure opens the breaker: slow where time alone mends nothing, but not where it may have been the data", async () => {
  await using stack = new AsyncDisposableStack();
  const { endpoint, way, told } = await setup(stack);
  const failing = async (status: number) => {
    endpoint.answer({ status });
    const permit = way.breaker.pass();
    const post = await way.post(BODY, { items: 1, requests: 1, sender: "s", permit });
    assert(post.kind === "failing" || post.kind === "stopped");
    return way.fail(post.answer, permit, way.identity).afterMs;
  };
  assert.deepEqual([await failing(500), await failing(500), await failing(404)], [500, 4_000, 4_000]);
  assert.deepEqual(told, ["failed collector_failed 1", "failed collector_failed 2", "failed no_such_path 3"]);
  assert.equal(way.lastFailure?.fault.code, "no_such_path");
});

Deno.test("an empty request tells whether a refusal is about the data", async () => {
  await using stack = new AsyncDisposableStack();
  const { endpoint, way, told } = await setup(stack);
  assert.equal(await way.refusesEmpty("s"), undefined);
  endpoint.answer({ status: 400 });
  const permit = way.breaker.pass();
  const answer = await way.refusesEmpty("s");
  assert(answer?.kind === "answer" && answer.status === 400);
  way.fail(answer, permit, way.identity);
  assert.deepEqual(told, ["failed refuses_everything 1"]);
  assert.equal(way.taken, 0, "no data was taken");
});

Deno.test("a refusal of everything opens no breaker where another of a group has what comes now", async () => {
  await using stack = new AsyncDisposableStack();
  const { endpoint, way, told, client } = await setup(stack);
  const left: number[] = [];
  let another = true;
  Object.assign(client, {
    leave: (answer: Answer) => {
      left.push(answer.kind === "answer" ? answer.status : 0);
      return another;
    },
  });
  const refused = async (status: number, fewSenders = false) => {
    endpoint.answer({ status });
    const permit = way.breaker.pass();
    const answer = await way.refusesEmpty("s");
    assert(answer !== undefined);
    return way.fail(answer, permit, way.identity, fewSenders).afterMs;
  };
  assert.equal(await refused(400), undefined, "it may be sent at once");
  assert.deepEqual([left, told, way.breaker.failures, way.evidence.moves], [[400], [], 0, 1]);
  // Another failure, a few senders alone, or nobody left: it is held.
  await refused(503);
  await refused(400, true);
  assert.deepEqual(left, [400]);
  another = false;
  await refused(413);
  assert.deepEqual([left, way.breaker.failures, way.evidence.moves], [[400, 413], 3, 1]);
});

Deno.test("a connection that goes silent is named once another is answered", async () => {
  await using stack = new AsyncDisposableStack();
  const { way, told, post, proxy } = await setup(stack, { timeoutMs: 1_000, frozen: true });
  assert.equal((await post()).kind, "taken");
  proxy!.freeze();
  assert.equal((await post()).kind, "failing");
  assert.equal((await post()).kind, "taken");
  assert.equal((await post()).kind, "taken");
  assert.deepEqual(told.filter((line) => line.startsWith("silent")), ["silent connection_silent"]);
  assert.equal(way.breaker.failures, 0);
});
