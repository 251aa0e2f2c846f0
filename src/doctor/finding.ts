/**
 * What a check is, and what it says.
 * @module
 */

/** What a step came to. `warning`: it works, and a person should know. */
export type Status = "ok" | "warning" | "fault" | "skipped";

/** What a check says. */
export interface Finding {
  readonly status: Status;
  /** A sentence without a period. */
  readonly finding: string;
  /** What it rests on. */
  readonly evidence?: readonly string[];
  /** The name of the fault, for `warning` and `fault`; it stands in the table of `src/diagnosis/faults.ts`. */
  readonly fault?: string;
  /** What to do; the table's own words unless given. */
  readonly remedy?: string;
}

/** One step of the path. */
export interface Check<Subject> {
  readonly id: string;
  /** What it looks at, in a few words. */
  readonly title: string;
  /** Steps that must not have failed. */
  readonly needs: readonly string[];
  readonly run: (subject: Subject) => Finding | Promise<Finding>;
}
