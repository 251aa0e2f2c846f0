/**
 * Jaeger for tests, with its storage in memory: built once from the Go module proxy by tests/e2e/jaeger/go.mod, run on loopback.
 * Its own page is not among what a module holds; its query API is.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Program, startProgram } from "../program/program.ts";
import { freePort } from "./collector.ts";
import { runTool } from "./tool.ts";

const moduleFolder = fileURLToPath(new URL("../../e2e/jaeger/", import.meta.url));
const cacheFolder = fileURLToPath(new URL("../../.cache/jaeger/", import.meta.url));
const binary = join(cacheFolder, "jaeger");
const stampFile = join(cacheFolder, "jaeger.sha256");

/** Its path; built first where it is missing or go.mod has changed: four minutes. */
async function buildJaeger(): Promise<string> {
  await mkdir(cacheFolder, { recursive: true });
  using lock = await Deno.open(join(cacheFolder, "lock"), { create: true, write: true });
  await lock.lock(true);
  const hash = createHash("sha256");
  for (const name of ["go.mod", "go.sum"]) hash.update(await readFile(join(moduleFolder, name)));
  const stamp = hash.digest("hex");
  const found = await readFile(stampFile, "utf8").catch(() => "");
  if (found === stamp && await stat(binary).then(() => true, () => false)) return binary;
  await runTool("go", ["build", "-trimpath", "-o", binary, "github.com/jaegertracing/jaeger/cmd/jaeger"], {
    cwd: moduleFolder,
  });
  await writeFile(stampFile, stamp);
  return binary;
}

/** A span as Jaeger's query API has it. */
export interface JaegerSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly tags: readonly { readonly key: string; readonly value: unknown }[];
  readonly processID: string;
}

/** A trace as Jaeger's query API has it. */
export interface JaegerTrace {
  readonly traceID: string;
  readonly spans: readonly JaegerSpan[];
  readonly processes: Readonly<Record<string, { readonly serviceName: string }>>;
}

export interface Jaeger extends AsyncDisposable {
  /** `127.0.0.1:PORT`, OTLP over gRPC without TLS. */
  readonly otlpEndpoint: string;
  /** The base of its query API. */
  readonly url: string;
  /** The trace of this id (hex), or undefined for as long as it is not there. */
  trace(id: string): Promise<JaegerTrace | undefined>;
}

export interface JaegerOptions {
  /** A port that it had before, to come back at an address that is known. */
  readonly otlpPort?: number;
  /** A folder with the built page of jaeger-ui. */
  readonly assets?: string;
}

/** Starts it and resolves when it takes spans. */
export async function startJaeger(options: JaegerOptions = {}): Promise<Jaeger> {
  const path = await buildJaeger();
  const [otlpPort, queryPort, grpcPort] = [options.otlpPort ?? await freePort(), await freePort(), await freePort()];
  const config = {
    service: {
      extensions: ["jaeger_storage", "jaeger_query"],
      pipelines: { traces: { receivers: ["otlp"], exporters: ["jaeger_storage_exporter"] } },
      telemetry: { metrics: { level: "none" } },
    },
    extensions: {
      jaeger_query: {
        storage: { traces: "memory" },
        http: { endpoint: `127.0.0.1:${queryPort}` },
        grpc: { endpoint: `127.0.0.1:${grpcPort}` },
        ...(options.assets === undefined ? {} : { ui: { assets_path: options.assets } }),
      },
      jaeger_storage: { backends: { memory: { memory: { max_traces: 10_000 } } } },
    },
    receivers: { otlp: { protocols: { grpc: { endpoint: `127.0.0.1:${otlpPort}` } } } },
    exporters: { jaeger_storage_exporter: { trace_storage: "memory" } },
  };
  const program: Program = startProgram({
    command: path,
    args: [`--config=yaml:${JSON.stringify(config)}`],
    cwd: "/",
  });
  try {
    await program.line(/Everything is ready/);
    await program.line(/Starting HTTP server/);
  } catch (error) {
    await program.stop();
    throw error;
  }
  const url = `http://127.0.0.1:${queryPort}`;
  return {
    otlpEndpoint: `127.0.0.1:${otlpPort}`,
    url,
    async trace(id) {
      const answer = await fetch(`${url}/api/traces/${id}`);
      const { data } = await answer.json() as { data: JaegerTrace[] | null };
      return data?.[0];
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}
