/**
 * How much of the queue each sender has, so that none fills it alone.
 * @module
 */
import { costOfPart } from "./cost.ts";
import { DrainRate } from "./drain_rate.ts";

/** What each sender has in the queue, those parts in flight included. */
export interface SenderShares {
  /** The bytes that a sender has in it, as `costOfPart` counts them. */
  bytesOf(sender: string): number;
  /** In how many seconds `bytes` of this sender will have drained at the present rate; undefined while nothing drains. */
  secondsFor(sender: string, bytes: number): number | undefined;
}

/** A part, as far as it is counted. */
interface CountedPart {
  readonly sender: string;
  /** Length of its payload. */
  readonly bytes: number;
}

/** What a sender has. */
interface Share {
  readonly sender: string;
  /** As `costOfPart` counts them. */
  readonly bytes: number;
}

/** The count, kept by an engine. Senders with nothing queued are forgotten when there are many. */
export class Shares implements SenderShares {
  readonly #now: () => number;
  readonly #senders = new Map<string, { bytes: number; readonly drain: DrainRate }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  bytesOf(sender: string): number {
    return this.#senders.get(sender)?.bytes ?? 0;
  }

  secondsFor(sender: string, bytes: number): number | undefined {
    return this.#senders.get(sender)?.drain.secondsFor(bytes);
  }

  /** Notes parts that the queue now has. */
  add(parts: readonly CountedPart[]): void {
    for (const { sender, bytes } of parts) this.#of(sender).bytes += costOfPart(bytes);
  }

  /** Notes parts that have left the queue. */
  remove(parts: readonly CountedPart[]): void {
    for (const { sender, bytes } of parts) {
      const share = this.#of(sender);
      share.bytes = Math.max(0, share.bytes - costOfPart(bytes));
      share.drain.note(costOfPart(bytes));
    }
  }

  /** Replaces the count by what was counted in the queue itself. */
  replace(counted: readonly Share[]): void {
    for (const share of this.#senders.values()) share.bytes = 0;
    for (const { sender, bytes } of counted) this.#of(sender).bytes += bytes;
  }

  #of(sender: string): { bytes: number; readonly drain: DrainRate } {
    let share = this.#senders.get(sender);
    if (share !== undefined) return share;
    if (this.#senders.size >= SENDERS_IDLE_MAX) {
      for (const [id, { bytes }] of this.#senders) if (bytes === 0) this.#senders.delete(id);
    }
    share = { bytes: 0, drain: new DrainRate(this.#now) };
    this.#senders.set(sender, share);
    return share;
  }
}

/** From so many senders on, those with nothing queued are forgotten. */
const SENDERS_IDLE_MAX = 1_000;
