/**
 * What every command shares: where it prints, how it is made, and how it says that it found a fault.
 * @module
 */
import { styleText } from "node:util";
import { Command } from "commander";

/** Where a command prints. */
export interface Io {
  /** Prints one line of output; the text may hold more lines, without the last line end. */
  readonly out: (line: string) => void;
  /** Prints one line for the person who runs the command. */
  readonly err: (line: string) => void;
  /** Whether `out` is a terminal. */
  readonly isTerminal: boolean;
  /** Whether `out` shows colours: a terminal, and NO_COLOR is not set. */
  readonly colours?: boolean;
  /** Characters in a line of `out`; absent where it is no terminal, and lines are as long as they are. */
  readonly width?: number | undefined;
  /** Shows how far long work is, where a person sees it; absent: it is told line by line. */
  readonly progress?: (() => Promise<(what: string, total: number) => Progress>) | undefined;
}

/** A bar that fills. */
export interface Progress extends Disposable {
  readonly update: (done: number) => void;
}

/** What a word stands for, where colours are shown. Never the only sign of it. */
const COLOURS = { good: "green", warning: "yellow", bad: "red", heading: "bold" } as const;

/** The text in the colour of what it stands for, where `out` shows colours. */
export function painted(io: Io, as: keyof typeof COLOURS, text: string): string {
  // Whether the stream is a terminal has been looked at, of the stream that `out` is.
  return io.colours === true ? styleText(COLOURS[as], text, { validateStream: false }) : text;
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

/** Less than this is no column to go on in; what would stand there stands below its line instead. */
const COLUMN_MIN = 20;
const BELOW = 4;

/**
 * Lines of columns, each as wide as its widest cell; a column of numbers is set to the right. Where a line would be longer than
 * `width`, its last cell goes on below itself, or stands below the line.
 */
export function table(rows: readonly (readonly string[])[], width = Infinity): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => widths[column] = Math.max(widths[column] ?? 0, cell.length));
  const isNumeric = widths.map((_, column) => {
    const cells = rows.slice(1).map((row) => row[column] ?? "");
    return cells.some((cell) => cell !== "-") && cells.every((cell) => /^(-|-?[\d,.]+)$/.test(cell));
  });
  const before = widths.slice(0, -1).reduce((sum, each) => sum + each + 2, 0);
  return rows.flatMap((row) => {
    const cells = row.map((cell, column) => {
      const columns = widths[column] ?? 0;
      return isNumeric[column] ? cell.padStart(columns) : cell.padEnd(columns);
    });
    const line = cells.join("  ").trimEnd();
    if (line.length <= width) return [line];
    if (width - before >= COLUMN_MIN) return fitted(line, width, before);
    return [
      cells.slice(0, -1).join("  ").trimEnd(),
      ...fitted(" ".repeat(BELOW) + cells.at(-1)!.trim(), width, BELOW),
    ];
  });
}

/** A line in lines of `width`, cut at spaces as far as there are any; those after the first are set in by `indent`. */
export function fitted(line: string, width = Infinity, indent = 0): string[] {
  if (width - indent < COLUMN_MIN) return [line];
  const lines: string[] = [];
  let rest = line;
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    const end = space > indent ? space : width;
    lines.push(rest.slice(0, end).trimEnd());
    rest = " ".repeat(indent) + rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** `1 request`, `2 requests`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
