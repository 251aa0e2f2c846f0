/**
 * The way out of a durable engine: what is taken, by whom and when, lent until it is settled, and given back where it is to be sent again.
 * Engines differ in where they read and write, and in what a take claims: see {@link TakesSettings}.
 * @module
 */
import { Refusal } from "../errors.ts";
import type { SignalName } from "../signal.ts";
import type { Alarm } from "./alarm.ts";
import type { ConfiguredTarget, ConfiguredTargets } from "./configured_targets.ts";
import { deliveryOf } from "./delivery.ts";
import type { LaneSet } from "./lane_set.ts";
import { type Entry, type Lane, oldestOf, partsOf } from "./lanes.ts";
import { longestRetryMs, type Settlement, settlementOf } from "./outcomes.ts";
import type { Delivery, PartOutcome, TakeLimit, TargetId } from "./queue.ts";
import { type RecordHead, UNKNOWN_SENDER } from "./record_head.ts";
import { takerKind, type Takers } from "./takers.ts";

/** An outcome that is to be written. */
export interface WantedSettle<Claim> {
  readonly settlement: Settlement;
  readonly entry: Entry;
  /** What it was taken under. */
  readonly claim: Claim;
  /** When what is left of the record may be taken again, in ms of a clock that never steps. */
  readonly dueAt: number;
  /** Whether it is in flight; an expired one is not. */
  readonly taken: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** What an engine does for it. `Claim`: by what a record that was taken is this process's. */
export interface TakesSettings<Claim> {
  readonly lanes: LaneSet;
  readonly takers: Takers;
  readonly targets: ConfiguredTargets;
  readonly alarm: Alarm;
  /** Records older than this are dropped; undefined: none ever. */
  readonly maxAgeMs: number | undefined;
  /** ms of a clock that never steps. */
  readonly steady: () => number;
  readonly reader: {
    /** Reads what a take within the limit needs; undefined where it needs nothing. Never rejects. */
    readFor(lanes: readonly Lane[], limit: TakeLimit): Promise<unknown> | undefined;
    /** Those of a run whose payload could be had; the others are released. Never rejects. */
    withPayloads(run: Entry[]): Promise<Entry[]>;
  };
  closing(): boolean;
  /** What a take may have by now, or until when it has to wait, by the same clock; absent: what it asks for. */
  boundsOf?(limit: TakeLimit, now: number): TakeLimit | number;
  /** What is taken now is taken under this; undefined where nothing can be. */
  claim(): Claim | undefined;
  /** Whether what was taken under it is this process's still. */
  holds(claim: Claim): boolean;
  /** How long records have been queued by now, in ms. */
  ages(): (head: RecordHead) => number;
  /** When a record was appended, in ms since the Unix epoch. */
  appendedAt(head: RecordHead): number;
  /** Writes an outcome, together with others. */
  settle(settle: WantedSettle<Claim>): void;
  /** Outcomes that wait for company go now. */
  hurry(): void;
}

export class Takes<Claim> {
  readonly #settings: TakesSettings<Claim>;
  /** Whether a taker waits for what is taken to become less. */
  #heldUp = false;

  constructor(settings: TakesSettings<Claim>) {
    this.#settings = settings;
  }

  /** As the queue's: see {@link SendingQueue.take}. */
  async take(limit: TakeLimit, signal: AbortSignal): Promise<Delivery[]> {
    const { lanes: set, takers, targets, steady, reader } = this.#settings;
    const target = targets.of(limit.target);
    const lanes = set.of(limit.target, limit.signal);
    const kind = takerKind(limit.target, limit.signal);
    for (;;) {
      if (this.#settings.closing()) throw new Refusal("shutting_down", "The queue is closed");
      if (signal.aborted) return [];
      const now = steady();
      for (const lane of lanes) lane.wake(now);
      const bounds = this.#settings.boundsOf?.(limit, now) ?? limit;
      if (typeof bounds === "number") {
        await takers.wait(kind, signal, bounds);
        continue;
      }
      const read = reader.readFor(lanes, bounds);
      if (read !== undefined) {
        await read;
        continue;
      }
      const lane = oldestOf(lanes);
      const waitsUntil = lane?.lingersUntil(limit, now) ?? Infinity;
      if (lane === undefined || waitsUntil > 0) {
        await takers.wait(kind, signal, Math.min(waitsUntil, ...lanes.map(({ nextDueAt }) => nextDueAt)));
        continue;
      }
      if (!set.mayTake(lane)) {
        this.#heldUp = true;
        await takers.wait(kind, signal);
        continue;
      }
      const claim = this.#settings.claim();
      const taken = set.take(lane, bounds);
      const run = await reader.withPayloads(claim === undefined ? taken : this.#unexpired(taken, claim));
      if (run.length === 0) continue;
      if (claim === undefined || !this.#settings.holds(claim)) {
        for (const entry of run) set.release(entry);
        continue;
      }
      if (signal.aborted || this.#settings.closing()) {
        for (const entry of run) set.leave(entry, 0);
        takers.wake();
        continue;
      }
      target.inFlight[limit.signal] += run.length;
      return run.map((entry) => this.#lend(entry, claim));
    }
  }

  /** Without those past their age, which leave the queue. */
  #unexpired(run: Entry[], claim: Claim): Entry[] {
    const { maxAgeMs, lanes, alarm } = this.#settings;
    if (maxAgeMs === undefined) return run;
    const ageOf = this.#settings.ages();
    return run.filter((entry) => {
      const { head } = entry;
      if (ageOf(head) <= maxAgeMs) return true;
      lanes.release(entry);
      const settlement = { kind: "expired" } as const;
      this.#settings.settle({ settlement, entry, claim, dueAt: 0, taken: false, resolve() {}, reject() {} });
      alarm.raise(
        `expired ${head.signal}`,
        `Dropped ${head.signal} that had been queued longer than sending_queue.max_age`,
        { signal: head.signal, maxAgeMs },
        head.items,
      );
      return false;
    });
  }

  #lend(entry: Entry, claim: Claim): Delivery {
    const { id, signal, encoding, mergeable } = entry.head;
    const parts = partsOf(entry);
    if (parts[0]?.sender === UNKNOWN_SENDER) {
      this.#settings.alarm.raise(
        "damaged parts",
        "What the queue knows of a record's senders is damaged: it is sent whole, as nobody's",
        { signal, record: id },
      );
    }
    return deliveryOf({
      id,
      target: entry.target,
      signal,
      encoding,
      mergeable,
      parts,
      enqueuedAt: this.#settings.appendedAt(entry.head),
    }, {
      payload: () => entry.payload,
      settle: (outcomes) => this.#settle(entry, claim, outcomes),
    });
  }

