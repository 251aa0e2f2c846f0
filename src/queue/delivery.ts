/**
 * A record in the exporter's hands: lent until it is settled, and settled once.
 * @module
 */
import type { SignalName } from "../signal.ts";
import type { Delivery, Part, PartOutcome, PayloadEncoding, TargetId } from "./queue.ts";

/** What an engine does for a record that it lends. */
export interface Lender {
  /** Asked for each use until the settle. */
  payload(): Uint8Array;
  /** Says what became of each part; called at most once, with an outcome for each. */
  settle(outcomes: readonly PartOutcome[]): Promise<void>;
}

/** The delivery of a record, which keeps what {@link Delivery} promises of a use after the settle and of a second settle. */
export function deliveryOf(record: Omit<Delivery, "settle" | "payload">, lender: Lender): Delivery {
  return new Loan(record, lender);
}

/** A class: an accessor in an object literal took 4 us a record. */
class Loan implements Delivery {
  readonly id: number;
  readonly target: TargetId;
  readonly signal: SignalName;
  readonly encoding: PayloadEncoding;
  readonly mergeable: boolean;
  readonly parts: readonly Part[];
  readonly enqueuedAt: number;
  declare readonly until?: number;
  readonly #lender: Lender;
  #settled = false;

  constructor(record: Omit<Delivery, "settle" | "payload">, lender: Lender) {
    this.id = record.id;
    this.target = record.target;
    this.signal = record.signal;
    this.encoding = record.encoding;
    this.mergeable = record.mergeable;
    this.parts = record.parts;
    this.enqueuedAt = record.enqueuedAt;
    if (record.until !== undefined) this.until = record.until;
    this.#lender = lender;
  }

  get payload(): Uint8Array {
    if (this.#settled) {
      throw new ReferenceError(`Record ${this.id} has been settled: its payload is not lent any more`);
    }
    return this.#lender.payload();
  }

  settle(outcomes: readonly PartOutcome[]): Promise<void> {
    const { id, parts } = this;
    if (outcomes.length !== parts.length) {
      return Promise.reject(new RangeError(`Record ${id} has ${parts.length} parts, not ${outcomes.length}`));
    }
    if (this.#settled) return Promise.reject(new Error(`Record ${id} has been settled before`));
    this.#settled = true;
    return this.#lender.settle(outcomes);
  }
}
