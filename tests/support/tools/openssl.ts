/**
 * The files that the openssl steps of certs/README.md make. The steps are taken from the page, so that what is documented
 * is what is tested.
 */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { MissingTool, runTool } from "./tool.ts";

const README = new URL("../../../certs/README.md", import.meta.url);
const CACHE = new URL("../../.cache/openssl-certs/", import.meta.url).pathname;
/** Six RSA keys take seconds; a stuck openssl must not take forever. */
const OPENSSL_MS_MAX = 120_000;
const VALID_MS_MIN = 7 * 86_400_000;

let made: Promise<string> | undefined;

/**
 * The folder with `ca`, `server` and `client`, each as `.crt` and `.key`. It is kept between runs for as long as the steps stay
 * the same: do not write to it.
 */
export function opensslCertificates(): Promise<string> {
  made ??= make();
  return made;
}

/** The steps of the page: the one block of shell commands that makes certificates. */
export async function opensslSteps(): Promise<string> {
  const page = await readFile(README, "utf8");
  const blocks = [...page.matchAll(/^```bash\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
  const steps = blocks.filter((block) => block.includes("openssl req"));
  assert.equal(steps.length, 1, "certs/README.md holds one block with openssl req");
  return steps[0] ?? "";
}

async function make(): Promise<string> {
  const steps = await opensslSteps();
  const dir = join(CACHE, createHash("sha256").update(steps).digest("hex").slice(0, 16));
  if (await isUsable(dir)) return dir;
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, "new-"));
  try {
    // The shell says of what is missing what it says of any failure.
    if (spawnSync("openssl", ["version"]).error !== undefined) throw new MissingTool("openssl");
    await runTool("bash", ["-euc", steps], { cwd: work, signal: AbortSignal.timeout(OPENSSL_MS_MAX) });
    await chmod(work, 0o755); // As certs/ is: a Collector under another user finds its files there.
    await rm(dir, { recursive: true, force: true });
    await rename(work, dir);
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    // Another test process may have been first.
    if (!await isUsable(dir)) throw error;
  }
  return dir;
}

async function isUsable(dir: string): Promise<boolean> {
  try {
    const client = new X509Certificate(await readFile(join(dir, "client.crt")));
    return client.validToDate.getTime() - Date.now() > VALID_MS_MIN;
  } catch {
    return false;
  }
}
