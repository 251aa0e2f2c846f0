/**
 * What a terminal can show: colours, lines of a width, a bar that fills.
 * @module
 */
import { type LogLine, textOf } from "../telemetry/log.ts";
import { fitted, type Io, type Look, painted, type Progress, WARNING } from "./io.ts";

/** As far as a stream of `node:process` is looked at. */
interface Stream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** From a process's own streams and environment. NO_COLOR as in https://no-color.org: any value but an empty one. */
export function terminalOf(
  out: Stream,
  err: Stream,
  env: Readonly<Record<string, string | undefined>>,
): Pick<Io, "isTerminal" | "colours" | "width" | "errLook" | "progress"> {
  const colours = !env["NO_COLOR"] && env["TERM"] !== "dumb";
  return {
    ...lookOf(out, colours),
    isTerminal: out.isTTY === true,
    // Asked for at each line.
    get width() {
      return lookOf(out, colours).width;
    },
    get errLook() {
      return err.isTTY === true ? lookOf(err, colours) : undefined;
    },
    progress: err.isTTY === true && env["TERM"] !== "dumb" ? () => barOn(err) : undefined,
  };
}

function lookOf({ isTTY, columns }: Stream, colours: boolean): Required<Look> {
  const isTerminal = isTTY === true;
  // A terminal whose size nobody has set says 0.
  return { colours: isTerminal && colours, width: isTerminal && columns ? columns : undefined };
}

/** A message on stderr for a terminal: wrapped at its width, further lines indented. */
export function shownMessage(text: string, look: Look, kind?: "warning"): string {
  const shown = text.split("\n").flatMap((line) => {
    const indent = line.length - line.trimStart().length + 2;
    return fitted(line, look.width, indent);
  }).join("\n");
  return kind === undefined ? shown : painted(look, kind, WARNING) + shown.slice(WARNING.length);
}

const COLOUR_OF = { debug: "aside", info: "note", warn: "warning", error: "bad" } as const;

/** Where a line of the log in text goes on. */
const LOG_INDENT = 6;

/** A line of the log as a terminal shows it, its end included; what is to be done stands on a line of its own. */
export function shownLogLine(line: LogLine, look: Look): string {
  const remedy = line.fields.find(({ name }) => name === "remedy");
  const fields = line.fields.filter((field) => field !== remedy);
  const [first = "", ...more] = fitted(textOf({ ...line, fields }), look.width, LOG_INDENT);
  const level = line.level.toUpperCase();
  const headLength = line.time.length + 1 + level.length;
  // On a narrow terminal the level stands on the next line.
  const shown = first.length < headLength
    ? first
    : `${painted(look, "aside", line.time)} ${painted(look, COLOUR_OF[line.level], level)}${first.slice(headLength)}`;
  const todo = remedy === undefined
    ? []
    : fitted(`${" ".repeat(LOG_INDENT)}To do: ${remedy.value}`, look.width, LOG_INDENT);
  return `${[shown, ...more, ...todo].join("\n")}\n`;
}

/** Loaded for the commands that show one. */
async function barOn(stream: Stream): Promise<(what: string, total: number) => Progress> {
  // @deno-types="./cli_progress.d.ts"
  const { SingleBar } = await import("cli-progress");
  return (what, total) => {
    const bar = new SingleBar({
      stream,
      format: `${what} [{bar}] {percentage}%, {value} of {total}, {eta_formatted} left`,
      barCompleteChar: "=",
      barIncompleteChar: " ",
      barsize: 30,
      hideCursor: true,
      gracefulExit: false,
    });
    bar.start(total, 0);
    return { update: (done) => bar.update(done), [Symbol.dispose]: () => bar.stop() };
  };
}

/** A peer's words and a certificate's names may say anything, terminal escapes included. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
