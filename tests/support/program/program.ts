/** A child process whose lines can be waited for, and which is gone at the end of the test whatever happens in it. */

import { spawnTool } from "../tools/tool.ts";

export interface ProgramOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** The whole environment, beside what any program needs to run: PATH, HOME, TMPDIR, DENO_DIR. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whom it runs as; by default as whom the test runs. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** All lines so far, of both outputs in the order of their arrival. */
  readonly lines: readonly string[];
  /** Lines of standard output alone. */
  readonly out: readonly string[];
  /** Resolves with the `nth` line, past or to come, that matches; fails when the program ends before it, or after 60 s. */
  line(test: RegExp, nth?: number): Promise<string>;
  signal(name: Deno.Signal): void;
  /** Resolves when the process has ended and all its output has been read. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Sends SIGTERM, and SIGKILL when that has not ended it within 15 s. Harmless when it has ended already. */
  stop(): Promise<Deno.CommandStatus>;
}

const DEADLINE_MS = 60_000;
const STOP_MS = 15_000;
const KEPT = ["PATH", "HOME", "TMPDIR", "DENO_DIR", "SYSTEMROOT"];

export function startProgram(options: ProgramOptions): Program {
  const kept = KEPT.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  return new Running(
    spawnTool(options.command, {
      args: [...options.args],
      cwd: options.cwd,
      ...options.user,
      // A developer's OTEL_ variables or proxies are not the test's.
      clearEnv: true,
      env: { ...Object.fromEntries(kept), NO_COLOR: "1", ...options.env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }),
  );
}

/** Runs a program to its end. @throws {Error} with what it said, when its exit code is not 0. */
export async function runProgram(options: ProgramOptions): Promise<readonly string[]> {
  await using program = startProgram(options);
  const { code } = await program.ended;
  if (code !== 0) throw new Error(`${nameOf(options)} ended with ${code}; it said:\n${program.lines.join("\n")}`);
  return program.out;
}

/** Runs a program to its end, however it ends, and answers all that it said. */
export async function runToEnd(options: ProgramOptions): Promise<readonly string[]> {
  await using program = startProgram(options);
  await program.ended;
  return program.lines;
}

function nameOf({ command, args }: ProgramOptions): string {
  return [command, ...args].join(" ").slice(0, 300);
}

class Running implements Program {
  readonly lines: string[] = [];
  readonly out: string[] = [];
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #process: Deno.ChildProcess;
  readonly #watchers = new Set<(line: string | undefined) => void>();
  #gone = false;

  constructor(process: Deno.ChildProcess) {
    this.#process = process;
    const kill = () => this.#send("SIGKILL");
    globalThis.addEventListener("unload", kill);
    const exited = process.status.then((status) => {
      this.#gone = true;
      globalThis.removeEventListener("unload", kill);
      return status;
    });
    const read = [this.#read(process.stdout, [this.lines, this.out]), this.#read(process.stderr, [this.lines])];
    this.ended = Promise.all([exited, ...read]).then(([status]) => {
      for (const watcher of this.#watchers) watcher(undefined);
      return status;
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  async line(test: RegExp, nth = 1): Promise<string> {
    const find = () => this.lines.filter((line) => test.test(line))[nth - 1];
    const seen = find();
    if (seen !== undefined) return seen;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const fail = (what: string) => reject(new Error(`It ${what} ${test}; it said:\n${this.lines.join("\n")}`));
    const watcher = (line: string | undefined) => {
      const found = find();
      if (found !== undefined) resolve(found);
      else if (line === undefined) fail("ended without saying");
    };
    this.#watchers.add(watcher);
    const timer = setTimeout(() => fail(`did not say within ${DEADLINE_MS} ms`), DEADLINE_MS);
    void this.ended.then(() => watcher(undefined));
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

  async stop(): Promise<Deno.CommandStatus> {
    this.#send("SIGTERM");
    const timer = setTimeout(() => this.#send("SIGKILL"), STOP_MS);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
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

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>, lists: string[][]): Promise<void> {
    let rest = "";
    const take = (line: string) => {
      for (const list of lists) list.push(line);
      for (const watcher of this.#watchers) watcher(line);
    };
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      lines.forEach(take);
    }
    if (rest !== "") take(rest);
  }
}
