/** What is known of an endpoint, and that all who send there know it. */
import assert from "node:assert/strict";
import type { Answer, ExportClient } from "../../src/exporter/client/client.ts";
import { EndpointHealth } from "../../src/exporter/endpoint_health.ts";
import { GroupClient } from "../../src/exporter/group.ts";
import { MembersProof } from "../../src/exporter/members.ts";
import { RequestBody } from "../../src/exporter/payload.ts";
import { Way } from "../../src/exporter/way.ts";

const BODY = new RequestBody({ bytes: new Uint8Array(1), own: false, encoding: "identity", members: 1 });
const gone = (): Answer => ({
  kind: "none",
  cause: "connection refused",
  timedOut: false,
  aborted: false,
  durationMs: 1,
});
const answered = (status: number): Answer => ({
  kind: "answer",
  status,
  message: "",
  foreign: false,
  retryAfterMs: undefined,
  partialSuccess: undefined,
  durationMs: 1,
});

Deno.test("an answer to what was sent before a member was down is no success of its return", () => {
  let now = 0;
  const health = new EndpointHealth(() => now);
  health.failed(gone());
  now = 30_000;
  for (let answer = 0; answer < 3; answer++) {
    assert.equal(health.succeeded(false), false);
    now += 5_000;
  }
  assert.ok(!health.up);
  for (let answer = 0; answer < 3; answer++) {
    assert.equal(health.succeeded(true), answer === 2);
    now += 5_000;
  }
});

/** An exporter that is a target of its own and a member of a group beside another, b, that always works. */
function both() {
  let now = 0;
  const clock = () => now;
  let answer = answered(200);
  const sent: string[] = [];
  const clientOf = (name: string, says: () => Answer): ExportClient => ({
    send: () => {
      sent.push(name);
      return Promise.resolve(says());
    },
    diagnose: () => ({ code: "connection_refused", what: "", remedy: "", lasting: false }),
    target: () => ({ url: `https://${name}.example/v1/traces`, headers: {}, timeoutMs: 1_000 }),
    whenReplaced: () => {},
    replaced: 0,
    renewed: 0,
    close: () => {},
  });
  const endpointOf = (client: ExportClient) => ({
    client,
    health: new EndpointHealth(clock),
    proof: new MembersProof({
      ask: (body) => client.send("traces", body, "gzip"),
      connections: () => 0,
      onChange: () => {},
      now: clock,
    }),
  });
  const a = endpointOf(clientOf("a", () => answer));
  const b = endpointOf(clientOf("b", () => answered(200)));
  const group = new GroupClient({
    signal: "traces",
    kind: "failover",
    members: [{ name: "a", weight: 1, ...a }, { name: "b", weight: 1, ...b }],
    events: { moved: () => {}, returned: () => {} },
    now: clock,
  });
  const way = new Way("traces", {
    compression: "passthrough",
    client: a.client,
    shared: a,
    retry: { initialMs: 1_000, maxMs: 8_000, random: () => 0, now: clock },
    events: {
      sent: () => {},
      rejected: () => {},
      failed: () => {},
      recovered: () => {},
      members: () => {},
      silent: () => {},
    },
  });
  return {
    a,
    way,
    sent,
    says: (next: Answer) => void (answer = next),
    later: (ms: number) => void (now += ms),
    /** Where a request of the group went. */
    async byGroup(): Promise<string> {
      sent.length = 0;
      await group.send("traces", BODY.bytes, "identity");
      return sent.join(" ");
    },
    /** What came of a request of the target of its own. */
    async alone(): Promise<string> {
      const permit = way.breaker.pass();
      const post = await way.post(BODY, { items: 1, requests: 1, sender: "s", permit });
      if (post.kind === "failing" || post.kind === "stopped") way.fail(post.answer, permit, 0);
      return post.kind;
    },
  };
}

Deno.test("what a target of its own finds out of an exporter, a group that has it knows", async () => {
  const { alone, byGroup, says, later } = both();
  assert.equal(await byGroup(), "a");
  says(gone());
  assert.equal(await alone(), "stopped");
  assert.equal(await byGroup(), "b", "no request is lost on a that is known to be down");
  says(answered(200));
  for (let success = 1; success <= 3; success++) {
    later(5_000);
    assert.equal(await alone(), "taken");
    assert.equal(await byGroup(), success < 3 ? "b" : "a", `after success ${success}`);
  }
});

Deno.test("what a group finds out of an exporter, the target of its own knows", async () => {
  const { way, byGroup, says, later } = both();
  says(gone());
  assert.equal(await byGroup(), "a b");
  assert.equal(way.breaker.failures, 1, "it waits");
  assert.equal(way.lastFailure?.fault.code, "connection_refused");
  assert.equal(await byGroup(), "b");
  says(answered(200));
  assert.ok(way.breaker.waits);
  later(30_000);
  for (let success = 1; success <= 3; success++) {
    assert.equal(await byGroup(), "a");
    later(5_000);
  }
  assert.ok(!way.breaker.waits, "and it waits no longer when the exporter is back");
});

Deno.test("what may be about the data alone does not make an exporter down for others", async () => {
  const { alone, byGroup, says } = both();
  says(answered(400));
  assert.equal(await alone(), "refused");
  says(answered(200));
  assert.equal(await byGroup(), "a");
});

Deno.test("whether all gzip members are read is asked once for all who send there", async () => {
  const { way, a, sent } = both();
  await way.mayShareMembers();
  const asked = sent.length;
  assert.ok(asked > 0);
  await a.proof.prove();
  assert.equal(sent.length, asked);
});

Deno.test("what one refuses that refuses everything is not about the data, until it is back", () => {
  let now = 0;
  const health = new EndpointHealth(() => now);
  const refusals = [400, 413, 422].map(answered);
  for (const answer of refusals) assert.equal(health.judge(answer).move, "stays");
  health.refuses(answered(400));
  assert.ok(!health.up && health.refusing);
  for (const answer of refusals) assert.equal(health.judge(answer).move, "moves");
  for (let answer = 0; answer < 3; answer++) {
    assert.ok(health.refusing);
    health.succeeded(true);
    now += 5_000;
  }
  assert.ok(health.up && !health.refusing);
});
