/**
 * `deno task bench`: what a request costs the process that relays it, side by side in one run.
 *
 * Every round runs every subject once, one after the other, so that a machine whose speed drifts moves all of them. CPU is what
 * the operating system has charged to the process, all threads, until everything accepted has arrived at the sink. Every accepted
 * span is counted there; a subject that loses one fails the run.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { initCertificates } from "../../src/pki/init.ts";
import { digestOf } from "../../src/receiver/authenticate.ts";
import { mint } from "../../src/receiver/minted.ts";
import { buildCollector } from "../support/collector.ts";
import type { Shape } from "./bodies.ts";

const { values: flags } = parseArgs({
  args: process.argv.slice(2),
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    connections: { type: "string", default: "64" },
    shapes: { type: "string", default: "gzip:10,gzip:100,json:10" },
    subjects: { type: "string", default: "floor,sqlite,none,collector-memory,collector-file" },
    json: { type: "boolean", default: false },
  },
});

const TOKEN = "bench-token";
const here = import.meta.dirname!;
const root = join(here, "../..");

interface Running {
  readonly url: string;
  readonly child: Deno.ChildProcess;
  /** Whether what it accepts goes on to the sink. */
  readonly forwards: boolean;
  /** What its senders show, where that is not {@link TOKEN}. */
  readonly token?: string;
}

interface Sink {
  readonly port: number;
  readonly control: number;
  readonly child: Deno.ChildProcess;
}

interface Figures {
  cpuUs: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  rssMiB: number;
  wireBytes: number;
}

const folder = await mkdtemp(join(tmpdir(), "edgeferry-bench-"));
const certs = join(folder, "certs");
await initCertificates({ dir: certs });

/** A Deno program beside this one, or of the source. */
function deno(args: readonly string[], cwd: string, stderr: "piped" | "null" = "null"): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", join(root, "deno.json"), ...args],
    cwd,
    env: { DENO_TLS_CA_STORE: "" },
    stdout: "piped",
    stderr,
    stdin: "null",
  }).spawn();
}

/** The first match in what a process prints; what follows is read and thrown away. */
async function firstMatch(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<RegExpExecArray> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`It ended without ${pattern}: ${text}`);
    text += value;
    const match = pattern.exec(text);
    if (match === null) continue;
    void (async () => {
      while (!(await reader.read()).done);
    })();
    return match;
  }
}

async function startSink(): Promise<Sink> {
  const child = deno([join(here, "sink.ts"), certs], folder);
  const match = await firstMatch(child.stdout, /"port":(\d+),"control":(\d+)/);
  return { port: Number(match[1]), control: Number(match[2]), child };
}

/** What senders prove themselves with, and what is done to their data for it. */
type Proof =
  | "token"
  | "nothing"
  | "minted"
  | "jwt"
  | "limits"
  | "attributes"
  | "bounded"
  | "tls"
  | "certificate"
  | "redaction"
  | "redaction-idle";

const SIGNING_SECRET = "bench-signing-secret-of-32-bytes-or-more-000";

function tokensFile(proof: Proof): string {
  const more: Partial<Record<Proof, string>> = {
    limits:
      ", limits: { requests_per_second: 1e6, items_per_second: 1e9, bytes_per_second: 1GiB, concurrent_requests: 1000 }",
    attributes: ", resource_attributes: { tenant.id: acme }",
  };
  const keys = `signing_keys:\n  - { id: web, secret: ${SIGNING_SECRET}, origins: ["http://bench"], max_age: 2h }\n`;
  return `tokens:
  - { id: bench, sha256: ${digestOf(TOKEN)}${more[proof] ?? ""} }
${proof === "minted" ? keys : ""}`;
}

const ISSUER = "https://issuer.bench";

/** An issuer: its JWKS on loopback, and a token of its. */
async function issuer() {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwks = JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: "one", alg: "ES256", use: "sig" }] });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => new Response(jwks));
  const token = await new SignJWT({}).setProtectedHeader({ alg: "ES256", kid: "one" }).setSubject("bench")
    .setIssuer(ISSUER).setAudience("edgeferry").setExpirationTime("2h").sign(privateKey);
  return { url: `http://127.0.0.1:${server.addr.port}/jwks.json`, token, server };
}

