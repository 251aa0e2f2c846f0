/** An Io that keeps what a command prints. */
import type { Io } from "../../../src/cli/io.ts";

/** What was printed, a call an entry. */
export interface Recorder {
  readonly io: Io;
  readonly out: string[];
  readonly err: string[];
}

/** A new one, empty. */
export function recorder(): Recorder {
  const out: string[] = [];
  const err: string[] = [];
  return { io: { out: (line) => out.push(line), err: (line) => err.push(line), isTerminal: false }, out, err };
}
