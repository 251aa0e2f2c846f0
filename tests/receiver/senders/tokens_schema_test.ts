import assert from "node:assert/strict";
import { ConfigError } from "../../../src/errors.ts";
import { SIGNAL_NAMES } from "../../../src/signal.ts";
import { digestOf, TokenAuthenticator } from "../../../src/receiver/senders/authenticator.ts";
import { limitsOf, parseTokens } from "../../../src/receiver/senders/tokens_schema.ts";

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
    ["tokens:\n", /^Cannot use tokens file t\.yaml:1:1: tokens: /],
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
    [`tokens:\n  - id: a\n    sha256: ${digest}\n   bad: [`, /^Cannot read tokens file t\.yaml:4:\d+: Not YAML: /],
    [`tokens: [{ id: a, sha256: ${digest}`, /^Cannot read tokens file t\.yaml:1:\d+: Not YAML: /],
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

Deno.test("a token's limits, origins and end are read, in the file's spellings", async () => {
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
  const sender = await authenticator.authenticate(new Headers({ "x-api-key": "x" }));
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
