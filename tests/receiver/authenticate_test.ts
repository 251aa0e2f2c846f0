import assert from "node:assert/strict";
import { ConfigError, Refusal } from "../../src/errors.ts";
import { SIGNAL_NAMES } from "../../src/otlp/signal.ts";
import {
  type Authenticator,
  digestOf,
  FormerToken,
  INSECURE,
  limitsOf,
  parseTokens,
  TokenAuthenticator,
  type TokenEntry,
} from "../../src/receiver/authenticate.ts";
import type { Sender } from "../../src/receiver/sender.ts";

const entry = (id: string, secret: string, signals: TokenEntry["signals"] = SIGNAL_NAMES): TokenEntry => ({
  id,
  sha256: digestOf(secret),
  signals,
});
const headers = (init: Record<string, string>) => new Headers(init);

/** Who is let in; a static token is known at once. */
function letIn(authenticator: Authenticator, init: Record<string, string>): Sender {
  const sender = authenticator.authenticate(headers(init));
  assert.ok(!(sender instanceof Promise));
  return sender;
}

function unauthenticated(authenticator: TokenAuthenticator, init: Record<string, string>): Refusal {
  try {
    authenticator.authenticate(headers(init));
  } catch (error) {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.code, error.status], ["unauthenticated", 401]);
    assert.match(error.headers["www-authenticate"]!, /^Bearer realm="edgeferry"/);
    return error;
  }
  return assert.fail("let in");
}

Deno.test("a token is known by Authorization: Bearer or by x-api-key", () => {
  const authenticator = new TokenAuthenticator([entry("a", "secret-a", ["traces"]), entry("b", "secret-b")]);
  for (
    const init of [
      { authorization: "Bearer secret-a" },
      { authorization: "bearer   secret-a" },
      { authorization: "  BEARER secret-a  " },
      { "x-api-key": "secret-a" },
      // Authorization is the one that counts.
      { authorization: "Bearer secret-a", "x-api-key": "secret-b" },
    ]
  ) {
    const sender = letIn(authenticator, init as unknown as Record<string, string>);
    assert.equal(sender.id, "a");
    assert.deepEqual([...sender.signals], ["traces"]);
  }
  assert.equal(letIn(authenticator, { "x-api-key": "secret-b" }).id, "b");
});

