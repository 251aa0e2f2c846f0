/** What is measured: the relay with each kind of proof, and what else a user would put in its place. */
import { existsSync, readdirSync } from "node:fs";
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { ConfigInput } from "../../src/config/schema.ts";
import { Client } from "../../src/postgres/driver.ts";
import { migrate } from "../../src/queue/postgres/schema.ts";
import { mint } from "../../src/receiver/senders/minted.ts";
import { buildCollector } from "../support/tools/collector.ts";
import { startPostgres } from "../support/postgres/postgres.ts";
import { tree } from "../support/postgres/processes.ts";
import { cpuUs, deno, firstMatch, freePort, type Sink, startRelay, untilListening } from "./processes.ts";
import type { Row } from "./results.ts";
import { type RelayFiles, TOKEN, writeRelayFiles } from "./relay_files.ts";

/** One that is measured. */
export interface Subject {
  /** As a table calls it. */
  readonly title: string;
  /** What takes its connections. */
  readonly wayIn: string;
  readonly start: (place: Place) => Promise<Running>;
}

/** One that runs. */
export interface Running {
  readonly url: string;
  readonly child: Deno.ChildProcess;
  /** Whether what it accepts goes on to the sink. */
  readonly forwards: boolean;
  /** What it is sent by, where that is not HTTP. */
  readonly protocol?: "grpc";
  /** What its senders show, where that is not {@link TOKEN}. */
  readonly token?: string;
  /** A server that it needs. */
  readonly beside?: Beside;
}

/** A server beside a subject, which ends with it. */
export interface Beside extends AsyncDisposable {
  readonly name: string;
  /** The CPU that all its processes have had, in us. */
  cpuUs(): Promise<number>;
}

/** Where a subject lives and where it sends. */
export interface Place {
  /** A folder for all. */
  readonly folder: string;
  /** Its certificates. */
  readonly certs: string;
  readonly sink: Sink;
}

/** What senders prove themselves with, and what is done to their data for it. */
type Proof =
  | "token"
  | "nothing"
  | "minted"
  | "jwt"
  | "limits"
  | "attributes"
  | "tls"
  | "certificate"
  | "redaction"
  | "redaction-idle";

const SIGNING_SECRET = "bench-signing-secret-of-32-bytes-or-more-000";

