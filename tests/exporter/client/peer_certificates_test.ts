import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { startCollector } from "../../../src/collector/server.ts";
import { watchPeers } from "../../../src/exporter/client/peer_certificates.ts";
import { createAuthority, SERVER } from "../../../src/pki/authority.ts";
import { testCertificates } from "../../support/files/certificates.ts";

function fingerprintOf(certificate: string): string {
  return new X509Certificate(certificate).fingerprint256;
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  Deno.test(`${version}: what the Collector shows is seen, told once, and seen anew after a look`, async () => {
    await using certs = await testCertificates();
    const refused: string[] = [];
    await using collector = await startCollector({
      host: "127.0.0.1",
      port: 0,
      // A root that comes with the leaf is no certificate of the Collector's own.
      tls: {
        ca: [certs.ca.certificate],
        cert: certs.server.certificate + certs.ca.certificate,
        key: certs.server.key,
        version,
      },
      onRefused: (reason) => void refused.push(reason),
    });
    const told: string[][] = [];
    await using peers = watchPeers({
      urls: [new URL(collector.url), new URL("http://127.0.0.1:9")],
      identity: () => ({ caCerts: [certs.ca.certificate], cert: certs.client.certificate, key: certs.client.key }),
      onSeen: () => void told.push(peers.seen().map(({ fingerprintSha256 }) => fingerprintSha256)),
    });
    await peers.look();
    await peers.look();
    const first = fingerprintOf(certs.server.certificate);
    assert.deepEqual(told, [[first]]);
    const next = await certs.issueServer("next");
    collector.replaceTls({ ca: [certs.ca.certificate], cert: next.certificate, key: next.key });
    await peers.look();
    assert.deepEqual(told, [[first], [fingerprintOf(next.certificate)]]);
    assert.deepEqual(refused, [], "the Collector has nothing to say about it");
  });
}

Deno.test("a Collector that cannot be reached is none, and one that was seen stays so", async () => {
  await using certs = await testCertificates();
  const other = await createAuthority({ commonName: "Other" });
  const server = await other.issue(SERVER);
  const collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: { ca: [certs.ca.certificate], cert: server.certificate, key: server.key },
  });
  const identity = () => ({
    caCerts: [certs.ca.certificate],
    cert: certs.client.certificate,
    key: certs.client.key,
  });
  let told = 0;
  await using peers = watchPeers({ urls: [new URL(collector.url)], identity, onSeen: () => void told++ });
  await peers.look();
  await collector.stop();
  await peers.look();
  // Its issuer is trusted by nobody here: it is seen all the same.
  assert.deepEqual(peers.seen().map(({ subject, issuer }) => [subject, issuer]), [["CN=otel-collector", "CN=Other"]]);
  await using never = watchPeers({ urls: [new URL("https://127.0.0.1:1")], identity, onSeen: () => void told++ });
  await never.look();
  assert.deepEqual([never.seen(), told], [[], 1]);
});

Deno.test("a look that is under way is given up when the watch ends", async () => {
  const held = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const peers = watchPeers({
    urls: [new URL(`https://127.0.0.1:${held.addr.port}`)],
    identity: () => ({ caCerts: [] }),
    onSeen: () => assert.fail("nothing was shown"),
  });
  using connection = await held.accept();
  await connection.read(new Uint8Array(1));
  await peers[Symbol.asyncDispose]();
  held.close();
  assert.deepEqual(peers.seen(), []);
});
