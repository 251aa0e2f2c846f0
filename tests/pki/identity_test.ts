import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createPrivateKey } from "node:crypto";
import { CLIENT, createAuthority, SERVER } from "../../src/pki/authority.ts";
import { type IdentityConfig, loadIdentity } from "../../src/pki/identity.ts";
import { type Pair, testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { ask, withMutualTls } from "../support/far_end/mutual_tls_server.ts";

function configOf(ca: Pair, pair: Pair): IdentityConfig {
  return { ca: ca.certificateFile, cert: pair.certificateFile, key: pair.keyFile };
}

function refusal(code: string, message: RegExp): { name: string; code: string; message: RegExp } {
  return { name: "CertificateError", code, message };
}

Deno.test("an identity is loaded from PEM text as from files, and says what it is", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  const fromFiles = await loadIdentity(configOf(ca, client));
  const fromText = await loadIdentity({ ca: ca.certificate, cert: client.certificate, key: client.key });
  assert.equal(fromFiles.facts.certificate.subject, "CN=client-app");
  assert.deepEqual(fromFiles.facts.authorities.map((each) => each.subject), ["CN=MyRootCA"]);
  assert.deepEqual(fromFiles.facts.files, [ca.certificateFile, client.certificateFile, client.keyFile]);
  assert.deepEqual(fromFiles.facts.warnings, []);
  assert.deepEqual(fromText, { ...fromFiles, facts: { ...fromFiles.facts, files: [] } });
  assert.equal(JSON.stringify(fromFiles.facts).includes("PRIVATE KEY"), false);
});

Deno.test("an encrypted key is decrypted for the connection", async () => {
  await using at = await folder();
  const rsaBits = 2048;
  const ca = await createAuthority({ commonName: "MyRootCA", rsaBits });
  const client = await ca.issue({ ...CLIENT, rsaBits });
  const server = await ca.issue({ ...SERVER, rsaBits });
  const keyFile = join(at.path, "client.key");
  const encrypted = createPrivateKey(client.key).export({
    type: "pkcs8",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "open sesame",
  });
  await writeFile(keyFile, encrypted, { mode: 0o600 });
  const config: IdentityConfig = { ca: ca.certificate, cert: client.certificate, key: keyFile };
  await assert.rejects(
    loadIdentity(config),
    refusal(
      "key_encrypted",
      /^Cannot read client key .*client\.key: it is encrypted; set exporter\.tls\.key_passphrase$/,
    ),
  );
  await assert.rejects(
    loadIdentity({ ...config, keyPassphrase: "wrong", settings: { passphrase: "KEY_PASSPHRASE" } }),
    refusal("key_encrypted", /KEY_PASSPHRASE does not decrypt it/),
  );
  const { caCerts, cert, key, facts } = await loadIdentity({ ...config, keyPassphrase: "open sesame" });
  assert.deepEqual(facts.warnings, []);
  const own = { ca: ca.certificate, cert: server.certificate, key: server.key, role: "server" } as const;
  await withMutualTls(await loadIdentity(own), async (url) => {
    assert.equal(await ask(url, { caCerts, cert, key }), "client-app");
  });
});