function tokenOf(proof: Proof): NonNullable<RelayFiles["token"]> {
  const more: Partial<Record<Proof, string>> = {
    limits:
      ", limits: { requests_per_second: 1e6, items_per_second: 1e9, bytes_per_second: 1GiB, concurrent_requests: 1000 }",
    attributes: ", resource_attributes: { tenant.id: acme }",
  };
  const keys = `signing_keys:\n  - { id: web, secret: ${SIGNING_SECRET}, origins: ["http://bench"], max_age: 2h }\n`;
  return { more: more[proof] ?? "", sections: proof === "minted" ? keys : "" };
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

/** What a configuration has for a proof, beside what every relay here has. */
function configOf(
  proof: Proof,
  certs: string,
  jwksUrl: string | undefined,
  protocol: "http" | "grpc",
): ConfigInput {
  const serving = { cert_file: `${certs}/server.crt`, key_file: `${certs}/server.key` };
  const http: Partial<Record<Proof, NonNullable<ConfigInput["receiver"]>["http"]>> = {
    tls: { tls: serving },
    certificate: { tls: { ...serving, client_ca_file: `${certs}/ca.crt` } },
  };
  const jwt = jwksUrl === undefined ? {} : { jwt: { issuer: ISSUER, audience: "edgeferry", jwks_url: jwksUrl } };
  const redaction: Partial<Record<Proof, ConfigInput["redaction"]>> = {
    redaction: {
      salt: "salt",
      actions: [{ key: "user_agent.*", action: "delete" }, { key: "client.address", action: "hash" }],
    },
    "redaction-idle": { actions: [{ key: "nobody.has.this", action: "delete" }] },
  };
  return {
    receiver: {
      http: http[proof] ?? {},
      ...(protocol === "grpc" ? { grpc: { endpoint: "127.0.0.1:0" } } : {}),
      auth: { insecure: proof === "nothing", ...jwt },
    },
    ...(redaction[proof] === undefined ? {} : { redaction: redaction[proof] }),
  };
}

async function relay(
  queue: NonNullable<ConfigInput["sending_queue"]>,
  place: Place,
  proof: Proof = "token",
  exporter: NonNullable<ConfigInput["exporter"]> = {},
  protocol: "http" | "grpc" = "http",
): Promise<Running> {
  const dir = join(place.folder, `relay-${queue.storage}-${crypto.randomUUID()}`);
  const issued = proof === "jwt" ? await issuer() : undefined;
  await writeRelayFiles(dir, {
    ...place,
    token: tokenOf(proof),
    config: { ...configOf(proof, place.certs, issued?.url, protocol), exporter, sending_queue: queue },
  });
  const running = await startRelay(dir, protocol);
  await issued?.server.shutdown();
  const token = proof === "minted"
    ? await mint({ keyId: "web", secret: SIGNING_SECRET, ageMs: 3_600_000 })
    : issued?.token ?? TOKEN;
  return { ...running, forwards: true, token, ...(protocol === "grpc" ? { protocol } : {}) };
}

/** On a PostgreSQL of its own, over TLS. */
async function relayOnPostgres(place: Place): Promise<Running> {
  const { certs } = place;
  const server = { certificateFile: `${certs}/server.crt`, keyFile: `${certs}/server.key` };
  await using stack = new AsyncDisposableStack();
  const postgres = stack.use(await startPostgres({ tls: { server } }));
  const owner = new Client({ ...postgres.config("owner"), ssl: { rejectUnauthorized: false } });
  await owner.connect();
  await migrate(owner, { relayRole: "relay" });
  await owner.end();
  const url = postgres.url("relay").replace("127.0.0.1", "localhost");
  const running = await relay(
    { storage: "postgres", postgres: { url, tls: { ca_file: `${certs}/ca.crt` } } },
    place,
  );
  const [row] = await postgres.query("SELECT pg_read_file('postmaster.pid') AS file");
  const pid = Number(String(row?.["file"]).split("\n")[0]);
  const moved = stack.move();
  return {
    ...running,
    beside: {
      name: "PostgreSQL",
      cpuUs: async () => {
        // Of a process that has ended its parent has the time.
        const times = await Promise.all(tree(pid).map((each) => cpuUs(each, each === pid).catch(() => 0)));
        return times.reduce((sum, time) => sum + time, 0);
      },
      [Symbol.asyncDispose]: () => moved.disposeAsync(),
    },
  };
}

async function collector(
  queue: "memory" | "file",
  { folder, certs, sink }: Place,
  protocol: "http" | "grpc" = "http",
): Promise<Running> {
  const dir = join(folder, `collector-${queue}-${crypto.randomUUID()}`);
  await mkdir(join(dir, "storage"), { recursive: true });
  const port = freePort();
  const storage = queue === "file";
  await writeFile(
    join(dir, "config.yaml"),
    `receivers: { otlp: { protocols: { ${protocol}: { endpoint: "127.0.0.1:${port}" } } } }
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
  return { url, child, forwards: true, ...(protocol === "grpc" ? { protocol } : {}) };
}

async function floor({ folder }: Place): Promise<Running> {
  const child = deno([join(import.meta.dirname!, "floor.ts")], folder);
  const match = await firstMatch(child.stdout, /"port":(\d+)/);
  return { url: `http://127.0.0.1:${match[1]}`, child, forwards: false };
}

/** nginx as a mutual-TLS proxy, where it is installed: no batching, no durability. */
async function nginx({ folder, certs, sink }: Place): Promise<Running> {
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

/**
 * Rotel, where `pip` can bring its wheel, which holds the program: in memory, no authentication, no TLS on either side (0.0.1a15 could not
 * be started with any), so that its figures are of less than the others do.
 */
async function rotel({ folder, sink }: Place): Promise<Running> {
  const dir = join(folder, "rotel");
  if (!existsSync(join(dir, "rotel-agent"))) {
    await run("pip", ["download", "--pre", "--no-deps", "--quiet", "--dest", dir, "rotel"]);
    const wheel = readdirSync(dir).find((name) => name.endsWith(".whl"));
    await run("python3", ["-m", "zipfile", "-e", join(dir, wheel ?? "rotel.whl"), join(dir, "wheel")]);
    await rename(join(dir, "wheel/rotel/rotel-agent"), join(dir, "rotel-agent"));
    await chmod(join(dir, "rotel-agent"), 0o755);
  }
  const [port, grpcPort] = [freePort(), freePort()];
  const child = new Deno.Command(join(dir, "rotel-agent"), {
    args: [
      "start",
      ...["--otlp-http-endpoint", `127.0.0.1:${port}`, "--otlp-grpc-endpoint", `127.0.0.1:${grpcPort}`],
      ...["--exporter", "otlp", "--otlp-exporter-protocol", "http"],
      ...["--otlp-exporter-endpoint", `http://127.0.0.1:${sink.control}`],
    ],
    cwd: dir,
    stdout: "null",
    stderr: "null",
    stdin: "null",
  }).spawn();
  await untilListening(port);
  return { url: `http://127.0.0.1:${port}`, child, forwards: true };
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const { success } = await new Deno.Command(command, { args: [...args], stdout: "null", stderr: "inherit" }).output();
  if (!success) throw new Error(`${command} ${args.join(" ")} failed`);
}

const NODE = "node:http";
const ofRelay = (title: string, storage: "sqlite" | "none", proof?: Proof, wayIn = NODE): Subject => ({
  title,
  wayIn,
  start: (place) => relay({ storage }, place, proof),
});

const ofExporter = (title: string, exporter: (sink: Sink) => NonNullable<ConfigInput["exporter"]>): Subject => ({
  title,
  wayIn: NODE,
  start: (place) => relay({ storage: "sqlite" }, place, "token", exporter(place.sink)),
});

/** Every subject, by name. */
export const SUBJECTS: Readonly<Record<string, Subject>> = {
  floor: { title: "a bare Hono handler that answers", wayIn: "Deno.serve", start: floor },
  nginx: { title: "nginx as a mutual-TLS proxy", wayIn: "nginx", start: nginx },
  rotel: { title: "Rotel, in memory, no TLS, no authentication", wayIn: "hyper", start: rotel },
  sqlite: ofRelay("**edgeferry**, fsync before 200", "sqlite"),
  "sqlite-nothing": ofRelay("edgeferry, no authentication", "sqlite", "nothing"),
  "sqlite-limits": ofRelay("edgeferry, limits of a sender", "sqlite", "limits"),
  "sqlite-minted": ofRelay("edgeferry, minted tokens", "sqlite", "minted"),
  "sqlite-jwt": ofRelay("edgeferry, JWT", "sqlite", "jwt"),
  "sqlite-tls": ofRelay("edgeferry, TLS in", "sqlite", "tls", "node:https"),
  "sqlite-mtls": ofRelay("edgeferry, mutual TLS in", "sqlite", "certificate", "node:https"),
  "sqlite-zstd": ofExporter("edgeferry, `compression: zstd`", () => ({ compression: "zstd" })),
  "sqlite-gzip": ofExporter("edgeferry, `compression: gzip`", () => ({ compression: "gzip" })),
  "sqlite-grpc": {
    title: "edgeferry, OTLP/gRPC in",
    wayIn: "src/http2",
    start: (place) => relay({ storage: "sqlite" }, place, "token", {}, "grpc"),
  },
  "sqlite-grpc-out": ofExporter("edgeferry, OTLP/gRPC out", (sink) => ({
    protocol: "grpc",
    endpoint: `https://localhost:${sink.grpc}`,
  })),
  "sqlite-attributes": ofRelay("edgeferry, resource attributes", "sqlite", "attributes"),
  "sqlite-redaction": ofRelay("edgeferry, redaction that hits", "sqlite", "redaction"),
  "sqlite-redaction-idle": ofRelay("edgeferry, redaction that hits nothing", "sqlite", "redaction-idle"),
  none: ofRelay("edgeferry, `none`: no disk", "none"),
  postgres: {
    title: "edgeferry, commit in PostgreSQL before 200, over TLS",
    wayIn: NODE,
    start: relayOnPostgres,
  },
  "collector-memory": {
    title: "Collector, in memory",
    wayIn: "net/http",
    start: (place) => collector("memory", place),
  },
  "collector-file": {
    title: "Collector, `file_storage`, fsync",
    wayIn: "net/http",
    start: (place) => collector("file", place),
  },
  "collector-memory-grpc": {
    title: "Collector, in memory, OTLP/gRPC in",
    wayIn: "grpc-go",
    start: (place) => collector("memory", place, "grpc"),
  },
  "collector-file-grpc": {
    title: "Collector, `file_storage`, fsync, OTLP/gRPC in",
    wayIn: "grpc-go",
    start: (place) => collector("file", place, "grpc"),
  },
};

/** The rows of a table of costs: the subjects, and the relay while V8 has not yet compiled what is hot. */
export const ROWS: Readonly<Record<string, Row>> = Object.fromEntries(
  Object.entries(SUBJECTS).flatMap(([name, { title, wayIn }]): [string, Row][] =>
    name === "sqlite"
      ? [[name, { title, wayIn }], ["sqlite-cold", { title: "edgeferry, its first 2,000 requests", wayIn }]]
      : [[name, { title, wayIn }]]
  ),
);
