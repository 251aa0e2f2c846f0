/**
 * Faults on purpose, for tests of what happens between two steps. Plain data, because they act in the Worker's thread,
 * where no function can be handed over.
 * @module
 */
import process from "node:process";

/** The steps of one transaction between which a fault can strike. */
export type FaultPoint = "begun" | "written" | "committed" | "marked";

/**
 * One fault: at the `nth` time (1 is the first) that `point` is passed.
 * - `kill`: SIGKILL to the own process.
 * - `io_error`, `disk_full`, `corrupt`: what SQLite throws for SQLITE_IOERR, SQLITE_FULL, SQLITE_CORRUPT.
 * - `crash`: the Worker ends with an uncaught error.
 */
export interface Fault {
  readonly point: FaultPoint;
  readonly nth: number;
  readonly act: "kill" | "io_error" | "disk_full" | "corrupt" | "crash";
  /** Only transactions with such operations count. */
  readonly only?: "append" | "settle";
}

/** Thrown by act `crash`: nothing in the Worker may catch it. */
export class WorkerCrash extends Error {
  override readonly name = "WorkerCrash";
}

const SQLITE_CODES = { io_error: 10, disk_full: 13, corrupt: 11 } as const;

/** A function to call at each point; without faults it does nothing. */
export function faultInjector(
  faults: readonly Fault[],
): (point: FaultPoint, transaction: { readonly appends: number; readonly settles: number }) => void {
  if (faults.length === 0) return () => {};
  const passed = faults.map(() => 0);
  return (point, transaction) => {
    const due = faults.filter((fault, index) => {
      if (fault.point !== point) return false;
      if (fault.only === "append" && transaction.appends === 0) return false;
      if (fault.only === "settle" && transaction.settles === 0) return false;
      const count = (passed[index] ?? 0) + 1;
      passed[index] = count;
      return count === fault.nth;
    });
    for (const { act } of due) {
      if (act === "kill") process.kill(process.pid, "SIGKILL");
      else if (act === "crash") throw new WorkerCrash(`A fault on purpose at ${point}`);
      else throw Object.assign(new Error(`${act} on purpose at ${point}`), { errcode: SQLITE_CODES[act] });
    }
  };
}
