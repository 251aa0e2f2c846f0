/**
 * `deno run -A tests/bench/noisy.ts`: whether one noisy sender makes another wait. A quiet sender posts 100 requests a second, alone,
 * beside one that posts as fast as it can without limits, and beside the same one with limits. Nothing drains the queue: what is
 * measured is the way from the door to the 200.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../src/receiver/authenticate.ts";
import { testCertificates } from "../support/certificates.ts";
import { folder } from "../support/folder.ts";
import { startRelayProcess } from "../support/relay.ts";

const SECONDS = 6;
const LIMITS = "limits: { requests_per_second: 200, concurrent_requests: 4 }";

interface Result {
  readonly ok: number;
  readonly refused: number;
  readonly errors: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function load(url: string, token: string, connections: number, rate?: number): Promise<Result> {
  const args = [
    url,
    token,
    "gzip",
    "10",
    String(connections),
    String(SECONDS),
    ...(rate === undefined ? [] : [String(rate)]),
  ];
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(import.meta.dirname!, "load.ts"), ...args],
    stderr: "null",
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "");
}

async function measure(noisy: "absent" | "unlimited" | "limited") {
  await using at = await folder();
  await using certs = await testCertificates();
  const tokens_file = join(at.path, "tokens.yaml");
  await writeFile(
    tokens_file,
    `tokens:
  - { id: quiet, sha256: ${digestOf("quiet")} }
  - { id: noisy, sha256: ${digestOf("noisy")}${noisy === "limited" ? `, ${LIMITS}` : ""} }
`,
  );
  await using relay = await startRelayProcess({
    engine: "sqlite",
    collectorUrl: "https://127.0.0.1:9",
    certsDir: certs.dir,
    auth: { tokens_file },
  });
  await load(relay.url, "quiet", 4, 100);
  const [quiet, loud] = await Promise.all([
    load(relay.url, "quiet", 4, 100),
    noisy === "absent" ? undefined : load(relay.url, "noisy", 32),
  ]);
  return { quiet, loud };
}

console.log("| the noisy sender | its 200 | its 429 | the quiet one's 200 | p50 ms | p99 ms |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const noisy of ["absent", "unlimited", "limited"] as const) {
  const { quiet, loud } = await measure(noisy);
  const cells = [noisy, loud?.ok ?? 0, loud?.refused ?? 0, quiet.ok, quiet.p50Ms, quiet.p99Ms];
  console.log(`| ${cells.join(" | ")} |`);
}
