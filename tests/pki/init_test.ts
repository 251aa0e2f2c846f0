import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initCertificates } from "../../src/pki/init.ts";
import { loadIdentity } from "../../src/pki/identity.ts";

const FILES = ["ca.crt", "ca.key", "client.crt", "client.key", "server.crt", "server.key"];

async function withFolder(test: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-init-"));
  try {
    await test(dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}

Deno.test("six files are written, keys with mode 600 and certificates with 644, and nothing else is left", () =>
  withFolder(async (parent) => {
    const dir = join(parent, "new", "certs");
    const made = await initCertificates({ dir });
    assert.deepEqual((await readdir(dir)).sort(), FILES);
    for (const file of FILES) {
      assert.equal((await stat(join(dir, file))).mode & 0o777, file.endsWith(".key") ? 0o600 : 0o644, file);
    }
    assert.deepEqual(made.map((each) => [each.certificateFile, each.keyFile, each.facts.subject, each.facts.keyType]), [
      [join(dir, "ca.crt"), join(dir, "ca.key"), "CN=MyRootCA", "EC P-256"],
      [join(dir, "server.crt"), join(dir, "server.key"), "CN=otel-collector", "EC P-256"],
      [join(dir, "client.crt"), join(dir, "client.key"), "CN=client-app", "EC P-256"],
    ]);
    for (const role of ["client", "server"] as const) {
      const paths = { ca: join(dir, "ca.crt"), cert: join(dir, `${role}.crt`), key: join(dir, `${role}.key`) };
      assert.deepEqual((await loadIdentity({ ...paths, role })).facts.warnings, []);
    }
  }));

Deno.test("name, key size, days and more server names are as asked for", () =>
  withFolder(async (dir) => {
    const [ca, server, client] = await initCertificates({
      dir,
      caCommonName: "TestCA",
      rsaBits: 2048,
      days: 4000,
      serverNames: ["collector.example", "localhost", "::1"],
    });
    assert.equal(ca?.facts.subject, "CN=TestCA");
    assert.equal(client?.facts.keyType, "RSA 2048");
    assert.deepEqual(server?.facts.subjectAltNames, [
      "DNS:otel-collector",
      "DNS:localhost",
      "IP:127.0.0.1",
      "DNS:collector.example",
      "IP:::1",
    ]);
    assert.ok(ca !== undefined && client !== undefined);
    assert.equal(ca.facts.validTo.getTime(), client.facts.validTo.getTime(), "no leaf outlives its CA");
  }));

Deno.test("nothing is overwritten without force", () =>
  withFolder(async (dir) => {
    await writeFile(join(dir, "server.key"), "mine");
    await assert.rejects(initCertificates({ dir }), {
      name: "CertificateError",
      code: "exists",
      message: `Cannot write certificates to ${dir}: server.key is there already; name another folder with --dir, or ` +
        "replace them with --force; a new CA ends what the old one issued",
    });
    assert.deepEqual(await readdir(dir), ["server.key"]);
    await initCertificates({ dir, force: true });
    assert.deepEqual((await readdir(dir)).sort(), FILES);
    assert.match(await readFile(join(dir, "server.key"), "utf8"), /PRIVATE KEY/);
    assert.equal((await stat(join(dir, "server.key"))).mode & 0o777, 0o600);
    await assert.rejects(initCertificates({ dir }), {
      code: "exists",
      message: /ca\.crt, ca\.key, server\.crt.* are there/,
    });
  }));

Deno.test("a folder that cannot be is refused, and nothing is left behind", () =>
  withFolder(async (dir) => {
    await writeFile(join(dir, "file"), "");
    await assert.rejects(initCertificates({ dir: join(dir, "file") }), {
      name: "CertificateError",
      code: "unwritable",
      message: /^Cannot write certificates to .*file: .*; free the path or name another with --dir$/,
    });
    await assert.rejects(initCertificates({ dir, serverNames: ["a b"] }), { code: "unsupported" });
    assert.deepEqual(await readdir(dir), ["file"]);
  }));

Deno.test({
  name: "a folder that Deno may not write is refused",
  permissions: { read: true, write: false },
  fn: async () => {
    await assert.rejects(initCertificates({ dir: "no-such-folder" }), {
      name: "CertificateError",
      code: "permissions",
    });
  },
});
