/** Queues in folders of their own, and a program that fills one until it is killed. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openQueue, type QueueSettings } from "../../../src/queue/open.ts";
import type { Fault } from "../../../src/queue/sqlite/injected_faults.ts";
import { queueThread } from "../../support/threads/queue_threads.ts";
import { record, TestLog } from "../records.ts";
import { waitWhile } from "../../support/wait_while.ts";

export interface Place {
  readonly folder: string;
  readonly path: string;
  readonly log: TestLog;
  open(settings?: Partial<QueueSettings>): ReturnType<typeof openQueue>;
}

export function inFolder(name: string, body: (place: Place) => Promise<void>): void {
  Deno.test(`sqlite: ${name}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "edgeferry-sqlite-"));
    try {
      await body(placeIn(folder));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

export function placeIn(folder: string): Place {
  const path = join(folder, "queue.db");
  const log = new TestLog();
  return {
    folder,
    path,
    log,
    open: (settings = {}) =>
      openQueue({
        storage: "sqlite",
        path,
        bytesMax: 1 << 28,
        deadLetterBytesMax: 1 << 20,
        takenBytesMax: Infinity,
        log,
        startThread: queueThread,
        ...settings,
      }),
  };
}

export async function fill(
  queue: Awaited<ReturnType<typeof openQueue>>,
  from: number,
  to: number,
  bytes = 500,
): Promise<void> {
  const numbers = Array.from({ length: to - from }, (_, index) => from + index);
  await Promise.all(numbers.map((number) => queue.append(record(number, { bytes }))));
}

export const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

/** The queue says by itself when its storage is in order again. */
export async function ready(queue: Awaited<ReturnType<typeof openQueue>>): Promise<void> {
  await waitWhile(() => !queue.readiness().ready);
}

export interface Writer extends AsyncDisposable {
  /** Resolves when so many records have been accepted. */
  accepted(count: number): Promise<void>;
  /** Kills it and resolves with the numbers of the accepted records. */
  kill(): Promise<number[]>;
  readonly ended: Promise<number[]>;
}

export function startWriter(path: string, first: number, faults: readonly Fault[] = []): Promise<Writer> {
  const script = fileURLToPath(new URL("./writer.ts", import.meta.url));
  const child = spawn(process.execPath, ["run", "-A", script, path, String(first), JSON.stringify(faults)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const numbers: number[] = [];
  let waiting: { count: number; resolve: () => void } | undefined;
  const lines = createInterface({ input: child.stdout! });
  lines.on("line", (line) => {
    numbers.push(Number(line));
    if (waiting !== undefined && numbers.length >= waiting.count) waiting.resolve();
  });
  const closed = new Promise<void>((resolve) => lines.on("close", () => resolve()));
  const exited = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  const ended = Promise.all([closed, exited]).then(() => numbers);
  const kill = () => {
    child.kill("SIGKILL");
    return ended;
  };
  return Promise.resolve({
    accepted: (count) =>
      new Promise<void>((resolve) => {
        waiting = { count, resolve };
        if (numbers.length >= count) resolve();
      }),
    kill,
    ended,
    async [Symbol.asyncDispose]() {
      await kill();
    },
  });
}
