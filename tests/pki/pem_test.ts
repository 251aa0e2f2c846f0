import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { chmod, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isPemText, pemBlocks, readPem } from "../../src/pki/pem.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

function source(value: string): { what: string; setting: string; value: string } {
  return { what: "client key", setting: "exporter.tls.key_file", value };
}

async function withFolder(test: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-pem-"));
  try {
    await test(dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}

Deno.test("a value with a BEGIN line is PEM text, any other a path", () => {
  assert.equal(isPemText(PEM), true);
  assert.equal(isPemText("certs/client.key"), false);
});

Deno.test("PEM text is taken as it is, and named by its setting", async () => {
  const document = await readPem(source(PEM));
  assert.equal(document.text, PEM);
  assert.equal(document.path, undefined);
  assert.equal(document.name, "client key (PEM text in exporter.tls.key_file)");
});

Deno.test("PEM text on one line with \\n for its line ends is unfolded", async () => {
  assert.equal((await readPem(source(PEM.replaceAll("\n", "\\n")))).text, PEM);
  assert.equal((await readPem(source(PEM.replaceAll("\n", "\\r\\n")))).text, PEM);
});

Deno.test("a file is read with its mode, also through a symbolic link", () =>
  withFolder(async (dir) => {
    await writeFile(join(dir, "real"), PEM);
    await chmod(join(dir, "real"), 0o640);
    await symlink("real", join(dir, "link"));
    const document = await readPem(source(join(dir, "link")));
    assert.equal(document.text, PEM);
    assert.equal(document.mode, 0o640);
    assert.equal(document.name, `client key ${join(dir, "link")}`);
  }));

Deno.test("what cannot be read is refused by state and remedy", () =>
  withFolder(async (dir) => {
    await writeFile(join(dir, "file"), PEM);
    await writeFile(join(dir, "huge"), "");
    await truncate(join(dir, "huge"), 5 * 1024 * 1024);
    const cases: [value: string, code: string, message: RegExp][] = [
      ["", "not_found", /^Cannot read client key: exporter\.tls\.key_file is empty; give a path or PEM text$/],
      [join(dir, "none"), "not_found", /none: there is no such file; set exporter\.tls\.key_file .*certs init/],
      [join(dir, "file", "below"), "not_found", /there is no such file/],
      [dir, "unreadable", /it is a directory; set exporter\.tls\.key_file to a PEM file$/],
      ["/dev/null", "unreadable", /it is not a regular file/],
      [join(dir, "huge"), "unreadable", /it has 5242880 bytes, more than the 4194304/],
      [join(dir, "x".repeat(300)), "not_pem", /has \d+ characters, .* which is no path of a file here/],
      // A file that its mode hides from the superuser too.
      ["/proc/sys/vm/compact_memory", "permissions", /permission denied; give the file/],
    ];
    for (const [value, code, message] of cases) {
      await assert.rejects(readPem(source(value)), { name: "CertificateError", code, message });
    }
  }));

Deno.test("a file that holds no PEM is refused by what it looks like", () =>
  withFolder(async (dir) => {
    const cases: [content: string | Uint8Array, message: RegExp][] = [
      ["", /it is empty/],
      ["certs/client.key\n", /it holds no PEM block/],
      [new Uint8Array([0x30, 0x82, 0x01, 0x0a, 0x02]), /it is binary \(DER or PKCS#12\), not PEM; convert it/],
      [Buffer.from(`\ufeff${PEM}`, "utf16le"), /it is binary or UTF-16 text, not PEM/],
    ];
    for (const [content, message] of cases) {
      await writeFile(join(dir, "file"), content);
      await assert.rejects(readPem(source(join(dir, "file"))), { name: "CertificateError", code: "not_pem", message });
    }
  }));

Deno.test({
  name: "a file that Deno may not read is refused with the flag that allows it",
  permissions: { read: false },
  fn: async () => {
    await assert.rejects(readPem(source("certs/client.key")), {
      name: "CertificateError",
      code: "permissions",
      message: /add its folder to --allow-read$/,
    });
  },
});

Deno.test("blocks come in order, without the commentary between them", async () => {
  const key = "-----BEGIN EC PRIVATE KEY-----\nBBBB\n-----END EC PRIVATE KEY-----\n";
  const document = await readPem(source(`subject=CN=a\n${PEM}\nsome words\n  ${key.replaceAll("\n", "\r\n  ")}`));
  assert.deepEqual(pemBlocks(document), [
    { label: "CERTIFICATE", pem: PEM },
    { label: "EC PRIVATE KEY", pem: key },
  ]);
});

Deno.test("a block without its END line is refused", async () => {
  const document = await readPem(source(PEM + PEM.slice(0, 40)));
  assert.throws(() => pemBlocks(document), { code: "unparsable", message: /CERTIFICATE block has no END line/ });
});
