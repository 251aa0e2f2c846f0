/**
 * `deno run -A tests/bench/backlog.ts [--gib 5] [--rounds 5]`: appends a second over a backlog against an empty queue, in turns, and
 * what memory each takes. The Collector is away in both: what is measured is the way from the door to the 200.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { initCertificates } from "../../src/pki/init.ts";
import { openQueue } from "../../src/queue/open.ts";
import { gzipMember } from "../../src/codec/gzip.ts";
import { OwnedBytes } from "../../src/codec/owned_bytes.ts";
import { makeBodies } from "./bodies.ts";
import { drive } from "./measure.ts";
import { kill, peakRssMiB, startRelay } from "./processes.ts";
import { writeRelayFiles } from "./relay_files.ts";
import { median } from "./table.ts";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    gib: { type: "string", default: "5" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
  },
});
/** One record of the backlog: as many requests as a busy relay writes at once. */
const RECORD_PARTS = 26;

const folder = await mkdtemp(join(tmpdir(), "edgeferry-backlog-"));
try {
  const certs = join(folder, "certs");
  await initCertificates({ dir: certs });
  await fill(join(folder, "full"), Number(flags.gib) * 2 ** 30);
  const rates = { empty: [] as number[], full: [] as number[] };
  const memory = { empty: [] as number[], full: [] as number[] };
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const name of ["empty", "full"] as const) {
      const dir = name === "empty" ? join(folder, `empty-${round}`) : join(folder, "full");
      await writeRelayFiles(dir, {
        certs,
        config: { receiver: { limits: { queue_share: 1 } }, sending_queue: { queue_size: "64GiB" } },
      });
      const running = await startRelay(dir);
      const load = { shape: "gzip", spans: 10, connections: 64 } as const;
      try {
        await drive(running, load, 3, { folder, certs });
        const { ok, refused, seconds } = await drive(running, load, Number(flags.seconds), { folder, certs });
        if (refused > 0) throw new Error(`${refused} requests were refused`);
        rates[name].push(ok / seconds);
        memory[name].push(await peakRssMiB(running.child.pid));
      } finally {
        await kill(running.child);
      }
    }
  }
  const show = (values: readonly number[]) =>
    `${median(values).toFixed(0)} (${Math.min(...values).toFixed(0)}-${Math.max(...values).toFixed(0)})`;
  const ratios = rates.full.map((rate, round) => rate / rates.empty[round]!);
  console.log("| queue | appends/s | peak RSS MiB |\n| --- | --- | --- |");
  console.log(`| empty | ${show(rates.empty)} | ${show(memory.empty)} |`);
  console.log(`| ${flags.gib} GiB | ${show(rates.full)} | ${show(memory.full)} |`);
  console.log(
    `ratio, round by round: ${median(ratios).toFixed(2)} (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")})`,
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Records as the relay writes them, by the queue itself. */
async function fill(dir: string, bytes: number): Promise<void> {
  await mkdir(join(dir, "data"), { recursive: true });
  await using queue = await openQueue({
    storage: "sqlite",
    path: join(dir, "data/queue.db"),
    bytesMax: 64 * 2 ** 30,
    deadLetterBytesMax: 2 ** 20,
    log: { warn: console.warn, error: console.error },
  });
  const members = makeBodies("plain", 10, RECORD_PARTS).map(({ bytes }) => ({ bytes, member: gzipMember(bytes) }));
  const length = members.reduce((sum, { member }) => sum + member.length, 0);
  for (let written = 0; written < bytes;) {
    const records = Array.from({ length: 100 }, () => {
      const payload = new Uint8Array(length);
      let offset = 0;
      for (const { member } of members) {
        payload.set(member, offset);
        offset += member.length;
      }
      return queue.append({
        signal: "traces",
        encoding: "gzip",
        mergeable: true,
        targets: [1],
        parts: members.map(({ bytes, member }) => ({
          sender: "bench",
          items: 10,
          bytes: member.length,
          inflatedBytes: bytes.length,
        })),
        payload: new OwnedBytes(payload),
      });
    });
    await Promise.all(records);
    written += records.length * length;
  }
}
