/**
 * `deno run -A tests/bench/noisy.ts [ROUNDS [ATTACK]]`: whether one sender makes another wait. A quiet sender posts 100 requests a second:
 * alone; while a noisy one posts small requests as fast as it can to another relay on the same machine, beside the noisy one without
 * limits, and beside it with limits, which it ignores; and beside each attack of `attack.ts`. What the second costs is the
 * machine's: the difference between the second and the others is the relay's. Nothing drains the queue: what is measured is the way from
 * the door to the 200. Rounds are interleaved, and begin with another kind each; the latencies of all rounds count together. TMPDIR on a
 * disk in memory leaves the fsync out.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { folder } from "../support/files/folder.ts";
import { startRelayProcess } from "../support/relay/relay.ts";
import { ATTACKS } from "./attack.ts";
import { median } from "./table.ts";

const SECONDS = 6;
const QUIET_PER_SECOND = 100;
const LIMITS = "limits: { requests_per_second: 200, concurrent_requests: 4 }";

interface Loud {
  readonly ok: number;
  readonly refused: number;
}

interface Quiet extends Loud {
  readonly failed: number;
  readonly ms: readonly number[];
}

async function sender<Result>(script: string, ...args: readonly string[]): Promise<Result> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-lock", join(import.meta.dirname!, script), ...args],
    stderr: "null",
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "");
}

const paced = (url: string) => sender<Quiet>("paced.ts", url, "quiet", String(QUIET_PER_SECOND), String(SECONDS));
const hammering = (url: string) => sender<Loud>("load.ts", url, "noisy", "gzip", "10", "32", String(SECONDS));

const attacking = (url: string, attack: string) => sender<Loud>("attack.ts", url, "noisy", attack, String(SECONDS));

const only = Deno.args[1];
const KINDS: readonly string[] = only === undefined
  ? ["absent", "elsewhere", "unlimited", "limited", ...Object.keys(ATTACKS)]
  : ["absent", only];

async function measure(noisy: string): Promise<{ quiet: Quiet; loud: Loud | undefined }> {
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
  await paced(relay.url);
  const [quiet, loud] = await Promise.all([
    paced(relay.url),
    noisy === "absent" ? undefined : noisy in ATTACKS ? attacking(relay.url, noisy) : hammering(other.url),
  ]);
  return { quiet, loud };
}

const rounds = Number(Deno.args[0] ?? "3");
const results = new Map<string, { quiet: Quiet; loud: Loud | undefined }[]>(KINDS.map((kind) => [kind, []]));
for (let round = 0; round < rounds; round++) {
  for (const offset of KINDS.keys()) {
    const kind = KINDS[(round + offset) % KINDS.length]!;
    results.get(kind)!.push(await measure(kind));
  }
}

/** The latency that so many of 100 requests stay below. */
function percentile(ms: readonly number[], of: number): string {
  const sorted = ms.toSorted((a, b) => a - b);
  return (sorted[Math.ceil(sorted.length * of / 100) - 1] ?? NaN).toFixed(1);
}

const quietP99 = Number(percentile(results.get("absent")!.flatMap(({ quiet }) => quiet.ms), 99));
console.log(
  "| the noisy sender | its 200 | its 429 | the quiet one's 200 | not | p50 ms | p90 ms | p99 ms | p99 / quiet |",
);
console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
for (const [kind, all] of results) {
  const ms = all.flatMap(({ quiet }) => quiet.ms);
  const not = all.reduce((sum, { quiet }) => sum + quiet.refused + quiet.failed, 0);
  const loud = (key: "ok" | "refused") => median(all.map((one) => one.loud?.[key] ?? 0));
  const times = [50, 90, 99].map((of) => percentile(ms, of));
  const ratio = (Number(times[2]) / quietP99).toFixed(1);
  console.log(`| ${[kind, loud("ok"), loud("refused"), ms.length, not, ...times, ratio].join(" | ")} |`);
}
