import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmod, mkdir, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigSchema } from "../../src/config/schema.ts";
import { CLIENT, createAuthority, type Issued } from "../../src/pki/authority.ts";
import type { Identity } from "../../src/pki/identity.ts";
import { serverIdentityConfig } from "../../src/receiver/listener/tls_identity.ts";
import { keepServerIdentity, openServerIdentity } from "../../src/relay/server_identity.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { ending, type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { Journal } from "../support/relay/exporting.ts";

interface Line {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

function logged() {
  const lines = new Journal<Line>();
  return { lines, log: createLog({ format: "json", write: (line) => lines.push(JSON.parse(line)) }) };
}

function tlsOf(certs: TestCertificates, more: Record<string, unknown> = {}) {
  const { certificateFile: cert_file, keyFile: key_file } = certs.server;
  return ConfigSchema.parse({ receiver: { http: { tls: { cert_file, key_file, ...more } } } }).receiver.http.tls;
}

async function open(certs: TestCertificates, more: Record<string, unknown> = {}) {
  const { log, lines } = logged();
  const config = serverIdentityConfig(tlsOf(certs, more));
  assert(config !== undefined);
  return { identity: await openServerIdentity(config, log), lines: lines.entries };
}

Deno.test("without a certificate there is no identity; with one, the client CA is as it is told", async () => {
  await using certs = await testCertificates();
  assert.equal(serverIdentityConfig(ConfigSchema.parse({}).receiver.http.tls), undefined);
  const alone = await open(certs);
  assert.deepEqual([alone.identity.caCerts, alone.identity.cert], [[], certs.server.certificate]);
  // Those who send may be of another CA than the receiver's own: nothing to be said of that.
  const bundle = join(certs.dir, "bundle.crt");
  await writeFile(bundle, certs.otherCa.certificate + certs.ca.certificate);
  const { identity, lines } = await open(certs, { client_ca_file: bundle });
  assert.deepEqual(identity.caCerts, [certs.otherCa.certificate, certs.ca.certificate]);
  const other = await open(certs, { client_ca_file: certs.otherCa.certificateFile });
  assert.deepEqual([...lines, ...other.lines], []);
});

Deno.test("what cannot be used is named by its setting, with the remedy", async () => {
  await using certs = await testCertificates();
  const { publicKey: _, privateKey } = generateKeyPairSync("ed25519");
  const encrypted = join(certs.dir, "encrypted.key");
  const options = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "right" } as const;
  await writeFile(encrypted, privateKey.export(options), { mode: 0o600 });
  const table: [Record<string, unknown>, RegExp][] = [
    [{ cert_file: join(certs.dir, "none.crt") }, /there is no such file; set receiver\.http\.tls\.cert_file/],
    [{ key_file: certs.client.keyFile }, /server key .*: it does not match server certificate .*server\.crt/],
    [{ cert_file: certs.client.certificateFile, key_file: certs.client.keyFile }, /clientAuth, without serverAuth/],
    [{ client_ca_file: certs.client.certificateFile }, /client CA certificate .* is not a CA certificate/],
    [{ client_ca_file: certs.server.keyFile }, /set receiver\.http\.tls\.client_ca_file/],
    [{ key_file: encrypted }, /it is encrypted; set receiver\.http\.tls\.key_passphrase$/],
    [{ key_file: encrypted, key_passphrase: "wrong" }, /receiver\.http\.tls\.key_passphrase does not decrypt it/],
  ];
  for (const [more, message] of table) {
    await assert.rejects(open(certs, more), { name: "CertificateError", message });
  }
  await chmod(certs.server.keyFile, 0o644);
  await assert.rejects(open(certs), {
    code: "key_exposed",
    message: /run chmod 600 on it .*defaultMode: 0440\), or set receiver\.http\.tls\.key_readable_by_others: true$/,
  });
  const { lines } = await open(certs, { key_readable_by_others: true });
  assert.deepEqual(lines.map(({ level }) => level), ["warn"]);
});

