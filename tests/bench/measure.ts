/** One measurement: a subject, a load, and everything that was accepted counted at the sink. */
import { join } from "node:path";
import type { Shape } from "./bodies.ts";
import { counts, cpuUs, deno, kill, peakRssMiB, resetCounts, type Sink, startSink } from "./processes.ts";
import { TOKEN } from "./relay_files.ts";
import { type Running, SUBJECTS } from "./subjects.ts";

/** What came of one measurement. */
export interface Figures {
  /** us of CPU a request: user and system time of the process, until all has arrived. */
  readonly cpuUs: number;
  /** The same a span. */
  readonly spanCpuUs: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMiB: number;
  /** Bytes of body to the sink, a request. */
  readonly wireBytes: number;
}

/** How it is driven. */
export interface Load {
  readonly shape: Shape;
  /** Spans a request. */
  readonly spans: number;
  readonly connections: number;
  /** Requests a second at the most, over all connections; as many as there can be unless given. */
  readonly rate?: number | undefined;
}

/** As fast as `load.ts` manages, or at a pace. @param length Seconds, or requests with an `r` behind them. */
export async function drive(
  running: Pick<Running, "url" | "token" | "protocol">,
  { shape, spans, connections, rate }: Load,
  length: number | `${number}r`,
  at: { readonly folder: string; readonly certs: string },
) {
  const child = deno(
    [
      "--no-lock",
      join(import.meta.dirname!, running.protocol === "grpc" ? "load_grpc.ts" : "load.ts"),
      running.url,
      running.token ?? TOKEN,
      shape,
      String(spans),
      String(connections),
      String(length),
      String(rate ?? ""),
      at.certs,
    ],
    at.folder,
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

/** A subject that runs, and its sink. */
export interface Measured extends AsyncDisposable {
  /** Drives it with so many requests. @throws where a span that was accepted has not arrived. */
  measure(load: Load, requests: number): Promise<Figures>;
}

/** Starts a subject and a sink of its own; both end when it is disposed of. */
export async function start(
  name: string,
  at: { readonly folder: string; readonly certs: string },
): Promise<Measured> {
  const sink = await startSink(at.certs);
  const running = await SUBJECTS[name]!.start({ ...at, sink });
  return {
    async measure(load, requests) {
      await resetCounts(sink);
      const before = await cpuUs(running.child.pid);
      const beside = await running.beside?.cpuUs() ?? 0;
      const result = await drive(running, load, `${requests}r`, at);
      await delivered(running, sink, result.ok * load.spans, name);
      const spent = await cpuUs(running.child.pid) - before;
      if (running.beside !== undefined) {
        const us = (await running.beside.cpuUs() - beside) / result.ok;
        console.error(
          `${name} ${load.shape}:${load.spans}: ${running.beside.name} itself ${us.toFixed(1)} us a request`,
        );
      }
      if (result.refused > 0 || result.errors > 0) {
        console.error(`${name} ${load.shape}:${load.spans}: ${result.refused} refused, ${result.errors} errors`);
      }
      return {
        cpuUs: spent / result.ok,
        spanCpuUs: spent / result.ok / load.spans,
        requestsPerSecond: result.ok / result.seconds,
        p50Ms: result.p50Ms,
        p99Ms: result.p99Ms,
        rssMiB: await peakRssMiB(running.child.pid),
        wireBytes: running.forwards ? (await counts(sink)).bytes / result.ok : 0,
      };
    },
    async [Symbol.asyncDispose]() {
      await kill(running.child, sink.child);
      await running.beside?.[Symbol.asyncDispose]();
    },
  };
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
