import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { certsCommand } from "../../src/cli/certs.ts";
import { rotateCertificates } from "../../src/pki/folder.ts";
import { initCertificates } from "../../src/pki/init.ts";
import { finishWriting, leftoversIn, writeAll } from "../../src/pki/write.ts";
import { folder } from "../support/files/folder.ts";
import { recorder } from "../support/relay/recorder.ts";

const NAMES = ["ca.crt", "ca.key", "server.crt", "server.key", "client.crt", "client.key"];

/** Every certificate of the folder with its key, and of its CA. */
async function fitsTogether(dir: string): Promise<boolean> {
  const text = (name: string) => readFile(join(dir, name), "utf8");
  const ca = new X509Certificate(await text("ca.crt"));
  for (const name of ["ca", "server", "client"]) {
    const certificate = new X509Certificate(await text(`${name}.crt`));
    if (!certificate.verify(ca.publicKey)) return false;
    if (!certificate.checkPrivateKey(createPrivateKey(await text(`${name}.key`)))) return false;
  }
  return true;
}

for (const [index, blocked] of NAMES.entries()) {
  Deno.test(`a set that is interrupted before its ${blocked} is named by show, and finished by the next run`, async () => {
    await using at = await folder();
    await initCertificates({ dir: at.path });
    // The rename onto a folder fails, and leaves what a crash between two renames leaves.
    const path = join(at.path, blocked);
    await rm(path);
    await mkdir(path);
    await assert.rejects(initCertificates({ dir: at.path, force: true }), {
      code: "unwritable",
      message: /free the path/,
    });
    assert.deepEqual(await leftoversIn(at.path), { pending: NAMES.slice(index).sort(), abandoned: [] });
    await rm(path, { recursive: true });

    const { io, out } = recorder();
    const show = certsCommand(io).parseAsync(["show", "--dir", at.path], { from: "user" });
    await assert.rejects(show, { name: "FaultFound" });
    assert.match(
      out.join("\n"),
      /FAULT +Cannot rely on .*: a change was interrupted before .*; certs rotate finishes it/,
    );

    await rotateCertificates(at.path, 30);
    assert(await fitsTogether(at.path));
    assert.deepEqual((await readdir(at.path)).sort(), [...NAMES].sort());
    for (const name of NAMES) {
      const mode = (await stat(join(at.path, name))).mode & 0o777;
      assert.equal(mode, name.endsWith(".key") ? 0o600 : 0o644, name);
    }
  });
}

Deno.test("init finishes it too, and then finds the files there", async () => {
  await using at = await folder();
  await mkdir(join(at.path, "server.crt"));
  await assert.rejects(initCertificates({ dir: at.path, force: true }), { code: "unwritable" });
  await rm(join(at.path, "server.crt"), { recursive: true });
  await assert.rejects(initCertificates({ dir: at.path }), { code: "exists" });
  assert(await fitsTogether(at.path));
  await initCertificates({ dir: at.path, force: true });
  assert(await fitsTogether(at.path));
});

Deno.test("what was never complete changes nothing, and show says what to remove", async () => {
  await using at = await folder();
  await initCertificates({ dir: at.path });
  await writeFile(join(at.path, "ca.key.0123456789ab.tmp"), "half", { mode: 0o600 });
  await finishWriting(at.path);
  assert(await fitsTogether(at.path));
  const { io, out } = recorder();
  const show = certsCommand(io).parseAsync(["show", "--dir", at.path], { from: "user" });
  await assert.rejects(show, { name: "FaultFound", message: /^Found 1 fault / });
  assert.match(out.join("\n"), /before it was complete, and left ca\.key\.0123456789ab\.tmp; remove it$/m);
});

Deno.test("a folder that is not there has nothing to finish; one that cannot be written says so and keeps nothing", async () => {
  await using at = await folder();
  await finishWriting(join(at.path, "none"));
  const file = join(at.path, "file");
  await writeFile(file, "");
  await assert.rejects(writeAll(join(file, "certs"), [{ name: "a", text: "", mode: 0o600 }]), {
    code: "unwritable",
    message: /^Cannot write certificates to .*; free the path or name another with --dir$/,
  });
  assert.deepEqual(await readdir(at.path), ["file"]);
});
