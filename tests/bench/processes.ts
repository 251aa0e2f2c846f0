/**
 * Processes to measure: how they are started, what the operating system says of them, and the sink that stands in the Collector's
 * place.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { START_TASK } from "../support/program/start_task.ts";

const here = import.meta.dirname!;
/** The root of the repository. */
export const root = join(here, "../..");

/** The sink, see `sink.ts`. */
export interface Sink {
  readonly port: number;
  readonly control: number;
  /** Of OTLP/gRPC. */
  readonly grpc: number;
  readonly child: Deno.ChildProcess;
}

/** A Deno program beside this one, or of the source. */
export function deno(
  args: readonly string[],
  cwd: string,
  stderr: "piped" | "null" = "null",
  env: Readonly<Record<string, string>> = { DENO_TLS_CA_STORE: "" },
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", join(root, "deno.json"), ...args],
    cwd,
    env: { ...env },
    stdout: "piped",
    stderr,
    stdin: "null",
  }).spawn();
}

/**
 * The relay, with what `deno task start` sets and gives V8. Resolves with its URL when it receives.
 * @param before Arguments of Deno.
 */
export async function startRelay(
  cwd: string,
  protocol: "http" | "grpc" = "http",
  before: readonly string[] = [],
): Promise<{ url: string; child: Deno.ChildProcess }> {
  const child = deno(
    [...START_TASK.v8Flags, ...before, join(root, "src/main.ts"), "run", "--config", "relay.yaml"],
    cwd,
    "piped",
    START_TASK.env,
  );
  void (async () => {
    for await (const _ of child.stdout);
  })();
  const match = await firstMatch(
    child.stderr,
    protocol === "http" ? /Receiving url=(\S+)/ : /Receiving gRPC url=(\S+)/,
  );
  return { url: match[1]!.replace("https://127.0.0.1", "https://localhost"), child };
}

/** Ends processes and waits until they are gone. */
export async function kill(...children: readonly Deno.ChildProcess[]): Promise<void> {
  for (const child of children) {
    child.kill("SIGKILL");
    await child.status;
  }
}

/** The first match in what a process prints; what follows is read and thrown away. */
export async function firstMatch(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<RegExpExecArray> {
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

/** @param certs A folder with ca.crt, server.crt and server.key. */
export async function startSink(certs: string): Promise<Sink> {
  const child = deno([join(here, "sink.ts"), certs], certs);
  const match = await firstMatch(child.stdout, /"port":(\d+),"control":(\d+),"grpc":(\d+)/);
  return { port: Number(match[1]), control: Number(match[2]), grpc: Number(match[3]), child };
}

/** What has arrived since it was last reset. */
export async function counts(sink: Sink): Promise<{ items: number; bytes: number; requests: number }> {
  return await (await fetch(`http://127.0.0.1:${sink.control}/`)).json();
}

/** Counts from 0 again. */
export async function resetCounts(sink: Sink): Promise<void> {
  await (await fetch(`http://127.0.0.1:${sink.control}/`, { method: "POST" })).body?.cancel();
}

/** A port that was free just now. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** Waits for a program that does not say when it listens. */
export async function untilListening(port: number): Promise<void> {
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

/** User and system time of a process with its threads, in us (proc(5): clock ticks of 10 ms). @param withEnded And of its children that have ended. */
export async function cpuUs(pid: number, withEnded = false): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ended = withEnded ? Number(fields[13]) + Number(fields[14]) : 0;
  return (Number(fields[11]) + Number(fields[12]) + ended) * 10_000;
}

/** The most memory that a process has had. */
export async function peakRssMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}
