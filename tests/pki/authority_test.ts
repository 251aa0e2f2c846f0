import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { CLIENT, createAuthority, isRsaBits, SERVER } from "../../src/pki/authority.ts";
import { describe } from "../../src/pki/certificate.ts";
for (const [type, rsaBits] of [["EC P-256", undefined], ["RSA 2048", 2048]] as const) {
  Deno.test(`a CA, a server and a client with ${type} keys say what they are for`, async () => {
    const ca = await createAuthority({ commonName: "MyRootCA", rsaBits });
    const authority = new X509Certificate(ca.certificate);
    const authorityFacts = describe(authority);
    assert.equal(authorityFacts.subject, "CN=MyRootCA");
    assert.equal(authorityFacts.isCa, true);
    assert.deepEqual(authorityFacts.keyUsages, ["keyCertSign", "cRLSign"]);
    assert.equal(authorityFacts.keyType, type);
    const cases = [
      [SERVER, "CN=otel-collector", ["DNS:otel-collector", "DNS:localhost", "IP:127.0.0.1"], ["serverAuth"]],
      [CLIENT, "CN=client-app", ["DNS:client-app"], ["clientAuth"]],
    ] as const;
    for (const [profile, subject, names, usages] of cases) {
      const issued = await ca.issue({ ...profile, rsaBits });
      const certificate = new X509Certificate(issued.certificate);
      const facts = describe(certificate);
      assert.equal(facts.subject, subject);
      assert.deepEqual(facts.subjectAltNames, names);
      assert.deepEqual(facts.usages, usages);
      assert.equal(facts.issuer, "CN=MyRootCA");
      assert.equal(facts.isCa, false);
      assert.equal(facts.keyType, type);
      assert.equal(certificate.verify(authority.publicKey), true);
      assert.equal(certificate.checkPrivateKey(createPrivateKey(issued.key)), true);
    }
  });
}

Deno.test("certificates begin a little in the past and end after the days given", async () => {
  const now = new Date("2026-03-01T12:00:00Z");
  const ca = await createAuthority({ commonName: "MyRootCA", now });
  const caFacts = describe(new X509Certificate(ca.certificate));
  assert.equal(caFacts.validTo.toISOString(), "2036-02-27T12:00:00.000Z");
  const facts = describe(new X509Certificate((await ca.issue({ ...CLIENT, now })).certificate));
  assert.equal(facts.validFrom.toISOString(), "2026-03-01T11:55:00.000Z");
  assert.equal(facts.validTo.toISOString(), "2027-03-01T12:00:00.000Z");
  const short = describe(new X509Certificate((await ca.issue({ ...CLIENT, now, days: 7 })).certificate));
  assert.equal(short.validTo.toISOString(), "2026-03-08T12:00:00.000Z");
});

Deno.test("serial numbers are positive, of 16 octets, and differ", async () => {
  const ca = await createAuthority({ commonName: "MyRootCA" });
  const serials = new Set<string>();
  for (let count = 0; count < 8; count++) {
    const { serialNumber } = new X509Certificate((await ca.issue(CLIENT)).certificate);
    assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/);
    serials.add(serialNumber);
  }
  assert.equal(serials.size, 8);
});

Deno.test("names that cannot stand in a certificate are refused", async () => {
  const ca = await createAuthority({ commonName: "MyRootCA" });
  for (const commonName of ["", "x".repeat(65), "a\nb"]) {
    await assert.rejects(createAuthority({ commonName }), { name: "CertificateError", code: "unsupported" });
  }
  for (
    const name of ["", "https://collector.example", "collector:4318", "a b", "-a", "a..b", "a.*.b", "x".repeat(64)]
  ) {
    await assert.rejects(ca.issue({ ...SERVER, subjectAltNames: [name] }), {
      name: "CertificateError",
      code: "unsupported",
      message: /give a host name/,
    });
  }
  const odd = await ca.issue({ ...SERVER, subjectAltNames: ["*.example.com", "::1", "my_host"] });
  assert.deepEqual(describe(new X509Certificate(odd.certificate)).subjectAltNames, [
    "DNS:*.example.com",
    "IP:::1",
    "DNS:my_host",
  ]);
});

Deno.test("RSA keys come in three sizes", () => {
  assert.deepEqual([1024, 2048, 3072, 4096, 8192, NaN].filter(isRsaBits), [2048, 3072, 4096]);
});