Deno.test("an expired certificate is an ERROR at the start, and no reason not to start", async () => {
  await using certs = await testCertificates();
  const { certificateFile: cert_file, keyFile: key_file } = await certs.issueServer("past", {
    days: 1,
    now: new Date(Date.now() - 5 * 86_400_000),
  });
  const { lines } = await open(certs, { cert_file, key_file });
  assert.deepEqual(lines.map(({ level, message }) => [level, message]), [
    ["error", "Started with a certificate that senders will refuse until it is replaced"],
  ]);
  assert.match(String(lines[0]?.["cause"]), /it expired 4 days ago/);
});

Deno.test("files that are switched by a link, as Kubernetes does, are taken up by the event, with their ends", async () => {
  await using certs = await testCertificates();
  const { log, lines } = logged();
  const mount = join(certs.dir, "mount");
  const fill = async (version: string, pair: Issued, ca: string) => {
    await mkdir(join(mount, version), { recursive: true });
    await writeFile(join(mount, version, "ca.crt"), ca);
    await writeFile(join(mount, version, "tls.crt"), pair.certificate);
    await writeFile(join(mount, version, "tls.key"), pair.key, { mode: 0o600 });
  };
  await fill("..1", certs.server, certs.ca.certificate);
  await symlink("..1", join(mount, "..data"));
  for (const name of ["ca.crt", "tls.crt", "tls.key"]) await symlink(join("..data", name), join(mount, name));
  const tls = tlsOf(certs, {
    cert_file: join(mount, "tls.crt"),
    key_file: join(mount, "tls.key"),
    client_ca_file: join(mount, "ca.crt"),
    reload_interval: "1h",
  });
  const config = serverIdentityConfig(tls)!;
  const replaced: Identity[] = [];
  const identity = await openServerIdentity(config, log);
  await using kept = keepServerIdentity({ tls, config, identity, log, replace: (next) => void replaced.push(next) });
  assert.deepEqual(kept.expiries().map(({ role, level }) => [role, level]), [
    ["receiver", "ok"],
    ["receiver_client_ca", "ok"],
  ]);
  const next = await certs.issueServer("next", ending(20));
  const root = await createAuthority({ commonName: "EndingCA", ...ending(2) });
  await fill("..2", next, root.certificate);
  await symlink("..2", join(mount, "..data_tmp"));
  await rename(join(mount, "..data_tmp"), join(mount, "..data"));
  const { serialNumber } = new X509Certificate(next.certificate);
  await lines.find((line) => line["serial"] === serialNumber, "the new certificate");
  assert.deepEqual(replaced.map(({ cert }) => cert), [next.certificate]);
  await lines.find(({ level, message }) => level === "warn" && /^The receiver's certificate /.test(message), "a WARN");
  await lines.find(
    ({ level, message }) => level === "error" && /client CA certificate CN=End/.test(message),
    "an ERROR",
  );
  assert.deepEqual(kept.expiries().map(({ role, level }) => [role, level]), [
    ["receiver", "warning"],
    ["receiver_client_ca", "error"],
  ]);
});

Deno.test("a certificate for clients that comes later is refused, and the previous one stays in use", async () => {
  await using certs = await testCertificates();
  const { log, lines } = logged();
  const tls = tlsOf(certs, { reload_interval: "100ms" });
  const config = serverIdentityConfig(tls)!;
  const identity = await openServerIdentity(config, log);
  await using kept = keepServerIdentity({
    tls,
    config,
    identity,
    log,
    replace: () => assert.fail("it was taken up"),
  });
  const authority = await createAuthority({ commonName: "CA" });
  const client = await authority.issue(CLIENT);
  await writeFile(certs.server.keyFile, client.key);
  await writeFile(certs.server.certificateFile, client.certificate);
  const line = await lines.find(({ message }) => message.startsWith("Refused a changed certificate"), "a refusal");
  assert.match(String(line["cause"]), /without serverAuth; issue it again with serverAuth$/);
  assert.equal(kept.expiries()[0]?.subject, "CN=otel-collector");
});
