/** What a process under soak counts and prints each half second, until its standard input ends: then it prints once more, and exits. */
import process from "node:process";

/** All since the start. */
export interface Counts {
  calls: number;
  answered: number;
  aborted: number;
  failed: number;
  /** Errors that nothing caught: each is a fault of ours, or of the runtime. */
  uncaught: number;
}

export function counter(): Counts {
  const counts: Counts = { calls: 0, answered: 0, aborted: 0, failed: 0, uncaught: 0 };
  const print = () => console.log(JSON.stringify(counts));
  const uncaught = (error: unknown) => {
    counts.uncaught++;
    if (counts.uncaught < 4) console.error("ERROR nobody caught:", error);
  };
  process.on("uncaughtException", uncaught);
  process.on("unhandledRejection", uncaught);
  setInterval(print, 500).unref();
  process.stdin.resume().on("end", () => {
    print();
    process.exit(0);
  });
  return counts;
}
