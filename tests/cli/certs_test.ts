import assert from "node:assert/strict";
import { appendFile, chmod, copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { createPrivateKey } from "node:crypto";
import { parseEnv } from "node:util";
import { certsCommand, environmentOf } from "../../src/cli/certs.ts";
import { createAuthority } from "../../src/pki/authority.ts";
import { ending, testCertificates } from "../support/files/certificates.ts";
import { recorder } from "../support/relay/recorder.ts";

/** Runs `certs …`; returns what it printed to out, or throws what the program's entry would map to an exit code. */
async function certs(...argv: string[]): Promise<string> {
  const { io, out } = recorder();
  await certsCommand(io).parseAsync(argv, { from: "user" });
  return out.join("\n");
}

/** As {@link certs}, for a run that ends by finding a fault. */
async function faulty(...argv: string[]): Promise<{ text: string; message: string }> {
  const { io, out } = recorder();
  try {
    await certsCommand(io).parseAsync(argv, { from: "user" });
  } catch (error) {
    assert.ok(error instanceof Error && error.name === "FaultFound", String(error));
    return { text: out.join("\n"), message: error.message };
  }
  assert.fail(`found no fault: ${out.join("\n")}`);
}

Deno.test("init writes the files, lists them, and ends with the lines of .env", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "made");
  const text = await certs(
    "init",
    "--dir",
    dir,
    "--ca-cn",
    "TestCA",
    "--server-san",
    "a.example",
    "--server-san",
    "::1",
  );
  assert.equal((await readdir(dir)).length, 6);
  assert.equal((await stat(join(dir, "client.key"))).mode & 0o777, 0o600);
  assert.match(text, /^CERTIFICATE +KEY +CN +VALID UNTIL +KEY TYPE +SAN$/m);
  assert.match(
    text,
    /server\.crt +\S+server\.key +otel-collector +\d{4}-\d\d-\d\d +EC P-256 +DNS:otel-collector .*DNS:a\.example IP:::1$/m,
  );
  assert.match(text, /ca\.crt +\S+ca\.key +TestCA +.* -$/m);
  const lines = text.slice(text.indexOf("Lines for .env:\n") + "Lines for .env:\n".length);
  assert.deepEqual({ ...parseEnv(lines) }, {
    OWNER_UID: String(process.getuid?.()),
    OWNER_GID: String(process.getgid?.()),
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "https://localhost:4318/v1/metrics",
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://localhost:4318/v1/traces",
    OTEL_EXPORTER_OTLP_CERTIFICATE: join(dir, "ca.crt"),
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: join(dir, "client.crt"),
    OTEL_EXPORTER_OTLP_CLIENT_KEY: join(dir, "client.key"),
    OTEL_EXPORTER_OTLP_INSECURE: "false",
  });
});

Deno.test("init quotes a folder with a blank for .env", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "with blank");
  assert.match(await certs("init", "--dir", dir), /^OTEL_EXPORTER_OTLP_CLIENT_KEY=".*with blank\/client\.key"$/m);
  assert.equal(environmentOf("certs").OTEL_EXPORTER_OTLP_CERTIFICATE, "certs/ca.crt");
});

Deno.test("init refuses to overwrite, and replaces with --force", async () => {
  await using certificates = await testCertificates();
  const { dir, ca } = certificates;
  await assert.rejects(certs("init", "--dir", dir), {
    name: "CertificateError",
    code: "exists",
    message: /--dir.*--force/,
  });
  assert.equal(await readFile(ca.certificateFile, "utf8"), ca.certificate);
  await certs("init", "--dir", dir, "--force", "--days", "5", "--rsa", "2048");
  const [caNow, , client] = JSON.parse(
    await certs("show", "--json", ...["ca", "server", "client"].map((each) => join(dir, `${each}.crt`))),
  );
  assert.equal(caNow.certificates[0].keyType, "RSA 2048");
  assert.equal(client.certificates[0].daysLeft, 4);
});

Deno.test("init prints JSON", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "made");
  const made = JSON.parse(await certs("init", "--dir", dir, "--json"));
  assert.equal(made.dir, dir);
  assert.deepEqual(made.certificates.map((each: { facts: { commonName: string } }) => each.facts.commonName), [
    "MyRootCA",
    "otel-collector",
    "client-app",
  ]);
  assert.equal(made.environment.OTEL_EXPORTER_OTLP_CLIENT_KEY, join(dir, "client.key"));
});

Deno.test("wrong use is refused before anything is written", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "made");
  const cases: [argv: string[], code: string][] = [
    [["init", "--rsa", "1024"], "commander.invalidArgument"],
    [["init", "--days", "0"], "commander.invalidArgument"],
    [["init", "--days", "1.5"], "commander.invalidArgument"],
    [["init", "--server-san", "https://a.example"], "commander.invalidArgument"],
    [["init", "--ca-cn", ""], "commander.invalidArgument"],
    [["init", "--fource"], "commander.unknownOption"],
    [["init", "extra"], "commander.excessArguments"],
    [["show", "a.crt"], "commander.error"],
    [["renew"], "commander.unknownCommand"],
  ];
  for (const [argv, code] of cases) {
    const where = argv[0] === "renew" ? [] : ["--dir", dir];
    await assert.rejects(certs(...argv, ...where), { name: "CommanderError", code }, argv.join(" "));
  }
  assert.equal((await readdir(certificates.dir)).includes("made"), false);
});

