/** Programs that tests ask beside Deno. One that is missing is an error of one line, which names what to install. */

const INSTALL: Readonly<Record<string, string>> = {
  chromium: "apt-get install chromium",
  gcc: "apt-get install gcc libc6-dev",
  git: "apt-get install git",
  go: "install Go 1.25 or newer",
  java: "apt-get install default-jdk-headless",
  javac: "apt-get install default-jdk-headless",
  mount: "apt-get install mount",
  mvn: "apt-get install maven",
  nginx: "apt-get install nginx-light",
  "nginx stream": "apt-get install libnginx-mod-stream",
  npm: "install Node 22 or newer",
  npx: "install Node 22 or newer",
  openssl: "apt-get install openssl",
  pgbouncer: "apt-get install pgbouncer",
  postgres: "apt-get install postgresql",
  promtool: "apt-get install prometheus",
  python3: "apt-get install python3 python3-venv",
  strace: "apt-get install strace",
  "systemd-analyze": "apt-get install systemd",
};

/** A program is not on PATH. It has no stack: its one line says all that there is to do. */
export class MissingTool extends Error {
  constructor(command: string) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(`Cannot run ${command}: it is not on PATH; ${INSTALL[command] ?? "install it"}`);
    Error.stackTraceLimit = limit;
    this.name = "MissingTool";
  }
}

/** Starts a program. @throws {MissingTool} */
export function spawnTool(command: string, options: Deno.CommandOptions): Deno.ChildProcess {
  try {
    return new Deno.Command(command, options).spawn();
  } catch (error) {
    throw isMissing(error, options.cwd) ? new MissingTool(command) : error;
  }
}

/** What a program has said, as text. */
export interface ToolOutput {
  readonly success: boolean;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, with `input` as its standard input. @throws {MissingTool} */
export async function toolOutput(
  command: string,
  args: readonly string[],
  { input = "", ...options }: Omit<Deno.CommandOptions, "args" | "stdin" | "stdout" | "stderr"> & { input?: string } =
    {},
): Promise<ToolOutput> {
  const child = spawnTool(command, { ...options, args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" });
  const written = new Blob([input]).stream().pipeTo(child.stdin).catch((error) => {
    // It ended without reading all of it.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  });
  const { success, code, stdout, stderr } = await child.output();
  await written;
  const text = new TextDecoder();
  return { success, code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** As {@link toolOutput}. @throws {Error} with what it said, where its exit code is not 0. */
export async function runTool(...[command, args, options]: Parameters<typeof toolOutput>): Promise<ToolOutput> {
  const output = await toolOutput(command, args, options);
  if (!output.success) {
    throw new Error(`${[command, ...args].join(" ")} ended with ${output.code}: ${output.stdout}${output.stderr}`);
  }
  return output;
}

/** A working folder that is missing fails with the same error. */
function isMissing(error: unknown, cwd: string | URL | undefined): boolean {
  if (!(error instanceof Deno.errors.NotFound)) return false;
  if (cwd === undefined) return true;
  try {
    return Deno.statSync(cwd).isDirectory;
  } catch {
    return false;
  }
}
