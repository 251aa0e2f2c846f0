/** What a process under soak counts and prints each half second, until its standard input ends: then it prints once more, and exits. */
import { readdirSync } from "node:fs";
import process from "node:process";

/** All since the start, but for the memory and the open files of the moment. */
export interface Counts {
  connections: number;
  closed: number;
  calls: number;
  answered: number;
  aborted: number;
  failed: number;
  /** Errors that nothing caught: each is a fault of the runtime or of the soak. */
  uncaught: number;
}

/** One line of what a process under soak prints. */
export interface Line extends Counts {
  readonly rssMiB: number;
  readonly files: number;
  readonly cpuMs: number;
}

export function counter(): Counts {
  const counts: Counts = { connections: 0, closed: 0, calls: 0, answered: 0, aborted: 0, failed: 0, uncaught: 0 };
  function print(): void {
    const { user, system } = process.cpuUsage();
    const line: Line = {
      ...counts,
      rssMiB: Math.round(process.memoryUsage().rss / 2 ** 20),
      files: readdirSync("/proc/self/fd").length,
      cpuMs: Math.round((user + system) / 1000),
    };
    console.log(JSON.stringify(line));
  }
  process.on("uncaughtException", (error) => {
    counts.uncaught++;
    if (counts.uncaught < 4) console.error("Uncaught:", error);
  });
  process.on("unhandledRejection", (error) => {
    counts.uncaught++;
    if (counts.uncaught < 4) console.error("Unhandled:", error);
  });
  setInterval(print, 500).unref();
  process.stdin.resume().on("end", () => {
    print();
    process.exit(0);
  });
  return counts;
}
