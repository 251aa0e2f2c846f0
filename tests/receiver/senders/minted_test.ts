import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { ConfigError, Refusal } from "../../../src/errors.ts";
import { digestOf, TokenAuthenticator } from "../../../src/receiver/senders/authenticator.ts";
import { parseTokensFile, type SigningKey } from "../../../src/receiver/senders/tokens_schema.ts";
import { mint, MintedVerifier } from "../../../src/receiver/senders/minted.ts";
import { newSecret } from "../../../src/receiver/senders/tokens_file.ts";

const START = Date.parse("2027-01-01T00:00:00Z");
const ORIGINS = ["https://app.example", "https://shop.example"];

function scene(more: Partial<SigningKey> = {}) {
  const secret = newSecret();
  const clock = { now: START };
  const key: SigningKey = { id: "web", secret, origins: ORIGINS, max_age: "15m", max_age_ms: 900_000, ...more };
  const verifier = new MintedVerifier([key], () => clock.now);
  const authenticator = new TokenAuthenticator(
    [{ id: "static", sha256: digestOf("static"), signals: ["logs"] }],
    () => clock.now,
    [
      verifier,
    ],
  );
  return {
    key,
    secret,
    clock,
    verifier,
    ask: async (token: string) => await authenticator.authenticate(new Headers({ authorization: `Bearer ${token}` })),
    askByUrl: async (token: string, headers: Record<string, string> = {}) =>
      await authenticator.authenticate(new Headers(headers), undefined, {
        url: `http://relay.example/v1/traces?access_token=${token}`,
      }),
    mint: (more: Partial<Parameters<typeof mint>[0]> = {}) =>
      mint({ keyId: "web", secret, ageMs: 300_000, ...more }, clock.now),
    sign: (claims: Record<string, unknown>, header: Record<string, unknown> = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid: "web", typ: "edgeferry", ...header })
        .sign(Buffer.from(secret, "base64url")),
  };
}

async function refused(asked: Promise<unknown>, message: RegExp): Promise<void> {
  const error = await asked.then(() => assert.fail("let in"), (error: unknown) => error);
  assert.ok(error instanceof Refusal, `${error}`);
  assert.equal(error.status, 401);
  assert.match(error.message, message);
}

Deno.test("a minted token is its key's sender, for no more than it claims", async () => {
  const at = scene({ signals: ["traces", "logs"], limits: { max_request_body_size: 1_000, requests_per_second: 9 } });
  const all = await at.ask(await at.mint());
  assert.equal(all.proof, "key");
  assert.deepEqual([all.id, [...all.signals], all.origins, all.limits], [
    "key:web",
    ["traces", "logs"],
    ORIGINS,
    { requestsPerSecond: 9, bodyBytesMax: 1_000 },
  ]);
  const narrow = await at.ask(
    await at.mint({ origins: ORIGINS.slice(1), signals: ["logs", "metrics"], bodyBytesMax: 500 }),
  );
  assert.deepEqual([[...narrow.signals], narrow.origins, narrow.limits?.bodyBytesMax], [
    ["logs"],
    ORIGINS.slice(1),
    500,
  ]);
  assert.equal(
    (await at.ask(await at.mint({ bodyBytesMax: 5_000 }))).limits?.bodyBytesMax,
    1_000,
    "never more than the key has",
  );
});

Deno.test("a pair of keys: the relay has the public one alone", async () => {
  const { privateKey, publicKey } = await generateKeyPair("EdDSA", { extractable: true });
  const { x = "" } = await exportJWK(publicKey);
  const text = `signing_keys: [{ id: web, public_key: ${x}, origins: [https://app.example], max_age: 1m }]\n`;
  const { signingKeys, tokens } = parseTokensFile(text, "t.yaml");
  assert.deepEqual(tokens, []);
  const authenticator = new TokenAuthenticator([], () => START, [new MintedVerifier(signingKeys, () => START)]);
  const token = await mint({ keyId: "web", secret: JSON.stringify(await exportJWK(privateKey)), ageMs: 60_000 }, START);
  assert.equal((await authenticator.authenticate(new Headers({ "x-api-key": token }))).id, "key:web");
  // Nobody who has read the relay's file can mint with what it says.
  const forged = await new SignJWT({}).setProtectedHeader({ alg: "HS256", kid: "web", typ: "edgeferry" })
    .setExpirationTime(START / 1000 + 60).sign(Buffer.from(x, "base64url"));
  await refused(
    (async () => await authenticator.authenticate(new Headers({ "x-api-key": forged })))(),
    /algorithm is not allowed/,
  );
});

