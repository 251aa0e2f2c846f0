/**
 * What every command shares: where it prints, how it is made, and how it says that it found a fault.
 * @module
 */
import { styleText } from "node:util";
import { Command } from "commander";
import { shownText } from "../config/shown.ts";

/** What a terminal shows now; it may be made wider while a command runs. */
export interface Look {
  /** Whether it shows colours: NO_COLOR is not set. */
  readonly colours?: boolean;
  /** Characters in a line; absent if it is no terminal, and lines are not wrapped. */
  readonly width?: number | undefined;
}

/** Where a command prints. The look is that of `out`. */
export interface Io extends Look {
  /** Prints one line of output; the text may hold more lines, without the last line end. */
  readonly out: (line: string) => void;
  /** Prints one line for the person who runs the command; a terminal paints the word that a {@link warn | warning} begins with. */
  readonly err: (line: string, kind?: "warning") => void;
  /** Whether `out` is a terminal. */
  readonly isTerminal: boolean;
  /** That of stderr, where the log goes; absent: it is no terminal. */
  readonly errLook?: Look | undefined;
  /** Shows the progress of long work on a terminal; absent: progress is printed line by line. */
  readonly progress?: (() => Promise<(what: string, total: number) => Progress>) | undefined;
}

/** A bar that fills. */
export interface Progress extends Disposable {
  readonly update: (done: number) => void;
}

/** The colours by meaning. A colour is never the only sign. */
const COLOURS = { good: "green", warning: "yellow", bad: "red", heading: "bold", note: "cyan", aside: "dim" } as const;

/** The text in the colour of its meaning, where colours are shown. */
export function painted(look: Look, as: keyof typeof COLOURS, text: string): string {
  // Whether the stream is a terminal has been looked at.
  return look.colours === true ? styleText(COLOURS[as], text, { validateStream: false }) : text;
}

/** The word that a warning begins with. */
export const WARNING = "Warning:";

/** Prints a warning for the person who runs the command; the text says what is wrong and what to do. */
export function warn(io: Pick<Io, "err">, text: string): void {
  io.err(`${WARNING} ${text}`, "warning");
}

/** The command did its work and found a fault: exit code 1. The message is the last line on stderr. */
export class FaultFound extends Error {
  override readonly name = "FaultFound";
}

/** A command that prints to `io`, and throws commander's `CommanderError` where it would end the program. */
export function newCommand(io: Io, name: string): Command {
  // Positional: an option behind a subcommand's name is the subcommand's.
  return new Command(name).exitOverride().enablePositionalOptions().configureOutput({
    writeOut: (text) => io.out(text.trimEnd()),
    writeErr: (text) => io.err(text.trimEnd()),
    outputError: (text, write) => write(withoutGiven(text)),
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
}

/** What commander says of wrong use quotes what was given, and a token may have been given in the wrong place. */
function withoutGiven(text: string): string {
  return text.replace(/ but got (\d+): .*/, " but got $1.")
    .replaceAll(/'([^']*)'/g, (quoted, given: string) => shownText(given).startsWith("(") ? shownText(given) : quoted);
}

/** A column narrower than this is not wrapped; its text stands below the line instead. */
const COLUMN_MIN = 20;
const BELOW = 4;

/**
 * Lines of columns, each as wide as its widest cell; a column of numbers is set to the right. Where a line would be longer than
 * `width`, its last cell goes on below itself. Where that leaves it no room, the columns that do not fit stand below each line,
 * each by its heading, but for those without a value (`-`).
 */
export function table(rows: readonly (readonly string[])[], width = Infinity): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => widths[column] = Math.max(widths[column] ?? 0, cell.length));
  const isNumeric = widths.map((_, column) => {
    const cells = rows.slice(1).map((row) => row[column] ?? "");
    return cells.some((cell) => cell !== "-") && cells.every((cell) => /^(-|-?[\d,.]+)$/.test(cell));
  });
  const line = (row: readonly string[], columns: number): string =>
    row.slice(0, columns).map((cell, column) =>
      isNumeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)
    ).join("  ").trimEnd();
  /** How far the columns before this one reach. */
  const before = (column: number): number => widths.slice(0, column).reduce((sum, each) => sum + each + 2, 0);

  const last = widths.length - 1;
  if (before(widths.length) - 2 <= width) return rows.map((row) => line(row, widths.length));
  if (width - before(last) >= COLUMN_MIN) {
    return rows.flatMap((row) => fitted(line(row, widths.length), width, before(last)));
  }
  const beside = Math.max(1, widths.findIndex((_, column) => before(column + 1) - 2 > width));
  const [headings = []] = rows;
  return rows.flatMap((row) => {
    if (row === headings) return [line(row, beside)];
    const below = row.slice(beside).flatMap((cell, index) => {
      const heading = headings[beside + index];
      return cell === "-" || cell === "" ? [] : heading ? [`${heading} ${cell}`] : [cell];
    });
    return [
      line(row, beside),
      ...(below.length === 0 ? [] : fitted(" ".repeat(BELOW) + below.join("; "), width, BELOW)),
    ];
  });
}

/**
 * A line in lines of `width`, cut at spaces; those after the first are set in by `indent`. A word that is longer than a line, such
 * as a path, stays whole: so it can be copied.
 */
export function fitted(line: string, width = Infinity, indent = 0): string[] {
  if (width - indent < COLUMN_MIN) return [line];
  const lines: string[] = [];
  let rest = line;
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    const end = space > indent && rest.slice(0, space).trim() !== "" ? space : rest.indexOf(" ", width);
    if (end === -1) break;
    lines.push(rest.slice(0, end).trimEnd());
    rest = " ".repeat(indent) + rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** Prints a line as {@link fitted} has it on this terminal. */
export function put(io: Io, line: string, indent = 0): void {
  for (const each of fitted(line, io.width, indent)) io.out(each);
}

/** Prints a name and its explanation, for a person who looks it up on a terminal. */
export function putEntry(io: Io, name: string, lines: readonly string[]): void {
  io.out(painted(io, "heading", name));
  for (const line of lines) put(io, " ".repeat(BELOW) + line, BELOW);
}

/** `1 request`, `2 requests`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
