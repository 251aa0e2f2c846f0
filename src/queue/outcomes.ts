/**
 * What the outcomes of a delivery do to its row.
 * @module
 */
import type { Part, PartOutcome, Remains } from "./queue.ts";

/** A part's outcome, as far as the rows are concerned. */
export type PartSettlement =
  | { readonly kind: "delivered"; readonly rejected: number }
  | { readonly kind: "retry"; readonly remains?: Remains }
  | {
    readonly kind: "dead";
    readonly reason: string;
    readonly status?: number;
    readonly payload?: Uint8Array<ArrayBuffer>;
    readonly items?: number;
    readonly rejected?: number;
  };

/** What it was. */
export type Settlement =
  | { readonly kind: "done"; readonly rejected: number }
  | { readonly kind: "expired" }
  | {
    readonly kind: "parts";
    /** Payload bytes of the record that the outcomes are of. */
    readonly bytes: number;
    readonly outcomes: readonly PartSettlement[];
  };

/** Undefined where every part is to be sent again whole: the row is as it should be. @param outcomes One of each part, in order. */
export function settlementOf(
  parts: readonly Pick<Part, "items" | "bytes">[],
  outcomes: readonly PartOutcome[],
): Settlement | undefined {
  let rejected = 0;
  let delivered = 0;
  let retried = 0;
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.kind === "retry") {
      if (outcome.remains === undefined) retried += 1;
    } else if (outcome.kind === "delivered") {
      delivered += 1;
      rejected += Math.min(outcome.rejected ?? 0, parts[index]!.items);
    }
  }
  if (retried === outcomes.length) return undefined;
  if (delivered === outcomes.length) return { kind: "done", rejected };
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  return { kind: "parts", bytes, outcomes: outcomes.map(partSettlementOf) };
}

/** How long what is to be sent again waits, in ms: as long as the part that is to wait longest. */
export function longestRetryMs(outcomes: readonly PartOutcome[]): number {
  let afterMs = 0;
  for (const outcome of outcomes) if (outcome.kind === "retry") afterMs = Math.max(afterMs, outcome.afterMs ?? 0);
  return afterMs;
}

function partSettlementOf(outcome: PartOutcome): PartSettlement {
  if (outcome.kind === "retry") {
    return outcome.remains === undefined ? { kind: "retry" } : { kind: "retry", remains: outcome.remains };
  }
  if (outcome.kind === "delivered") return { kind: "delivered", rejected: outcome.rejected ?? 0 };
  return outcome;
}
