import assert from "node:assert/strict";
import { Refusal } from "../../../src/errors.ts";
import { SIGNAL_NAMES } from "../../../src/signal.ts";
import {
  type Authenticator,
  digestOf,
  FormerToken,
  INSECURE,
  TokenAuthenticator,
} from "../../../src/receiver/senders/authenticator.ts";
import type { TokenEntry } from "../../../src/receiver/senders/tokens_schema.ts";
import type { Sender } from "../../../src/receiver/senders/sender.ts";

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
      // Two equal fields, joined on their way (RFC 9110, 5.3), are one.
      { authorization: "Bearer secret-a, Bearer secret-a" },
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
    [{}, /^Not authenticated: no token; set Authorization: Bearer TOKEN, or x-api-key$/, /^Bearer realm="edgeferry"$/],
    [{ "x-api-key": "" }, /no token/, /^Bearer realm="edgeferry"$/],
    [{ authorization: "" }, /not of the form 'Bearer TOKEN'$/, /error="invalid_request"$/],
    [{ authorization: "Bearer" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer " }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Basic c2VjcmV0LWE=" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "secret-a" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer secret-a secret-a" }, /not of the form/, /error="invalid_request"$/],
    [{ authorization: "Bearer secret-a, Bearer secret-b" }, /not of the form/, /error="invalid_request"$/],
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
