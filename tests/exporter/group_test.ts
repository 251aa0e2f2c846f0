/** Several clients as one, with clients whose answers are given: no network. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import type { Answer, ExportClient, SendOptions } from "../../src/exporter/client/client.ts";
import { EndpointHealth } from "../../src/exporter/endpoint_health.ts";
import { GroupClient, type GroupKind } from "../../src/exporter/group.ts";
import { MembersProof } from "../../src/exporter/members.ts";
import { SEAL } from "../../src/exporter/seal.ts";

const BODY = new Uint8Array(1);
const answered = (status: number, retryAfterMs?: number): Answer => ({
  kind: "answer",
  status,
  message: "",
  foreign: false,
  retryAfterMs,
  partialSuccess: undefined,
  durationMs: 1,
});
const gone = (): Answer => ({
  kind: "none",
  cause: "connection refused",
  timedOut: false,
  aborted: false,
  durationMs: 1,
});

/** Clients by name, whose next answers a test says, and what was sent to which. */
function group(kind: GroupKind, names: readonly string[], random?: () => number) {
  let now = 0;
  const says = new Map<string, () => Answer>(names.map((name) => [name, () => answered(200)]));
  const sent: string[] = [];
  const given: SendOptions[] = [];
  const told: string[] = [];
  const replaced: (() => void)[] = [];
  const clientOf = (name: string): ExportClient => ({
    send: (_signal, body, _encoding, options = {}) => {
      if (body !== BODY) {
        asked.push(name);
        const said = says.get(name)!();
        if (said.kind === "none" || said.status >= 300) return Promise.resolve(said);
        // The seal of what is merged, whose first member is malformed; an empty request of two members; one with a malformed second.
        const sealed = body.length === SEAL.length;
        const malformed = !sealed && gunzipSync(body).length > 0;
        const refused = readsAll.has(name) ? malformed : sealed;
        return Promise.resolve(answered(refused ? 400 : 200));
      }
      sent.push(name);
      given.push(options);
      return Promise.resolve(says.get(name)!());
    },
    diagnose: () => ({ code: `fault of ${name}`, what: "", remedy: "", lasting: false }),
    target: () => ({ url: `https://${name}.example/v1/traces`, headers: {}, timeoutMs: 1_000 }),
    whenReplaced: (tell) => void replaced.push(tell),
    replaced: 1,
    renewed: 2,
    close: () => {},
  });
  /** Who reads all gzip members of a body. */
  const readsAll = new Set<string>();
  const asked: string[] = [];
  const client = new GroupClient({
    signal: "traces",
    kind,
    members: names.map((name, index) => {
      const own = clientOf(name);
      return {
        name,
        client: own,
        weight: names.length - index,
        health: new EndpointHealth(() => now),
        proof: new MembersProof({
          ask: (body) => own.send("traces", body, "gzip"),
          connections: () => own.renewed,
          onChange: () => {},
          now: () => now,
        }),
      };
    }),
    events: {
      moved: (signal, from, to, fault, { first, maybeBoth }) => {
        if (first) told.push(`${signal}: ${from} -> ${to}, ${fault.code}`);
        if (maybeBoth) told.push(`${from} may have it, too`);
      },
      returned: (signal, name) => void told.push(`${signal}: ${name} is back`),
    },
    ...(random === undefined ? {} : { random }),
    now: () => now,
  });
  return {
    client,
    asked,
    readsAll,
    told,
    given,
    replaced,
    says: (name: string, answer: Answer) => void says.set(name, () => answer),
    /** Sends once, and says of what is answered that whoever gave the answer refuses everything. */
    leave: async () => client.leave(await client.send("traces", BODY, "gzip")),
    later: (ms: number) => void (now += ms),
    /** Sends once and answers with the names that it went to. */
    async send(options?: SendOptions): Promise<string> {
      sent.length = 0;
      const answer = await client.send("traces", BODY, "gzip", options);
      return `${sent.join(" ")}${answer.kind === "none" ? " none" : ` ${answer.status}`}`;
    },
  };
}

