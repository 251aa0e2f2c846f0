/** Relays as processes of their own on one database, and what became of each record. */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { ClientConfig } from "../../../../src/postgres/driver.ts";

const SCRIPT = fileURLToPath(new URL("./relay_program.ts", import.meta.url));

/** How far apart the numbers of two relays' records are. */
const APART = 1_000_000;

export class Fleet implements AsyncDisposable {
  readonly #config: ClientConfig;
  readonly accepted = new Set<number>();
  readonly refused = new Set<number>();
  /** Refused, and perhaps kept. */
  readonly unknown = new Set<number>();
  /** Taken by a relay that holds what it takes. */
  readonly taken = new Set<number>();
  /** How often each was delivered. */
  readonly delivered = new Map<number, number>();
  readonly relays: Relay[] = [];
  #next = 0;
  #waiting: (() => void)[] = [];

  constructor(config: ClientConfig) {
    this.#config = config;
  }

  /** Starts a relay, and resolves when it is ready. @param count Records that it appends. */
  async start(count: number): Promise<Relay> {
    const first = APART * this.#next++;
    const relay = new Relay(
      spawn(process.execPath, [
        "run",
        "-A",
        "--no-check",
        SCRIPT,
        JSON.stringify(this.#config),
        String(first),
        String(count),
      ], {
        stdio: ["ignore", "pipe", "inherit"],
      }),
      (line) => this.#note(line),
    );
    this.relays.push(relay);
    await relay.ready;
    return relay;
  }

  /** Accepted and not delivered. */
  get missing(): number[] {
    return [...this.accepted].filter((number) => !this.delivered.has(number));
  }

  /** Delivered more than once. */
  get duplicates(): number {
    return [...this.delivered.values()].filter((times) => times > 1).length;
  }

  /** Resolves when this is so. @throws {Error} where a relay has ended that nobody killed */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.relays.some(({ lost }) => lost)) throw new Error("A relay has ended by itself");
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #note(line: string): void {
    const [kind, number = "", how] = line.split(" ");
    if (kind === "A") this.accepted.add(Number(number));
    if (kind === "R") (how === "unknown" ? this.unknown : this.refused).add(Number(number));
    if (kind === "T") this.taken.add(Number(number));
    if (kind === "D") this.delivered.set(Number(number), (this.delivered.get(Number(number)) ?? 0) + 1);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.relays.map((relay) => relay.kill()));
  }
}

export class Relay {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly ready: Promise<void>;
  /** Whether it appends no more, as it was told. */
  stopped = false;
  /** Whether it has ended, and nobody killed it. */
  lost = false;
  #killed = false;

  constructor(child: ChildProcess, note: (line: string) => void) {
    this.#child = child;
    const lines = createInterface({ input: child.stdout! });
    const closed = new Promise<void>((resolve) => lines.on("close", () => resolve()));
    const exited = new Promise<void>((resolve) => child.on("exit", () => resolve()));
    this.#ended = Promise.all([closed, exited]);
    this.ready = new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        if (line === "ready") resolve();
        if (line === "stopped") this.stopped = true;
        note(line);
      });
      child.on("exit", () => {
        reject(new Error("The relay ended before it was ready"));
        this.lost = !this.#killed;
        note("");
      });
    });
    this.ready.catch(() => {});
  }

  async kill(): Promise<void> {
    this.#killed = true;
    this.#signal("SIGKILL");
    await this.#ended;
  }

  /** What it takes from now on is on its way until it is thawed. */
  hold(): void {
    this.#signal("SIGUSR1");
  }

  freeze(): void {
    this.#signal("SIGSTOP");
  }

  thaw(): void {
    this.#signal("SIGCONT");
  }

  /** It appends no more, and sends on. */
  stop(): void {
    this.#signal("SIGTERM");
  }

  /** A child that was sent one signal takes no other by `kill` of its own. */
  #signal(signal: NodeJS.Signals): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) process.kill(this.#child.pid!, signal);
  }
}
