/**
 * The relay for tests: as a user starts it, a child process by the command of `deno task start`, or in this process. Either on
 * free ports of loopback, with a folder of its own that goes with it.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { configFrom } from "../../../src/config/load.ts";
import type { ConfigInput } from "../../../src/config/schema.ts";
import { bySignal, type SignalName } from "../../../src/signal.ts";
import type { Books } from "../../../src/queue/queue.ts";
import { digestOf } from "../../../src/receiver/senders/authenticator.ts";
import { newSecret } from "../../../src/receiver/senders/tokens_file.ts";
import type { WayIn } from "../../../src/relay/listen.ts";
import { startRelayWith } from "../../../src/relay/relay.ts";
import { queueThread } from "../threads/queue_threads.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { startProgram } from "../program/program.ts";
import { relayConfig } from "./config.ts";
import { START_TASK } from "../program/start_task.ts";

/** The queue's engines. */
export const ENGINES = ["none", "sqlite"] as const;
export type Engine = typeof ENGINES[number];

export interface RelayOptions {
  readonly engine: Engine;
  /** The Collector's base URL. */
  readonly collectorUrl: string;
  /** A folder with ca.crt, client.crt and client.key. */
  readonly certsDir: string;
  /** What replaces what is made here, key by key. */
  readonly config?: ConfigInput;
  /** Keys of `receiver.http` and `receiver.auth` beside those made here. */
  readonly http?: NonNullable<ConfigInput["receiver"]>["http"];
  readonly auth?: NonNullable<ConfigInput["receiver"]>["auth"];
  /** How requests come into the child process. Default: `node`. */
  readonly way?: WayIn;
  /** For the child process. */
  readonly env?: Readonly<Record<string, string>>;
  /** A queue that an earlier relay has left. */
  readonly queuePath?: string;
}

interface Served {
  /** Where senders post to. */
  readonly url: string;
  /** Where they export by gRPC, where the configuration has that. */
  grpcUrl(): Promise<string>;
  /** What they show. */
  readonly token: string;
  /** The durable queue's file. */
  readonly queuePath: string;
  /** What it has logged, one JSON object a line. */
  log(): readonly string[];
}

/** A relay in a process of its own. */
export interface RelayProcess extends Served, AsyncDisposable {
  readonly pid: number;
  /** Resolves with the first log line, past or to come, that matches; fails when it ends, or after 60 s. */
  line(test: RegExp): Promise<string>;
  signal(name: Deno.Signal): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Ends it by SIGTERM. Its folder, and the queue in it, stay until it is disposed of. */
  stop(): Promise<Deno.CommandStatus>;
}

/** A relay in this process. */
export interface RelayHere extends Served, AsyncDisposable {
  readonly adminUrl: string;
}

/** Starts it and resolves when it takes requests. */
export async function startRelayProcess(options: RelayOptions): Promise<RelayProcess> {
  const made = await prepare(options);
  const configFile = join(made.dir, "relay.json");
  await writeFile(configFile, JSON.stringify(made.config));
  const { env, args } = START_TASK;
  const program = startProgram({
    command: Deno.execPath(),
    args: options.way === "deno_serve"
      ? [...args.slice(0, -2), join(import.meta.dirname!, "relay_on_deno_serve.ts"), configFile]
      : [...args, "--config", configFile],
    // Not the checkout: nothing of it may be needed but the program.
    cwd: made.dir,
    env: { ...env, ...options.env },
  });
  const leave = async () => {
    await program.stop();
    await made.remove();
  };
  try {
    const ready = await program.line(/"message":"Receiving"/);
    return {
      url: textOf(ready, "url"),
      grpcUrl: async () => textOf(await program.line(/"message":"Receiving gRPC"/), "url"),
      token: made.token,
      queuePath: made.queuePath,
      pid: program.pid,
      log: () => program.lines,
      line: (test) => program.line(test),
      signal: (name) => program.signal(name),
      ended: program.ended,
      stop: () => program.stop(),
      [Symbol.asyncDispose]: leave,
    };
  } catch (error) {
    await leave();
    throw error;
  }
}

/** Starts it in this process. */
export async function startRelayHere(options: RelayOptions): Promise<RelayHere> {
  const made = await prepare(options);
  const lines: string[] = [];
  try {
    const log = createLog({ level: "debug", format: "json", write: (line) => void lines.push(line) });
    const relay = await startRelayWith(configFrom(made.config), log, { startThread: queueThread });
    return {
      url: relay.url,
      grpcUrl: () => Promise.resolve(relay.grpcUrl ?? assert.fail("receiver.grpc.endpoint is not set")),
      adminUrl: relay.adminUrl,
      token: made.token,
      queuePath: made.queuePath,
      log: () => lines,
      async [Symbol.asyncDispose]() {
        await relay.stop();
        await made.remove();
      },
    };
  } catch (error) {
    await made.remove();
    throw error;
  }
}

async function prepare(options: RelayOptions) {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-relay-"));
  const token = newSecret();
  const tokens_file = join(dir, "tokens.yaml");
  await writeFile(tokens_file, `tokens:\n  - { id: test, sha256: ${digestOf(token)} }\n`);
  const queuePath = options.queuePath ?? join(dir, "queue.db");
  const places = { collectorUrl: options.collectorUrl, certsDir: options.certsDir, queuePath };
  const config = relayConfig(
    places,
    {
      receiver: {
        http: options.http ?? {},
        // Tokens as text stand in place of a file.
        auth: options.auth?.tokens === undefined ? { tokens_file, ...options.auth } : options.auth,
      },
      sending_queue: { storage: options.engine },
      telemetry: { log: { format: "json" } },
    },
    options.config ?? {},
  );
  return { dir, token, queuePath, config, remove: () => rm(dir, { recursive: true, force: true }) };
}

function textOf(line: string, field: string): string {
  const fields: Record<string, unknown> = JSON.parse(line);
  return String(fields[field]);
}

/** The books of a durable queue whose relay has stopped, as they stand in its file. */
export function booksIn(queuePath: string): Record<SignalName, Books> {
  using db = new DatabaseSync(queuePath, { readOnly: true });
  const books: Partial<Record<string, Books>> = {};
  for (const row of db.prepare("SELECT * FROM books WHERE target = 1").all()) {
    books[String(row["signal"])] = {
      accepted: Number(row["accepted"]),
      delivered: Number(row["delivered"]),
      rejectedByCollector: Number(row["rejected"]),
      deadLettered: Number(row["dead"]),
      expired: Number(row["expired"]),
      abandoned: Number(row["abandoned"]),
      queued: Number(row["queued"]),
    };
  }
  return bySignal((signal) => {
    const own = books[signal];
    assert(own, `${queuePath} has books of ${signal}`);
    return own;
  });
}
