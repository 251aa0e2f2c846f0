import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo } from "node:net";
import { startCollector } from "../../src/collector/server.ts";
import { shakeHands } from "../../src/diagnosis/handshake.ts";
import { describe } from "../../src/pki/certificate.ts";
import { testCertificates } from "../support/files/certificates.ts";

Deno.test("a handshake shows version and certificates, of a server that nobody would trust too", async () => {
  await using certs = await testCertificates();
  const { certificate: cert, key } = certs.client;
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const server = { cert: certs.namesakeServer.certificate, key: certs.namesakeServer.key };
    await using collector = await startCollector({
      host: "127.0.0.1",
      port: 0,
      tls: { ca: [certs.ca.certificate], ...server, version },
    });
    const seen = await shakeHands({ host: "localhost", port: collector.port, cert, key, timeoutMs: 10_000 });
    assert.deepEqual([seen.secured, seen.version, seen.error], [true, version, undefined]);
    assert.equal(describe(seen.certificates[0]!).subject, "CN=otel-collector");
    const stranger = await shakeHands({ host: "localhost", port: collector.port, timeoutMs: 10_000 });
    // Under TLS 1.3 the client is done before the server has looked at its certificate.
    assert.equal(stranger.secured, version === "TLSv1.3");
    if (!stranger.secured) assert.match(stranger.error ?? "", /CertificateRequired|HandshakeFailure/);
  }
});

Deno.test("what is no handshake says so, and one that does not end is given up", async () => {
  const sockets = new Set<{ destroy(): void }>();
  let greet = true;
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    if (greet) socket.end("220 mail.example ESMTP\r\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const spoken = await shakeHands({ host: "127.0.0.1", port, timeoutMs: 10_000 });
  assert.deepEqual([spoken.secured, spoken.timedOut, spoken.certificates.length], [false, false, 0]);
  assert.notEqual(spoken.error, undefined);
  greet = false;
  const silent = await shakeHands({ host: "127.0.0.1", port, timeoutMs: 100 });
  assert.deepEqual([silent.secured, silent.timedOut], [false, true]);
  const closed = once(server, "close");
  server.close();
  for (const socket of sockets) socket.destroy();
  await closed;
  const refused = await shakeHands({ host: "127.0.0.1", port, timeoutMs: 10_000 });
  assert.match(refused.error ?? "", /ECONNREFUSED/);
});