Deno.test("show finds the key beside a certificate, and an encrypted one is said to be so", async () => {
  await using certificates = await testCertificates();
  const { client, server } = certificates;
  const encrypted = createPrivateKey(server.key).export({
    type: "pkcs8",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "open sesame",
  });
  await writeFile(server.keyFile, encrypted);
  const shown = JSON.parse(await certs("show", "--json", client.certificateFile, server.certificateFile));
  assert.deepEqual(shown.map((each: { keys: unknown }) => each.keys), [
    [{ file: client.keyFile, keyType: "EC P-256", encrypted: false, matches: client.certificateFile }],
    [{ file: server.keyFile, keyType: null, encrypted: true, matches: null }],
  ]);
  assert.equal(shown[0].certificates[0].issuedBy, null);
});

Deno.test("show ends with a fault for each thing that is wrong", async () => {
  await using certificates = await testCertificates();
  const { ca, client, dir, expiredClient, futureClient, mismatchedClient, namesakeClient } = certificates;
  const damaged = join(dir, "damaged.crt");
  await writeFile(damaged, client.certificate.slice(0, 300));
  const other = join(dir, "bare");
  await mkdir(other);
  await copyFile(certificates.otherClient.keyFile, join(other, "client.key"));
  const cases: [files: string[], fault: RegExp][] = [
    [[expiredClient.certificateFile], /FAULT +Cannot use .*expired-client\.crt: it expired \d+ days ago/],
    [[futureClient.certificateFile], /FAULT +Cannot use .*future-client\.crt: it is valid only from/],
    [[mismatchedClient.certificateFile], /FAULT +Cannot use .*mismatched-client\.key: it does not match/],
    [
      [client.certificateFile, join(other, "client.key")],
      /FAULT +Cannot use .*: it matches none of the certificates shown/,
    ],
    [
      [ca.certificateFile, namesakeClient.certificateFile],
      /FAULT +Cannot use .*namesake-client\.crt: its issuer is called/,
    ],
    [[damaged], /FAULT +Cannot read file .*damaged\.crt: its CERTIFICATE block has no END line/],
    [[join(dir, "none.crt")], /FAULT +Cannot read file .*none\.crt: there is no such file/],
  ];
  for (const [files, fault] of cases) {
    const { text, message } = await faulty("show", ...files);
    assert.match(text, fault);
    assert.match(message, /^Found 1 fault in \d files?; see above$/);
  }
  const all = JSON.parse((await faulty("show", "--json", ...cases.flatMap(([files]) => files))).text);
  assert.equal(all.filter((each: { faults: string[] }) => each.faults.length > 0).length, cases.length);
});

Deno.test("show judges every certificate of a bundle", async () => {
  await using certificates = await testCertificates();
  const { ca } = certificates;
  const old = await createAuthority({ commonName: "OldCA", now: new Date("2010-01-01"), days: 365 });
  await appendFile(ca.certificateFile, old.certificate);
  const { text } = await faulty("show", ca.certificateFile);
  assert.match(text, /subject +CN=MyRootCA[^]*subject +CN=OldCA/);
  assert.match(text, /FAULT +Cannot use CN=OldCA in .*ca\.crt: it expired/);
});

Deno.test("show keeps terminal escapes out of the terminal", async () => {
  await using certificates = await testCertificates();
  const { client } = certificates;
  const name = join(certificates.dir, "a\x1b[31mb.crt");
  await copyFile(client.certificateFile, name);
  const text = await certs("show", name);
  assert.ok(text.includes("a\\x1b[31mb.crt"));
  assert.equal(text.includes("\x1b"), false);
});

Deno.test("show says what to do where there is nothing", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "empty");
  await assert.rejects(certs("show", "--dir", dir), {
    code: "not_found",
    message: /make them with "certs init --dir /,
  });
  await mkdir(dir);
  await assert.rejects(certs("show", "--dir", dir), {
    code: "not_found",
    message: /no \.crt, \.cer, \.pem or \.key is in it/,
  });
  await rm(dir, { recursive: true });
});

Deno.test("issue makes one certificate with the CA of the folder; rotate renews it; both print a table or JSON", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "own");
  await certs("init", "--dir", dir);
  const made = await certs("issue", "--client", "checkout-edge", "--days", "10", "--dir", dir);
  assert.match(
    made,
    /checkout-edge\.crt +\S+checkout-edge\.key +checkout-edge +\d{4}-\d\d-\d\d +EC P-256 +DNS:checkout-edge$/,
  );
  const server = await certs(
    ...["issue", "--server", "collector.example", "--san", "10.0.0.7", "--key-type", "ed25519", "--json", "--dir", dir],
  );
  assert.deepEqual(JSON.parse(server).facts.subjectAltNames, ["DNS:collector.example", "IP:10.0.0.7"]);
  // It is made for 10 days, and has them all.
  assert.match(await certs("rotate", "--dir", dir), /checkout-edge\.crt +CN=checkout-edge +kept +9 days left/);
  const rotated = await certs("rotate", "--within", "30", "--dir", dir);
  assert.match(rotated, /checkout-edge\.crt +CN=checkout-edge +renewed +valid until /);
  assert.match(rotated, /client\.crt +CN=client-app +kept +364 days left/);
  const all = JSON.parse(await certs("rotate", "--all", "--json", "--dir", dir));
  assert.deepEqual(all.rotated.map(({ outcome }: { outcome: string }) => outcome), Array(4).fill("renewed"));
  assert.match(await certs("show", "--dir", dir), /^ {2}serial +[0-9A-F]{32}$/m);
});

