/** What strace saw, as events in the order in which calls began and ended; and faults that it puts into calls. */
import { type Program, startProgram } from "../program/program.ts";

/** The calls by which a process reads a socket, writes one, writes a file, and syncs it. */
export const TRACED = "read,recvfrom,readv,recvmsg,write,sendto,writev,sendmsg,pwrite64,pwritev,fsync,fdatasync";

/** Put before a command: its own pid stays the traced one. Strings are whole up to a page of SQLite. */
export function straceCommand(file: string): string[] {
  return ["strace", "-D", "-f", "-qq", "-y", "-s", "4200", "-e", `trace=${TRACED}`, "-e", "signal=none", "-o", file];
}

export interface Call {
  readonly name: string;
  /** What the descriptor stands for: a path, or `socket:[inode]`. */
  readonly target: string;
  /** The arguments as strace prints them. */
  readonly text: string;
  /** Lines of the trace at which it began and ended; the same where nothing came between. */
  readonly began: number;
  readonly ended: number;
  readonly result: number;
}

/** Reads a trace. A call that never ended is left out. */
export function parseTrace(trace: string): Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<string, { name: string; target: string; text: string; began: number }>();
  for (const [index, line] of trace.split("\n").entries()) {
    const entry = /^(\d+) +(\w+)\(\d+<(.*?)>(.*)$/.exec(line);
    if (entry !== null) {
      const [, pid, name, target, text] = entry as unknown as string[];
      const begun = { name: name!, target: target!, text: text!, began: index };
      if (text!.endsWith("<unfinished ...>")) unfinished.set(pid!, begun);
      else calls.push({ ...begun, ended: index, result: resultOf(line) });
      continue;
    }
    const resumed = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/.exec(line);
    const begun = resumed === null ? undefined : unfinished.get(resumed[1]!);
    if (resumed === null || begun === undefined) continue;
    unfinished.delete(resumed[1]!);
    // What a call reads is printed when it ends.
    calls.push({ ...begun, text: begun.text + resumed[3]!, ended: index, result: resultOf(line) });
  }
  return calls;
}

function resultOf(line: string): number {
  const result = / = (-?\d+)[^=]*$/.exec(line);
  return result === null ? NaN : Number(result[1]);
}

/** Strikes at the next sync of a file by a process that runs: `signal=SIGKILL` ends it there, `error=EIO` fails the call. */
export async function injectAtSync(pid: number, path: string, what: string): Promise<Program> {
  const strace = startProgram({
    command: "strace",
    args: [
      "-f",
      "-p",
      String(pid),
      "-P",
      path,
      "-e",
      "trace=fsync,fdatasync",
      "-e",
      `inject=fsync,fdatasync:${what}:when=1`,
    ],
    cwd: "/",
  });
  // All threads are attached when it says so.
  await strace.line(/attached/);
  return strace;
}