/** The sections of a configuration beside those that every relay here has. */
function sections(proof: Proof, jwksUrl: string | undefined): string {
  const serving = `cert_file: ${certs}/server.crt, key_file: ${certs}/server.key`;
  const http: Partial<Record<Proof, string>> = {
    bounded: ", listener: bounded",
    tls: `, tls: { ${serving} }`,
    certificate: `, tls: { ${serving}, client_ca_file: ${certs}/ca.crt }`,
  };
  const jwt = jwksUrl === undefined ? "" : `, jwt: { issuer: ${ISSUER}, audience: edgeferry, jwks_url: "${jwksUrl}" }`;
  const redaction: Partial<Record<Proof, string>> = {
    redaction:
      "redaction: { salt: salt, actions: [{ key: user_agent.*, action: delete }, { key: client.address, action: hash }] }\n",
    "redaction-idle": "redaction: { actions: [{ key: nobody.has.this, action: delete }] }\n",
  };
  return `receiver:
  http: { endpoint: "127.0.0.1:0"${http[proof] ?? ""} }
  auth: { tokens_file: tokens.yaml, insecure: ${proof === "nothing"}${jwt} }
${redaction[proof] ?? ""}`;
}

async function relay(storage: "sqlite" | "none", sink: Sink, proof: Proof = "token"): Promise<Running> {
  const dir = join(folder, `relay-${storage}-${crypto.randomUUID()}`);
  await mkdir(dir, { recursive: true });
  const issued = proof === "jwt" ? await issuer() : undefined;
  await writeFile(join(dir, "tokens.yaml"), tokensFile(proof));
  await writeFile(
    join(dir, "relay.yaml"),
    `${sections(proof, issued?.url)}sending_queue: { storage: ${storage}, path: data/queue.db }
exporter:
  endpoint: https://localhost:${sink.port}
  tls: { ca_file: ${certs}/ca.crt, cert_file: ${certs}/client.crt, key_file: ${certs}/client.key }
telemetry: { admin: { endpoint: "127.0.0.1:0" } }
`,
  );
  const child = deno([join(root, "src/main.ts"), "run", "--config", "relay.yaml"], dir, "piped");
  void (async () => {
    for await (const _ of child.stdout);
  })();
  const match = await firstMatch(child.stderr, /Receiving url=(\S+)/);
  await issued?.server.shutdown();
  const token = proof === "minted"
    ? await mint({ keyId: "web", secret: SIGNING_SECRET, ageMs: 3_600_000 })
    : issued?.token ?? TOKEN;
  return { url: match[1]!.replace("https://127.0.0.1", "https://localhost"), child, forwards: true, token };
}

async function collector(queue: "memory" | "file", sink: Sink): Promise<Running> {
  const dir = join(folder, `collector-${queue}-${crypto.randomUUID()}`);
  await mkdir(join(dir, "storage"), { recursive: true });
  const port = freePort();
  const storage = queue === "file";
  await writeFile(
    join(dir, "config.yaml"),
    `receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
${storage ? `extensions: { file_storage: { directory: ${dir}/storage, fsync: true } }` : "processors: { batch: {} }"}
exporters:
  otlp_http:
    endpoint: https://localhost:${sink.port}
    tls: { ca_file: ${certs}/ca.crt, cert_file: ${certs}/client.crt, key_file: ${certs}/client.key }
    sending_queue: ${
      storage
        ? "{ storage: file_storage, queue_size: 100000, block_on_overflow: true, batch: {} }"
        : "{ queue_size: 100000, block_on_overflow: true }"
    }
service:
  ${storage ? "extensions: [file_storage]" : ""}
  telemetry: { metrics: { level: none }, logs: { level: warn } }
  pipelines: { traces: { receivers: [otlp], ${storage ? "" : "processors: [batch], "}exporters: [otlp_http] } }
`,
  );
  const child = new Deno.Command(await buildCollector(), {
    args: ["--config", join(dir, "config.yaml")],
    stdout: "null",
    stderr: "null",
    stdin: "null",
  }).spawn();
  const url = `http://127.0.0.1:${port}`;
  await untilListening(port);
  return { url, child, forwards: true };
}

