/** All processes of a server, for what is to happen to all of them at one moment. */
import { readFileSync } from "node:fs";
import process from "node:process";

/** The process and all below it. */
export function tree(pid: number): number[] {
  let children: string;
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  } catch {
    return [];
  }
  return [pid, ...children.split(" ").filter(Boolean).flatMap((child) => tree(Number(child)))];
}

/** Sends a signal to the process and all below it, the upper ones first, so that none is started meanwhile. */
export function signalTree(pid: number, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): number[] {
  const reached = new Set<number>();
  for (;;) {
    const more = tree(pid).filter((each) => !reached.has(each));
    if (more.length === 0) return [...reached];
    for (const each of more) {
      reached.add(each);
      send(each, signal);
    }
    // Children of the killed are nobody's.
    if (signal === "SIGKILL") return [...reached];
  }
}

/** A process that has ended by itself is no fault. */
export function send(pid: number, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
