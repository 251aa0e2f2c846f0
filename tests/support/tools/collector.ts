/**
 * The real OpenTelemetry Collector for tests: built once from tests/collector/builder.yaml, run on loopback with
 * config/collector.yaml, the file that docker-compose.yaml runs.
 */
import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Sink } from "../far_end/sink.ts";
import { toolOutput } from "./tool.ts";

const builderModule = "go.opentelemetry.io/collector/cmd/builder@v0.160.0";
const rootFolder = fileURLToPath(new URL("../../../", import.meta.url));
const builderFile = join(rootFolder, "tests/collector/builder.yaml");
const cacheFolder = join(rootFolder, "tests/.cache/collector");
const binaryFile = join(cacheFolder, "otelcol-edgeferry");
const stampFile = join(cacheFolder, "builder.sha256");
const lockFile = join(rootFolder, "tests/.cache/collector.lock");

/** The configuration that Compose and the tests share. */
export const collectorConfigFile: string = join(rootFolder, "config/collector.yaml");

/** The feature gate without which the Collector has no pipelines for profiles. */
export const PROFILES_GATE = "service.profilesSupport";

const startDeadlineMs = 30_000;
const stopDeadlineMs = 15_000;
const startAttemptsMax = 5;
const logLinesMax = 20_000;

/**
 * The path of the Collector's binary, built first where it is missing or builder.yaml has changed since: about three
 * minutes on two cores with nothing cached. A lock on a file keeps processes from building at the same time.
 */
export async function buildCollector(): Promise<string> {
  await mkdir(cacheFolder, { recursive: true });
  const stamp = createHash("sha256").update(builderModule).update(await readFile(builderFile)).digest("hex");
  if (await isBuilt(stamp)) return binaryFile;
  using lock = await Deno.open(lockFile, { create: true, write: true });
  await lock.lock(true);
  if (await isBuilt(stamp)) return binaryFile;
  await rm(stampFile, { force: true });
  const built = await runGo(["run", builderModule, "--config", builderFile]);
  if (!built.success) {
    throw new Error(`Cannot build the Collector from ${builderFile}; go run ${builderModule} said:\n${built.said}`);
  }
  await writeFile(stampFile, stamp);
  return binaryFile;
}

async function isBuilt(stamp: string): Promise<boolean> {
  const [found, binary] = await Promise.all([
    readFile(stampFile, "utf8").catch(() => ""),
    stat(binaryFile).catch(() => undefined),
  ]);
  return found.trim() === stamp && binary !== undefined;
}

async function runGo(args: string[]): Promise<{ success: boolean; said: string }> {
  const { success, stdout, stderr } = await toolOutput("go", args, { cwd: rootFolder });
  return { success, said: stdout + stderr };
}

export interface CollectorOptions {
  /** A folder with ca.crt, server.crt and server.key. */
  certsDir: string;
  /**
   * Where every pipeline sends to, instead of the debug exporter. Neither queue nor retry stands between, so the
   * Collector's 200 follows the sink's.
   */
  sink?: Sink;
  /** How the sink is written to. The sink decodes `json`, the default; of `proto` it keeps the bytes. */
  sinkEncoding?: "json" | "proto";
  /** Further configurations as YAML text, read last, in this order: maps merge, lists replace. */
  config?: string | string[];
  /** Added to the environment, for the places that config/collector.yaml leaves open. */
  env?: Record<string, string>;
  /** Feature gates to open, e.g. {@link PROFILES_GATE}. */
  featureGates?: string;
  /** Fixed ports, to come back at an address that is known; otherwise free ones. */
  httpPort?: number;
  grpcPort?: number;
  /** The user and group to run as; needs root. The binary and the configuration are then run from a copy they can read. */
  uid?: number;
  gid?: number;
}

