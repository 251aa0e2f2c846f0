/**
 * Who is turned away, and how: each with its status, body, headers and log line, from a relay as users run it. Then every secret
 * that was shown to it is looked for in all that it has said.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { mint } from "../../src/receiver/senders/minted.ts";
import { newSecret, removeTokens } from "../../src/receiver/senders/tokens_file.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { type RelayProcess, startRelayProcess } from "../support/relay/relay.ts";
import { startSink } from "../support/far_end/sink.ts";
import { startCollector } from "../support/tools/collector.ts";

const ISSUER = "https://issuer.example";
const AUDIENCE = "edgeferry";
const span = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}';

interface Row {
  readonly name: string;
  readonly headers?: Record<string, string>;
  readonly path?: string;
  readonly body?: string;
  readonly status: number;
  readonly says: RegExp;
  readonly challenge?: RegExp;
}

async function keyOf(kid: string) {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  return { kid, privateKey, jwk: { ...await exportJWK(publicKey), kid, alg: "ES256" } };
}

/** An issuer's host, which can be taken down. */
function startIssuer(keys: readonly object[]) {
  const serve = (port: number) =>
    Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, () => Response.json({ keys }));
  const server = serve(0);
  return { url: `http://127.0.0.1:${server.addr.port}/jwks`, down: () => server.shutdown() };
}

