/**
 * A record in the exporter's hands: lent until it is settled, and settled once.
 * @module
 */
import type { Delivery, PartOutcome } from "./queue.ts";

/** What an engine does for a record that it lends. */
export interface Lender {
  /** Asked for each use until the settle. */
  payload(): Uint8Array;
  /** Says what became of each part; called at most once, with an outcome for each. */
  settle(outcomes: readonly PartOutcome[]): Promise<void>;
}

/** The delivery of a record, which keeps what {@link Delivery} promises of a use after the settle and of a second settle. */
export function deliveryOf(record: Omit<Delivery, "settle" | "payload">, lender: Lender): Delivery {
  const { id, parts } = record;
  let settled = false;
  return {
    ...record,
    get payload() {
      if (settled) throw new ReferenceError(`Record ${id} has been settled: its payload is not lent any more`);
      return lender.payload();
    },
    settle: (outcomes) => {
      if (outcomes.length !== parts.length) {
        return Promise.reject(new RangeError(`Record ${id} has ${parts.length} parts, not ${outcomes.length}`));
      }
      if (settled) return Promise.reject(new Error(`Record ${id} has been settled before`));
      settled = true;
      return lender.settle(outcomes);
    },
  };
}
