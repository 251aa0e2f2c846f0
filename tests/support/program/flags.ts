/** The options of a task that a person starts: `--help` lists them, and a wrong one is told in one line, without a stack. */
import process from "node:process";
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

/** What the arguments say; or else what to print, and the exit code to end with. */
export function readFlags<Options extends ParseArgsOptionsConfig>(task: string, options: Options, args: string[]) {
  const listed = Object.entries(options).map(([name, { type, default: value }]) => {
    const argument = type === "boolean" ? "" : ` ${value === undefined || value === "" ? "…" : value}`;
    return `[--${name}${argument}]`;
  });
  const usage = `deno task ${task} ${listed.join(" ")}`;
  if (args.includes("--help")) return { said: usage, code: 0 } as const;
  try {
    return { values: parseArgs({ args, options }).values } as const;
  } catch (error) {
    // "To specify a positional argument …" helps nobody here: there are none.
    const [what] = (error instanceof Error ? error.message : String(error)).split(". ");
    return { said: `${what}; usage: ${usage}`, code: 2 } as const;
  }
}

/** The same of this process, which ends where there is something to print. */
export function flagsOf<Options extends ParseArgsOptionsConfig>(task: string, options: Options) {
  const read = readFlags(task, options, process.argv.slice(2));
  if (read.values !== undefined) return read.values;
  (read.code === 0 ? console.log : console.error)(read.said);
  process.exit(read.code);
}
