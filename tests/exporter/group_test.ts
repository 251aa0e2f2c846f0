/** Several clients as one, with clients whose answers are given: no network. */
import assert from "node:assert/strict";
import type { Answer, ExportClient, SendOptions } from "../../src/exporter/client.ts";
import { GroupClient, type GroupKind, MemberHealth } from "../../src/exporter/group.ts";

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
        return Promise.resolve(says.get(name)!().kind === "none" ? gone() : answered(probe.get(name) ?? 200));
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
  /** What is answered to the probe of members; the control is an empty request of two. */
  const probe = new Map<string, number>();
  const client = new GroupClient({
    signal: "traces",
    kind,
    members: names.map((name, index) => ({
      name,
      client: clientOf(name),
      weight: names.length - index,
      health: new MemberHealth(() => now),
    })),
    events: {
      moved: (signal, from, to, fault) => void told.push(`${signal}: ${from} -> ${to}, ${fault.code}`),
      returned: (signal, name) => void told.push(`${signal}: ${name} is back`),
    },
    ...(random === undefined ? {} : { random }),
  });
  return {
    client,
    told,
    given,
    replaced,
    says: (name: string, answer: Answer) => void says.set(name, () => answer),
    later: (ms: number) => void (now += ms),
    /** Sends once and answers with the names that it went to. */
    async send(options?: SendOptions): Promise<string> {
      sent.length = 0;
      const answer = await client.send("traces", BODY, "gzip", options);
      return `${sent.join(" ")}${answer.kind === "none" ? " none" : ` ${answer.status}`}`;
    },
  };
}

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

Deno.test("what is merged goes to nobody who may read its first member alone", async () => {
  const eu = group("failover", ["a", "b"]);
  // The fake clients take the malformed second member of the probe: they read the first alone.
  const answer = await eu.client.send("traces", BODY, "gzip", { severalMembers: true });
  assert.ok(answer.kind === "none" && answer.aborted, "it is to be made anew, each by itself");
  assert.equal(await eu.send(), "a 200");
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
