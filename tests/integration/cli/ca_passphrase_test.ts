import assert from "node:assert/strict";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { readCaPassphrase } from "../../../src/cli/ca_passphrase.ts";
import { certsCommand } from "../../../src/cli/certs.ts";
import { loadIdentity } from "../../../src/pki/identity.ts";
import { folder } from "../../support/files/folder.ts";
import { recorder } from "../../support/relay/recorder.ts";
import { runTool } from "../../support/tools/tool.ts";

const VARIABLE = "EDGEFERRY_CA_PASSPHRASE";

async function certs(...argv: string[]): Promise<string> {
  const { io, out } = recorder();
  await certsCommand(io).parseAsync(argv, { from: "user" });
  return out.join("\n");
}

/** A file of mode 600 with this text. */
async function secret(dir: string, name: string, text: string): Promise<string> {
  const file = join(dir, name);
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

async function withVariable<T>(value: string, work: () => Promise<T>): Promise<T> {
  process.env[VARIABLE] = value;
  try {
    return await work();
  } finally {
    delete process.env[VARIABLE];
  }
}

Deno.test("an encrypted CA key: made, opened by every command, kept encrypted when the CA is rolled", async () => {
  await using at = await folder();
  const dir = join(at.path, "certs");
  const right = ["--dir", dir, "--ca-passphrase-file", await secret(at.path, "pass", "correct horse\nnot this line\n")];
  await certs("init", ...right);
  const caKey = join(dir, "ca.key");
  const encrypted = async () => (await readFile(caKey, "utf8")).startsWith("-----BEGIN ENCRYPTED PRIVATE KEY-----");
  assert(await encrypted());
  // Read by other programs too, and by nobody without the passphrase.
  await runTool("openssl", ["pkey", "-in", caKey, "-passin", "pass:correct horse", "-noout"]);
  await assert.rejects(runTool("openssl", ["pkey", "-in", caKey, "-passin", "pass:wrong", "-noout"]));

  await certs("issue", "--client", "checkout-edge", ...right);
  assert.match(await certs("rotate", "--all", ...right), /server\.crt +CN=otel-collector +renewed/);
  await certs("revoke", join(dir, "checkout-edge.crt"), ...right);
  await certs("rotate", "--ca", ...right);
  assert(await encrypted(), "the new CA's key is as well kept as the old one's");
  await certs("rotate", "--all", ...right);
  await withVariable("correct horse", () => certs("rotate", "--retire-ca", "--dir", dir));
  const client = { ca: join(dir, "ca.crt"), cert: join(dir, "client.crt"), key: join(dir, "client.key") };
  assert.equal((await loadIdentity(client)).facts.authorities[0]?.commonName, "MyRootCA G2");

  const shown = [join(dir, "ca.crt"), ...right.slice(2)];
  assert.match(await certs("show", ...shown), /ca\.key: EC P-256, encrypted, matches \S+ca\.crt$/m);
  assert.match(await certs("show", join(dir, "ca.crt")), /ca\.key: encrypted, so not compared/);
});

Deno.test("a passphrase that is missing or wrong: what to give, and nothing is written", async () => {
  await using at = await folder();
  const dir = join(at.path, "certs");
  const right = await secret(at.path, "right", "right");
  const wrong = await secret(at.path, "wrong", "wrong\n");
  await certs("init", "--dir", dir, "--ca-passphrase-file", right);
  const before = await readFile(join(dir, "client.crt"), "utf8");
  const commands = [
    ["issue", "--client", "a"],
    ["rotate", "--all"],
    ["rotate", "--ca"],
    ["rotate", "--retire-ca"],
    ["revoke", join(dir, "client.crt")],
  ];
  for (const argv of commands) {
    await assert.rejects(certs(...argv, "--dir", dir), {
      code: "key_encrypted",
      message: new RegExp(
        `^Cannot read CA key \\S+ca\\.key: it is encrypted; set ${VARIABLE}, or give --ca-passphrase-file$`,
      ),
    });
    await assert.rejects(certs(...argv, "--dir", dir, "--ca-passphrase-file", wrong), {
      code: "key_encrypted",
      message: /ca\.key: --ca-passphrase-file \S+wrong does not decrypt it; correct the passphrase/,
    });
    await withVariable("wrong", () =>
      assert.rejects(certs(...argv, "--dir", dir), {
        message: /ca\.key: EDGEFERRY_CA_PASSPHRASE does not decrypt it; correct the passphrase/,
      }));
  }
  assert.equal(await readFile(join(dir, "client.crt"), "utf8"), before);
});

Deno.test("a passphrase file that cannot be used is named with its state and the remedy", async () => {
  await using at = await folder();
  const open = await secret(at.path, "open", "x");
  await chmod(open, 0o644);
  const table: [string, string, RegExp][] = [
    [join(at.path, "none"), "not_found", /there is no such file; write the passphrase to it, and give it mode 600$/],
    [open, "key_exposed", /it has mode 0644, so every user of this machine can open it; run chmod 600 on it$/],
    [await secret(at.path, "empty", "\n"), "unreadable", /its first line is empty; write the passphrase there$/],
    [await secret(at.path, "large", "x".repeat(5_000)), "unreadable", /it has 5000 bytes; name a file of one line$/],
    [at.path, "unreadable", /name a file that can be read$/],
  ];
  for (const [caPassphraseFile, code, message] of table) {
    await assert.rejects(readCaPassphrase({ caPassphraseFile }), { name: "CertificateError", code, message });
  }
  assert.equal((await readCaPassphrase({})).value, undefined);
  await withVariable("", async () => assert.equal((await readCaPassphrase({})).value, undefined));
});

Deno.test("a leaf whose key is encrypted is not renewed by one that is not", async () => {
  await using at = await folder();
  await certs("init", "--dir", at.path);
  const key = join(at.path, "client.key");
  const sealed = join(at.path, "sealed");
  await runTool("openssl", ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:x", "-in", key, "-out", sealed]);
  const text = await readFile(sealed, "utf8");
  await writeFile(key, text);
  const { io, out } = recorder();
  const rotate = certsCommand(io).parseAsync(["rotate", "--all", "--dir", at.path], { from: "user" });
  await assert.rejects(rotate, { name: "FaultFound", message: "Could not renew 1 certificate; see above" });
  assert.match(out.join("\n"), /client\.crt .* skipped +its key is encrypted, and the new one would not be/);
  assert.equal(await readFile(key, "utf8"), text);
});
