import assert from "node:assert/strict";
import { chmod, copyFile, mkdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createPrivateKey } from "node:crypto";
import { CertificateError } from "../../src/errors.ts";
import { createAuthority } from "../../src/pki/authority.ts";
import {
  type Identity,
  type IdentityConfig,
  type IdentityWatch,
  loadIdentity,
  watchIdentity,
} from "../../src/pki/identity.ts";
import { type Pair, testCertificates } from "../support/files/certificates.ts";
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
  await using certificates = await testCertificates({ rsaBits: 2048 });
  const { ca, client, server } = certificates;
  const encrypted = createPrivateKey(client.key).export({
    type: "pkcs8",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "open sesame",
  });
  await writeFile(client.keyFile, encrypted);
  const config = configOf(ca, client);
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
  await withMutualTls(await loadIdentity({ ...configOf(ca, server), role: "server" }), async (url) => {
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

/** A watch by hand over a client's files, and what it was told. */
async function watched(
  config: IdentityConfig,
  test: (watch: IdentityWatch, seen: { taken: string[]; refused: string[]; restored: number }) => Promise<void>,
): Promise<void> {
  const seen = { taken: [] as string[], refused: [] as string[], restored: 0 };
  await using watch = watchIdentity(config, await loadIdentity(config), {
    reloadIntervalMs: 0,
    onChange: (identity) => void seen.taken.push(identity.facts.certificate.serialNumber),
    onRefused: (reason) => void seen.refused.push(reason.code),
    onRestored: () => void seen.restored++,
  });
  await test(watch, seen);
}

async function serialOf(ca: Pair, pair: Pair): Promise<string> {
  return (await loadIdentity(configOf(ca, pair))).facts.certificate.serialNumber;
}

Deno.test("a renewed pair is taken once, when both files are there", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  const next = await certificates.issueClient("next");
  const serial = await serialOf(ca, next);
  await watched(configOf(ca, client), async (watch, seen) => {
    assert.equal(await watch.checkNow(), "unchanged");
    await rename(next.certificateFile, client.certificateFile);
    assert.equal(await watch.checkNow(), "refused");
    assert.equal(await watch.checkNow(), "refused");
    assert.deepEqual(seen, { taken: [], refused: ["key_mismatch"], restored: 0 });
    await rename(next.keyFile, client.keyFile);
    assert.equal(await watch.checkNow(), "changed");
    assert.equal(await watch.checkNow(), "unchanged");
    assert.deepEqual(seen, { taken: [serial], refused: ["key_mismatch"], restored: 0 });
  });
});

Deno.test("a change is noticed when a symbolic link is switched, as by Kubernetes", async () => {
  await using certificates = await testCertificates();
  const { ca, client, dir } = certificates;
  const next = await certificates.issueClient("next");
  for (const [folder, pair] of [["v1", client], ["v2", next]] as const) {
    await mkdir(join(dir, folder));
    await copyFile(pair.certificateFile, join(dir, folder, "tls.crt"));
    await copyFile(pair.keyFile, join(dir, folder, "tls.key"));
  }
  await symlink("v1", join(dir, "data"));
  const config = { ca: ca.certificateFile, cert: join(dir, "data", "tls.crt"), key: join(dir, "data", "tls.key") };
  await watched(config, async (watch, seen) => {
    await symlink("v2", join(dir, "data-next"));
    await rename(join(dir, "data-next"), join(dir, "data"));
    assert.equal(await watch.checkNow(), "changed");
    assert.deepEqual(seen, { taken: [await serialOf(ca, next)], refused: [], restored: 0 });
  });
});

Deno.test("a change of the same size and time is noticed, and a touched file is not one", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  await watched(configOf(ca, client), async (watch, seen) => {
    const future = new Date(Date.now() + 60_000);
    await utimes(client.certificateFile, future, future);
    assert.equal(await watch.checkNow(), "unchanged");
    const text = await readFile(client.certificateFile, "utf8");
    const line = text.indexOf("\n") + 20;
    await writeFile(
      client.certificateFile,
      text.slice(0, line) + (text[line] === "A" ? "B" : "A") + text.slice(line + 1),
    );
    await utimes(client.certificateFile, future, future);
    assert.equal(await watch.checkNow(), "refused");
    assert.equal(seen.taken.length, 0);
  });
});