async function floor(): Promise<Running> {
  const child = deno([join(here, "floor.ts")], folder);
  const match = await firstMatch(child.stdout, /"port":(\d+)/);
  return { url: `http://127.0.0.1:${match[1]}`, child, forwards: false };
}

/** nginx as a mutual-TLS proxy, where it is installed: no batching, no durability. */
async function nginx(sink: Sink): Promise<Running> {
  const dir = join(folder, `nginx-${crypto.randomUUID()}`);
  await mkdir(dir, { recursive: true });
  const port = freePort();
  await writeFile(
    join(dir, "nginx.conf"),
    `daemon off; master_process off; pid ${dir}/pid; error_log ${dir}/error.log;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/f;
  uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s; client_max_body_size 20m; client_body_buffer_size 1m;
  upstream sink { server localhost:${sink.port}; keepalive 64; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass https://sink; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_session_reuse on;
      proxy_ssl_certificate ${certs}/client.crt; proxy_ssl_certificate_key ${certs}/client.key;
      proxy_ssl_trusted_certificate ${certs}/ca.crt; proxy_ssl_verify on; proxy_ssl_name localhost;
    }
  }
}
`,
  );
  const child = new Deno.Command("nginx", {
    args: ["-c", join(dir, "nginx.conf")],
    stdout: "null",
    stderr: "null",
    stdin: "null",
  }).spawn();
  await untilListening(port);
  return { url: `http://127.0.0.1:${port}`, child, forwards: true };
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function untilListening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch {
      // A foreign program tells nobody when it listens; the port is the event, so it is asked for.
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
  throw new Error(`Nothing listens on ${port}`);
}

const SUBJECTS: Readonly<Record<string, (sink: Sink) => Promise<Running>>> = {
  floor: () => floor(),
  nginx: (sink) => nginx(sink),
  sqlite: (sink) => relay("sqlite", sink),
  "sqlite-nothing": (sink) => relay("sqlite", sink, "nothing"),
  "sqlite-limits": (sink) => relay("sqlite", sink, "limits"),
  "sqlite-minted": (sink) => relay("sqlite", sink, "minted"),
  "sqlite-jwt": (sink) => relay("sqlite", sink, "jwt"),
  // TLS is on the bounded listener, so that is what it is to be compared with.
  "sqlite-bounded": (sink) => relay("sqlite", sink, "bounded"),
  "sqlite-tls": (sink) => relay("sqlite", sink, "tls"),
  "sqlite-mtls": (sink) => relay("sqlite", sink, "certificate"),
  "sqlite-attributes": (sink) => relay("sqlite", sink, "attributes"),
  "sqlite-redaction": (sink) => relay("sqlite", sink, "redaction"),
  "sqlite-redaction-idle": (sink) => relay("sqlite", sink, "redaction-idle"),
  none: (sink) => relay("none", sink),
  "collector-memory": (sink) => collector("memory", sink),
  "collector-file": (sink) => collector("file", sink),
};

/** User and system time of a process with its threads, in us (proc(5): clock ticks of 10 ms). */
async function cpuUs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

async function peakRssMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

async function counts(sink: Sink): Promise<{ items: number; bytes: number }> {
  return await (await fetch(`http://127.0.0.1:${sink.control}/`)).json();
}

async function load(running: Running, shape: string, spans: number, seconds: number) {
  const child = deno(
    [
      join(here, "load.ts"),
      running.url,
      running.token ?? TOKEN,
      shape,
      String(spans),
      flags.connections,
      String(seconds),
      "",
      certs,
    ],
    folder,
  );
  const output = await new Response(child.stdout).text();
  await child.status;
  const line = output.trim().split("\n").at(-1) ?? "";
  return JSON.parse(line) as {
    ok: number;
    refused: number;
    errors: number;
    seconds: number;
    p50Ms: number;
    p99Ms: number;
  };
}

async function measure(name: string, shape: Shape, spans: number): Promise<Figures> {
  const sink = await startSink();
  const running = await SUBJECTS[name]!(sink);
  try {
    const warm = await load(running, shape, spans, 2);
    await delivered(running, sink, warm.ok * spans, name);
    await fetch(`http://127.0.0.1:${sink.control}/`, { method: "POST" }).then((response) => response.body?.cancel());
    const before = await cpuUs(running.child.pid);
    const result = await load(running, shape, spans, Number(flags.seconds));
    await delivered(running, sink, result.ok * spans, name);
    const spent = await cpuUs(running.child.pid) - before;
    if (result.refused > 0 || result.errors > 0) {
      console.error(`${name} ${shape}:${spans}: ${result.refused} refused, ${result.errors} errors`);
    }
    return {
      cpuUs: spent / result.ok,
      requestsPerSecond: result.ok / result.seconds,
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      rssMiB: await peakRssMiB(running.child.pid),
      wireBytes: running.forwards ? (await counts(sink)).bytes / result.ok : 0,
    };
  } finally {
    for (const child of [running.child, sink.child]) {
      child.kill("SIGKILL");
      await child.status;
    }
  }
}

/** Waits until the sink has all of it; fails when it stops arriving before. */
async function delivered(running: Running, sink: Sink, expected: number, name: string): Promise<void> {
  if (!running.forwards) return;
  let last = -1;
  for (let idle = 0; idle < 200; idle++) {
    const { items } = await counts(sink);
    if (items >= expected) return;
    if (items > last) idle = 0;
    last = items;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${name} lost spans: ${last} of ${expected} arrived`);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

const FIGURES: readonly { key: keyof Figures; title: string; digits: number }[] = [
  { key: "cpuUs", title: "us CPU a request", digits: 0 },
  { key: "requestsPerSecond", title: "requests/s", digits: 0 },
  { key: "p50Ms", title: "p50 ms", digits: 1 },
  { key: "p99Ms", title: "p99 ms", digits: 1 },
  { key: "rssMiB", title: "peak RSS MiB", digits: 0 },
  { key: "wireBytes", title: "wire bytes a request", digits: 0 },
];

try {
  const subjects = flags.subjects.split(",");
  for (const name of subjects) if (!(name in SUBJECTS)) throw new Error(`No subject is called ${name}`);
  const everything: Record<string, Record<string, Figures[]>> = {};
  for (const column of flags.shapes.split(",")) {
    const [shape = "gzip", spans = "10"] = column.split(":");
    const rounds: Record<string, Figures[]> = {};
    for (let round = 0; round < Number(flags.rounds); round++) {
      for (const name of subjects) (rounds[name] ??= []).push(await measure(name, shape as Shape, Number(spans)));
    }
    everything[column] = rounds;
    if (flags.json) continue;
    console.log(`\n## ${spans} spans a request, ${shape}, ${flags.connections} connections\n`);
    console.log(`| | ${FIGURES.map(({ title }) => title).join(" | ")} | CPU to sqlite's |`);
    console.log(`| --- | ${FIGURES.map(() => "---").join(" | ")} | --- |`);
    const base = rounds["sqlite"] === undefined ? undefined : median(rounds["sqlite"].map(({ cpuUs }) => cpuUs));
    for (const [name, figures] of Object.entries(rounds)) {
      const cells = FIGURES.map(({ key, digits }) => {
        const all = figures.map((figure) => figure[key]);
        const range = `${Math.min(...all).toFixed(digits)}-${Math.max(...all).toFixed(digits)}`;
        return `${median(all).toFixed(digits)} (${range})`;
      });
      const ratio = base === undefined ? "" : `${(median(figures.map(({ cpuUs }) => cpuUs)) / base).toFixed(2)}x`;
      console.log(`| ${name} | ${cells.join(" | ")} | ${ratio} |`);
    }
  }
  if (flags.json) console.log(JSON.stringify(everything));
} finally {
  await rm(folder, { recursive: true, force: true });
}
