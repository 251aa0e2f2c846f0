/**
 * What every command shares: where it prints, how it is made, and how it says that it found a fault.
 * @module
 */
import { Command } from "commander";

/** Where a command prints. */
export interface Io {
  /** Prints one line of output; the text may hold more lines, without the last line end. */
  readonly out: (line: string) => void;
  /** Prints one line for the person who runs the command. */
  readonly err: (line: string) => void;
  /** Whether `out` is a terminal. */
  readonly isTerminal: boolean;
}

/** The command did its work and found a fault: exit code 1. The message is the last line on stderr. */
export class FaultFound extends Error {
  override readonly name = "FaultFound";
}

/** A command that prints to `io`, and throws commander's `CommanderError` where it would end the program. */
export function newCommand(io: Io, name: string): Command {
  return new Command(name).exitOverride().configureOutput({
    writeOut: (text) => io.out(text.trimEnd()),
    writeErr: (text) => io.err(text.trimEnd()),
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
}

/** Lines of columns, each as wide as its widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => widths[column] = Math.max(widths[column] ?? 0, cell.length));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd());
}

/** `1 request`, `2 requests`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
