/** Senders over TLS: with a token, or with a client certificate that is their name; and a listener whose files change. */
import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { type Pair, type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { type RelayHere, type RelayOptions, startRelayHere } from "../support/relay/relay.ts";
import { toolOutput } from "../support/tools/tool.ts";

const span = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}';

async function scene(
  certs: TestCertificates,
  tls: (dir: string) => RelayOptions["http"],
  auth?: NonNullable<RelayOptions["auth"]>,
) {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await folder());
  await copyFile(certs.server.certificateFile, join(path, "server.crt"));
  await copyFile(certs.server.keyFile, join(path, "server.key"));
  await copyFile(certs.ca.certificateFile, join(path, "ca.crt"));
  const relay = stack.use(
    await startRelayHere({
      engine: "sqlite",
      // Nobody is there: what was accepted stays in the queue, where it can be seen.
      collectorUrl: "https://127.0.0.1:9",
      certsDir: certs.dir,
      config: {
        telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { enabled: false }, metrics: { enabled: false } },
      },
      http: tls(path),
      ...(auth === undefined ? {} : { auth }),
    }),
  );
  const running = stack.move();
  return { path, relay, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** One request on a connection of its own. */
function post(
  relay: RelayHere,
  certs: TestCertificates,
  who?: Pair,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string; challenge: string | undefined; server: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${relay.url.replace("127.0.0.1", "localhost")}/v1/traces`, {
      method: "POST",
      agent: false,
      ca: [certs.ca.certificate, certs.otherCa.certificate],
      headers: { "content-type": "application/json", ...headers },
      ...(who === undefined ? {} : { cert: who.certificate, key: who.key }),
    }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => text += chunk).on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          text,
          challenge: response.headers["www-authenticate"],
          server: Reflect.get(response.socket, "getPeerCertificate").call(response.socket).fingerprint256,
        }));
    });
    outgoing.on("error", reject);
    outgoing.end(span);
  });
}

const sendersIn = (queuePath: string): string[] => {
  using db = new DatabaseSync(queuePath, { readOnly: true });
  return db.prepare("SELECT parts FROM records ORDER BY id").all().flatMap(({ parts }) =>
    (JSON.parse(String(parts)) as unknown[][]).map(([sender]) => String(sender))
  );
};

const line = async (relay: RelayHere, test: RegExp): Promise<string> => {
  // The log of a relay in this process tells nobody when it grows.
  for (let looks = 0; looks < 3_000; looks++) {
    const found = relay.log().find((text) => test.test(text));
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return assert.fail(`The log has no ${test}`);
};

const files = (path: string, more: Record<string, string | boolean> = {}) => ({
  tls: { cert_file: join(path, "server.crt"), key_file: join(path, "server.key"), reload_interval: "100ms", ...more },
});

Deno.test("over TLS a token is asked for as ever", async () => {
  await using certs = await testCertificates();
  await using at = await scene(certs, (path) => files(path));
  assert.match(at.relay.url, /^https:/);
  const authorization = `Bearer ${at.relay.token}`;
  assert.equal((await post(at.relay, certs, undefined, { authorization })).status, 200);
  assert.equal((await post(at.relay, certs)).status, 401);
  // A certificate that nobody asked for is no proof.
  assert.equal((await post(at.relay, certs, certs.client)).status, 401);
  assert.deepEqual(sendersIn(at.relay.queuePath), ["test"]);
});

Deno.test("by mutual TLS the certificate's name is the sender, and whoever is refused is named in the log", async (t) => {
  await using certs = await testCertificates();
  await using at = await scene(certs, (path) => files(path, { client_ca_file: join(path, "ca.crt") }));
  const { relay } = at;
  assert.equal((await post(relay, certs, certs.client)).status, 200);
  assert.deepEqual(sendersIn(relay.queuePath), ["certificate:client-app"]);
  const table: [string, Pair | undefined, RegExp][] = [
    ["none", undefined, /no client certificate; send one of a CA/],
    [
      "another CA",
      certs.otherClient,
      /of client-app, issued by OtherCA, is not of a CA in receiver\.http\.tls\.client_ca_file/,
    ],
    ["a CA of the same name", certs.namesakeClient, /of client-app, issued by MyRootCA, is not of a CA/],
    ["expired", certs.expiredClient, /of client-app has expired, at /],
    ["not yet valid", certs.futureClient, /of client-app is not valid before /],
    ["a server's", certs.wrongUsageClient, /or not for clients/],
  ];
  const loggedAs: Record<string, RegExp> = {
    // A line for each kind of fault: another CA of the same name is the same fault, and its line is withheld.
    "a CA of the same name": /is not of a CA in/,
    none: /no client certificate","remedy":"send one of a CA/,
  };
  for (const [name, who, message] of table) {
    await t.step(name, async () => {
      // A token does not stand in for a certificate.
      const answer = await post(relay, certs, who, { authorization: `Bearer ${relay.token}` });
      assert.deepEqual([answer.status, answer.challenge], [401, 'ClientCertificate realm="edgeferry"']);
      assert.match(answer.text, message);
      const logged = loggedAs[name] ?? message;
      assert.ok(relay.log().some((text) => logged.test(text) && text.includes('"level":"warn"')), name);
    });
  }
  await t.step("one whose key the sender does not have", async () => {
    const { stdout } = await toolOutput("go", [
      "run",
      fileURLToPath(new URL("impostor/main.go", import.meta.url)),
      relay.url,
      certs.client.certificateFile,
    ]);
    const said = stdout.trim().split("\n");
    assert.equal(said.length, 2);
    for (const text of said) assert.match(text, /^refused: .*(tls|EOF|reset)/);
  });
  assert.deepEqual(sendersIn(relay.queuePath), ["certificate:client-app"], "nothing of theirs was kept");
});

Deno.test("where it is not required, a certificate or a token will do; a bad certificate is not helped by a token", async () => {
  await using certs = await testCertificates();
  await using at = await scene(
    certs,
    (path) => files(path, { client_ca_file: join(path, "ca.crt"), require_client_certificate: false }),
  );
  const authorization = `Bearer ${at.relay.token}`;
  assert.equal((await post(at.relay, certs, certs.client)).status, 200);
  assert.equal((await post(at.relay, certs, undefined, { authorization })).status, 200);
  const nothing = await post(at.relay, certs);
  assert.deepEqual([nothing.status, nothing.challenge], [401, 'Bearer realm="edgeferry"']);
  assert.match(nothing.text, /no token; set Authorization/);
  for (const who of [certs.otherClient, certs.expiredClient]) {
    const bad = await post(at.relay, certs, who, { authorization });
    assert.deepEqual([bad.status, bad.challenge], [401, 'ClientCertificate realm="edgeferry"']);
  }
  assert.deepEqual(sendersIn(at.relay.queuePath).sort(), ["certificate:client-app", "test"]);
});

Deno.test("a changed certificate and client CA are taken up; what does not fit is refused, and the old goes on", async () => {
  await using certs = await testCertificates();
  await using at = await scene(certs, (path) => files(path, { client_ca_file: join(path, "ca.crt") }));
  const { relay, path } = at;
  const before = (await post(relay, certs, certs.client)).server;
  await copyFile(certs.otherClient.keyFile, join(path, "server.key"));
  assert.match(await line(relay, /Refused a changed certificate/), /server key .* does not match server certificate/);
  assert.equal((await post(relay, certs, certs.client)).server, before);
  const next = await certs.issueServer("next");
  await writeFile(join(path, "ca.crt"), certs.otherCa.certificate);
  await writeFile(join(path, "server.crt"), await readFile(next.certificateFile));
  await writeFile(join(path, "server.key"), await readFile(next.keyFile));
  await line(relay, /Took up a changed certificate/);
  const after = await post(relay, certs, certs.otherClient);
  assert.equal(after.status, 200);
  assert.notEqual(after.server, before);
  assert.equal((await post(relay, certs, certs.client)).status, 401);
});

Deno.test("the stock SDK proves itself by its certificate, by an issuer's JWT over TLS, and by a static token", async () => {
  await using certs = await testCertificates();
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwks = { keys: [{ ...await exportJWK(publicKey), kid: "1", alg: "ES256" }] };
  const issuer = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => Response.json(jwks));
  await using _issuer = { [Symbol.asyncDispose]: () => issuer.shutdown() };
  const jwt = {
    issuer: "https://issuer.example",
    audience: "edgeferry",
    jwks_url: `http://127.0.0.1:${issuer.addr.port}/jwks`,
  };
  const token = await new SignJWT({ sub: "by-jwt" }).setIssuer(jwt.issuer).setAudience(jwt.audience).setExpirationTime(
    "5m",
  )
    .setProtectedHeader({ alg: "ES256", kid: "1" }).sign(privateKey);

  await using byToken = await scene(certs, (path) => files(path), { jwt });
  await stockSpan(byToken.relay, certs, { headers: { authorization: `Bearer ${token}` } });
  await stockSpan(byToken.relay, certs, { headers: { "x-api-key": byToken.relay.token } });
  assert.deepEqual(sendersIn(byToken.relay.queuePath), ["jwt:by-jwt", "test"]);

  await using byCertificate = await scene(certs, (path) => files(path, { client_ca_file: join(path, "ca.crt") }));
  const { certificate: cert, key } = certs.client;
  await stockSpan(byCertificate.relay, certs, { httpAgentOptions: { cert, key } });
  assert.deepEqual(sendersIn(byCertificate.relay.queuePath), ["certificate:client-app"]);
});

/** One span by the stock SDK and its stock exporter. */
async function stockSpan(
  relay: RelayHere,
  certs: TestCertificates,
  { headers, httpAgentOptions }: {
    readonly headers?: Record<string, string>;
    readonly httpAgentOptions?: { readonly cert: string; readonly key: string };
  },
): Promise<void> {
  const exporter = new OTLPTraceExporter({
    url: `${relay.url.replace("127.0.0.1", "localhost")}/v1/traces`,
    ...(headers === undefined ? {} : { headers }),
    httpAgentOptions: { ca: certs.ca.certificate, keepAlive: false, ...httpAgentOptions },
  });
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  provider.getTracer("test").startSpan("by the stock SDK").end();
  await provider.forceFlush();
  await provider.shutdown();
}
