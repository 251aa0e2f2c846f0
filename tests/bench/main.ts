/**
 * `deno task bench`: what a request costs the process that relays it, side by side in one run.
 *
 * Every subject of a column runs at once, and each is driven by itself: every round drives each of them once, one after the other, so
 * that a machine whose speed drifts moves all of them. CPU is what the operating system has charged to the process, all threads, until
 * everything accepted has arrived at the sink. Every accepted span is counted there; a subject that loses one fails the run. The first
 * requests of a process are the row "cold"; the warm ones are counted after so many that V8 has compiled what is hot.
 *
 * `--out docs/benchmarks.json` writes what `deno task docs` prints the figures of README.md and docs/benchmarks.md from.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { initCertificates } from "../../src/pki/init.ts";
import { flagsOf } from "../support/program/flags.ts";
import { isShape, SHAPES } from "./bodies.ts";
import { type Figures, start } from "./measure.ts";
import { type Column, type Results, summary } from "./results.ts";
import { SUBJECTS } from "./subjects.ts";
import { table } from "./table.ts";

const flags = flagsOf("bench", {
  rounds: { type: "string", default: "5" },
  warm: { type: "string", default: "20000" },
  requests: { type: "string", default: "20000" },
  connections: { type: "string", default: "64" },
  /** Requests a second at the most: what costs less is not driven harder for it. */
  rate: { type: "string" },
  shapes: { type: "string", default: "gzip:10,gzip:100,json:10" },
  /** Those below unless given. */
  subjects: { type: "string" },
  out: { type: "string" },
});

const SUBJECTS_DEFAULT =
  "floor,nginx,rotel,sqlite,sqlite-tls,sqlite-mtls,sqlite-jwt,sqlite-redaction,sqlite-zstd,sqlite-gzip,none,collector-memory,collector-file";
/** OTLP/gRPC is measured with one shape: what differs from HTTP is there, and the bodies go the same way. */
const GRPC_SHAPE = "gzip:10";
const SUBJECTS_GRPC = "sqlite-grpc,sqlite-grpc-out,collector-memory-grpc,collector-file-grpc";

/** The subjects of a column. */
function subjectsOf(column: string): string[] {
  const names = flags.subjects ?? (column === GRPC_SHAPE ? `${SUBJECTS_DEFAULT},${SUBJECTS_GRPC}` : SUBJECTS_DEFAULT);
  return names.split(",");
}

/** Requests of the row "cold": the first that a process is sent. */
const COLD_REQUESTS = 2_000;
/** Whose first requests are a row of their own. */
const COLD_SUBJECT = "sqlite";

/** What a subject runs beside Deno, and how to get it. */
const PROGRAMS: Readonly<Record<string, readonly [program: string, remedy: string]>> = {
  nginx: ["nginx", "apt-get install nginx-light"],
  rotel: ["pip", "apt-get install python3-pip"],
  ...Object.fromEntries(
    ["collector-memory", "collector-file", "collector-memory-grpc", "collector-file-grpc"].map((name) =>
      [name, ["go", "install Go 1.25 or newer"]] as const
    ),
  ),
};

/** Ends with the names that there are, where one of `names` is not among them. */
function demandKnown(what: string, names: readonly string[], known: readonly string[]): void {
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  console.error(`No ${what} is called ${unknown.join(", ")}; they are ${known.join(", ")}`);
  process.exit(2);
}

/** Ends with what to install, or what to leave out, where a program is missing. */
function demandPrograms(subjects: readonly string[]): void {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const missing = subjects.filter((name) => {
    const program = PROGRAMS[name]?.[0];
    return program !== undefined && !folders.some((folder) => existsSync(join(folder, program)));
  });
  if (missing.length === 0) return;
  for (const name of missing) {
    const [program, remedy] = PROGRAMS[name]!;
    console.error(`Cannot measure ${name}: ${program} is not on PATH; ${remedy}`);
  }
  const left = subjects.filter((name) => !missing.includes(name));
  console.error(`Without it: deno task bench --subjects ${left.join(",")}`);
  process.exit(1);
}

const rate = flags.rate === undefined ? undefined : Number(flags.rate);
const shapes = flags.shapes.split(",");
const subjects = [...new Set(shapes.flatMap(subjectsOf))];
demandKnown("subject", subjects, Object.keys(SUBJECTS));
demandKnown("shape", shapes.map((column) => column.split(":")[0]!), SHAPES);
demandPrograms(subjects);
const folder = await mkdtemp(join(tmpdir(), "edgeferry-bench-"));
try {
  const at = { folder, certs: join(folder, "certs") };
  await initCertificates({ dir: at.certs });
  const columns: Record<string, Column> = {};
  for (const column of shapes) {
    const [shape = "gzip", spans = "10"] = column.split(":");
    if (!isShape(shape)) throw new Error(`No shape is called ${shape}`);
    const load = { shape, spans: Number(spans), connections: Number(flags.connections), rate };
    await using stack = new AsyncDisposableStack();
    const figures: Record<string, Figures[]> = {};
    const cold: Figures[] = [];
    const running = new Map<string, Awaited<ReturnType<typeof start>>>();
    for (const name of subjectsOf(column)) {
      const subject = stack.use(await start(name, at));
      running.set(name, subject);
      const first = await subject.measure(load, COLD_REQUESTS);
      if (name === COLD_SUBJECT) cold.push(first);
      await subject.measure(load, Number(flags.warm));
    }
    for (let round = 0; round < Number(flags.rounds); round++) {
      for (const [name, subject] of running) {
        (figures[name] ??= []).push(await subject.measure(load, Number(flags.requests)));
      }
    }
    if (cold.length > 0) figures[`${COLD_SUBJECT}-cold`] = cold;
    columns[column] = summary(figures);
    console.log(`\n## ${spans} spans a request, ${shape}, ${flags.connections} connections\n\n${table(figures)}`);
    // After each column: a run that is cut short has measured something all the same.
    const results: Results = {
      measured: new Date().toISOString().slice(0, 10),
      cores: availableParallelism(),
      connections: Number(flags.connections),
      rounds: Number(flags.rounds),
      warmRequests: Number(flags.warm),
      countedRequests: Number(flags.requests),
      coldRequests: COLD_REQUESTS,
      columns,
    };
    if (flags.out !== undefined) await writeFile(flags.out, `${JSON.stringify(results, undefined, 2)}\n`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
