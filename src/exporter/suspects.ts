/**
 * Parts that the Collector has refused by themselves, where it is not known yet whether they are at fault or the Collector refuses
 * everything. Each waits alone, longer each time.
 *
 * - It is guilty when it was refused three times, and the endpoint took other data in each time between. One such time may be chance: a
 *   Collector whose back end fails twice in a row shows it, too.
 * - Where the endpoint has lately taken what it had refused, sixteen times are called for: it may refuse by chance.
 * - Where nothing is taken at all, one of a few is set aside after it has waited for ten times the longest backoff: nobody may send
 *   anything else.
 * - Where many are refused and nothing is taken, it is the Collector: they are held for as long as it lasts.
 * @module
 */
import { partOf, type Piece } from "./payload.ts";
import type { Evidence, Occasion } from "./evidence.ts";
import type { Marks, Row, Suspicion } from "./marks.ts";

/** Parts that are refused by themselves with nothing taken since, from which on the endpoint refuses everything, as far as can be told. */
export const REFUSED_IN_A_ROW_MAX = 8;

/** How often the endpoint has to have taken other data between two refusals of a part. */
const PROOFS = 2;
/** The same where it has taken what it had refused: one of two servers behind an address that refuses everything does so every other time. */
const FICKLE_PROOFS = 15;

/** After so many times the longest backoff one has waited long enough, where nothing can be proven. */
const PATIENCE_FACTOR = 10;

/** Senders remembered at most whose parts are refused in a row; beyond it the first are forgotten. */
const ROWS_MAX = 10_000;

/** Settings. */
export interface SuspectsOptions {
  readonly marks: Marks;
  readonly evidence: Evidence;
  /** How long one waits, in ms: at first, and at most. */
  readonly wait: { readonly initialMs: number; readonly maxMs: number };
  readonly bySender: boolean;
}

/** What came of cutting one down. `some`: some of it was taken, and this is left. `nothing`: nothing was, though it was proven. */
export type Cut = "some" | "nothing";

export class Suspects {
  readonly #options: SuspectsOptions;
  readonly #rows = new Map<string, Row>();

  constructor(options: SuspectsOptions) {
    this.#options = options;
  }

  /** Whether the endpoint refuses everything of the sender, as far as can be told. */
  everything(piece: Piece): boolean {
    return this.#rowOf(piece).refused >= REFUSED_IN_A_ROW_MAX;
  }

  get #proofs(): number {
    return this.#options.evidence.fickle ? FICKLE_PROOFS : PROOFS;
  }

  /** One was just refused again: whether it is guilty. */
  proven(piece: Piece, suspicion: Suspicion): boolean {
    return suspicion.proofs + this.#newProofs(piece, suspicion) >= this.#proofs;
  }

  /** One was just refused again, and nothing else is sent that could tell anything: whether it has waited long enough. */
  waited(piece: Piece, suspicion: Suspicion): boolean {
    const { evidence, wait } = this.#options;
    const idle = !evidence.takenSince({ sentBefore: suspicion.sentBefore }, partOf(piece).sender);
    const waitedMs = performance.now() - suspicion.since;
    return idle && waitedMs >= wait.maxMs * PATIENCE_FACTOR && !this.everything(piece);
  }

  /**
   * One was refused by itself.
   * @param cut What came of cutting it down, where something did.
   * @returns how long it waits, in ms, and its refusals in a row.
   */
  refused(piece: Piece, occasion: Occasion, cut?: Cut): { readonly waitMs: number; readonly refusals: number } {
    const { marks, wait: { initialMs, maxMs } } = this.#options;
    const known = marks.of(piece)?.suspicion;
    const row = this.#rowOf(piece);
    if (known?.row !== row) row.refused++;
    const refusals = (known?.refusals ?? 0) + 1;
    const newProofs = known === undefined ? 0 : this.#newProofs(piece, known);
    // The endpoint is well: it is looked at again soon.
    const waits = newProofs > 0 || cut !== undefined ? 0 : refusals - 1;
    const backoffMs = Math.min(maxMs, initialMs * 2 ** Math.min(waits, 30));
    const waitMs = backoffMs / 2 + backoffMs / 2 * Math.random();
    const suspicion: Suspicion = {
      ...occasion,
      refusals,
      // What is left of it is proven anew by one time more, unless that may be chance.
      proofs: cut === undefined ? (known?.proofs ?? 0) + newProofs : this.#options.evidence.fickle ? 0 : PROOFS - 1,
      since: cut === "some" || known === undefined ? performance.now() : known.since,
      vain: cut === "nothing" || (cut === undefined && known?.vain === true),
      row,
    };
    marks.set(piece, {
      kind: "suspected",
      sentBefore: occasion.sentBefore,
      failures: refusals,
      dueAt: performance.now() + waitMs,
      suspicion,
    });
    return { waitMs, refusals };
  }

  #newProofs(piece: Piece, suspicion: Suspicion): 0 | 1 {
    return this.#options.evidence.takenSince(suspicion, partOf(piece).sender) ? 1 : 0;
  }

  #rowOf(piece: Piece): Row {
    const { evidence, bySender } = this.#options;
    const { sender } = partOf(piece);
    const lastTaken = evidence.lastTaken(sender);
    const key = bySender ? sender : "";
    const known = this.#rows.get(key);
    const { moves } = evidence;
    if (known?.lastTaken === lastTaken && known.moves === moves) return known;
    const row = { lastTaken, moves, refused: 0 };
    this.#rows.set(key, row);
    const [first] = this.#rows.keys();
    if (this.#rows.size > ROWS_MAX && first !== undefined) this.#rows.delete(first);
    return row;
  }
}
