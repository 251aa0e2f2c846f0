/**
 * The gRPC soak, run by hand: `deno run -A tests/soak/grpc.ts in|out [--scale 1] [--only TEXT] [--modules FOLDER] [--under deno]`.
 * A child of the pinned Deno serves (`in`) or calls (`out`) unary gRPC on `node:http2`, against peers that end their connections in every
 * way. A child that dies is counted and started anew. Prints a row a variant, and ends with 1 when a child died.
 */
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import type { Line } from "./counter.ts";

const { values: flags, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    /** A share of the 100,000 connections. */
    scale: { type: "string", default: "1" },
    /** Variants whose name contains this. */
    only: { type: "string", default: "" },
    /** Where `npm install @grpc/grpc-js` was run; without it the grpc-js rows are left out. */
    modules: { type: "string" },
    /** The runtime under soak. */
    under: { type: "string", default: process.execPath },
    /** The program under soak, in place of the one on `node:http2`. */
    program: { type: "string" },
    /** Sessions of `node:http2` are destroyed as `guard.ts` has it. */
    guarded: { type: "boolean", default: false },
  },
});

const here = import.meta.dirname!;
const TLS = { plain: [], tls: ["tls"], mutual: ["tls", "mutual"] } as const;
type Security = keyof typeof TLS;

interface Variant {
  readonly peer: "go" | "grpc-js" | "http2";
  readonly ending: string;
  readonly state: "idle" | "load";
  readonly security: Security;
  readonly connections: number;
  /** Ordinary calls on each connection before its end; 0 is a few. */
  readonly calls: number;
}

function variants(
  peer: Variant["peer"],
  endings: readonly string[],
  plain: number,
  secured: number,
  calls = 0,
): Variant[] {
  return endings.flatMap((ending) =>
    (["idle", "load"] as const).flatMap((state) => [
      { peer, ending, state, security: "plain", connections: plain, calls } as const,
      { peer, ending, state, security: "tls", connections: secured, calls } as const,
      { peer, ending, state, security: "mutual", connections: secured, calls } as const,
    ])
  );
}

const ENDINGS = ["goaway", "rst", "fin", "rststream", "kill"];
const TABLE: Record<string, readonly Variant[]> = {
  in: [
    ...variants("go", ENDINGS, 7000, 600),
    ...variants("go", ["ends"], 2000, 300),
    ...variants("go", ["grpc"], 2500, 300),
    ...variants("grpc-js", ["close"], 1500, 200),
    ...variants("http2", ["close"], 1500, 200),
    ...variants("go", [...ENDINGS, "grpc"], 64, 16, 1000),
    ...variants("grpc-js", ["close"], 32, 16, 3000),
    ...variants("http2", ["close"], 32, 16, 3000),
  ],
  out: [
    ...variants("go", ENDINGS, 8000, 800),
    ...variants("go", ["aged"], 1000, 200),
    ...variants("go", ["grpc"], 1500, 300),
    ...variants("go", ENDINGS, 64, 16, 1000),
  ],
};

interface Tally {
  connections: number;
  calls: number;
  answered: number;
  uncaught: number;
  cpuMs: number;
  rssMiB: [first: number, last: number];
  files: [first: number, last: number];
  readonly deaths: Map<string, number>;
  readonly said: string[];
}

/** One process, whose lines of JSON are kept. */
class Child {
  readonly process: ChildProcess;
  readonly ended: Promise<string>;
  last: Partial<Line> & { port?: number; done?: boolean } = {};
  readonly port: Promise<number>;
  readonly done: Promise<void>;
  errors: string[] = [];
  lines = 0;
  firstLine: Partial<Line> | undefined;

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.process = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", ...env },
    });
    let tellPort: (port: number) => void = () => {};
    let tellDone: () => void = () => {};
    this.port = new Promise((resolve) => tellPort = resolve);
    this.done = new Promise((resolve) => tellDone = resolve);
    this.ended = new Promise((resolve) => {
      this.process.once("close", (code, signal) => resolve(signal ?? `exit ${code}`));
    });
    this.process.stdin?.on("error", () => {});
    createInterface(this.process.stdout as Readable).on("line", (line) => {
      if (!line.startsWith("{")) return;
      const value = JSON.parse(line) as Partial<Line> & { port?: number; done?: boolean };
      if (value.port !== undefined) tellPort(value.port);
      else if (value.done) tellDone();
      else {
        this.last = value;
        this.lines++;
        if (this.lines === 4) this.firstLine = value;
      }
    });
    createInterface(this.process.stderr as Readable).on("line", (line) => {
      if (line.trim() !== "") this.errors = [...this.errors.slice(-5), line];
    });
  }

  /** Ends its standard input, at which it prints once more and exits. */
  async stop(): Promise<void> {
    this.process.stdin?.end();
    const timer = setTimeout(() => this.process.kill("SIGKILL"), 5000);
    await this.ended;
    clearTimeout(timer);
  }
}