Deno.test("balance: one that asks to wait holds up no question of the others, and is asked none meanwhile; a failover waits", async () => {
  const all = group("balance", ["a", "b"]);
  for (const name of ["a", "b"]) all.readsAll.add(name);
  all.says("a", answered(429, 10_000));
  assert.equal(await all.client.proof.prove(), "all");
  assert.deepEqual([all.asked.filter((name) => name === "a").length, all.told], [1, []]);
  all.later(9_999);
  assert.equal(await all.client.proof.prove(), "all");
  assert.equal(all.asked.filter((name) => name === "a").length, 1, "not before its time");
  assert.equal(await all.send({ needsProof: true }), "b 200");
  const one = group("failover", ["a", "b"]);
  one.says("a", answered(429, 10_000));
  assert.deepEqual(await one.client.proof.prove(), answered(429, 10_000));
});

Deno.test("failover: the first has everything until it cannot be reached, and then the next", async () => {
  const eu = group("failover", ["a", "b", "c"]);
  assert.equal(await eu.send(), "a 200");
  eu.says("a", gone());
  assert.equal(await eu.send(), "a b 200");
  assert.equal(await eu.send(), "b 200", "one that failed costs one attempt alone");
  assert.deepEqual(eu.told, ["traces: a -> b, fault of a"]);
  assert.equal(eu.client.current, "b");
  assert.equal(eu.client.target("traces").url, "https://b.example/v1/traces");
  assert.equal(eu.client.renewed, 7, "another member is another connection");
  assert.equal(eu.client.replaced, 3);
});

Deno.test("failover: what each answer means", async () => {
  for (const status of [401, 403, 404, 405, 415, 500, 502, 503, 504]) {
    const eu = group("failover", ["a", "b"]);
    eu.says("a", answered(status));
    assert.equal(await eu.send(), "a b 200", String(status));
  }
  for (const status of [400, 413, 422, 429]) {
    const eu = group("failover", ["a", "b"]);
    eu.says("a", answered(status));
    assert.equal(await eu.send(), `a ${status}`);
    assert.equal(eu.client.current, "a");
  }
});

Deno.test("failover: a 400 by which a proxy refuses the relay's certificate says nothing of the data, and moves", async () => {
  const eu = group("failover", ["a", "b"]);
  const page = "<html><head><title>400 The SSL certificate error</title></head></html>";
  eu.says("a", { ...answered(400), message: page } as Answer);
  assert.equal(await eu.send(), "a b 200");
  assert.equal(eu.client.current, "b");
});

Deno.test("a group whose ways all changed under a merge does not merge for the same one again", async () => {
  const eu = group("failover", ["m", "p"]);
  eu.readsAll.add("m");
  const once = async () => {
    const proof = await eu.client.proof.prove();
    return await eu.send({ needsProof: proof === "all" });
  };
  assert.equal(await once(), "m 200");
  eu.says("m", answered(503));
  assert.equal(await once(), "m none", "p is not known to read all that is merged");
  // Single ones go to p, until p fails and m has them, without being back for good.
  assert.equal(await eu.send(), "p 200");
  eu.says("p", answered(503));
  eu.says("m", answered(200));
  assert.equal(await eu.send(), "p m 200");
  eu.says("m", answered(503));
  eu.says("p", answered(200));
  for (let round = 0; round < 3; round++) {
    if ((await once()).endsWith("200")) return;
  }
  assert.fail("it was made anew three times, and p takes what is sent by itself");
});

Deno.test("a Collector that asks to wait is waited for, for 30 s", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", answered(503, 1_000));
  assert.equal(await eu.send(), "a 503");
  eu.later(29_000);
  assert.equal(await eu.send(), "a 503");
  eu.later(2_000);
  assert.equal(await eu.send(), "a b 200");
  assert.equal(await eu.send(), "b 200");
});

