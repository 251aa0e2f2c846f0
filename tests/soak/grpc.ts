/**
 * The gRPC soak, run by hand: `deno run -A tests/soak/grpc.ts in|out [--scale 1] [--only TEXT] [--modules FOLDER] [--under deno]
 * [--concurrency 32] [--together]`. The
 * relay itself (`in`, with a durable queue and a Collector behind it) or the exporter's transport (`out`) against peers that end their
 * connections in every way. One process goes through all rows of plain, of TLS and of mutual TLS; one that dies is counted and started
 * anew. Prints a row a variant, and ends with 1 when a process died, nothing caught an error, or the books do not balance.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type RelayFiles, TOKEN, writeRelayFiles } from "../bench/relay_files.ts";
import { kill, startSink } from "../bench/processes.ts";
import { quietPort } from "../support/far_end/quiet_port.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { START_TASK } from "../support/program/start_task.ts";
import { booksIn } from "../support/relay/relay.ts";
import { Child, type Footprint } from "./child.ts";

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
    /** Connections that a peer has open at a time. */
    concurrency: { type: "string", default: "32" },
    /** The processes of plain, TLS and mutual TLS run side by side, and not one after the other. */
    together: { type: "boolean", default: false },
    /** The runtime under soak. */
    under: { type: "string", default: process.execPath },
  },
});

const here = import.meta.dirname!;
const SECURITIES = ["plain", "tls", "mutual"] as const;
type Security = typeof SECURITIES[number];
const STATES = ["idle", "load"] as const;

interface Variant {
  readonly peer: "go" | "grpc-js" | "http2";
  readonly ending: string;
  readonly state: typeof STATES[number];
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
    STATES.flatMap((state) =>
      SECURITIES.map((security) => {
        const connections = security === "plain" ? plain : secured;
        return { peer, ending, state, security, connections, calls };
      })
    )
  );
}

const ENDINGS = ["goaway", "rst", "fin", "rststream", "kill"];
const TABLE = {
  in: [
    ...variants("go", ENDINGS, 7000, 800),
    // The relay ends each connection with its refusal.
    ...variants("go", ["refused"], 2000, 300),
    ...variants("go", ["grpc"], 2500, 300),
    ...variants("grpc-js", ["close"], 1500, 200),
    ...variants("http2", ["close"], 1500, 200),
    ...variants("go", [...ENDINGS, "grpc"], 64, 16, 1000),
    ...variants("grpc-js", ["close"], 32, 16, 300),
    ...variants("http2", ["close"], 32, 16, 300),
  ],
  out: [
    ...variants("go", ENDINGS, 8000, 1000),
    // An ordinary gRPC server, whose connections end by their age: while they are in use, and while they are idle.
    ...variants("go", ["grpc"], 1500, 300),
    ...variants("go", ["aged"], 1000, 200),
    ...variants("go", ENDINGS, 64, 16, 1000),
  ],
} satisfies Record<string, readonly Variant[]>;

/** Connections of one peer, few enough that a busy machine is not taken for a hang. */
const BATCH = 1_000;
/** A peer, or a row of `out`, that takes longer hangs, in ms. */
const ROW_MS = 600_000;
/** What has ended is gone after this, in ms. */
const SETTLE_MS = 1_500;
/** Connections that a peer opens before it kills itself. */
const KILLED_AT = 250;
/** Connections that a far end keeps open before it kills itself. */
const FAR_KILLED_AT = 12;

/** Counts of one row. */
interface Row {
  connections: number;
  calls: number;
  answered: number;
  readonly said: string[];
}

/** The process under soak, of one security; it is started anew where it dies. */
interface Subject extends AsyncDisposable {
  readonly port: number;
  readonly deaths: string[];
  /** Of the process that runs now. */
  child(): Child;
  /** It runs, and listens where it does. */
  ready(): Promise<void>;
  /** Asks it to end; resolves with whether it did so in order. */
  finish(): Promise<boolean>;
}

