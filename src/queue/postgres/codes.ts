/**
 * How signals and encodings stand in the tables: narrow numbers that never change.
 * @module
 */
import type { PayloadEncoding } from "../queue.ts";
import type { SignalName } from "../../signal.ts";

const SIGNAL_CODES: Readonly<Record<SignalName, number>> = { traces: 0, metrics: 1, logs: 2, profiles: 3 };
const ENCODING_CODES: Readonly<Record<PayloadEncoding, number>> = { gzip: 0, identity: 1 };

export function codeOfSignal(signal: SignalName): number {
  return SIGNAL_CODES[signal];
}

export function codeOfEncoding(encoding: PayloadEncoding): number {
  return ENCODING_CODES[encoding];
}

/** @throws {RangeError} of a number that stands for none */
export function signalOfCode(code: unknown): SignalName {
  return nameOf(SIGNAL_CODES, code);
}

/** @throws {RangeError} of a number that stands for none */
export function encodingOfCode(code: unknown): PayloadEncoding {
  return nameOf(ENCODING_CODES, code);
}

function nameOf<Name extends string>(codes: Readonly<Record<Name, number>>, code: unknown): Name {
  for (const name in codes) if (codes[name] === Number(code)) return name;
  throw new RangeError(`The queue's tables have the code ${code}, which this edgeferry does not know`);
}
