import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createAuthority } from "../../src/pki/authority.ts";
import { expiriesOf, expiryLevel, expiryText, isNearItsEnd } from "../../src/pki/expiry.ts";
import { loadIdentity } from "../../src/pki/identity.ts";
import { ending, testCertificates } from "../support/files/certificates.ts";

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

Deno.test("of a certificate that lasts for less than the limits are made for, a third and a tenth count", () => {
  const validFrom = new Date("2027-01-01T00:00:00Z");
  const level = (hours: number, leftHours: number) => {
    const validTo = new Date(validFrom.getTime() + hours * 3_600_000);
    const now = new Date(validTo.getTime() - leftHours * 3_600_000);
    return [expiryLevel({ validFrom, validTo }, LIMITS, now), isNearItsEnd({ validFrom, validTo }, now)];
  };
  assert.deepEqual([24, 9, 8, 3, 2, 0].map((left) => level(24, left)), [
    ["ok", false],
    ["ok", false],
    ["warning", true],
    ["warning", true],
    ["error", true],
    ["error", true],
  ]);
  const day = 24;
  assert.deepEqual([31, 30, 4, 3].map((left) => level(90 * day, left * day)), [
    ["ok", false],
    ["warning", true],
    ["warning", true],
    ["error", true],
  ]);
});

Deno.test("an old CA that ends beside a lasting one is worth a warning at most", async () => {
  await using certs = await testCertificates();
  const old = await createAuthority({ commonName: "OldCA", ...ending(1) });
  const bundle = join(certs.dir, "bundle.crt");
  const expiries = async (text: string) => {
    await writeFile(bundle, text);
    const { facts } = await loadIdentity({ ca: bundle, cert: certs.client.certificateFile, key: certs.client.keyFile });
    return expiriesOf(facts, LIMITS, new Date()).filter(({ role }) => role === "ca").map(({ level }) => level);
  };
  assert.deepEqual(await expiries(old.certificate + certs.ca.certificate), ["warning", "ok"]);
  assert.deepEqual(await expiries(old.certificate), ["error"]);
});
