/**
 * What a terminal can show: colours, lines of a width, a bar that fills.
 * @module
 */
import type { Io, Progress } from "./io.ts";

/** As far as a stream of `node:process` is looked at. */
interface Stream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Of a process's own streams and environment. NO_COLOR is that of https://no-color.org: any value but an empty one. */
export function terminalOf(
  out: Stream,
  err: Stream,
  env: Readonly<Record<string, string | undefined>>,
): Pick<Io, "isTerminal" | "colours" | "width" | "progress"> {
  const isTerminal = out.isTTY === true;
  return {
    isTerminal,
    colours: isTerminal && !env["NO_COLOR"] && env["TERM"] !== "dumb",
    width: isTerminal ? out.columns : undefined,
    progress: err.isTTY === true && env["TERM"] !== "dumb" ? () => barOn(err) : undefined,
  };
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
