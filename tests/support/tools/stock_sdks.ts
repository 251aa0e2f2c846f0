/**
 * The stock OpenTelemetry SDKs that senders use, each as a program that makes numbered spans, and beside a control metrics and logs: Java with its JDK sender (Maven
 * Central), Go, Node (npm) and Python (PyPI). What they need is fetched once and kept under tests/.cache.
 */
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { python } from "./python.ts";

const senders = fileURLToPath(new URL("../../e2e/senders/", import.meta.url));
const cache = fileURLToPath(new URL("../../.cache/", import.meta.url));

/** A program of `tests/e2e/senders`; it takes ENDPOINT, PROTOCOL, CONTROL, TOKEN, SPANS and INTERVAL_MS. */
export interface StockSdk {
  readonly command: string;
  readonly args: readonly string[];
}

export const STOCK_SDKS = {
  java: async () => ({
    command: "java",
    args: ["-cp", `${await javaLibraries("java")}/*`, join(senders, "java/Outage.java")],
  }),
  go: async () => ({ command: await goProgram(), args: [] }),
  node: async () => ({ command: "node", args: [join(await nodeFolder(), "outage.js")] }),
  python: async () => ({ command: await python(), args: [join(senders, "outage.py")] }),
} satisfies Record<string, () => Promise<StockSdk>>;

/** The same with PROTOCOL=grpc. Java has another sender for it, and would not know which one to take for HTTP beside it. */
export const STOCK_GRPC_SDKS = {
  ...STOCK_SDKS,
  java: async () => ({
    command: "java",
    args: ["-cp", `${await javaLibraries("java_grpc")}/*`, join(senders, "java/Outage.java")],
  }),
} satisfies Record<string, () => Promise<StockSdk>>;

/** A Java program with the agent of OpenTelemetry before it, which is set up by OTEL_ variables; it takes ASKED and TIMES. */
export async function javaWithAgent(): Promise<StockSdk> {
  const jar = join(await javaLibraries("java_agent"), "opentelemetry-javaagent-2.30.0.jar");
  return { command: "java", args: [`-javaagent:${jar}`, join(senders, "java_agent/Asks.java")] };
}

/** The Collector's own tool that makes load. */
export async function telemetrygen(): Promise<string> {
  const module = "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v0.160.0";
  const folder = await madeOnce("telemetrygen_0.160.0", [], async (folder) => {
    await run("go", ["install", "-trimpath", module], senders, { GOBIN: folder });
  });
  return join(folder, "telemetrygen");
}

function javaLibraries(name: "java" | "java_grpc" | "java_agent"): Promise<string> {
  return madeOnce(name, [`${name}/pom.xml`], async (folder) => {
    await run("mvn", [
      "--quiet",
      "--batch-mode",
      `--file=${join(senders, name, "pom.xml")}`,
      "dependency:copy-dependencies",
      `-DoutputDirectory=${folder}`,
    ], senders);
  });
}

async function goProgram(): Promise<string> {
  const sources = ["go/main.go", "go/more.go", "go/go.mod", "go/go.sum"];
  const folder = await madeOnce("go_sender", sources, async (folder) => {
    await run("go", ["build", "-trimpath", "-o", join(folder, "sender"), "."], join(senders, "go"));
  });
  return join(folder, "sender");
}

function nodeFolder(): Promise<string> {
  const sources = ["node/package.json", "node/package-lock.json", "node/outage.js", "node/more.js"];
  return madeOnce("node_sender", sources, async (folder) => {
    for (const source of sources) await copyFile(join(senders, source), join(folder, source.slice("node/".length)));
    await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder);
  });
}

/** A folder under tests/.cache, made anew where it is missing or one of the files that it is made from has changed. */
async function madeOnce(
  name: string,
  sources: readonly string[],
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(cache, name);
  const stampFile = join(folder, "made_from.sha256");
  const digest = createHash("sha256");
  for (const source of sources) digest.update(await readFile(join(senders, source)));
  const stamp = digest.digest("hex");
  const isMade = async () => await readFile(stampFile, "utf8").catch(() => "") === stamp;
  if (await isMade()) return folder;
  await mkdir(cache, { recursive: true });
  using lock = await Deno.open(join(cache, `${name}.lock`), { create: true, write: true });
  await lock.lock(true);
  if (await isMade()) return folder;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await make(folder);
  await writeFile(stampFile, stamp);
  return folder;
}

async function run(
  command: string,
  args: string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd, env, stdin: "null" }).output();
  const text = new TextDecoder();
  if (!success) {
    throw new Error(`Cannot make a stock SDK's sender: ${command} said:\n${text.decode(stdout)}${text.decode(stderr)}`);
  }
}
