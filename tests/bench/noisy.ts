/**
 * `deno run -A tests/bench/noisy.ts [ROUNDS]`: whether one noisy sender makes another wait. A quiet sender posts 100 requests a second:
 * alone; while a noisy one posts as fast as it can to another relay on the same machine; beside the noisy one without limits; and
 * beside it with limits. What the second costs is the machine's: the difference between the second and the third is the relay's.
 * Nothing drains the queue: what is measured is the way from the door to the 200. Rounds are interleaved; the medians count.
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

const KINDS = ["absent", "elsewhere", "unlimited", "limited"] as const;
type Kind = typeof KINDS[number];

async function measure(noisy: Kind): Promise<{ quiet: Result; loud: Result | undefined }> {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await folder());
  const certs = stack.use(await testCertificates());
  const tokens_file = join(at.path, "tokens.yaml");
  await writeFile(
    tokens_file,
    `tokens:
  - { id: quiet, sha256: ${digestOf("quiet")} }
  - { id: noisy, sha256: ${digestOf("noisy")}${noisy === "limited" ? `, ${LIMITS}` : ""} }
`,
  );
  const start = async () =>
    stack.use(
      await startRelayProcess({
        engine: "sqlite",
        collectorUrl: "https://127.0.0.1:9",
        certsDir: certs.dir,
        auth: { tokens_file },
      }),
    );
  const relay = await start();
  const other = noisy === "elsewhere" ? await start() : relay;
  await load(relay.url, "quiet", 4, 100);
  const [quiet, loud] = await Promise.all([
    load(relay.url, "quiet", 4, 100),
    noisy === "absent" ? undefined : load(other.url, "noisy", 32),
  ]);
  return { quiet, loud };
}

const rounds = Number(Deno.args[0] ?? "3");
const results = new Map<Kind, { quiet: Result; loud: Result | undefined }[]>(KINDS.map((kind) => [kind, []]));
for (let round = 0; round < rounds; round++) {
  for (const kind of KINDS) results.get(kind)!.push(await measure(kind));
}

function median(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  return `${sorted[Math.floor(sorted.length / 2)]} (${sorted[0]}-${sorted.at(-1)})`;
}

console.log("| the noisy sender | its 200 | its 429 | the quiet one's 200 | p50 ms | p99 ms |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const [kind, all] of results) {
  const quiet = (key: "ok" | "p50Ms" | "p99Ms") => median(all.map((one) => one.quiet[key]));
  const loud = (key: "ok" | "refused") => median(all.map((one) => one.loud?.[key] ?? 0));
  console.log(
    `| ${[kind, loud("ok"), loud("refused"), quiet("ok"), quiet("p50Ms"), quiet("p99Ms")].join(" | ")} |`,
  );
}
