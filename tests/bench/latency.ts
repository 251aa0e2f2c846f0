/**
 * `deno run -A tests/bench/latency.ts [--rate 500] [--rounds 5] [--seconds 10] [--subjects sqlite,collector-file]`: how long a sender waits
 * for its 200 at a pace that every subject keeps up with. `main.ts` drives each as fast as it can: there 64 connections share the
 * machine, and the 99th percentile tells mostly how many requests a second come through. Here each request has its moment, see
 * `paced.ts`. All subjects run at once and are driven by turns; the latencies of all rounds count together. The last column is the 99th
 * percentile of how late the sender itself was: where that is near the subject's, the machine is measured, and not the subject.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { initCertificates } from "../../src/pki/init.ts";
import { kill, root, startSink } from "./processes.ts";
import { TOKEN } from "./relay_files.ts";
import { SUBJECTS } from "./subjects.ts";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    rate: { type: "string", default: "500" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "10" },
    subjects: { type: "string", default: "nginx,sqlite,collector-file" },
  },
});

interface Paced {
  readonly ok: number;
  readonly refused: number;
  readonly failed: number;
  readonly ms: readonly number[];
  readonly lateMs: readonly number[];
}

async function paced(url: string, token: string, seconds: string): Promise<Paced> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--config", join(root, "deno.json"), "--no-lock", join(import.meta.dirname!, "paced.ts")],
      ...[url, token, flags.rate, seconds],
    ],
    stderr: "null",
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "");
}

/** The value that a share of them does not pass. */
function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

const folder = await mkdtemp(join(tmpdir(), "edgeferry-latency-"));
try {
  const certs = join(folder, "certs");
  await initCertificates({ dir: certs });
  await using stack = new AsyncDisposableStack();
  const running = new Map<string, { readonly url: string; readonly token: string }>();
  const found = new Map<string, { readonly ms: number[]; readonly lateMs: number[] }>();
  for (const name of flags.subjects.split(",")) {
    const sink = await startSink(certs);
    stack.defer(() => kill(sink.child));
    const subject = SUBJECTS[name];
    if (subject === undefined) throw new Error(`No subject is called ${name}`);
    const { url, child, token = TOKEN } = await subject.start({ folder, certs, sink });
    stack.defer(() => kill(child));
    running.set(name, { url, token });
    found.set(name, { ms: [], lateMs: [] });
    // V8 compiles what is hot.
    await paced(url, token, flags.seconds);
  }
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const [name, { url, token }] of running) {
      const { ms, lateMs, refused, failed } = await paced(url, token, flags.seconds);
      if (refused + failed > 0) throw new Error(`${name}: ${refused} refused, ${failed} failed`);
      found.get(name)!.ms.push(...ms);
      found.get(name)!.lateMs.push(...lateMs);
    }
  }
  console.log(`${flags.rate} requests a second, 10 spans, gzip\n`);
  console.log(
    "| ms to the 200 | requests | p50 | p90 | p99 | p99.9 | most | the sender late, p99 |\n" +
      "| --- | --- | --- | --- | --- | --- | --- | --- |",
  );
  for (const [name, { ms, lateMs }] of found) {
    const sorted = ms.toSorted((a, b) => a - b);
    const cells = [0.5, 0.9, 0.99, 0.999, 1].map((share) => quantile(sorted, share).toFixed(1));
    const late = quantile(lateMs.toSorted((a, b) => a - b), 0.99).toFixed(1);
    console.log(`| ${[name, sorted.length, ...cells, late].join(" | ")} |`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
