import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { appendFile, chmod, cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLIENT, createAuthority, KEY_TYPES } from "../../src/pki/authority.ts";
import { daysLeft, describe, parseCertificates } from "../../src/pki/certificate.ts";
import {
  addAuthority,
  issueCertificate,
  retireAuthority,
  revokeCertificate,
  rotateCertificates,
} from "../../src/pki/folder.ts";
import { loadIdentity } from "../../src/pki/identity.ts";
import { initCertificates } from "../../src/pki/init.ts";
import { refusal, withFolder } from "../support/files/issued_folder.ts";
import { knownRsaKeys } from "../support/files/rsa_keys.ts";

async function factsOf(dir: string, name: string) {
  return describe(new X509Certificate(await readFile(join(dir, name))));
}

async function authoritiesOf(dir: string): Promise<(string | undefined)[]> {
  const text = await readFile(join(dir, "ca.crt"), "utf8");
  const certificates = parseCertificates({ name: "ca.crt", setting: "", text, path: undefined, mode: undefined });
  return certificates.map((each) => describe(each).commonName);
}

Deno.test("one client certificate for each service, and servers with chosen names, lifetimes and keys", () =>
  withFolder(async (dir) => {
    const client = await issueCertificate({ dir, usage: "clientAuth", name: "checkout-edge" });
    assert.equal(client.certificateFile, join(dir, "checkout-edge.crt"));
    assert.deepEqual([client.facts.usages, client.facts.subjectAltNames], [["clientAuth"], ["DNS:checkout-edge"]]);
    assert.equal((await stat(client.keyFile)).mode & 0o777, 0o600);
    const { facts } = await loadIdentity({
      ca: join(dir, "ca.crt"),
      cert: client.certificateFile,
      key: client.keyFile,
    });
    assert.deepEqual(facts.warnings, []);
    using _ = knownRsaKeys();
    for (const keyType of KEY_TYPES) {
      const server = await issueCertificate({
        dir,
        usage: "serverAuth",
        name: `${keyType}.example`,
        subjectAltNames: ["10.0.0.7"],
        days: 90,
        keyType,
      });
      assert.deepEqual(server.facts.subjectAltNames, [`DNS:${keyType}.example`, "IP:10.0.0.7"]);
      assert.equal(server.facts.keyType.toLowerCase().replace(/^ec p-/, "ec-p").replace(" ", "-"), keyType);
      assert.equal(daysLeft(server.facts.validTo, new Date()), 89);
      await loadIdentity({
        ca: join(dir, "ca.crt"),
        cert: server.certificateFile,
        key: server.keyFile,
        role: "server",
      });
    }
  }));