Deno.test("whoever has no token that is known is refused, with what to do and none of what was sent", () => {
  const authenticator = new TokenAuthenticator([entry("a", "secret-a")]);
  const table: [Record<string, string>, RegExp, RegExp][] = [
    [{}, /^Not authenticated: no token: set Authorization: Bearer TOKEN, or x-api-key$/, /^Bearer realm="edgeferry"$/],
    [{ "x-api-key": "" }, /no token/, /^Bearer realm="edgeferry"$/],
    [{ authorization: "" }, /not of the form 'Bearer TOKEN'$/, /error="invalid_request"$/],
    [{ authorization: "Bearer" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer " }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Basic c2VjcmV0LWE=" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "secret-a" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer secret-a secret-a" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer secret-a, Bearer secret-a" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer Secret-A" }, /the token is not known$/, /error="invalid_token"$/],
    [{ authorization: "Bearer secret-" }, /the token is not known$/, /error="invalid_token"$/],
    [{ authorization: "Bearer secret-aa" }, /the token is not known$/, /error="invalid_token"$/],
    [{ authorization: `Bearer ${digestOf("secret-a")}` }, /the token is not known$/, /error="invalid_token"$/],
    [{ authorization: `Bearer ${"x".repeat(513)}` }, /the token is too long$/, /error="invalid_token"$/],
    [{ "x-api-key": "secret-\u00e9" }, /the token is not known$/, /error="invalid_token"$/],
    // A valid second header does not heal a bad first.
    [{ authorization: "Bearer nope", "x-api-key": "secret-a" }, /the token is not known$/, /error="invalid_token"$/],
  ];
  for (const [init, message, challenge] of table) {
    const refusal = unauthenticated(authenticator, init);
    assert.match(refusal.message, message, JSON.stringify(init));
    assert.match(refusal.headers["www-authenticate"]!, challenge, JSON.stringify(init));
    assert.ok(!/secret|nope|c2Vj/i.test(refusal.message + refusal.headers["www-authenticate"]));
  }
});

Deno.test("with no tokens nobody is let in", () => {
  unauthenticated(new TokenAuthenticator([]), { authorization: "Bearer x" });
});

Deno.test("two tokens of one id are one sender: that is how a token is rotated", () => {
  const authenticator = new TokenAuthenticator([entry("edge", "old", ["traces"]), entry("edge", "new", ["logs"])]);
  const of = (secret: string) => letIn(authenticator, { authorization: `Bearer ${secret}` });
  assert.deepEqual([of("old").id, ...of("old").signals], ["edge", "traces"]);
  assert.deepEqual([of("new").id, ...of("new").signals], ["edge", "logs"]);
});

Deno.test("digests that share their first digits are told apart, in either case of hex", () => {
  const real = digestOf("secret");
  const neighbours = Array.from({ length: 50 }, (_, index): TokenEntry => ({
    id: `n${index}`,
    sha256: real.slice(0, 8) + digestOf(String(index)).slice(8),
    signals: SIGNAL_NAMES,
  }));
  const authenticator = new TokenAuthenticator([
    ...neighbours,
    { id: "real", sha256: real.toUpperCase(), signals: SIGNAL_NAMES },
  ]);
  assert.equal(letIn(authenticator, { "x-api-key": "secret" }).id, "real");
  unauthenticated(new TokenAuthenticator(neighbours), { "x-api-key": "secret" });
});

Deno.test("without authentication everyone is one sender who may send all", () => {
  const sender = letIn(INSECURE, { authorization: "nonsense" });
  assert.deepEqual([sender.id, ...sender.signals], ["anonymous", ...SIGNAL_NAMES]);
});

const digest = digestOf("x");

Deno.test("a tokens file is read, with every signal by default", () => {
  const text = `tokens:
  - id: edge
    sha256: ${digest}
  - { id: edge, sha256: "${digestOf("y").toUpperCase()}", signals: [logs] }
`;
  assert.deepEqual(parseTokens(text, "tokens.yaml"), [
    { id: "edge", sha256: digest, signals: SIGNAL_NAMES },
    { id: "edge", sha256: digestOf("y").toUpperCase(), signals: ["logs"] },
  ]);
  assert.deepEqual(parseTokens("tokens: []\n", "tokens.yaml"), []);
});

Deno.test("a tokens file that cannot be used is named, with its place and without a digest", () => {
  const half = digest.slice(0, 32);
  const table: [string, RegExp][] = [
    ["", /^Cannot use tokens file t\.yaml: the file: /],
    ["[]", /^Cannot use tokens file t\.yaml: the file: /],
    ["tokens:\n", /^Cannot use tokens file t\.yaml: tokens: /],
    ["token: []", /^Cannot use tokens file t\.yaml: /],
    [`tokens: [{ id: a, sha256: ${half} }]`, /tokens\.0\.sha256: is not a SHA-256 digest: 64 hex digits$/],
    [`tokens: [{ id: a, sha256: ${digest}0 }]`, /tokens\.0\.sha256: is not a SHA-256 digest/],
    [`tokens: [{ sha256: ${digest} }]`, /tokens\.0\.id: /],
    [`tokens: [{ id: "a b", sha256: ${digest} }]`, /tokens\.0\.id: is not an id: letters, digits/],
    [`tokens: [{ id: "${"a".repeat(64)}", sha256: ${digest} }]`, /tokens\.0\.id: is not an id/],
    [`tokens: [{ id: a, sha256: ${digest}, secret: x }]`, /tokens\.0: .*secret/],
    [`tokens: [{ id: a, sha256: ${digest}, signals: [] }]`, /tokens\.0\.signals: /],
    [`tokens: [{ id: a, sha256: ${digest}, signals: [spans] }]`, /tokens\.0\.signals\.0: /],
    [
      `tokens: [{ id: a, sha256: ${digest} }, { id: a, sha256: ${digest.toUpperCase()} }]`,
      /: token a stands in it twice; remove one$/,
    ],
    [
      `tokens: [{ id: a, sha256: ${digest} }, { id: b, sha256: ${digest.toUpperCase()} }]`,
      /: tokens a and b have one digest, so nobody can tell who sends; make a new one$/,
    ],
    [`tokens:\n  - id: a\n    sha256: ${digest}\n   bad: [`, /^Cannot read tokens file t\.yaml: .*line \d+/],
    [`tokens: [{ id: a, sha256: ${digest}`, /^Cannot read tokens file t\.yaml: /],
  ];
  for (const [text, message] of table) {
    assert.throws(() => parseTokens(text, "t.yaml"), (error) => {
      assert.ok(error instanceof ConfigError, `${error}`);
      assert.match(error.message, message, text);
      assert.ok(!error.message.toLowerCase().includes(half.slice(0, 12)), error.message);
      assert.ok(!error.message.includes("\n"), error.message);
      return true;
    });
  }
});

Deno.test("a token's limits, origins and end are read, in the file's spellings", () => {
  const text = `tokens:
  - id: web
    sha256: ${digest}
    origins: [https://app.example, "http://localhost:8080"]
    not_after: 2027-01-31T12:00:00+01:00
    limits:
      requests_per_second: 0.5
      items_per_second: 1000
      bytes_per_second: 1MiB
      concurrent_requests: 4
      max_request_body_size: 64KiB
      queue_share: 0.25
`;
  const [token] = parseTokens(text, "t.yaml");
  assert.deepEqual([token!.origins, token!.not_after], [
    ["https://app.example", "http://localhost:8080"],
    "2027-01-31T11:00:00.000Z",
  ]);
  assert.deepEqual(limitsOf(token!.limits!), {
    requestsPerSecond: 0.5,
    itemsPerSecond: 1000,
    bytesPerSecond: 1 << 20,
    concurrentRequests: 4,
    bodyBytesMax: 1 << 16,
    queueShare: 0.25,
  });
  const authenticator = new TokenAuthenticator([token!], () => Date.parse("2027-01-31T10:59:59.999Z"));
  const sender = letIn(authenticator, { "x-api-key": "x" });
  assert.deepEqual([sender.origins, sender.limits], [token!.origins, limitsOf(token!.limits!)]);
  assert.deepEqual([...authenticator.origins], token!.origins);
});

Deno.test("limits, origins and ends that make no sense are named", () => {
  const table: [string, RegExp][] = [
    ["limits: { requests_per_second: 0 }", /tokens\.0\.limits\.requests_per_second: /],
    ["limits: { requests_per_minute: 1 }", /tokens\.0\.limits: .*requests_per_minute/],
    ["limits: { bytes_per_second: lots }", /limits\.bytes_per_second: is not a size such as 512KiB$/],
    ["limits: { max_request_body_size: 0 }", /limits\.max_request_body_size: is not a size/],
    ["limits: { concurrent_requests: 1.5 }", /limits\.concurrent_requests: /],
    ["limits: { queue_share: 1.5 }", /limits\.queue_share: /],
    ["origins: []", /tokens\.0\.origins: /],
    ['origins: ["*"]', /origins\.0: is not an origin such as https:\/\/app\.example$/],
    ["origins: [https://app.example/path]", /origins\.0: is not an origin/],
    ["not_after: tomorrow", /not_after: is not a time such as 2027-01-31T12:00:00Z$/],
    ["not_after: 2027-01-31", /not_after: is not a time/],
    ["not_after: 2027-13-31T12:00:00Z", /not_after: is not a time/],
  ];
  for (const [more, message] of table) {
    assert.throws(() => parseTokens(`tokens:\n  - id: a\n    sha256: ${digest}\n    ${more}\n`, "t.yaml"), (error) => {
      assert.ok(error instanceof ConfigError, `${error}`);
      assert.match(error.message, message, more);
      return true;
    });
  }
});

Deno.test("a token is refused from its not_after on, also one that was known before", () => {
  let now = Date.parse("2027-01-01T00:00:00Z") - 1;
  const authenticator = new TokenAuthenticator(
    [{ ...entry("a", "secret-a"), not_after: "2027-01-01T00:00:00.000Z" }],
    () => now,
  );
  const init = { authorization: "Bearer secret-a" };
  assert.equal(letIn(authenticator, init).id, "a");
  now += 1;
  const refusal = unauthenticated(authenticator, init);
  assert.equal(refusal.message, "Not authenticated: the token of a has expired, at 2027-01-01T00:00:00.000Z");
  assert.match(refusal.headers["www-authenticate"]!, /error="invalid_token"$/);
});

Deno.test("tokens that are replaced count at once, whatever was remembered", () => {
  const authenticator = new TokenAuthenticator([entry("a", "one"), entry("b", "two")]);
  const id = (secret: string) => letIn(authenticator, { "x-api-key": secret }).id;
  assert.deepEqual([id("one"), id("one"), id("two")], ["a", "a", "b"]);
  authenticator.replace([entry("c", "two"), entry("a", "three")]);
  assert.deepEqual([id("two"), id("three")], ["c", "a"]);
  unauthenticated(authenticator, { "x-api-key": "one" });
});

Deno.test("more tokens in use than are remembered are known all the same", () => {
  const entries = Array.from({ length: 2_500 }, (_, index) => entry(`t${index}`, `secret-${index}`));
  const authenticator = new TokenAuthenticator(entries);
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < entries.length; index++) {
      assert.equal(letIn(authenticator, { "x-api-key": `secret-${index}` }).id, `t${index}`);
    }
  }
});

Deno.test("a revoked token is refused by the name of its id, and counts for it; one that is in use again is let in", () => {
  const authenticator = new TokenAuthenticator([entry("a", "secret-a")]);
  assert.equal(letIn(authenticator, { "x-api-key": "secret-a" }).id, "a");
  const revoked = [{ id: "a", sha256: digestOf("secret-a").toUpperCase(), at: "2027-01-01T00:00:00.000Z" }];
  authenticator.replace([], revoked);
  const refusal = unauthenticated(authenticator, { authorization: "Bearer secret-a" });
  assert.equal(refusal.message, "Not authenticated: the token of a was revoked, at 2027-01-01T00:00:00.000Z");
  assert.ok(refusal instanceof FormerToken);
  assert.deepEqual([refusal.state, refusal.sender.id, refusal.sender.proof], [
    "revoked",
    "a",
    `token ${digestOf("secret-a").slice(0, 8)}`,
  ]);
  assert.match(unauthenticated(authenticator, { authorization: "Bearer secret-b" }).message, /is not known$/);
  authenticator.replace([entry("a", "secret-a")], revoked);
  assert.equal(letIn(authenticator, { "x-api-key": "secret-a" }).id, "a");
});