  #settle(entry: Entry, claim: Claim, outcomes: readonly PartOutcome[]): Promise<void> {
    const { lanes, takers, targets, steady } = this.#settings;
    const { id, signal } = entry.head;
    const target = targets.of(entry.target);
    const dueAt = steady() + longestRetryMs(outcomes);
    const settlement = settlementOf(partsOf(entry), outcomes);
    if (settlement === undefined) {
      target.inFlight[signal] -= 1;
      if (this.#settings.holds(claim) && !this.#settings.closing()) lanes.leave(entry, dueAt);
      else lanes.release(entry);
      takers.wake();
      return Promise.resolve();
    }
    // Whatever becomes of the transaction, what has arrived is not sent again by this process; what is left of another is read again.
    entry.giveUpPayload();
    if (this.#settings.closing()) {
      return Promise.reject(
        new Refusal("shutting_down", `The queue is closed: record ${id} stays in it and will be sent again`),
      );
    }
    target.settling[signal] += 1;
    return new Promise<void>((resolve, reject) => {
      this.#settings.settle({ settlement, entry, claim, dueAt, taken: true, resolve, reject });
      if (this.#awaitsOutcomes(target, signal)) this.#settings.hurry();
    });
  }

  /** Whether nothing of a signal moves until outcomes are written: all that is taken waits for that, nobody takes, and more is there. */
  #awaitsOutcomes({ id, settling, inFlight }: ConfiguredTarget, signal: SignalName): boolean {
    const { lanes, takers } = this.#settings;
    return settling[signal] === inFlight[signal] && !takers.waits(takerKind(id, signal)) &&
      lanes.of(id, signal).some((lane) => lane.behind || lane.firstId !== undefined);
  }

  /** The outcome of a record is written: it is in flight no longer. */
  written({ entry, taken }: Pick<WantedSettle<Claim>, "entry" | "taken">): void {
    if (!taken) return;
    const { signal } = entry.head;
    const { inFlight, settling } = this.#settings.targets.of(entry.target);
    inFlight[signal] -= 1;
    settling[signal] -= 1;
    this.#settings.lanes.release(entry);
  }

  /** Whether takers waited for what is taken to become less, which it has: they are to be woken. */
  madeRoom(): boolean {
    const heldUp = this.#heldUp;
    this.#heldUp = false;
    return heldUp;
  }

  /** As the queue's. */
  hasten(signal: SignalName, target: TargetId): void {
    this.#settings.lanes.hasten(target, signal);
    this.#settings.takers.wake(takerKind(target, signal));
  }

  /**
   * The dead letters of a target have no room for what the Collector will never take of a record.
   * @param room Of the target, in bytes.
   */
  tellHeld(entry: Entry, room: number, fields: Record<string, unknown> = {}): void {
    const { alarm, targets } = this.#settings;
    const { name } = targets.of(entry.target);
    const several = targets.size > 1;
    alarm.raise(
      several ? `dead letters ${name}` : "dead letters",
      `The dead letters are full${
        several ? ` for ${name}` : ""
      } (${room} bytes): what the Collector refuses for good ` +
        "stays queued and is skipped; look at them with `queue dead-letters` and replay them, or raise the bound",
      { ...fields, signal: entry.head.signal, ...(several ? { target: name } : {}) },
    );
  }
}