Deno.test("a file that is away for a moment is reported once, and its return is no change", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  await watched(configOf(ca, client), async (watch, seen) => {
    for (const round of [1, 2]) {
      await rename(client.keyFile, client.keyFile + ".away");
      assert.equal(await watch.checkNow(), "refused");
      assert.equal(await watch.checkNow(), "refused");
      await rename(client.keyFile + ".away", client.keyFile);
      assert.equal(await watch.checkNow(), "unchanged");
      assert.equal(await watch.checkNow(), "unchanged");
      assert.deepEqual(seen, { taken: [], refused: Array(round).fill("not_found"), restored: round });
    }
  });
});

Deno.test("a certificate of tomorrow is refused today and taken tomorrow", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  const now = Date.now();
  const next = await certificates.issueClient("next", { now: new Date(now + 86_400_000) });
  let clock = now;
  const refused: string[] = [];
  let taken = 0;
  await using watch = watchIdentity(configOf(ca, client), await loadIdentity(configOf(ca, client)), {
    reloadIntervalMs: 0,
    now: () => new Date(clock),
    onChange: () => void taken++,
    onRefused: (reason) => void refused.push(reason.code),
  });
  await rename(next.certificateFile, client.certificateFile);
  await rename(next.keyFile, client.keyFile);
  assert.equal(await watch.checkNow(), "refused");
  assert.equal(await watch.checkNow(), "refused");
  clock += 86_400_000;
  assert.equal(await watch.checkNow(), "changed");
  assert.deepEqual({ refused, taken }, { refused: ["not_yet_valid"], taken: 1 });
});

Deno.test("a change that its taker throws at is refused, and the old identity goes on", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  const next = await certificates.issueClient("next");
  const reasons: CertificateError[] = [];
  await using watch = watchIdentity(configOf(ca, client), await loadIdentity(configOf(ca, client)), {
    reloadIntervalMs: 0,
    onChange: () => Promise.reject(new TypeError("failed to parse private key")),
    onRefused: (reason) => void reasons.push(reason),
  });
  await rename(next.certificateFile, client.certificateFile);
  await rename(next.keyFile, client.keyFile);
  assert.equal(await watch.checkNow(), "refused");
  assert.match(reasons[0]?.message ?? "", /^Cannot use the new certificates: failed to parse private key$/);
  assert.ok(reasons[0] instanceof CertificateError);
});

Deno.test("the watch looks by itself until it is disposed of", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  const config = configOf(ca, client);
  const next = await certificates.issueClient("next");
  const taken = Promise.withResolvers<Identity>();
  const watch = watchIdentity(config, await loadIdentity(config), {
    reloadIntervalMs: 5,
    onChange: taken.resolve,
    onRefused: () => {},
  });
  await rename(next.certificateFile, client.certificateFile);
  await rename(next.keyFile, client.keyFile);
  assert.equal((await taken.promise).key, (await loadIdentity(config)).key);
  const looking = watch.checkNow();
  await watch[Symbol.asyncDispose]();
  await looking;
  await rm(client.keyFile);
  assert.equal(await watch.checkNow(), "unchanged", "after its end it looks no more");
});

Deno.test("a change that cannot be used is told of, however much else is written to its folder", async () => {
  await using certificates = await testCertificates();
  const { ca, client } = certificates;
  const config = configOf(ca, client);
  const next = await certificates.issueClient("next");
  const refused = Promise.withResolvers<CertificateError>();
  await using _watch = watchIdentity(config, await loadIdentity(config), {
    // Its events alone are to do it.
    reloadIntervalMs: 3_600_000,
    onChange: () => refused.reject(new Error("A certificate without its key was taken up")),
    onRefused: refused.resolve,
  });
  await rename(next.certificateFile, client.certificateFile);
  let told = false;
  const writing = (async () => {
    // As a queue does that is kept beside the certificates.
    for (let times = 0; !told && times < 500; times++) {
      await writeFile(join(certificates.dir, "queue.db-wal"), `${times}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  await Promise.race([refused.promise, writing]);
  told = true;
  await writing;
  const reason = await Promise.race([refused.promise, Promise.resolve(undefined)]);
  assert.equal(reason?.code, "key_mismatch");
});