function add(tally: Tally, { last, firstLine }: Child): void {
  tally.connections += last.connections ?? 0;
  tally.calls += last.calls ?? 0;
  tally.answered += last.answered ?? 0;
  tally.uncaught += last.uncaught ?? 0;
  tally.cpuMs += last.cpuMs ?? 0;
  tally.rssMiB = [firstLine?.rssMiB ?? last.rssMiB ?? 0, last.rssMiB ?? 0];
  tally.files = [firstLine?.files ?? last.files ?? 0, last.files ?? 0];
}

function died(tally: Tally, how: string, child: Child): void {
  tally.deaths.set(how, (tally.deaths.get(how) ?? 0) + 1);
  const said = `${how}: ${child.errors.join(" | ").slice(-300) || "(silent)"}`;
  if (!tally.said.includes(said) && tally.said.length < 4) tally.said.push(said);
}

const PATIENCE_MS = 240_000;

function under(program: string, args: readonly string[]): Child {
  return new Child(flags.under, [
    "run",
    "-A",
    "--no-lock",
    flags.program ?? join(here, program),
    ...(flags.guarded ? ["--guarded"] : []),
    ...args,
  ], {
    DENO_TLS_CA_STORE: "",
  });
}

function certificateFlags(
  certs: TestCertificates,
  side: "server" | "client",
  security: Security,
  dash: string,
): string[] {
  if (security === "plain") return [];
  const { certificateFile, keyFile } = certs[side];
  const list = [`${dash}ca`, certs.ca.certificateFile, `${dash}cert`, certificateFile, `${dash}key`, keyFile];
  return security === "mutual" ? [...list, `${dash}mutual`] : list;
}

async function soakIn(variant: Variant, peerProgram: string, certs: TestCertificates, tally: Tally): Promise<void> {
  let port = 0;
  let server: Child | undefined;
  let over = false;
  let up = Promise.withResolvers<void>();
  const keeper = (async () => {
    while (!over) {
      const child = under("grpc_server.ts", [
        "--port",
        String(port),
        ...(variant.ending === "ends" ? ["--ends"] : []),
        ...certificateFlags(certs, "server", variant.security, "--"),
      ]);
      server = child;
      const started = await Promise.race([child.port, child.ended.then(() => undefined)]);
      if (started !== undefined) {
        port = started;
        up.resolve();
      }
      const how = await child.ended;
      add(tally, child);
      if (over) return;
      up = Promise.withResolvers();
      died(tally, how, child);
      if (tally.deaths.size > 0 && [...tally.deaths.values()].reduce((a, b) => a + b) >= 200) {
        throw new Error("200 deaths are enough");
      }
    }
  })();
  keeper.catch((error) => console.error(error));
  const batch = variant.ending === "kill" ? 250 : variant.connections;
  for (let left = variant.connections; left > 0; left -= batch) {
    await up.promise;
    const count = String(Math.min(left, batch));
    const peer = variant.peer === "go"
      ? new Child(peerProgram, [
        "client",
        "-addr",
        `127.0.0.1:${port}`,
        "-ending",
        variant.ending === "ends" ? "mixed" : variant.ending,
        "-state",
        variant.state,
        "-connections",
        count,
        "-calls",
        String(variant.calls),
        ...certificateFlags(certs, "client", variant.security, "-"),
      ])
      : new Child("node", [
        join(here, "node_peer.mjs"),
        String(port),
        count,
        variant.peer,
        variant.state,
        String(variant.calls),
        ...certificateFlags(certs, "client", variant.security, "--").filter((word) => !word.startsWith("--")),
      ], { SOAK_MODULES: flags.modules ?? "" });
    const timer = setTimeout(() => {
      tally.said.push("The peer was not done in time: a hang");
      peer.process.kill("SIGKILL");
    }, PATIENCE_MS);
    const how = await peer.ended;
    clearTimeout(timer);
    if (how !== "exit 0" && variant.ending !== "kill") {
      tally.said.push(`The peer ended by ${how}: ${peer.errors.join(" | ").slice(-200)}`);
    }
    if ((peer.last.failed ?? 0) > 0 && tally.said.length < 6) {
      tally.said.push(`The peer's faults: ${peer.last.failed} ${peer.errors[0] ?? ""}`);
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 1500)); // Two more lines: what is still held when all are gone.
  over = true;
  await server?.stop();
  await keeper;
}

