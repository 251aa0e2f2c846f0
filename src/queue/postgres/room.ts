/**
 * How many bytes are stored, as one relay knows it: what it last saw of the totals, and what it has added and removed since. Others add
 * to them meanwhile; a bound that is near is asked of the database.
 * @module
 */
import type { TargetId } from "../queue.ts";
import type { Totals } from "../totals.ts";
import { OVERLAP } from "./ledger.ts";

/** Bytes that a target gained; target 0 is none, see {@link OVERLAP}. */
export interface Change {
  readonly target: TargetId;
  readonly bytes?: number;
}

export class Room {
  #bytes = 0;
  readonly #targets = new Map<TargetId, number>();
  /** Writes that are under way, and what those have changed that ended since a look at the totals began. */
  #writing = 0;
  #begun = 0;
  #since: Change[] | undefined;

  /** What is stored, each payload once. */
  get bytes(): number {
    return this.#bytes;
  }

  of(target: TargetId): number {
    return this.#targets.get(target) ?? 0;
  }

  /** A write; the function is called with what it has changed. */
  write(): (changes: readonly Change[]) => void {
    this.#writing += 1;
    this.#begun += 1;
    return (changes) => {
      this.#writing -= 1;
      this.#since?.push(...changes);
      for (const change of changes) this.#add(change);
    };
  }

  /**
   * Looks at the totals. What is written meanwhile may be in them or not: it is counted in any case, until the next look.
   * @returns the totals, and whether nothing was written meanwhile
   */
  async look(read: () => Promise<Totals>): Promise<{ readonly totals: Totals; readonly exact: boolean }> {
    const before = { writing: this.#writing, begun: this.#begun };
    const since: Change[] = this.#since = [];
    const totals = await read();
    if (this.#since === since) this.#since = undefined;
    this.#bytes = totals.bytes;
    this.#targets.clear();
    for (const [target, { bytes }] of Object.entries(totals.targets)) this.#targets.set(Number(target), bytes);
    for (const change of since) this.#add(change);
    return { totals, exact: before.writing === 0 && before.begun === this.#begun };
  }

  /** What the database says of one bound; target 0 stands for all of them here. */
  correct(target: TargetId, bytes: number): void {
    if (target === OVERLAP) this.#bytes = bytes;
    else this.#targets.set(target, bytes);
  }

  /** Moves with each write that begins. */
  get mark(): number {
    return this.#begun;
  }

  /** Whether anything is being written. */
  get quiet(): boolean {
    return this.#writing === 0;
  }

  #add({ target, bytes = 0 }: Change): void {
    this.#bytes += bytes;
    if (target !== OVERLAP) this.#targets.set(target, this.of(target) + bytes);
  }
}
