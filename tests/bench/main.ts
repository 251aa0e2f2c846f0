/**
 * `deno task bench`: what a request costs the process that relays it, side by side in one run.
 *
 * Every round runs every subject once, one after the other, so that a machine whose speed drifts moves all of them. CPU is what
 * the operating system has charged to the process, all threads, until everything accepted has arrived at the sink. Every accepted
 * span is counted there; a subject that loses one fails the run.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { initCertificates } from "../../src/pki/init.ts";
import { isShape } from "./bodies.ts";
import { type Figures, measure } from "./measure.ts";
import { SUBJECTS } from "./subjects.ts";
import { table } from "./table.ts";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    warm: { type: "string", default: "5" },
    connections: { type: "string", default: "64" },
    shapes: { type: "string", default: "gzip:10,gzip:100,json:10,gzip:1,gzip:512,plain:10" },
    subjects: { type: "string", default: "floor,nginx,sqlite,none,collector-memory,collector-file" },
    json: { type: "boolean", default: false },
  },
});

const folder = await mkdtemp(join(tmpdir(), "edgeferry-bench-"));
try {
  const certs = join(folder, "certs");
  await initCertificates({ dir: certs });
  const subjects = flags.subjects.split(",");
  for (const name of subjects) if (!(name in SUBJECTS)) throw new Error(`No subject is called ${name}`);
  const everything: Record<string, Record<string, Figures[]>> = {};
  for (const column of flags.shapes.split(",")) {
    const [shape = "gzip", spans = "10"] = column.split(":");
    if (!isShape(shape)) throw new Error(`No shape is called ${shape}`);
    const load = {
      shape,
      spans: Number(spans),
      connections: Number(flags.connections),
      seconds: Number(flags.seconds),
      warmSeconds: Number(flags.warm),
    };
    const rounds: Record<string, Figures[]> = {};
    for (let round = 0; round < Number(flags.rounds); round++) {
      for (const name of subjects) (rounds[name] ??= []).push(await measure(name, load, { folder, certs }));
    }
    everything[column] = rounds;
    if (!flags.json) {
      console.log(`\n## ${spans} spans a request, ${shape}, ${flags.connections} connections\n\n${table(rounds)}`);
    }
  }
  if (flags.json) console.log(JSON.stringify(everything));
} finally {
  await rm(folder, { recursive: true, force: true });
}