export interface RealCollector extends AsyncDisposable {
  /** `https://localhost:PORT`, for OTLP over HTTP. */
  readonly httpUrl: string;
  /** `localhost:PORT`, for OTLP over gRPC. */
  readonly grpcEndpoint: string;
  readonly httpPort: number;
  readonly grpcPort: number;
  /** `http://127.0.0.1:PORT/`, plain HTTP. */
  readonly healthUrl: string;
  readonly pid: number;
  /** All it has logged so far, one JSON object a line. */
  logs(): string;
  /** Resolves with the first log line, past or to come, that the test matches; fails after the deadline (10 s). */
  waitForLog(test: RegExp, deadlineMs?: number): Promise<string>;
  /** Sends any signal: SIGSTOP freezes it, SIGCONT thaws it, SIGKILL is a crash. */
  signal(name: Deno.Signal): void;
  /** Resolves when the process has ended, however that came about. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** Ends it by SIGTERM, thawed first, by SIGKILL after 15 s; resolves when it is gone. Harmless when it is gone already. */
  stop(): Promise<void>;
}

/** The Collector ended, or was not ready in time. `logs` holds what it said. */
export class CollectorStartError extends Error {
  override name = "CollectorStartError";
  constructor(message: string, readonly logs: string) {
    super(`${message}; it said:\n${logs}`);
  }
}

/** Starts the Collector and resolves when it takes requests. */
export async function startCollector(options: CollectorOptions): Promise<RealCollector> {
  const binary = await buildCollector();
  // The health check does not log the port it was given, so that one cannot be 0: take a free one, and another should
  // somebody else be quicker.
  for (let attempt = 1;; attempt++) {
    const healthPort = await freePort();
    try {
      return await launch(binary, options, healthPort);
    } catch (error) {
      const lost = error instanceof CollectorStartError &&
        error.logs.includes(`127.0.0.1:${healthPort}: bind: address`);
      if (!lost || attempt === startAttemptsMax) throw error;
    }
  }
}

async function launch(binary: string, options: CollectorOptions, healthPort: number): Promise<RealCollector> {
  const copyFolder = options.uid === undefined ? undefined : await copyFor(binary);
  const file = (original: string, name: string) => copyFolder === undefined ? original : join(copyFolder, name);
  const overlays = [jsonLogs, ...(options.sink ? [sendTo(options.sink, options.sinkEncoding ?? "json")] : [])];
  overlays.push(...[options.config ?? []].flat());
  const process = new Deno.Command(file(binary, "otelcol"), {
    args: [
      `--config=file:${file(collectorConfigFile, "collector.yaml")}`,
      ...overlays.map((text) => `--config=yaml:${text}`),
      ...(options.featureGates === undefined ? [] : [`--feature-gates=${options.featureGates}`]),
    ],
    env: {
      OTLP_HTTP_ENDPOINT: `127.0.0.1:${options.httpPort ?? 0}`,
      OTLP_GRPC_ENDPOINT: `127.0.0.1:${options.grpcPort ?? 0}`,
      HEALTH_ENDPOINT: `127.0.0.1:${healthPort}`,
      CERTS_DIR: options.certsDir,
      // A proxy in the environment is not for the sink on loopback.
      NO_PROXY: "127.0.0.1,localhost",
      ...options.env,
    },
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid ?? options.uid }),
    cwd: "/",
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return await Running.ready(process, healthPort, copyFolder);
}

/** Copies of the binary and the configuration that any user can read, wherever the checkout is. */
async function copyFor(binary: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "edgeferry-collector-"));
  await chmod(folder, 0o755);
  await copyFile(binary, join(folder, "otelcol"));
  await chmod(join(folder, "otelcol"), 0o755);
  await copyFile(collectorConfigFile, join(folder, "collector.yaml"));
  await chmod(join(folder, "collector.yaml"), 0o644);
  return folder;
}

const jsonLogs = "service: { telemetry: { logs: { encoding: json } } }";

function sendTo(sink: Sink, encoding: "json" | "proto"): string {
  return `
exporters:
  otlp_http/sink:
    endpoint: ${sink.url}
    encoding: ${encoding}
    sending_queue: { enabled: false }
    retry_on_failure: { enabled: false }
service:
  pipelines:
    traces: { exporters: [otlp_http/sink] }
    metrics: { exporters: [otlp_http/sink] }
    logs: { exporters: [otlp_http/sink] }
`;
}

