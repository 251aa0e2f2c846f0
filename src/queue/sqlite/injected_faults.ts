/**
 * Faults on purpose, for tests of what happens between two steps. Plain data, because they act in the Worker's thread,
 * where no function can be handed over.
 * @module
 */
import process from "node:process";

/** The steps of one transaction between which a fault can strike; `aside`: a file has been set aside, or copied, and no other made. */
export type FaultPoint = "begun" | "written" | "committed" | "marked" | "aside";

/**
 * One fault: at the `nth` time (1 is the first) that `point` is passed.
 * - `kill`: SIGKILL to the own process.
 * - `io_error`, `disk_full`, `corrupt`: what SQLite throws for SQLITE_IOERR, SQLITE_FULL, SQLITE_CORRUPT.
 * - `crash`: the Worker ends with an uncaught error.
 * - `hang`: the Worker's thread stands still for `hangMs`, as in an fsync that does not come back, or until the first of `until` is changed
 *   from 0 and notified.
 */
export interface Fault {
  readonly point: FaultPoint;
  readonly nth: number;
  readonly act: "kill" | "io_error" | "disk_full" | "corrupt" | "crash" | "hang";
  readonly hangMs?: number;
  readonly until?: Int32Array<SharedArrayBuffer>;
  /** Only transactions with such operations count. */
  readonly only?: "append" | "settle";
}

/** Thrown by act `crash`: nothing in the Worker may catch it. */
export class WorkerCrash extends Error {
  override readonly name = "WorkerCrash";
}

const SQLITE_CODES = { io_error: 10, disk_full: 13, corrupt: 11 } as const;

/** To be called at each point. */
export type FaultInjector = (
  point: FaultPoint,
  transaction: { readonly appends: number; readonly settles: number },
) => void;

/** Without faults it does nothing. */
export function faultInjector(faults: readonly Fault[]): FaultInjector {
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
    for (const { act, hangMs, until = new Int32Array(new SharedArrayBuffer(4)) } of due) {
      if (act === "hang") Atomics.wait(until, 0, 0, hangMs);
      else if (act === "kill") process.kill(process.pid, "SIGKILL");
      else if (act === "crash") throw new WorkerCrash(`A fault on purpose at ${point}`);
      else throw Object.assign(new Error(`${act} on purpose at ${point}`), { errcode: SQLITE_CODES[act] });
    }
  };
}