Deno.test("what does not fit together is refused by code, file and remedy", async () => {
  await using certificates = await testCertificates();
  const { ca, client, server, dir } = certificates;
  const cases: [config: IdentityConfig, code: string, message: RegExp][] = [
    [
      configOf(ca, certificates.expiredClient),
      "expired",
      /client certificate .*expired-client\.crt: it expired \d+ days ago/,
    ],
    [configOf(ca, certificates.futureClient), "not_yet_valid", /future-client\.crt: it is valid only from/],
    [configOf(ca, certificates.wrongUsageClient), "wrong_usage", /usage is serverAuth, without clientAuth/],
    [
      { ...configOf(ca, client), role: "server" },
      "wrong_usage",
      /server certificate .* clientAuth, without serverAuth/,
    ],
    [configOf(ca, certificates.mismatchedClient), "key_mismatch", /client key .* does not match client certificate/],
    [configOf(server, client), "wrong_usage", /CA certificate .*server\.crt: CN=otel-collector in it is not a CA/],
    [{ ...configOf(ca, client), ca: join(dir, "none.crt") }, "not_found", /no such file; set exporter\.tls\.ca_file/],
    [{ ...configOf(ca, client), ca: dir }, "unreadable", /it is a directory/],
    // Deno.createHttpClient would ignore these two in silence.
    [{ ...configOf(ca, client), ca: ca.keyFile }, "not_pem", /it holds PRIVATE KEY, but no CERTIFICATE/],
    [{ ...configOf(ca, client), ca: "" }, "not_found", /exporter\.tls\.ca_file is empty/],
    [
      { ...configOf(ca, client), cert: client.keyFile, key: client.certificateFile },
      "not_pem",
      /are certificate and key sw/,
    ],
    [{ ...configOf(ca, client), key: client.key.slice(0, 100) }, "unparsable", /PEM text in exporter\.tls\.key_file/],
    [
      { ...configOf(ca, client), settings: { cert: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" }, cert: join(dir, "gone") },
      "not_found",
      /set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE to/,
    ],
  ];
  for (const [config, code, message] of cases) await assert.rejects(loadIdentity(config), refusal(code, message));
});

Deno.test("an expired CA is refused alone, and a warning in a bundle", async () => {
  await using certificates = await testCertificates();
  const { ca, client, dir } = certificates;
  const old = await createAuthority({ commonName: "OldCA", now: new Date("2010-01-01"), days: 365 });
  const bundle = join(dir, "bundle.crt");
  await writeFile(bundle, old.certificate);
  await assert.rejects(
    loadIdentity({ ...configOf(ca, client), ca: bundle }),
    refusal("expired", /^Cannot use CA certificate .*bundle\.crt: it expired/),
  );
  await writeFile(bundle, old.certificate + ca.certificate);
  const { caCerts, facts } = await loadIdentity({ ...configOf(ca, client), ca: bundle });
  assert.equal(caCerts.length, 2);
  assert.equal(facts.warnings.length, 1);
  assert.match(
    facts.warnings[0] ?? "",
    /^One certificate of several is of no use\. Cannot use CA certificate .* expired/,
  );
});

Deno.test("what works but should be known is a warning", async () => {
  await using certificates = await testCertificates();
  const { ca, client, otherClient } = certificates;
  const warnings = async (config: IdentityConfig) => (await loadIdentity(config)).facts.warnings;
  assert.match(
    (await warnings(configOf(ca, otherClient))).join("\n"),
    /^The issuer of the client .*, CN=OtherCA, is not in the CA/,
  );
  // Two CAs of one name are lawful: the client's may be the one that the Collector has.
  assert.match(
    (await warnings(configOf(ca, certificates.namesakeClient))).join("\n"),
    /^The issuer of the client .* is called CN=MyRootCA, as a CA in the CA .* is, but it is another with another key; the other/,
  );
  assert.match(
    (await warnings({ ...configOf(ca, client), keyPassphrase: "x" })).join("\n"),
    /^The client key .* is not encrypted, though exporter\.tls\.key_passphrase is set/,
  );
  await chmod(client.keyFile, 0o640);
  assert.match(
    (await warnings(configOf(ca, client))).join("\n"),
    /^The client key .*client\.key has mode 0640, so its group .*chmod 600/,
  );
});

Deno.test("a key that every user of the machine can read is refused, unless told", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  await chmod(client.keyFile, 0o644);
  await assert.rejects(
    loadIdentity(configOf(ca, client)),
    refusal(
      "key_exposed",
      /^Cannot use client key .*client\.key: it has mode 0644, .*; run chmod 600 on it .*, or set .*key_readable_by_others: true$/,
    ),
  );
  const { facts } = await loadIdentity({ ...configOf(ca, client), exposedKeyAllowed: true });
  assert.match(facts.warnings.join("\n"), /^The client key .* has mode 0644, .*chmod 600 on it$/);
});

Deno.test("certificates out of their dates are taken by who can wait, and said to be of no use", async () => {
  await using certificates = await testCertificates();
  const { ca, expiredClient, futureClient, client } = certificates;
  for (
    const [pair, message] of [[expiredClient, /it expired \d+ days ago/], [futureClient, /is valid only from/]] as const
  ) {
    const identity = await loadIdentity({ ...configOf(ca, pair), datesAllowed: true });
    assert.equal(identity.facts.faults.length, 1);
    assert.match(identity.facts.faults[0]?.message ?? "", message);
  }
  assert.deepEqual((await loadIdentity({ ...configOf(ca, client), datesAllowed: true })).facts.faults, []);
  const { mismatchedClient } = certificates;
  await assert.rejects(
    loadIdentity({ ...configOf(ca, mismatchedClient), datesAllowed: true }),
    refusal("key_mismatch", /does not match/),
  );
});
