import assert from "node:assert/strict";
import { errors } from "jose";
import { Refusal } from "../../../src/errors.ts";
import { refusalFor, senderOf, VerifiedTokens } from "../../../src/receiver/senders/verified.ts";

Deno.test("a verified token is remembered until it expires; beyond the bound all are checked again", () => {
  let now = 0;
  const tokens = new VerifiedTokens(() => now);
  const sender = senderOf("shop", "jwt", {});
  assert.equal(tokens.get("a"), undefined);
  assert.equal(tokens.add("a", { sender, notAfterMs: 10 }), sender);
  now = 9;
  assert.equal(tokens.get("a"), sender);
  now = 10;
  assert.throws(() => tokens.get("a"), {
    code: "unauthenticated",
    message: "Not authenticated: the token has expired",
  });
  assert.equal(tokens.get("a"), undefined);
  for (let index = 0; index < 2_001; index++) tokens.add(`t${index}`, { sender, notAfterMs: Infinity });
  assert.deepEqual([tokens.get("t0"), tokens.get("t2000")], [undefined, sender]);
});

Deno.test("what jose finds wrong is 401; a refusal and a defect stay what they are", () => {
  const refusal = new Refusal("keys_unavailable", "later");
  assert.equal(refusalFor(refusal), refusal);
  const defect = new TypeError("no such thing");
  assert.equal(refusalFor(defect), defect);
  const told = refusalFor(new errors.JWSInvalid("Invalid Compact JWS: eyJsecret"));
  assert.ok(told instanceof Refusal && told.status === 401 && !told.message.includes("secret"));
});