Deno.test("what was not minted so is refused", async () => {
  const at = scene();
  const exp = START / 1000 + 60;
  const other = scene();
  const table: [string, RegExp][] = [
    [await other.mint(), /signature is wrong$/],
    [await at.mint({ keyId: "elsewhere" }), /key is not known$/],
    [await at.sign({}), /claim exp is missing$/],
    [await at.mint({ ageMs: -6_000 }), /has expired$/],
    [await at.mint({ ageMs: 920_000 }), /lives longer than its key allows$/],
    [
      await at.sign({ exp, origins: ["https://evil.example"] }),
      /claims an origin or a signal that its key does not have$/,
    ],
    [await at.sign({ exp, signals: [] }), /claims an origin or a signal/],
    [await at.sign({ exp, origins: "https://app.example" }), /claims are not as they must be$/],
    [await at.sign({ exp, max_request_body_size: "big" }), /max_request_body_size is no size$/],
    [(await at.mint()).replace(/\.[^.]*$/, "."), /signature is wrong$/],
    [(await at.mint()).replace(/\.[^.]*$/, ".AAAA"), /signature is wrong$/],
    [await at.sign({ exp }, { typ: "JWT" }), /token is not known$/],
  ];
  for (const [token, message] of table) await refused(at.ask(token), message);
  assert.equal((await at.ask(await at.sign({ exp }))).id, "key:web");
});

Deno.test("a remembered token ends with its time, and with its key", async () => {
  const at = scene();
  const token = await at.mint({ ageMs: 60_000 });
  await at.ask(token);
  at.clock.now += 64_999;
  await at.ask(token);
  at.clock.now += 1;
  await refused(at.ask(token), /has expired$/);
  const next = await at.mint();
  await at.ask(next);
  at.verifier.replace([]);
  await refused(at.ask(next), /key is not known$/);
});

Deno.test("a URL may hold a minted token, and no other; a header goes before it", async () => {
  const at = scene();
  assert.equal((await at.askByUrl(await at.mint())).id, "key:web");
  await refused(at.askByUrl("static"), /the URL may hold a minted token only/);
  await refused(at.askByUrl(""), /the URL may hold a minted token only/);
  assert.equal((await at.askByUrl("static", { "x-api-key": "static" })).id, "static");
  await refused(at.askByUrl(await at.mint(), { "x-api-key": "wrong" }), /token is not known$/);
});

Deno.test("signing keys that cannot be used are named, and none of their text", () => {
  const secret = newSecret();
  const origins = "origins: [https://app.example]";
  const table: [string, RegExp][] = [
    [`id: web, secret: ${secret}`, /signing_keys\.0\.origins: /],
    [`id: web, ${origins}`, /signing_keys\.0: needs a secret or a public_key, and not both$/],
    [`id: web, secret: ${secret}, public_key: ${secret}, ${origins}`, /needs a secret or a public_key/],
    [`id: web, secret: short, ${origins}`, /secret: is not a secret: 32 to 258 bytes in base64url$/],
    [`id: web, public_key: ${secret}x, ${origins}`, /public_key: is not an Ed25519 public key/],
    [`id: web, secret: ${secret}, ${origins}, max_age: 2d`, /max_age is not a time such as 15m, from 1s to 24h$/],
    [
      `id: web, secret: ${secret}, ${origins} }, { id: web, secret: ${newSecret()}, ${origins}`,
      /web stands in it twice/,
    ],
  ];
  for (const [entry, message] of table) {
    assert.throws(() => parseTokensFile(`signing_keys: [{ ${entry} }]\n`, "t.yaml"), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      assert.ok(!error.message.includes(secret));
      return true;
    });
  }
});