Deno.test("the return: a probe after 30 s, three successes 5 s apart, and twice the wait after a relapse", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", gone());
  await eu.send();
  eu.later(29_999);
  assert.equal(await eu.send(), "b 200");
  eu.later(1);
  assert.equal(await eu.send(), "a b 200", "a real request is the probe");
  eu.later(30_000);
  eu.says("a", answered(200));
  assert.equal(await eu.send(), "a 200");
  assert.equal(await eu.send(), "b 200", "until it has proved itself the other goes on");
  eu.later(5_000);
  assert.equal(await eu.send(), "a 200");
  eu.says("a", gone());
  eu.later(5_000);
  assert.equal(await eu.send(), "a b 200", "a relapse");
  eu.later(30_000);
  assert.equal(await eu.send(), "b 200");
  eu.says("a", answered(200));
  eu.later(30_000);
  for (let success = 0; success < 3; success++) {
    assert.equal(await eu.send(), "a 200");
    eu.later(5_000);
  }
  assert.equal(eu.told.at(-1), "traces: a is back");
  assert.equal(await eu.send(), "a 200");
});

Deno.test("what fails on every member says nothing of them", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", gone());
  eu.says("b", answered(503));
  assert.equal(await eu.send(), "a b 503");
  assert.deepEqual(eu.told, []);
  eu.says("b", answered(200));
  assert.equal(await eu.send(), "a b 200");
});

Deno.test("balance: each has its share, and what one cannot take the other has", async () => {
  let at = 0;
  const all = group("balance", ["a", "b"], () => (at += 0.1) % 1);
  const counts: Record<string, number> = {};
  for (let index = 0; index < 100; index++) {
    const [name = ""] = (await all.send()).split(" ");
    counts[name] = (counts[name] ?? 0) + 1;
  }
  assert.ok(counts["a"]! > counts["b"]! && counts["b"]! > 10, JSON.stringify(counts));
  all.says("a", gone());
  while (await all.send() === "b 200");
  for (let index = 0; index < 20; index++) assert.equal(await all.send(), "b 200");
});

Deno.test("balance: who asks to wait is left alone for that long, and the others have its data", async () => {
  const all = group("balance", ["a", "b"], () => 0);
  assert.equal(await all.send(), "a 200");
  all.says("a", answered(429, 10_000));
  assert.equal(await all.send(), "a b 200");
  assert.equal(await all.send(), "b 200");
  assert.deepEqual(all.told, [], "busy is not down");
  all.says("a", answered(200));
  all.later(10_000);
  assert.equal(await all.send(), "a 200");
  all.says("a", answered(429, 10_000));
  all.says("b", answered(503, 3_000));
  assert.equal(await all.send(), "a b 503", "where all are busy the sender waits");
});

Deno.test("failover: no wait that is asked for is longer than the 30 s after which data goes elsewhere", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", answered(429, 3_600_000));
  const answer = await eu.client.send("traces", BODY, "gzip");
  assert.equal(answer.kind === "answer" ? answer.retryAfterMs : undefined, 30_000);
  eu.later(30_000);
  assert.equal(await eu.send(), "a b 200");
  assert.deepEqual(eu.told, ["traces: a -> b, fault of a"]);
  eu.later(30_000);
  assert.equal(await eu.send(), "a b 200", "one that is tried again and is still busy is not waited for");
  assert.equal(await eu.send(), "b 200");
});

Deno.test("the wait before a return doubles with each relapse, up to ten minutes", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", gone());
  await eu.send();
  for (const waitMs of [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]) {
    eu.later(waitMs - 1);
    assert.equal(await eu.send(), "b 200", `before ${waitMs} ms`);
    eu.later(1);
    eu.says("a", answered(200));
    assert.equal(await eu.send(), "a 200", `after ${waitMs} ms`);
    eu.says("a", gone());
    eu.later(5_000);
    assert.equal(await eu.send(), "a b 200", "a relapse");
  }
});