Deno.test("the CA is changed by rotate --ca and --retire-ca, and show finds nothing wrong in between", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "own");
  await certs("init", "--dir", dir);
  assert.match(await certs("rotate", "--ca", "--dir", dir), /MyRootCA G2[^]*Both CAs are in .*certs rotate --all$/);
  await certs("show", "--dir", dir);
  await certs("rotate", "--all", "--dir", dir);
  await certs("show", "--dir", dir);
  assert.match(await certs("rotate", "--retire-ca", "--dir", dir), /^Took CN=MyRootCA out of /);
  await certs("show", "--dir", dir);
  const foreign = join(dir, "foreign");
  await writeFile(`${foreign}.crt`, certificates.client.certificate);
  await writeFile(`${foreign}.key`, certificates.client.key, { mode: 0o600 });
  const { text, message } = await faulty("rotate", "--all", "--dir", dir);
  assert.match(text, /foreign\.crt +CN=client-app +skipped +another CA has issued it/);
  assert.match(message, /^Could not renew 1 certificate; see above$/);
});

Deno.test("what is revoked, and a key that others can read, are faults that show finds", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "own");
  await certs("init", "--dir", dir);
  assert.match(await certs("revoke", join(dir, "client.crt"), "--dir", dir), /^SERIAL +REVOKED\n[0-9a-f]{32} +\d{4}-/);
  await chmod(join(dir, "server.key"), 0o644);
  const { text } = await faulty("show", "--dir", dir);
  assert.match(text, /FAULT +Cannot use \S+client\.crt: it was revoked on \d{4}-\d\d-\d\d; issue a new one/);
  assert.match(text, /FAULT +Cannot keep \S+server\.key so: it has mode 0644, .*; run chmod 600 on it/);
});

Deno.test("show: a sound key stands with its certificate, and one near its end says who renews it", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "made");
  await certs("init", "--dir", dir, "--key-type", "ed25519", "--days", "20");
  const text = await certs("show", "--dir", dir);
  assert.deepEqual(text.match(/^\S+$/gm), ["ca.crt", "client.crt", "server.crt"].map((name) => join(dir, name)));
  assert.match(text, /^ {2}key {9}\S+client\.key: Ed25519, matches \S+client\.crt$/m);
  assert.match(text, /^ {2}valid .* \(19 days left\)$/m);
  const near = await certificates.issueClient("near", ending(20));
  assert.match(
    await certs("show", near.certificateFile),
    /^ {2}valid .* \(19 days left, near its end: certs rotate renews it\)$/m,
  );
  const root = join(certificates.dir, "root.crt");
  await writeFile(root, (await createAuthority({ commonName: "Root", ...ending(20) })).certificate);
  assert.match(
    await certs("show", root),
    /^ {2}valid .* \(19 days left, near its end: certs rotate --ca changes it\)$/m,
  );
  const last = await certificates.issueClient("last", ending(0.5));
  assert.match(await certs("show", last.certificateFile), /^ {2}valid .* \(11 hours left, near its end: /m);
  // Apart, it is shown with what is wrong with it.
  await copyFile(join(dir, "server.key"), join(dir, "client.key"));
  const { text: wrong } = await faulty("show", "--dir", dir);
  assert.match(
    wrong,
    /^\S+client\.key\n {2}key .*, matches \S+server\.crt\n {2}FAULT .* does not match \S+client\.crt/m,
  );
  await assert.rejects(certs("init", "--dir", dir, "--key-type", "ed25519", "--rsa", "2048"), {
    name: "CommanderError",
    message: "error: give one of --key-type and --rsa",
  });
});

Deno.test("issue and rotate refuse wrong use before anything is written", async () => {
  await using certificates = await testCertificates();
  const dir = join(certificates.dir, "own");
  await certs("init", "--dir", dir);
  const before = (await readdir(dir)).length;
  for (
    const argv of [
      ["issue"],
      ["issue", "--client", "a", "--server", "b"],
      ["issue", "--client", "a b"],
      ["issue", "--client", "a", "--key-type", "dsa"],
      ["rotate", "--all", "--ca"],
      ["rotate", "--within", "-1"],
      ["revoke"],
    ]
  ) {
    await assert.rejects(certs(...argv, "--dir", dir), { name: "CommanderError" }, argv.join(" "));
  }
  assert.equal((await readdir(dir)).length, before);
});