Deno.test("a leaf does not outlive its CA, and nothing that is there is replaced unasked", () =>
  withFolder(async (dir) => {
    const { facts } = await issueCertificate({ dir, usage: "clientAuth", name: "long", days: 7300 });
    assert.equal(facts.validTo.getTime(), (await factsOf(dir, "ca.crt")).validTo.getTime());
    const again = { dir, usage: "clientAuth" as const, name: "long" };
    await assert.rejects(
      issueCertificate(again),
      refusal("exists", /long\.crt is there already; renew it with certs ro/),
    );
    await issueCertificate({ ...again, force: true });
    await assert.rejects(
      issueCertificate({ ...again, name: "ca", force: true }),
      refusal("exists", /would be the CA's/),
    );
    await assert.rejects(issueCertificate({ ...again, name: "a b" }), refusal("unsupported", /name "a b"/));
    await writeFile(join(dir, "ca.key"), await readFile(join(dir, "client.key")));
    await assert.rejects(
      issueCertificate({ ...again, name: "x" }),
      refusal("key_mismatch", /CA key .* does not match/),
    );
  }));

Deno.test("rotate renews in place what is near its end, as it was, and keeps the rest and the CA", () =>
  withFolder(async (dir) => {
    await issueCertificate({
      dir,
      usage: "serverAuth",
      name: "near.example",
      subjectAltNames: ["::1"],
      days: 20,
      keyType: "rsa-2048",
    });
    const stranger = await createAuthority({ commonName: "Stranger" });
    const foreign = await stranger.issue({ ...CLIENT, days: 5 });
    await writeFile(join(dir, "foreign.crt"), foreign.certificate);
    await writeFile(join(dir, "foreign.key"), foreign.key, { mode: 0o600 });
    const before = await factsOf(dir, "near.example.crt");
    const ca = await readFile(join(dir, "ca.crt"), "utf8");
    const kept = await readFile(join(dir, "client.crt"), "utf8");

    // Of its 20 days a third is near its end.
    for (
      const [days, ofForeign, outcome] of [[0, "kept", "kept"], [13, "skipped", "kept"], [14, "skipped", "renewed"]]
    ) {
      const copy = await mkdtemp(`${dir}-`);
      await cp(dir, copy, { recursive: true });
      const rotated = await rotateCertificates(copy, undefined, {
        now: new Date(Date.now() + Number(days) * 86_400_000),
      });
      assert.deepEqual(rotated.map(({ outcome }) => outcome), ["kept", ofForeign, outcome, "kept"], `${days} days on`);
      await rm(copy, { recursive: true });
    }
    const rotated = await rotateCertificates(dir, 30);
    assert.deepEqual(rotated.map(({ certificateFile, outcome }) => [certificateFile.slice(dir.length + 1), outcome]), [
      ["client.crt", "kept"],
      ["foreign.crt", "skipped"],
      ["near.example.crt", "renewed"],
      ["server.crt", "kept"],
    ]);
    assert.match(rotated[1]!.reason, /another CA has issued it/);
    const after = await factsOf(dir, "near.example.crt");
    assert.notEqual(after.serialNumber, before.serialNumber);
    for (const same of ["subject", "subjectAltNames", "usages", "keyType"] as const) {
      assert.deepEqual(after[same], before[same], same);
    }
    assert.equal(daysLeft(after.validTo, new Date()), 19);
    await loadIdentity({
      ca: join(dir, "ca.crt"),
      cert: join(dir, "near.example.crt"),
      key: join(dir, "near.example.key"),
      role: "server",
    });
    assert.equal(await readFile(join(dir, "ca.crt"), "utf8"), ca);
    assert.equal(await readFile(join(dir, "client.crt"), "utf8"), kept);
    assert.deepEqual((await readdir(dir)).filter((name) => name.endsWith(".tmp")), []);
    const all = await rotateCertificates(dir, Infinity);
    assert.deepEqual(all.map(({ outcome }) => outcome), ["renewed", "skipped", "renewed", "renewed"]);
  }));

Deno.test("what cannot be issued again as it is, is skipped and told of", () =>
  withFolder(async (dir) => {
    await appendFile(join(dir, "client.crt"), await readFile(join(dir, "ca.crt")));
    const [client] = await rotateCertificates(dir, Infinity);
    assert.equal(client?.outcome, "skipped");
    assert.match(client.reason, /intermediates stand behind it/);
  }));

Deno.test("a CA key that every user of the machine can read is not used", () =>
  withFolder(async (dir) => {
    await chmod(join(dir, "ca.key"), 0o644);
    await assert.rejects(
      issueCertificate({ dir, usage: "clientAuth", name: "edge" }),
      refusal(
        "key_exposed",
        /ca\.key: it has mode 0644, so every user .* can open it, and issue with it; run chmod 600 on/,
      ),
    );
    assert(!(await readdir(dir)).includes("edge.crt"));
  }));

Deno.test("one that is damaged is skipped and told of; the others are renewed", () =>
  withFolder(async (dir) => {
    await writeFile(join(dir, "client.crt"), (await readFile(join(dir, "client.crt"), "utf8")).slice(0, 200));
    const rotated = await rotateCertificates(dir, Infinity);
    assert.deepEqual(rotated.map(({ outcome }) => outcome), ["skipped", "renewed"]);
    assert.match(rotated[0]?.reason ?? "", /client\.crt: its CERTIFICATE block has no END line/);
  }));

Deno.test("one that was revoked is renewed by nobody, and does not hold up a change of the CA", () =>
  withFolder(async (dir) => {
    const { certificateFile } = await issueCertificate({ dir, usage: "clientAuth", name: "edge" });
    await revokeCertificate(dir, certificateFile);
    await addAuthority(dir);
    const rotated = await rotateCertificates(dir, Infinity);
    assert.deepEqual(rotated.map(({ outcome, reason }) => [outcome, reason.slice(0, 11)]), [
      ["renewed", "valid until"],
      ["kept", "it was revo"],
      ["renewed", "valid until"],
    ]);
    assert.equal((await retireAuthority(dir)).length, 1);
  }));

Deno.test("a new CA is of the old one's kind, unless another is asked for", async () => {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-folder-"));
  try {
    await initCertificates({ dir, keyType: "ed25519" });
    assert.equal((await addAuthority(dir)).facts.keyType, "Ed25519");
    await rotateCertificates(dir, Infinity);
    await retireAuthority(dir);
    assert.equal((await factsOf(dir, "client.crt")).keyType, "Ed25519");
    assert.equal((await addAuthority(dir, { keyType: "ec-p384" })).facts.keyType, "EC P-384");
  } finally {
    await rm(dir, { recursive: true });
  }
});

Deno.test("a CA is changed in two steps: trust both, then retire", () =>
  withFolder(async (dir) => {
    const load = (role: "client" | "server") =>
      loadIdentity({ ca: join(dir, "ca.crt"), cert: join(dir, `${role}.crt`), key: join(dir, `${role}.key`), role });
    await assert.rejects(retireAuthority(dir), refusal("not_found", /holds one alone; add one with certs rotate --ca/));
    const { facts } = await addAuthority(dir);
    assert.equal(facts.commonName, "MyRootCA G2");
    assert.deepEqual(await authoritiesOf(dir), ["MyRootCA G2", "MyRootCA"]);
    assert.deepEqual((await load("client")).facts.warnings, [], "the old leaf is still trusted");
    await assert.rejects(addAuthority(dir), refusal("exists", /a change of the CA is under way; finish it/));
    await assert.rejects(
      retireAuthority(dir),
      refusal("exists", /client\.crt, server\.crt are of that CA; renew with certs rotate --all first/),
    );
    await rotateCertificates(dir, Infinity);
    for (const role of ["client", "server"] as const) {
      const { facts } = await load(role);
      assert.deepEqual([facts.certificate.issuer, facts.warnings], ["CN=MyRootCA G2", []]);
    }
    assert.deepEqual((await retireAuthority(dir)).map(({ commonName }) => commonName), ["MyRootCA"]);
    assert.deepEqual(await authoritiesOf(dir), ["MyRootCA G2"]);
    assert.deepEqual((await load("client")).facts.warnings, []);
    assert(!(await readdir(dir)).includes("ca.key.old"));
    assert.equal((await addAuthority(dir)).facts.commonName, "MyRootCA G3");
  }));

Deno.test("a damaged list is told of, not written over", () =>
  withFolder(async (dir) => {
    await writeFile(join(dir, "ca.crl"), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    await assert.rejects(
      revokeCertificate(dir, join(dir, "client.crt")),
      refusal("unparsable", /ca\.crl: it is damaged/),
    );
  }));