Deno.test("another identity is tried at once", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", gone());
  assert.equal(await eu.send(), "a b 200");
  eu.says("a", answered(200));
  for (const tell of eu.replaced) tell();
  assert.equal(await eu.send(), "a 200");
});

Deno.test("what may be on two members is said; what was never sent is not", async () => {
  for (
    const [answer, said] of [
      [{ kind: "none", cause: "no answer", timedOut: true, aborted: false, durationMs: 1 }, true],
      [gone(), false],
      [answered(504), true],
      [answered(503), false],
    ] as const
  ) {
    const eu = group("failover", ["a", "b"]);
    eu.says("a", answer);
    await eu.send();
    assert.equal(eu.told.includes("a may have it, too"), said, JSON.stringify(answer));
  }
});

Deno.test("each member is asked for itself whether it reads all that is merged, and not again for each request", async () => {
  const all = group("balance", ["a", "b"], () => 0.9);
  for (const name of ["a", "b"]) all.readsAll.add(name);
  for (let request = 0; request < 10; request++) {
    assert.equal(await all.client.proof.prove(), "all");
    assert.equal(await all.send({ needsProof: true }), "b 200");
  }
  assert.deepEqual(all.asked, ["a", "a", "b", "b"], "a control and a probe each");
  all.readsAll.delete("b");
  all.later(60_001);
  assert.equal(
    await all.client.proof.prove(),
    "first_only",
    "nothing is merged for a balance of which one reads the first alone",
  );
});

Deno.test("a member that is cut off is asked again before anything merged goes to it", async () => {
  const eu = group("failover", ["a", "b"]);
  for (const name of ["a", "b"]) eu.readsAll.add(name);
  assert.equal(await eu.client.proof.prove(), "all");
  eu.says("a", gone());
  assert.equal(await eu.send({ needsProof: true }), "a b 200");
  eu.readsAll.delete("a");
  eu.says("a", answered(200));
  eu.later(30_000);
  assert.equal(
    await eu.send({ needsProof: true }),
    "b 200",
    "another server stands there, that reads the first alone",
  );
  assert.equal(await eu.client.proof.prove(), "first_only", "so that it is tried by a request of one");
  assert.equal(await eu.send(), "a 200");
});

Deno.test("one that cannot be asked is down as soon as another answers", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.readsAll.add("b");
  eu.says("a", gone());
  assert.equal(await eu.client.proof.prove(), "all");
  assert.deepEqual(eu.told, ["traces: a -> b, fault of a"]);
  assert.equal(await eu.send({ needsProof: true }), "b 200");
});

Deno.test("what is merged goes to nobody who may read its first member alone", async () => {
  const eu = group("failover", ["a", "b"]);
  // The fake clients take the malformed second member of the probe: they read the first alone.
  const answer = await eu.client.send("traces", BODY, "gzip", { needsProof: true });
  assert.ok(answer.kind === "none" && answer.aborted, "it is to be made anew, each by itself");
  assert.equal(await eu.send(), "a 200");
});

Deno.test("who is known to be down has no share of the time while another works", async () => {
  const eu = group("failover", ["a", "b", "c"]);
  eu.says("a", gone());
  assert.equal(await eu.send(), "a b 200");
  // b has all but what c, which works as far as is known, is left.
  eu.given.length = 0;
  await eu.send({ timeoutMs: 8_000 });
  assert.equal(eu.given[0]?.timeoutMs, 4_000);
  eu.says("b", gone());
  assert.equal(await eu.send(), "b c 200");
  eu.given.length = 0;
  await eu.send({ timeoutMs: 8_000 });
  assert.equal(eu.given[0]?.timeoutMs, 8_000, "c alone works");
  eu.says("c", gone());
  eu.given.length = 0;
  assert.equal(await eu.send({ timeoutMs: 8_000 }), "c a b none");
  assert.equal(eu.given[1]?.timeoutMs, 4_000, "what c has left is for both");
  assert.equal(eu.given[2]?.timeoutMs, 8_000);
});

