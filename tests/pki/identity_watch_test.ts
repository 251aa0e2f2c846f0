import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CertificateError } from "../../src/errors.ts";
import { type Identity, type IdentityConfig, loadIdentity } from "../../src/pki/identity.ts";
import type { Watch } from "../../src/files/watch.ts";
import { watchIdentity } from "../../src/pki/identity_watch.ts";
import { type Pair, testCertificates } from "../support/files/certificates.ts";

function configOf(ca: Pair, pair: Pair): IdentityConfig {
  return { ca: ca.certificateFile, cert: pair.certificateFile, key: pair.keyFile };
}

/** A watch by hand over a client's files, and what it was told. */
async function watched(
  config: IdentityConfig,
  test: (watch: Watch, seen: { taken: string[]; refused: string[]; restored: number }) => Promise<void>,
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
