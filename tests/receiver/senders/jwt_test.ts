import assert from "node:assert/strict";
import { base64url, exportJWK, generateKeyPair, SignJWT } from "jose";
import { Refusal } from "../../../src/errors.ts";
import { SIGNAL_NAMES } from "../../../src/signal.ts";
import { TokenAuthenticator } from "../../../src/receiver/senders/authenticator.ts";
import { JwtVerifier } from "../../../src/receiver/senders/jwt.ts";

const ISSUER = "https://issuer.example";
const AUDIENCE = "edgeferry";
const START = Date.parse("2027-01-01T00:00:00Z");

async function keyOf(kid: string, alg = "ES256") {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...await exportJWK(publicKey), kid, alg } };
}
type Key = Awaited<ReturnType<typeof keyOf>>;

const second = (offset: number) => START / 1000 + offset;

function sign(key: Key, claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): Promise<string> {
  return new SignJWT({ iss: ISSUER, aud: AUDIENCE, sub: "shop", exp: second(300), ...claims })
    .setProtectedHeader({ alg: key.alg, kid: key.kid, ...header })
    .sign(key.privateKey);
}

/** An issuer whose JWKS is what `keys` is now; undefined is a host that is down. */
function scene() {
  const issuer: { keys: readonly Key[] | undefined; fetches: number; now: number; told: string[] } = {
    keys: [],
    fetches: 0,
    now: START,
    told: [],
  };
  const verifier = new JwtVerifier({
    issuer: ISSUER,
    audience: AUDIENCE,
    jwksUrl: "https://issuer.example/jwks",
    clockToleranceMs: 5_000,
    refreshMs: 3_600_000,
    senderClaim: "sub",
    permissionsClaim: "edgeferry",
    onKeys: (state) => issuer.told.push(state),
    now: () => issuer.now,
    fetch: (url) => {
      issuer.fetches += 1;
      assert.equal(url, "https://issuer.example/jwks");
      return issuer.keys === undefined
        ? Promise.reject(new TypeError("connection refused"))
        : Promise.resolve(Response.json({ keys: issuer.keys.map(({ jwk }) => jwk) }));
    },
  });
  const authenticator = new TokenAuthenticator([], () => issuer.now, [verifier]);
  return {
    issuer,
    verifier,
    ask: async (token: string) => await authenticator.authenticate(new Headers({ authorization: `Bearer ${token}` })),
    [Symbol.asyncDispose]: () => verifier[Symbol.asyncDispose](),
  };
}

async function refused(asked: Promise<unknown>, status: number, message: RegExp): Promise<Refusal> {
  const error = await asked.then(() => assert.fail("let in"), (error: unknown) => error);
  assert.ok(error instanceof Refusal, `${error}`);
  assert.equal(error.status, status, error.message);
  assert.match(error.message, message);
  if (status === 401) {
    assert.match(error.headers["www-authenticate"]!, /^Bearer realm="edgeferry", error="invalid_token"$/);
  }
  if (status === 503) assert.ok(error.retryAfterS! >= 1);
  return error;
}

Deno.test("a token of the issuer is its sender, by each kind of key", async () => {
  await using at = scene();
  const keys = await Promise.all(["ES256", "RS256", "PS256", "EdDSA"].map((alg) => keyOf(alg, alg)));
  at.issuer.keys = keys;
  await at.verifier.start();
  for (const key of keys) {
    const sender = await at.ask(await sign(key));
    assert.deepEqual([sender.id, [...sender.signals], sender.limits, sender.origins], [
      "jwt:shop",
      [...SIGNAL_NAMES],
      undefined,
      undefined,
    ]);
  }
  assert.equal(at.issuer.fetches, 1);
});

Deno.test("claims give signals, origins and limits; a list of audiences may hold ours", async () => {
  await using at = scene();
  const key = await keyOf("a");
  at.issuer.keys = [key];
  const token = await sign(key, {
    aud: ["other", AUDIENCE],
    edgeferry: {
      signals: ["logs"],
      origins: ["https://app.example"],
      limits: { requests_per_second: 5, max_request_body_size: "64KiB" },
    },
  });
  const sender = await at.ask(token);
  assert.deepEqual([[...sender.signals], sender.origins, sender.limits], [
    ["logs"],
    ["https://app.example"],
    { requestsPerSecond: 5, bodyBytesMax: 65_536 },
  ]);
  assert.equal(await at.ask(token), sender, "remembered: the same sender, so that its limits are looked up once");
});