function kept(port: number, start: () => Child, isReady: (child: Child) => Promise<unknown>): Subject {
  const deaths: string[] = [];
  let over = false;
  let child = start();
  let ready = isReady(child);
  void (async () => {
    while (!over) {
      const how = await child.ended;
      if (over) return;
      deaths.push(`${how}: ${child.errors.join(" | ").slice(-300) || "(silent)"}`);
      if (deaths.length > 200) throw new Error("200 deaths are enough");
      child = start();
      ready = isReady(child);
    }
  })();
  return {
    port,
    deaths,
    child: () => child,
    ready: async () => void await ready,
    finish() {
      over = true;
      return child.terminate();
    },
    async [Symbol.asyncDispose]() {
      over = true;
      child.process.kill("SIGKILL");
      await child.ended;
    },
  };
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

async function relayUnderSoak(
  dir: string,
  security: Security,
  certs: TestCertificates,
  sink: NonNullable<RelayFiles["sink"]>,
): Promise<Subject> {
  const port = await quietPort();
  const { ca, server } = certs;
  const serving = { cert_file: server.certificateFile, key_file: server.keyFile };
  const tls = { plain: {}, tls: { tls: serving }, mutual: { tls: { ...serving, client_ca_file: ca.certificateFile } } };
  await writeRelayFiles(dir, {
    certs: certs.dir,
    sink,
    config: { receiver: { http: tls[security], grpc: { endpoint: `127.0.0.1:${port}` } } },
  });
  const args = START_TASK.args.filter((word) => word !== "--cached-only");
  return kept(
    port,
    () => new Child(flags.under, [...args, "--config", "relay.yaml"], { env: START_TASK.env, cwd: dir }),
    (child) => child.line(/Receiving gRPC/),
  );
}

async function transportUnderSoak(security: Security, certs: TestCertificates): Promise<Subject> {
  const port = await quietPort();
  const program = join(here, "transport_client.ts");
  const own = ["--port", String(port), ...certificateFlags(certs, "client", security, "--")];
  return kept(
    port,
    () => new Child(flags.under, ["run", "-A", "--no-lock", program, ...own], { env: { DENO_TLS_CA_STORE: "" } }),
    () => Promise.resolve(),
  );
}

function add(row: Row, { last }: Child): void {
  row.connections += last.connections ?? 0;
  row.calls += last.calls ?? 0;
  row.answered += last.answered ?? 0;
}

/** A process that comes to the relay, and opens so many connections. */
function comer(variant: Variant, connections: number, port: number, program: string, certs: TestCertificates): Child {
  const { peer, ending, state, security, calls } = variant;
  const isRefused = ending === "refused";
  const token = isRefused ? "wrong" : TOKEN;
  if (peer !== "go") {
    const files = certificateFlags(certs, "client", security, "--").filter((word) => !word.startsWith("--"));
    const args = [join(here, "node_peer.mjs"), String(port), String(connections), peer, state, String(calls), ...files];
    return new Child("node", args, { env: { SOAK_MODULES: flags.modules ?? "", SOAK_TOKEN: token } });
  }
  const words: Record<string, string | number> = {
    addr: `127.0.0.1:${port}`,
    ending: isRefused ? "mixed" : ending,
    state,
    connections,
    calls,
    token,
    concurrency: Number(flags.concurrency),
  };
  return new Child(program, [
    "client",
    ...Object.entries(words).flatMap(([name, value]) => [`-${name}`, String(value)]),
    ...(isRefused ? ["-refused"] : []),
    ...certificateFlags(certs, "client", isRefused && security === "mutual" ? "tls" : security, "-"),
  ]);
}

async function soakIn(variant: Variant, subject: Subject, program: string, certs: TestCertificates, row: Row) {
  const batch = variant.ending === "kill" ? KILLED_AT : BATCH;
  for (let left = variant.connections; left > 0; left -= batch) {
    await subject.ready();
    const peer = comer(variant, Math.min(left, batch), subject.port, program, certs);
    const how = await within(peer, row);
    add(row, peer);
    if (how !== "exit 0" && variant.ending !== "kill") {
      row.said.push(`The peer ended by ${how}: ${peer.errors.join(" | ").slice(-200)}`);
    }
    const { failed = 0 } = peer.last;
    if (failed > 0 && row.said.length < 6) row.said.push(`The peer's faults: ${failed} ${peer.errors[0] ?? ""}`);
  }
}

/** Resolves with how it ended by itself, or was ended because it hung. */
async function within(child: Child, row: Row): Promise<string> {
  const timer = setTimeout(() => {
    row.said.push("It was not done in time: a hang");
    child.process.kill("SIGKILL");
  }, ROW_MS);
  const how = await child.ended;
  clearTimeout(timer);
  return how;
}

async function soakOut(variant: Variant, subject: Subject, program: string, certs: TestCertificates, row: Row) {
  const { ending, state, security, calls, connections } = variant;
  const isAged = ending === "aged";
  const words: Record<string, string | number> = {
    addr: `127.0.0.1:${subject.port}`,
    ending: isAged ? "grpc" : ending,
    state,
    connections: FAR_KILLED_AT,
    calls,
    ...(isAged ? { hold: "1500ms" } : {}),
  };
  const args = [
    "server",
    ...Object.entries(words).flatMap(([name, value]) => [`-${name}`, String(value)]),
    ...certificateFlags(certs, "server", security, "-"),
  ];
  subject.child().say(isAged ? "aged" : state);
  const since = Date.now();
  while (row.connections < connections) {
    const peer = new Child(program, args);
    let isOver = false;
    while (row.connections + (peer.last.connections ?? 0) < connections && !isOver) {
      isOver = await peer.line(/^\{"answered/) === undefined;
      if (Date.now() - since > ROW_MS) {
        row.said.push("It was not done in time: a hang");
        row.connections = connections;
      }
    }
    const how = await peer.stop();
    add(row, peer);
    if (isOver && ending !== "kill") {
      row.said.push(`The peer ended by ${how}: ${peer.errors.join(" | ").slice(-200)}`);
    }
  }
}

const side = positionals[0];
if (side !== "in" && side !== "out") throw new Error("Name a side: in or out");
const dir = await mkdtemp(join(tmpdir(), "edgeferry-soak-"));
const peerProgram = join(dir, "peer");
const build = new Child("go", ["build", "-C", join(here, "peer"), "-o", peerProgram, "."]);
assert.equal(await build.ended, "exit 0", "The Go peer was built");
await using certs = await testCertificates();
const shown = ({ rssMiB, files }: Footprint) => `${rssMiB} MiB, ${files}`;
console.log("variant | connections | calls | OK | deaths | errors | RSS and files before, after | s");
const whole = { connections: 0, calls: 0, deaths: 0, errors: 0 };

/** All rows of one security. */
async function soak(side: "in" | "out", security: Security): Promise<void> {
  const rows = TABLE[side].filter((each) => {
    const name = nameOf(each);
    return each.security === security && name.includes(flags.only) &&
      (each.peer !== "grpc-js" || flags.modules !== undefined);
  });
  if (rows.length === 0) return;
  await using stack = new AsyncDisposableStack();
  const home = join(dir, security);
  let subject: Subject;
  if (side === "in") {
    const sink = await startSink(certs.dir);
    stack.defer(() => kill(sink.child));
    subject = stack.use(await relayUnderSoak(home, security, certs, sink));
  } else subject = stack.use(await transportUnderSoak(security, certs));
  let answered = 0;
  for (const each of rows) {
    const variant = { ...each, connections: Math.ceil(each.connections * Number(flags.scale)) };
    const row: Row = { connections: 0, calls: 0, answered: 0, said: [] };
    await subject.ready();
    const since = Date.now();
    const [deaths, errors] = [subject.deaths.length, subject.child().errorLines];
    const before = await subject.child().footprint();
    const { calls: callsBefore = 0, answered: answeredBefore = 0 } = subject.child().last;
    await (side === "in" ? soakIn : soakOut)(variant, subject, peerProgram, certs, row);
    await pause(SETTLE_MS);
    const after = await subject.child().footprint();
    if (side === "out") {
      row.calls = (subject.child().last.calls ?? 0) - callsBefore;
      row.answered = (subject.child().last.answered ?? 0) - answeredBefore;
    }
    const died = subject.deaths.slice(deaths);
    console.log([
      nameOf(variant),
      row.connections,
      row.calls,
      row.answered,
      died.length,
      subject.child().errorLines - errors,
      `${shown(before)}; ${shown(after)}`,
      Math.round((Date.now() - since) / 1000),
    ].join(" | "));
    for (const line of [...row.said, ...died, ...subject.child().errors.splice(0)]) console.log(`    ${line}`);
    // What other peers send has no spans.
    if (variant.peer === "go") answered += row.answered;
    whole.connections += row.connections;
    whole.calls += row.calls;
  }
  whole.deaths += subject.deaths.length;
  whole.errors += subject.child().errorLines;
  if (side === "in" && subject.deaths.length === 0) await checkBooks(subject, home, answered);
}

/** The relay ends in order, and has kept all that it answered OK. */
async function checkBooks(subject: Subject, home: string, answered: number): Promise<void> {
  const inOrder = await subject.finish();
  const { accepted, delivered, queued, ...none } = booksIn(join(home, "data/queue.db")).traces;
  console.log(`    accepted ${accepted}, delivered ${delivered}, queued ${queued}; answered OK ${answered}`);
  assert(inOrder, "The relay ended in order");
  assert.deepEqual(Object.values(none).filter((items) => items > 0), []);
  assert.equal(accepted, delivered + queued);
  assert(accepted >= answered);
}

if (flags.together) await Promise.all(SECURITIES.map((security) => soak(side, security)));
else for (const security of SECURITIES) await soak(side, security);

function nameOf({ peer, ending, state, security, calls }: Variant): string {
  return `${side} ${peer} ${ending} ${state} ${security}${calls > 0 ? " long" : ""}`;
}

await rm(dir, { recursive: true, force: true });
console.log(JSON.stringify({ side, ...whole }));
process.exit(whole.deaths + whole.errors > 0 ? 1 : 0);
