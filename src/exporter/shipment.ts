/**
 * Deliveries under way: what each part has met so far. A record is settled as soon as each of its parts has met something, so that nothing
 * that has arrived waits for what has not.
 * @module
 */
import { Refusal } from "../errors.ts";
import type { Delivery, PartOutcome } from "../queue/queue.ts";
import type { Permit } from "./breaker.ts";
import type { Answer } from "./client/client.ts";
import { type Piece, piecesOf } from "./payload.ts";

/** Records under way, and the leave to send them. */
export interface Voyage {
  readonly shipment: Shipment;
  readonly permit: Permit;
  /** How often the identity had been replaced when it was sent off. */
  readonly identity: number;
  /** Where the endpoint tells senders apart. */
  readonly alone?: Alone;
}

/** Data of one sender, and what came of it. */
export interface Alone {
  readonly sender: string;
  /** Nothing was taken of it, and the endpoint answered. */
  answered: boolean;
  refusal?: Refused;
}

/** The endpoint does not take what a sender has sent, which may be for the sender alone. */
export interface Refused {
  readonly sender: string;
  readonly answer: Answer;
  readonly kept: Kept;
}

/** Why what has met no outcome is kept, and for how long. */
export interface Kept {
  readonly afterMs?: number;
  readonly cause: string;
}

export class Shipment {
  readonly pieces: readonly Piece[];
  readonly #outcomes = new Map<Piece, PartOutcome>();
  readonly #records = new Map<
    number,
    { readonly delivery: Delivery; readonly pieces: readonly Piece[]; open: number }
  >();
  readonly #onSettle: (delivery: Delivery, outcomes: readonly PartOutcome[]) => void;
  readonly #settles: Promise<void>[] = [];

  /** @param onSettle Hears the outcomes of a record, before the queue does. */
  constructor(
    deliveries: readonly Delivery[],
    onSettle: (delivery: Delivery, outcomes: readonly PartOutcome[]) => void = () => {},
  ) {
    this.#onSettle = onSettle;
    this.pieces = deliveries.flatMap((delivery) => {
      const pieces = piecesOf(delivery);
      this.#records.set(delivery.id, { delivery, pieces, open: pieces.length });
      return pieces;
    });
  }

  /** When the first of the senders that wait for it stops waiting, by `performance.now()`; Infinity where none waits. */
  until(pieces: readonly Piece[] = this.pieces): number {
    return pieces.reduce(
      (until, { delivery }) => Math.min(until, delivery.until ?? Infinity),
      Infinity,
    );
  }

  /** Whether a part has met its outcome. */
  has(piece: Piece): boolean {
    return this.#outcomes.has(piece);
  }

  /** Says what became of a part; once. */
  set(piece: Piece, outcome: PartOutcome): void {
    this.#outcomes.set(piece, outcome);
    const record = this.#records.get(piece.delivery.id)!;
    if (--record.open > 0) return;
    const outcomes = timed(record.pieces.map((each) => this.#outcomes.get(each)!));
    this.#onSettle(record.delivery, outcomes);
    const settled = settle(record.delivery, outcomes);
    // `settled` reports it, however late that is asked for.
    settled.catch(() => {});
    this.#settles.push(settled);
  }

  /** The same outcome for every part that has none yet. */
  setRest(outcome: PartOutcome): void {
    for (const piece of this.pieces) if (!this.#outcomes.has(piece)) this.set(piece, outcome);
  }

  /** Resolves when all is settled. Rejects when the queue does not take an outcome, which is a defect. */
  async settled(): Promise<void> {
    const results = await Promise.allSettled(this.#settles);
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }
}

/** If some parts of a record wait, all wait as long as the first of them: the queue has one time for all, and takes the longest. */
function timed(outcomes: readonly PartOutcome[]): readonly PartOutcome[] {
  let afterMs = Infinity;
  let differ = false;
  for (const outcome of outcomes) {
    if (outcome.kind !== "retry") continue;
    const own = outcome.afterMs ?? 0;
    differ ||= afterMs !== Infinity && own !== afterMs;
    afterMs = Math.min(afterMs, own);
  }
  return differ ? outcomes.map((outcome) => outcome.kind === "retry" ? { ...outcome, afterMs } : outcome) : outcomes;
}

/** A queue that is closed refuses: the record stays in it and is sent again. */
async function settle(delivery: Delivery, outcomes: readonly PartOutcome[]): Promise<void> {
  try {
    await delivery.settle(outcomes);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
}
