/** A process of the soak: what it prints as lines of JSON, what it says of errors, and what the operating system says of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import process from "node:process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Counts } from "./counter.ts";

/** What a line may have. */
export type Line = Partial<Counts> & { readonly connections?: number; readonly port?: number };

/** What it takes of the machine. */
export interface Footprint {
  readonly rssMiB: number;
  readonly files: number;
}

/** Lines of errors that are kept. */
const ERRORS_KEPT = 6;

export class Child {
  readonly process: ChildProcess;
  /** How it has ended. */
  readonly ended: Promise<string>;
  /** The last line. */
  last: Line = {};
  readonly errors: string[] = [];
  errorLines = 0;
  #watchers: { readonly line: RegExp; readonly tell: (match: RegExpExecArray) => void }[] = [];

  constructor(
    command: string,
    args: readonly string[],
    { env = {}, cwd }: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
  ) {
    this.process = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    this.ended = new Promise((resolve) => {
      this.process.once("close", (code, signal) => resolve(signal ?? `exit ${code}`));
    });
    this.process.stdin?.on("error", () => {});
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface(stream as Readable).on("line", (line) => this.#onLine(line));
    }
  }

  #onLine(line: string): void {
    for (const watcher of [...this.#watchers]) {
      const match = watcher.line.exec(line);
      if (match !== null) watcher.tell(match);
    }
    if (line.startsWith("{")) this.last = JSON.parse(line) as Line;
    else if (/ERROR|panic|error:/i.test(line)) {
      this.errorLines++;
      this.errors.push(line);
      if (this.errors.length > ERRORS_KEPT) this.errors.shift();
    }
  }

  /** Resolves with the first line from now on that matches; undefined when it ends before. */
  async line(line: RegExp): Promise<RegExpExecArray | undefined> {
    const { promise, resolve } = Promise.withResolvers<RegExpExecArray>();
    const watcher = { line, tell: resolve };
    this.#watchers.push(watcher);
    const match = await Promise.race([promise, this.ended.then(() => undefined)]);
    this.#watchers = this.#watchers.filter((each) => each !== watcher);
    return match;
  }

  say(word: string): void {
    this.process.stdin?.write(`${word}\n`);
  }

  async footprint(): Promise<Footprint> {
    const folder = `/proc/${this.process.pid}`;
    const rss = /VmRSS:\s+(\d+)/.exec(await readFile(`${folder}/status`, "utf8"))?.[1];
    return { rssMiB: Math.round(Number(rss) / 1024), files: (await readdir(`${folder}/fd`)).length };
  }

  /** Ends its standard input, and resolves with how it has ended. */
  async stop(): Promise<string> {
    this.process.stdin?.end();
    return await this.#within(5_000);
  }

  /** Asks it to end. @returns whether it said that it did so in order. */
  async terminate(): Promise<boolean> {
    // `node:child_process` of Deno 2.9.6 reports the signal that was sent, whatever the exit code.
    const stopped = this.line(/ Stopped$/);
    this.process.kill("SIGTERM");
    await this.#within(30_000);
    return await stopped !== undefined;
  }

  async #within(ms: number): Promise<string> {
    const timer = setTimeout(() => this.process.kill("SIGKILL"), ms);
    const how = await this.ended;
    clearTimeout(timer);
    return how;
  }
}
