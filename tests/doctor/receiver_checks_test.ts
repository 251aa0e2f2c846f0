import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigSchema } from "../../src/config/schema.ts";
import type { Finding } from "../../src/doctor/finding.ts";
import { RECEIVER_CHECKS, type ReceiverSubject } from "../../src/doctor/receiver_checks.ts";
import { createAuthority } from "../../src/pki/authority.ts";
import { ending, type Pair, type TestCertificates, testCertificates } from "../support/files/certificates.ts";

const DAY_MS = 86_400_000;

async function check(
  pair: Pair | undefined,
  more: Record<string, unknown> = {},
  now = new Date(),
): Promise<[certificate: Finding, dates: Finding]> {
  const files = pair === undefined ? {} : { cert_file: pair.certificateFile, key_file: pair.keyFile };
  const { tls } = ConfigSchema.parse({ receiver: { http: { tls: { ...files, ...more } } } }).receiver.http;
  const subject: ReceiverSubject = { tls, now, http: { hostname: "127.0.0.1", port: 0 }, grpc: undefined };
  const [certificate, dates] = RECEIVER_CHECKS;
  return [await certificate!.run(subject), await dates!.run(subject)];
}

function inDays(certs: TestCertificates, days: number): Promise<Pair> {
  return certs.issueServer(`days-${days}`, ending(days));
}

Deno.test("a sound door, with and without TLS, and a client CA", async () => {
  await using certs = await testCertificates();
  const [none, noDates] = await check(undefined);
  assert.deepEqual([none.status, noDates.status], ["ok", "ok"]);
  assert.match(none.finding, /serves without TLS/);
  const [certificate, dates] = await check(certs.server);
  assert.match(certificate.finding, /^CN=otel-collector, EC P-256, for DNS:otel-collector, .*; senders show tokens$/);
  assert.match(dates.finding, /^CN=otel-collector: 36\d days left$/);
  const [mutual, both] = await check(certs.server, { client_ca_file: certs.otherCa.certificateFile });
  assert.match(mutual.finding, /senders show certificates of 1 CA$/);
  assert.match(both.finding, /CN=OtherCA: 36\d\d days left$/);
});

Deno.test("what the relay would not start with is a fault, by its name and with the setting", async () => {
  await using certs = await testCertificates();
  const { server, client, ca } = certs;
  const table: [Pair, Record<string, unknown>, string, RegExp][] = [
    [{ ...server, certificateFile: join(certs.dir, "none") }, {}, "not_found", /receiver\.http\.tls\.cert_file/],
    [{ ...server, keyFile: client.keyFile }, {}, "key_mismatch", /give the key that was made with this certificate/],
    [client, {}, "receiver_certificate_unusable", /issue it again with serverAuth/],
    [server, { client_ca_file: client.certificateFile }, "receiver_certificate_unusable", /certificate of that CA/],
    [{ ...server, keyFile: ca.certificateFile }, {}, "not_pem", /receiver\.http\.tls\.key_file/],
  ];
  for (const [pair, more, fault, remedy] of table) {
    const [found] = await check(pair, more);
    assert.deepEqual([found.status, found.fault], ["fault", fault], found.finding);
    assert.match(`${found.finding}; ${found.remedy}`, remedy);
  }
  await chmod(server.keyFile, 0o644);
  const [exposed] = await check(server);
  assert.equal(exposed.fault, "key_exposed");
  assert.match(exposed.remedy ?? "", /defaultMode: 0440\), or set receiver\.http\.tls\.key_readable_by_others: true$/);
  const [allowed] = await check(server, { key_readable_by_others: true });
  assert.equal(allowed.status, "warning");
});

Deno.test("ends: a warning, then a fault; an ended one is named so, with what to do", async () => {
  await using certs = await testCertificates();
  const judge = async (days: number, more: Record<string, unknown> = {}) => {
    const [, { status, fault }] = await check(await inDays(certs, days), more);
    return [status, fault];
  };
  assert.deepEqual(await judge(40), ["ok", undefined]);
  assert.deepEqual(await judge(20), ["warning", "expires_soon"]);
  assert.deepEqual(await judge(2), ["fault", "expires_soon"]);
  assert.deepEqual(await judge(2, { expiry_error: "24h" }), ["warning", "expires_soon"]);
  const [certificate, dates] = await check(await inDays(certs, 2), {}, new Date(Date.now() + 9 * DAY_MS));
  assert.equal(certificate.status, "ok");
  assert.deepEqual([dates.status, dates.fault], ["fault", "receiver_certificate_unusable"]);
  assert.match(
    `${dates.finding}; ${dates.remedy}`,
    /it expired 7 days ago, at .*; issue a new one and replace the file$/,
  );
  const root = join(certs.dir, "root.crt");
  await writeFile(root, (await createAuthority({ commonName: "EndingCA", ...ending(2) })).certificate);
  const [, ofCa] = await check(certs.server, { client_ca_file: root });
  assert.match(ofCa.finding, /^The receiver's client CA certificate CN=EndingCA ends in 1 day, at /);
});
