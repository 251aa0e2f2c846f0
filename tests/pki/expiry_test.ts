import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createAuthority } from "../../src/pki/authority.ts";
import { expiriesOf, expiryText } from "../../src/pki/expiry.ts";
import { loadIdentity } from "../../src/pki/identity.ts";
import { testCertificates } from "../support/certificates.ts";

const DAY_MS = 86_400_000;
const LIMITS = { warningMs: 30 * DAY_MS, errorMs: 3 * DAY_MS };

Deno.test("levels come as the end comes nearer, and stay after it", async () => {
  await using certs = await testCertificates();
  const { facts } = await loadIdentity({
    ca: certs.ca.certificateFile,
    cert: certs.client.certificateFile,
    key: certs.client.keyFile,
  });
  const end = facts.certificate.validTo.getTime();
  const at = (days: number) => expiriesOf(facts, LIMITS, new Date(end - days * DAY_MS))[0]!;
  assert.deepEqual([31, 30, 29, 3, 2, -1].map((days) => [at(days).level, at(days).daysLeft]), [
    ["ok", 31],
    ["warning", 30],
    ["warning", 29],
    ["error", 3],
    ["error", 2],
    ["error", -1],
  ]);
  const when = facts.certificate.validTo.toISOString().replace(/\.\d+Z$/, "Z");
  assert.equal(expiryText(at(29)), `The client certificate CN=client-app ends in 29 days, at ${when}`);
  assert.equal(expiryText(at(1)), `The client certificate CN=client-app ends in 1 day, at ${when}`);
  assert.equal(expiryText(at(-1)), `The client certificate CN=client-app ended 1 day ago, at ${when}`);
});

Deno.test("an old CA that ends beside a lasting one is worth a warning at most", async () => {
  await using certs = await testCertificates();
  const old = await createAuthority({ commonName: "OldCA", days: 1 });
  const bundle = join(certs.dir, "bundle.crt");
  const expiries = async (text: string) => {
    await writeFile(bundle, text);
    const { facts } = await loadIdentity({ ca: bundle, cert: certs.client.certificateFile, key: certs.client.keyFile });
    return expiriesOf(facts, LIMITS, new Date()).filter(({ role }) => role === "ca").map(({ level }) => level);
  };
  assert.deepEqual(await expiries(old.certificate + certs.ca.certificate), ["warning", "ok"]);
  assert.deepEqual(await expiries(old.certificate), ["error"]);
});