async function check(relay: RelayProcess, row: Row): Promise<void> {
  const response = await fetch(`${relay.url}${row.path ?? "/v1/traces"}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...row.headers },
    body: row.body ?? span,
  });
  const text = await response.text();
  assert.equal(response.status, row.status, `${row.name}: ${text}`);
  const { code, message } = JSON.parse(text);
  assert.match(message, row.says, row.name);
  assert.deepEqual([response.headers.get("content-type"), code], [
    "application/json",
    { 401: 16, 403: 7, 413: 8, 429: 8, 503: 14 }[row.status],
  ]);
  const challenge = response.headers.get("www-authenticate");
  if (row.status === 401) {
    assert.match(challenge!, row.challenge ?? /^Bearer realm="edgeferry", error="invalid_token"$/);
  } else assert.equal(challenge, null, row.name);
  const retryable = row.status === 429 || row.status === 503;
  assert.equal(response.headers.has("retry-after"), retryable, row.name);
  const reason = {
    401: "unauthenticated",
    403: "forbidden",
    413: "too_large",
    429: "throttled",
    503: "keys_unavailable",
  };
  const [what] = row.says.source.replace(/^\^|\$$/g, "").split(/; (?!it may)/);
  const line = await relay.line(
    new RegExp(`"reason":"${reason[row.status as keyof typeof reason]}".*${what}`),
  );
  const { level, message_, remedy } = JSON.parse(line);
  assert.equal(level, "warn", row.name);
  assert.equal(message.startsWith(message_) && (retryable || message.endsWith(remedy ?? message_)), true, row.name);
}

Deno.test("everyone who is turned away is told why, and so is the log; no secret is in either", async (t) => {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await folder());
  const [good, other, unknown] = [await keyOf("good"), await keyOf("good"), await keyOf("unknown")];
  const issuer = startIssuer([good.jwk]);
  stack.defer(issuer.down);
  const secrets = {
    static: newSecret(),
    revoked: newSecret(),
    web: newSecret(),
    slow: newSecret(),
    old: newSecret(),
    key: newSecret(),
  };
  const tokens_file = join(at.path, "tokens.yaml");
  await writeFile(
    tokens_file,
    `tokens:
  - { id: static, sha256: ${digestOf(secrets.static)}, signals: [traces], limits: { max_request_body_size: 1KiB } }
  - { id: revoked, sha256: ${digestOf(secrets.revoked)} }
  - { id: web, sha256: ${digestOf(secrets.web)}, origins: [https://app.example] }
  - { id: slow, sha256: ${digestOf(secrets.slow)}, limits: { requests_per_second: 0.01 } }
  - { id: old, sha256: ${digestOf(secrets.old)}, not_after: 2020-01-01T00:00:00Z }
signing_keys:
  - { id: page, secret: ${secrets.key}, origins: [https://app.example] }
`,
  );
  const certificates = stack.use(await testCertificates());
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certificates.dir, sink }));
  const relay = stack.use(
    await startRelayProcess({
      engine: "sqlite",
      collectorUrl: collector.httpUrl,
      certsDir: certificates.dir,
      auth: {
        tokens_file,
        reload_interval: "100ms",
        jwt: { issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.url },
      },
      config: {
        telemetry: {
          admin: { endpoint: "127.0.0.1:0" },
          traces: { sampling_ratio: 1 },
          log: { format: "json", level: "debug" },
        },
      },
    }),
  );
  const shown: string[] = Object.values(secrets);
  const bearer = (token: string) => {
    shown.push(token);
    return { authorization: `Bearer ${token}` };
  };
  const sign = (key: typeof good, claims: Record<string, unknown> = {}) =>
    new SignJWT({ iss: ISSUER, aud: AUDIENCE, sub: "shop", exp: Math.floor(Date.now() / 1000) + 300, ...claims })
      .setProtectedHeader({ alg: "ES256", kid: key.kid }).sign(key.privateKey);
  const part = (value: object) =>
    btoa(JSON.stringify(value)).replaceAll("=", "").replaceAll("+", "-").replaceAll("/", "_");
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: "shop", exp: Math.floor(Date.now() / 1000) + 300 };

  const letIn = async (headers: Record<string, string>) => {
    const response = await fetch(`${relay.url}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: span,
    });
    assert.equal(response.status, 200, await response.text());
  };
  for (const token of [secrets.static, secrets.revoked, secrets.slow, await sign(good)]) await letIn(bearer(token));
  await letIn({ ...bearer(secrets.web), origin: "https://app.example" });
  await letIn({
    ...bearer(await mint({ keyId: "page", secret: secrets.key, ageMs: 60_000 })),
    origin: "https://app.example",
  });
  await removeTokens(tokens_file, "revoked");
  await relay.line(/Took up changed tokens/);

  const rows: Row[] = [
    {
      name: "no token",
      status: 401,
      says: /no token; set Authorization: Bearer TOKEN, or x-api-key$/,
      challenge: /^Bearer realm="edgeferry"$/,
    },
    {
      name: "another scheme",
      headers: { authorization: "Basic c2VjcmV0OnNlY3JldA==" },
      status: 401,
      says: /Authorization is not of the form/,
      challenge: /error="invalid_request"$/,
    },
    { name: "a wrong token", headers: bearer(newSecret()), status: 401, says: /the token is not known$/ },
    { name: "a wrong key", headers: { "x-api-key": secrets.key }, status: 401, says: /the token is not known$/ },
    {
      name: "revoked a moment ago",
      headers: bearer(secrets.revoked),
      status: 401,
      says: /the token of \S+ was revoked, at \d{4}-/,
    },
    { name: "expired", headers: bearer(secrets.old), status: 401, says: /the token of old has expired, at 2020-01-01/ },
    {
      name: "JWT, alg none",
      headers: bearer(`${part({ alg: "none" })}.${part(claims)}.`),
      status: 401,
      says: /the token's algorithm is not allowed$/,
    },
    {
      name: "JWT, expired",
      headers: bearer(await sign(good, { exp: 1_600_000_000 })),
      status: 401,
      says: /the token has expired$/,
    },
    {
      name: "JWT, another audience",
      headers: bearer(await sign(good, { aud: "other" })),
      status: 401,
      says: /the token is for another audience$/,
    },
    {
      name: "JWT, another issuer",
      headers: bearer(await sign(good, { iss: "https://evil.example" })),
      status: 401,
      says: /the token is of another issuer$/,
    },
    {
      name: "JWT, another's key",
      headers: bearer(await sign(other)),
      status: 401,
      says: /the token's signature is wrong$/,
    },
    {
      name: "JWT, an unknown key",
      headers: bearer(await sign(unknown)),
      status: 401,
      says: /the token's key is not known$/,
    },
    {
      name: "minted with another key",
      headers: bearer(await mint({ keyId: "page", secret: newSecret(), ageMs: 60_000 })),
      status: 401,
      says: /the token's signature is wrong$/,
    },
    {
      name: "a static token in the URL",
      path: `/v1/traces?access_token=${secrets.static}`,
      status: 401,
      says: /the URL may hold a minted token only/,
      challenge: /error="invalid_request"$/,
    },
    {
      name: "another origin",
      headers: { ...bearer(secrets.web), origin: "https://evil.example" },
      status: 403,
      says: /Token web may not be used from this origin/,
    },
    {
      name: "no origin",
      headers: bearer(secrets.web),
      status: 403,
      says: /Token web is for web pages, and the request has no Origin/,
    },
    {
      name: "another signal",
      headers: bearer(secrets.static),
      path: "/v1/logs",
      body: "{}",
      status: 403,
      says: /Token static may not send logs; it may send traces$/,
    },
    {
      name: "too large for its token",
      headers: bearer(secrets.static),
      body: " ".repeat(1_025),
      status: 413,
      says: /Body is over the limit of 1024 bytes/,
    },
    {
      name: "over its rate",
      headers: bearer(secrets.slow),
      status: 429,
      says: /Sender slow is over its limit of 0.01 requests a second; retry after \d+ s$/,
    },
  ];
  for (const row of rows) await t.step(row.name, () => check(relay, row));
  await t.step("JWT of a new key while the issuer's host is down; one of a known key goes on", async () => {
    await issuer.down();
    await check(relay, {
      name: "down",
      headers: bearer(await sign(unknown)),
      status: 503,
      says: /The keys of the token's issuer cannot be fetched now; retry$/,
    });
    await letIn(bearer(await sign(good, { sub: "another" })));
  });
  await t.step("no secret is in the log, in the relay's own telemetry, in the queue or among the tokens", async () => {
    await relay.stop();
    const told = [
      relay.log().join("\n"),
      JSON.stringify(
        [sink.spans(), sink.dataPoints()],
        (_, value) => typeof value === "bigint" ? String(value) : value,
      ),
      (await readFile(relay.queuePath)).toString("latin1"),
      (await readFile(tokens_file, "utf8")).replace(secrets.key, ""),
    ].join("\n");
    assert.match(told, /POST \/v1\/traces/, "its own spans are there");
    for (const secret of shown) {
      assert.ok(!told.includes(secret), "a whole secret");
      for (const piece of secret.split(".").filter((piece) => piece.length > 16)) {
        assert.ok(!told.includes(piece), "a part of one");
      }
    }
    assert.ok(!told.includes("access_token"));
  });
});