async function soakOut(variant: Variant, peerProgram: string, certs: TestCertificates, tally: Tally): Promise<void> {
  let port = 0;
  let over = false;
  let peer: Child | undefined;
  const first = Promise.withResolvers<void>();
  const keeper = (async () => {
    while (!over) {
      const child = new Child(peerProgram, [
        "server",
        "-addr",
        `127.0.0.1:${port}`,
        // An ordinary gRPC server whose connections end by their age while they are idle.
        ...(variant.ending === "aged" ? ["-hold", "1500ms"] : []),
        "-ending",
        variant.ending === "aged" ? "grpc" : variant.ending,
        "-state",
        variant.state,
        "-connections",
        "12",
        "-calls",
        String(variant.calls),
        ...certificateFlags(certs, "server", variant.security, "-"),
      ]);
      peer = child;
      port = await Promise.race([child.port, child.ended.then(() => port)]);
      first.resolve();
      const how = await child.ended;
      if (!over && variant.ending !== "kill") {
        tally.said.push(`The peer ended by ${how}: ${child.errors.join(" | ").slice(-200)}`);
      }
    }
  })();
  await first.promise;
  const since = Date.now();
  while (tally.connections < variant.connections && Date.now() - since < PATIENCE_MS) {
    const client = under("grpc_client.ts", [
      "--port",
      String(port),
      "--connections",
      String(variant.connections - tally.connections),
      ...(variant.ending === "aged" ? ["--calls", "13", "--concurrency", "40"] : []),
      ...(variant.state === "load" ? ["--load"] : []),
      ...certificateFlags(certs, "client", variant.security, "--"),
    ]);
    const timer = setTimeout(() => {
      tally.said.push("The client was not done in time: a hang");
      client.process.kill("SIGKILL");
    }, PATIENCE_MS);
    const done = await Promise.race([client.done.then(() => true), client.ended.then(() => false)]);
    clearTimeout(timer);
    if (done) {
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await client.stop();
      add(tally, client);
      break;
    }
    const how = await client.ended;
    add(tally, client);
    died(tally, how, client);
  }
  over = true;
  await peer?.stop();
  await keeper;
}

const side = positionals[0];
if (side !== "in" && side !== "out") throw new Error("Name a side: in or out");
const dir = await mkdtemp(join(tmpdir(), "edgeferry-soak-"));
const peerProgram = join(dir, "peer");
const build = new Child("go", ["build", "-C", join(here, "peer"), "-o", peerProgram, "."]);
if (await build.ended !== "exit 0") throw new Error(`The Go peer was not built: ${build.errors.join("\n")}`);
await using certs = await testCertificates();
console.log("variant | connections | calls | answered | deaths | uncaught | RSS MiB | files | CPU us a call | s");
let deaths = 0;
let total = 0;
for (const row of TABLE[side] ?? []) {
  const variant = { ...row, connections: Math.ceil(row.connections * Number(flags.scale)) };
  const name = `${side} ${variant.peer} ${variant.ending} ${variant.state} ${variant.security}${
    row.calls > 0 ? " long" : ""
  }`;
  if (!name.includes(flags.only) || (variant.peer === "grpc-js" && flags.modules === undefined)) continue;
  const tally: Tally = {
    connections: 0,
    calls: 0,
    answered: 0,
    uncaught: 0,
    cpuMs: 0,
    rssMiB: [0, 0],
    files: [0, 0],
    deaths: new Map(),
    said: [],
  };
  const since = Date.now();
  await (side === "in" ? soakIn : soakOut)(variant, peerProgram, certs, tally);
  const dead = [...tally.deaths].map(([how, count]) => `${count} ${how}`).join(", ");
  deaths += [...tally.deaths.values()].reduce((sum, count) => sum + count, 0);
  total += tally.connections;
  console.log([
    name,
    tally.connections,
    tally.calls,
    tally.answered,
    dead || "0",
    tally.uncaught,
    tally.rssMiB.join(" to "),
    tally.files.join(" to "),
    Math.round(tally.cpuMs * 1000 / Math.max(1, tally.calls)),
    Math.round((Date.now() - since) / 1000),
  ].join(" | "));
  for (const line of tally.said) console.log(`    ${line}`);
}
console.log(`${side}: ${total} connections, ${deaths} deaths`);
process.exit(deaths > 0 ? 1 : 0);
