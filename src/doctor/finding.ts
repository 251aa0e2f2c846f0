/**
 * What a check is, and what it says.
 * @module
 */
import { diagnose, type RefusedRole } from "../diagnosis/faults.ts";
import { CertificateError, sentenceOf } from "../errors.ts";

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
  /** It is a fault, and the steps that need this one can be taken all the same. */
  readonly goesOn?: true;
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

export function ok(finding: string, ...evidence: string[]): Finding {
  return { status: "ok", finding, evidence };
}

export function warning(fault: string, finding: string, ...evidence: string[]): Finding {
  return { status: "warning", fault, finding, evidence };
}

/** The same as `error`, as a finding. */
export function faultFrom(error: CertificateError, role: RefusedRole): Finding {
  const fault = diagnose({ text: error.message, refused: { code: error.code, role } });
  const { what, state, remedy } = error;
  return {
    status: "fault",
    ...(fault.code === "unknown" ? {} : { fault: fault.code }),
    finding: sentenceOf({ what, state }),
    ...(remedy === undefined ? {} : { remedy }),
  };
}

/** Where there is no TLS there is nothing to look at. */
export const NO_TLS: Finding = { status: "skipped", finding: "Skipped: the endpoint is http://, without TLS" };

/** The fault that a check throws. */
export function errorOf(check: () => void): CertificateError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof CertificateError) return error;
    throw error;
  }
}

/** A check that throws what it finds wrong, as a finding. */
export function judged(role: RefusedRole, check: () => Finding): Promise<Finding> {
  let finding: Finding | undefined;
  const error = errorOf(() => void (finding = check()));
  return Promise.resolve(error === undefined ? present(finding) : faultFrom(error, role));
}

/** What a check needs, an earlier one has set. */
export function present<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new TypeError("A check ran before the one that it needs");
  return value;
}
