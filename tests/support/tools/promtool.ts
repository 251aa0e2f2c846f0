/** Prometheus's own checker, and other programs that read what they check. */
import { toolOutput } from "./tool.ts";

/** What a program has said, without colours. */
export interface Said {
  readonly ok: boolean;
  /** Its standard output alone: go tells on the other one what it downloads. */
  readonly out: string;
  readonly words: string;
}

/** Runs it with a text as its standard input. */
export function promtool(args: readonly string[], input = ""): Promise<Said> {
  return runWith("promtool", args, input);
}

/** Runs any program with a text as its standard input. */
export async function runWith(command: string, args: readonly string[], input: string, cwd?: string): Promise<Said> {
  const { success, stdout, stderr } = await toolOutput(command, args, { input, ...(cwd === undefined ? {} : { cwd }) });
  return { ok: success, out: stdout.trim(), words: (stdout + stderr).trim() };
}