Deno.test("one that is due and is tried has a share as those have that work", async () => {
  const eu = group("failover", ["a", "b", "c"]);
  eu.says("a", gone());
  eu.says("b", gone());
  assert.equal(await eu.send(), "a b c 200");
  eu.later(30_000);
  eu.says("a", answered(200));
  eu.given.length = 0;
  assert.equal(await eu.send({ timeoutMs: 8_000 }), "a 200");
  assert.equal(eu.given[0]?.timeoutMs, 4_000, "c works, b is down");
});

Deno.test("the time that there is, is shared; who is given up on says nothing", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", gone());
  await eu.send({ timeoutMs: 8_000 });
  assert.equal(eu.given[0]?.timeoutMs, eu.given[0]?.timeoutMs! <= 4_000 ? eu.given[0]?.timeoutMs : 0);
  assert.ok((eu.given[1]?.timeoutMs ?? 0) > 4_000);
  const other = group("failover", ["a", "b"]);
  other.says("a", { kind: "none", cause: "given up", timedOut: false, aborted: true, durationMs: 1 });
  assert.equal(await other.send(), "a none");
  assert.deepEqual(other.told, []);
});

Deno.test("failover: the data of one that refuses everything goes to the next, until the first has taken some three times", async () => {
  const eu = group("failover", ["a", "b"]);
  eu.says("a", answered(400));
  assert.equal(await eu.send(), "a 400", "which may be about the data");
  assert.equal(await eu.leave(), true);
  assert.deepEqual(eu.told, ["traces: a -> b, refuses_everything"]);
  assert.equal(await eu.send(), "b 200");
  // Tried again, it refuses what is sent: that is no success, and the other has it at once.
  for (const waitMs of [30_000, 30_000]) {
    eu.later(waitMs);
    assert.equal(await eu.send(), "a b 200");
    assert.equal(await eu.send(), "b 200");
  }
  eu.later(30_000);
  eu.says("a", answered(200));
  assert.equal(await eu.send(), "a 200");
  eu.later(5_000);
  assert.equal(await eu.send(), "a 200");
  eu.says("a", answered(400));
  eu.later(5_000);
  assert.equal(await eu.send(), "a b 200", "a relapse");
  eu.says("a", answered(200));
  eu.later(60_000);
  for (let success = 0; success < 3; success++) {
    assert.equal(await eu.send(), "a 200");
    eu.later(5_000);
  }
  assert.equal(eu.told.at(-1), "traces: a is back");
  eu.says("a", answered(400));
  assert.equal(await eu.send(), "a 400", "and what it refuses may be about the data again");
});

Deno.test("failover: where all refuse everything nobody is left to go to, and what another answers says more", async () => {
  const eu = group("failover", ["a", "b", "c"]);
  for (const name of ["a", "b", "c"]) eu.says(name, answered(400));
  assert.deepEqual([await eu.leave(), await eu.leave(), await eu.leave()], [true, true, false]);
  assert.deepEqual(eu.told, ["traces: a -> b, refuses_everything", "traces: b -> c, refuses_everything"]);
  assert.equal(await eu.send(), "c 400", "which is asked all the same");
  eu.says("c", gone());
  assert.equal(await eu.send(), "c a b none", "no refusal of one that refuses everything is taken for one of the data");
});

Deno.test("balance: one that refuses everything is not left, since the others are asked each time anyway", async () => {
  const eu = group("balance", ["a"]);
  eu.says("a", answered(400));
  assert.equal(await eu.leave(), false);
  const two = group("balance", ["a", "b"], () => 0);
  two.says("a", answered(400));
  assert.equal(await two.leave(), false);
});