interface LogLine {
  msg?: string;
  endpoint?: string;
}

class Running implements RealCollector {
  readonly #process: Deno.ChildProcess;
  readonly #lines: string[] = [];
  readonly #watchers = new Set<(line: string | undefined) => void>();
  readonly #ended: Promise<void>;
  readonly exited: Promise<Deno.CommandStatus>;
  readonly healthUrl: string;
  httpPort = 0;
  grpcPort = 0;
  #gone = false;

  static async ready(process: Deno.ChildProcess, healthPort: number, copyFolder?: string): Promise<Running> {
    const running = new Running(process, healthPort, copyFolder);
    try {
      await running.waitForLog(/Everything is ready/, startDeadlineMs);
    } catch (error) {
      await running.stop();
      const why = error instanceof Error ? error.message : String(error);
      throw new CollectorStartError(`The Collector did not start: ${why}`, running.logs());
    }
    running.httpPort = running.#portOf("Starting HTTP server");
    running.grpcPort = running.#portOf("Starting GRPC server");
    return running;
  }

  private constructor(process: Deno.ChildProcess, healthPort: number, copyFolder?: string) {
    this.#process = process;
    this.healthUrl = `http://127.0.0.1:${healthPort}/`;
    const kill = () => this.#send("SIGKILL");
    globalThis.addEventListener("unload", kill);
    this.exited = process.status.then((status) => {
      this.#gone = true;
      globalThis.removeEventListener("unload", kill);
      return status;
    });
    this.#ended = Promise.all([this.#read(process.stdout), this.#read(process.stderr), this.exited]).then(async () => {
      for (const watcher of this.#watchers) watcher(undefined);
      if (copyFolder !== undefined) await rm(copyFolder, { recursive: true, force: true });
    });
  }

  get pid(): number {
    return this.#process.pid;
  }
  get httpUrl(): string {
    return `https://localhost:${this.httpPort}`;
  }
  get grpcEndpoint(): string {
    return `localhost:${this.grpcPort}`;
  }

  logs(): string {
    return this.#lines.join("\n");
  }

  async waitForLog(test: RegExp, deadlineMs = 10_000): Promise<string> {
    const seen = this.#lines.find((line) => test.test(line));
    if (seen !== undefined) return seen;
    if (this.#gone) throw new Error(`It ended without logging ${test}`);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const watcher = (line: string | undefined) => {
      if (line === undefined) reject(new Error(`It ended without logging ${test}`));
      else if (test.test(line)) resolve(line);
    };
    this.#watchers.add(watcher);
    const timer = setTimeout(() => reject(new Error(`It did not log ${test} within ${deadlineMs} ms`)), deadlineMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(watcher);
    }
  }

  signal(name: Deno.Signal): void {
    this.#process.kill(name);
  }

  async stop(): Promise<void> {
    this.#send("SIGTERM");
    // A frozen process acts on no other signal.
    this.#send("SIGCONT");
    const timer = setTimeout(() => this.#send("SIGKILL"), stopDeadlineMs);
    try {
      await this.#ended;
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #send(name: Deno.Signal): void {
    if (this.#gone) return;
    try {
      this.#process.kill(name);
    } catch (error) {
      // It ended between the check and the call.
      if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
    if (rest !== "") this.#take(rest);
  }

  #take(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > logLinesMax) this.#lines.shift();
    for (const watcher of this.#watchers) watcher(line);
  }

  #portOf(message: string): number {
    for (const line of this.#lines) {
      if (!line.startsWith("{")) continue;
      const parsed: LogLine = JSON.parse(line);
      const port = parsed.msg === message ? parsed.endpoint?.split(":").at(-1) : undefined;
      if (port !== undefined) return Number(port);
    }
    throw new CollectorStartError(`The Collector did not log ${JSON.stringify(message)}`, this.logs());
  }
}

/** A port of loopback that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") {
    throw new Error("Cannot learn the port of a listener on loopback");
  }
  return address.port;
}
