import assert from "node:assert/strict";
import * as edgeferry from "../src/mod.ts";
import { VERSION } from "../src/version.ts";
import { testCertificates } from "./support/certificates.ts";
import { requestOf } from "./support/exporting.ts";
import { startMtlsEndpoint } from "./support/mtls_endpoint.ts";

Deno.test("the library exports what it promises, by hand", () => {
  assert.deepEqual(Object.keys(edgeferry).sort(), [
    "CertificateError",
    "ConfigError",
    "Refusal",
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
