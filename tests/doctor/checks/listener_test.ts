import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { parseEndpoint } from "../../../src/config/units.ts";
import { checkListener, type ListenerSubject } from "../../../src/doctor/checks/listener.ts";
import { tcp } from "../../support/far_end/tcp.ts";
import { quietPort } from "../../support/far_end/quiet_port.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { startRelayHere } from "../../support/relay/relay.ts";

const PROTOCOLS = ["OTLP/HTTP", "OTLP/gRPC"] as const;

function subject(protocol: ListenerSubject["protocol"], url: string, more: Partial<ListenerSubject> = {}) {
  const endpoint = parseEndpoint(new URL(url).host)!;
  const secure = url.startsWith("https:");
  return { protocol, setting: "receiver.it.endpoint", endpoint, secure, fingerprint: undefined, ...more };
}

Deno.test("a relay that runs answers at both listeners, and shows the certificate of its file", async () => {
  await using certs = await testCertificates();
  const { certificate, certificateFile: cert_file, keyFile: key_file } = certs.server;
  for (
    const tls of [undefined, { cert_file, key_file }, { cert_file, key_file, client_ca_file: certs.ca.certificateFile }]
  ) {
    await using relay = await startRelayHere({
      engine: "sqlite",
      collectorUrl: "https://localhost:9",
      certsDir: certs.dir,
      http: { endpoint: "127.0.0.1:0", ...(tls === undefined ? {} : { tls }) },
      config: { receiver: { grpc: { endpoint: "127.0.0.1:0" } } },
    });
    const fingerprint = tls === undefined ? undefined : new X509Certificate(certificate).fingerprint256;
    const ends = [["OTLP/HTTP", relay.url, /405/], ["OTLP/gRPC", await relay.grpcUrl(), /SERVING/]] as const;
    for (const [protocol, url, evidence] of ends) {
      const found = await checkListener(subject(protocol, url, { fingerprint }));
      assert.equal(found.status, "ok", `${found.finding}: ${found.evidence}`);
      assert.match(found.finding, /^The relay answers at receiver\.it\.endpoint 127\.0\.0\.1:\d+$/);
      assert.match(found.evidence!.join(), evidence);
      if (tls === undefined) continue;
      const other = await checkListener(subject(protocol, url, { fingerprint: "AB:CD" }));
      assert.deepEqual([other.status, other.fault], ["warning", "receiver_certificate_stale"]);
    }
    // Each at the other's port.
    for (const [protocol, url] of [["OTLP/gRPC", relay.url], ["OTLP/HTTP", await relay.grpcUrl()]] as const) {
      assert.equal((await checkListener(subject(protocol, url))).fault, "receiver_foreign", protocol);
    }
  }
});

Deno.test("where nothing listens the relay does not run, which is no fault; nor is a port that is chosen later", async () => {
  for (const protocol of PROTOCOLS) {
    const nothing = await checkListener(subject(protocol, `http://127.0.0.1:${await quietPort()}`));
    assert.deepEqual([nothing.status, nothing.fault], ["ok", undefined]);
    assert.match(nothing.finding, /^Nothing listens at .*: the relay does not run$/);
    assert.equal((await checkListener(subject(protocol, "http://127.0.0.1:0"))).status, "ok");
  }
});

Deno.test("what is silent, and what speaks something else, is named", async () => {
  await using stack = new AsyncDisposableStack();
  const silent = await tcp(stack, () => {});
  const mail = await tcp(stack, (socket) => void socket.end("220 mail.example ESMTP\r\n"));
  for (const protocol of PROTOCOLS) {
    for (const scheme of ["http", "https"]) {
      const none = await checkListener(subject(protocol, `${scheme}://127.0.0.1:${silent}`, { answerMs: 100 }));
      assert.deepEqual([none.status, none.fault], ["fault", "receiver_silent"], `${protocol} ${scheme}`);
      const odd = await checkListener(subject(protocol, `${scheme}://127.0.0.1:${mail}`));
      assert.deepEqual([odd.status, odd.fault], ["fault", "receiver_foreign"], `${protocol} ${scheme}`);
    }
  }
});
