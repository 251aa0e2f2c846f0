import assert from "node:assert/strict";
import { Hono } from "hono";
import * as edgeferry from "../src/mod.ts";
import { VERSION } from "../src/version.ts";
import { testCertificates } from "./support/files/certificates.ts";
import { requestOf } from "./support/relay/exporting.ts";
import { startMtlsEndpoint } from "./support/far_end/mtls_endpoint.ts";

Deno.test("the library exports what it promises, by hand", () => {
  assert.deepEqual(Object.keys(edgeferry).sort(), [
    "CertificateError",
    "ConfigError",
    "StatedError",
    "configFrom",
    "createLog",
    "createRelay",
    "httpInstrumentation",
    "instrument",
    "loadConfig",
    "startRelay",
    "startTelemetry",
  ]);
  assert.match(VERSION, /^\d+\.\d+\.\d+$/);
});

Deno.test("a program of somebody else's can hold a relay, without a file, an environment or a disk", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const config = edgeferry.configFrom({
    receiver: { http: { endpoint: "127.0.0.1:0" }, auth: { insecure: true } },
    sending_queue: { storage: "none" },
    exporter: {
      endpoint: endpoint.url,
      tls: { ca_pem: certs.ca.certificate, cert_pem: certs.client.certificate, key_pem: certs.client.key },
    },
    telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { enabled: false }, metrics: { enabled: false } },
  });
  await using relay = await edgeferry.startRelay(config, edgeferry.createLog({ write: () => {} }));
  const answer = await fetch(`${relay.url}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: requestOf("traces", ["a"]),
  });
  await answer.body?.cancel();
  assert.equal(answer.status, 200);
  assert.equal(endpoint.requests.length, 1);
  assert.throws(() => edgeferry.configFrom({ exporter: { endpoint: "nonsense" } }), edgeferry.ConfigError);
});

Deno.test("a relay without a socket is a part of somebody else's app", async () => {
  await using certs = await testCertificates();
  await using endpoint = await startMtlsEndpoint(certs);
  const input: edgeferry.ConfigInput = {
    receiver: { auth: { insecure: true } },
    sending_queue: { storage: "none" },
    exporter: {
      endpoint: endpoint.url,
      tls: { ca_pem: certs.ca.certificate, cert_pem: certs.client.certificate, key_pem: certs.client.key },
    },
    telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
  };
  const relay = await edgeferry.createRelay(edgeferry.configFrom(input), edgeferry.createLog({ write: () => {} }));
  const app = new Hono().get("/", (c) => c.text("theirs")).route("/otlp", relay.app);
  const post = (path: string) =>
    app.request(path, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf" },
      body: requestOf("traces", ["a"]),
    });
  assert.equal((await post("/otlp/v1/traces")).status, 200);
  assert.equal(endpoint.requests.length, 1);
  assert.equal((await app.request("/otlp/v1/traces")).status, 405);
  assert.equal((await app.request("/otlp/readyz")).status, 200);
  assert.equal(await (await app.request("/")).text(), "theirs");
  assert.equal((await post("/v1/traces")).status, 404);
  // What is under way is answered before it has stopped; after that the sender is told to come again.
  const [answer] = await Promise.all([post("/otlp/v1/traces"), relay.stop()]);
  assert.equal(answer.status, 200);
  assert.equal((await post("/otlp/v1/traces")).status, 503);

  const tls = { cert_file: "a.crt", key_file: "a.key" };
  const withTls = edgeferry.configFrom({ ...input, receiver: { http: { tls }, auth: { insecure: true } } });
  await assert.rejects(
    edgeferry.createRelay(withTls),
    /Cannot use receiver\.http\.tls here: .*; set TLS up in the server/,
  );
});