Deno.test("whatever is wrong with a token is 401, in words that repeat nothing of it", async () => {
  await using at = scene();
  const [key, other] = [await keyOf("a"), await keyOf("a")];
  at.issuer.keys = [key];
  const header = (fields: object) => base64url.encode(JSON.stringify(fields));
  const body = header({ iss: ISSUER, aud: AUDIENCE, sub: "shop", exp: second(300) });
  const good = await sign(key);
  const hmac = await new SignJWT({ iss: ISSUER, aud: AUDIENCE, sub: "shop", exp: second(300) })
    .setProtectedHeader({ alg: "HS256", kid: "a" }).sign(new TextEncoder().encode(JSON.stringify(key.jwk)));
  const table: [string, RegExp][] = [
    [`${header({ alg: "none" })}.${body}.`, /algorithm is not allowed$/],
    [`${header({ alg: "None", kid: "a" })}.${body}.AAAA`, /algorithm is not allowed$/],
    [hmac, /algorithm is not allowed$/],
    [await sign(other), /signature is wrong$/],
    [good.slice(0, good.lastIndexOf(".") + 1), /signature is wrong$/],
    [
      good.replace(/\.[^.]+\./, `.${header({ iss: ISSUER, aud: AUDIENCE, sub: "admin", exp: second(300) })}.`),
      /signature/,
    ],
    [await sign(key, { aud: "another" }), /for another audience$/],
    [await sign(key, { iss: "https://evil.example" }), /of another issuer$/],
    [await sign(key, { exp: second(-6) }), /has expired$/],
    [await sign(key, { nbf: second(6) }), /is not valid yet$/],
    [await sign(key, { exp: undefined }), /claim exp is missing$/],
    [await sign(key, { sub: undefined }), /claim sub is missing$/],
    [await sign(key, { sub: "two words" }), /claim sub is no name of a sender$/],
    [
      await sign(key, { edgeferry: { limits: { requests_per_second: -1 } } }),
      /claim edgeferry\.limits\.requests_per_second is not .+: Too small: expected number to be >0$/,
    ],
    [
      await sign(key, { edgeferry: { everything: true } }),
      /claim edgeferry is not as it must be: Unrecognized key: "everything"$/,
    ],
    [`${header({ alg: "ES256" })}.${base64url.encode("no json")}.AAAA`, /not a signed one that can be read$/],
    ["eyJhbGciOiJub25lIn0..", /not a signed one that can be read$/],
    [`${header({ alg: "ES256" })}.${"A".repeat(9_000)}.AAAA`, /token is too long$/],
    ["not.a.jwt", /token is not known$/],
  ];
  for (const [token, message] of table) {
    const refusal = await refused(at.ask(token), 401, message);
    for (const part of token.split(".").filter((part) => part.length > 8)) assert.ok(!refusal.message.includes(part));
  }
  const { id, proof } = await at.ask(good);
  assert.deepEqual([id, proof], ["jwt:shop", "jwt"]);
});

Deno.test("clocks may differ by the tolerance; a remembered token is refused when it has expired", async () => {
  await using at = scene();
  const key = await keyOf("a");
  at.issuer.keys = [key];
  const [ending, beginning] = [await sign(key, { exp: second(-4) }), await sign(key, { nbf: second(4) })];
  assert.deepEqual([(await at.ask(ending)).id, (await at.ask(beginning)).id], ["jwt:shop", "jwt:shop"]);
  at.issuer.now += 999;
  assert.equal((await at.ask(ending)).id, "jwt:shop");
  at.issuer.now += 1;
  await refused(at.ask(ending), 401, /has expired$/);
  await refused(at.ask(ending), 401, /has expired$/);
});

Deno.test("a rotation: the new key is fetched when a token names it; a withdrawn one is gone with the next fetch", async () => {
  await using at = scene();
  const [first, next] = [await keyOf("1"), await keyOf("2")];
  at.issuer.keys = [first];
  await at.verifier.start();
  const [before, after] = [await sign(first), await sign(next)];
  assert.equal((await at.ask(before)).id, "jwt:shop");
  at.issuer.keys = [next];
  assert.deepEqual((await Promise.all([at.ask(after), at.ask(after), at.ask(after)])).map(({ id }) => id), [
    "jwt:shop",
    "jwt:shop",
    "jwt:shop",
  ]);
  assert.equal(at.issuer.fetches, 2, "one fetch for all");
  await refused(at.ask(before), 401, /key is not known$/);
});

Deno.test("while the host of the keys is down: known keys go on, unknown ones are 503, and it is told once", async () => {
  await using at = scene();
  const [known, unknown] = [await keyOf("1"), await keyOf("2")];
  at.issuer.keys = undefined;
  await at.verifier.start();
  await refused(at.ask(await sign(known)), 503, /^The keys of the token's issuer cannot be fetched now; retry$/);
  at.issuer.keys = [known];
  assert.equal((await at.ask(await sign(known))).id, "jwt:shop");
  at.issuer.keys = undefined;
  assert.equal((await at.ask(await sign(known, { sub: "shop-2" }))).id, "jwt:shop-2");
  await refused(at.ask(await sign(unknown)), 503, /cannot be fetched now/);
  // What needs no key to be judged is not put off.
  await refused(at.ask(await sign(unknown, { iss: "https://evil.example" })), 401, /another issuer$/);
  at.issuer.keys = [known];
  await refused(at.ask(await sign(unknown)), 401, /key is not known$/);
  assert.deepEqual(at.issuer.told, ["failed", "recovered", "failed", "recovered"]);
});
