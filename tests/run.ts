/**
 * Every test: side by side those that need nothing but Deno, then those that ask one other program, and at last those that start a whole
 * scene. Ends with what all of them came to, in one line. What is given is handed to `deno test`, in place of that:
 * `deno task test tests/otlp`.
 */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { grouped, testFilesIn, writeGroups } from "./groups.ts";

const TESTS = import.meta.dirname!;

/** Tests of the first kind ask no other program, by their folder. */
const OTHERS = ["integration", "e2e"].map((name) => join(TESTS, name));

/**
 * Of the first kind, too, but they change the working folder, which is the whole process's: another test's child would begin in it. They
 * have a process of their own, beside the others'.
 */
const ALONE = ["cli/dev_token_test.ts", "cli/send_test.ts"].map((name) => join(TESTS, name));

/** Those of the first kind that take longest, mostly by waiting: each group of them begins at once. */
const FIRST = [
  ["exporter/inquest_test.ts"],
  ["exporter/lane_test.ts"],
  ["queue/sqlite/queue_test.ts"],
  ["queue/sqlite/file/recovery_test.ts", "queue/sqlite/file/store_test.ts"],
].map((group) => group.map((name) => join(TESTS, name)));

/** Those that wait least: they keep the cores busy while the last of the others wait. */
const LAST = ["codec", "otlp", "queue", "telemetry"].map((name) => join(TESTS, name));

/** Test files of the first kind that share an isolate have so many bytes at most: as many groups as keep all cores busy to the end. */
const GROUP_BYTES_MAX = 100_000;

/** Garbage is collected by one thread, as in the relay: several for each isolate take a tenth more of cores that others keep busy. */
const ONE_COLLECTOR = "--v8-flags=--no-parallel-scavenge";

/** What `deno test` is told, beside the files. Types are the task check's: each Worker that a test starts would check its own again. */
const FLAGS: Readonly<Record<string, readonly string[]>> = {
  unit: ["--no-check", "--parallel", ONE_COLLECTOR],
  alone: ["--no-check", ONE_COLLECTOR, ...ALONE],
  integration: ["--no-check", "--parallel", "tests/integration"],
  e2e: ["--no-check", "--parallel", "tests/e2e"],
};

/** What mostly waits runs beside what keeps the cores busy; its output comes after it. */
const BESIDE: Readonly<Record<string, string>> = { alone: "unit" };

/** What tests came to. */
export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Reads the last line of `deno test`, e.g. `ok | 20 passed (23 steps) | 0 failed | 1 ignored (3s)`; undefined without one. */
export function totalsOf(output: string): Totals | undefined {
  // deno-lint-ignore no-control-regex
  const lines = output.replaceAll(/\x1b\[[0-9;]*m/g, "").split("\n");
  const line = lines.findLast((line) => /^(ok|FAILED) \| \d+ passed .*\| \d+ failed/.test(line));
  if (line === undefined) return undefined;
  const figure = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(line)?.[1] ?? 0);
  return { passed: figure("passed"), failed: figure("failed"), skipped: figure("ignored") };
}

/**
 * How many files side by side. Tests wait for disks, timers and processes, so that four a core keep it busy; other programs are busy
 * themselves, and a scene has several of them, whose own deadlines a busy machine is not to pass.
 */
function jobsOf(run: string): number {
  const cores = availableParallelism();
  return ({ integration: cores + 1, e2e: cores })[run] ?? 4 * cores;
}

/** Runs tests, of the first kind in groups. */
async function denoTests(name: string, args: readonly string[], shown: Shown): Promise<Ended> {
  if (name !== "unit") return await denoTest(args, jobsOf(name), shown);
  const apart = [...OTHERS, ...ALONE, ...FIRST.flat()];
  const rest = [testFilesIn(TESTS, [...apart, ...LAST]), ...LAST.map((folder) => testFilesIn(folder, apart))].flat();
  const first = FIRST.map((group) => group.map((path) => ({ path })));
  using groups = writeGroups([...first, ...grouped(rest, GROUP_BYTES_MAX)], TESTS);
  return await denoTest([...args, ...groups.paths], jobsOf(name), shown);
}

/** How a run of `deno test` ended, and what it wrote. */
interface Ended {
  readonly code: number;
  readonly output: string;
}

/** When its output is shown. */
type Shown = "as it comes" | "later";

async function denoTest(args: readonly string[], jobs: number, shown: Shown): Promise<Ended> {
  const child = spawn(process.execPath, ["test", "-A", ...args], {
    env: {
      ...process.env,
      DENO_JOBS: process.env["DENO_JOBS"] ?? String(jobs),
      ...(process.stdout.isTTY && process.env["NO_COLOR"] === undefined ? { FORCE_COLOR: "1" } : {}),
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  // Ctrl-C reaches both: this one waits for the other.
  const wait = () => {};
  process.on("SIGINT", wait);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    if (shown === "as it comes") process.stdout.write(text);
  });
  const code = await new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? 1)));
  process.off("SIGINT", wait);
  return { code, output };
}

if (import.meta.main) {
  const given = process.argv.slice(2);
  const named = Object.entries(FLAGS).filter(([name]) => given.length === 0 || given.includes(name));
  const runs: readonly (readonly [string, readonly string[]])[] = named.length > 0 ? named : [["given", given]];
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const later = new Map<string, Promise<Ended>>();
  for (const [name, args] of runs) {
    if (runs.some(([other]) => other === BESIDE[name])) later.set(name, denoTests(name, args, "later"));
  }
  for (const [name, args] of runs) {
    const { code, output } = await (later.get(name) ?? denoTests(name, args, "as it comes"));
    if (later.has(name)) process.stdout.write(output);
    const totals = totalsOf(output);
    if (totals === undefined) console.error(`The ${name} tests ended with ${code} and told no totals`);
    const { passed, failed, skipped } = totals ?? { passed: 0, failed: 1, skipped: 0 };
    sum.passed += passed;
    // What fails outside of a test, as a leak at the end, is a failure without a number.
    sum.failed += Math.max(failed, code === 0 ? 0 : 1);
    sum.skipped += skipped;
    if (code === 130) break;
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  process.exit(sum.failed === 0 ? 0 : 1);
}
