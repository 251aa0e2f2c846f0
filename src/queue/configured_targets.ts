/**
 * The targets of a durable engine: those that are configured, with what each has in flight, and the names of all that there have been.
 * @module
 */
import type { Refusal } from "../errors.ts";
import { bySignal, type SignalName } from "../signal.ts";
import type { QueueLog } from "./alarm.ts";
import { type DrainRate, noRoom } from "./drain_rate.ts";
import type { TargetId, TargetSettings, TargetStats } from "./queue.ts";
import { shareOf } from "./targets.ts";
import { emptyTarget, type Totals } from "./totals.ts";

/** A target that is configured. */
export interface ConfiguredTarget extends TargetSettings {
  readonly id: TargetId;
  /** The bound on what may wait for it, in bytes. */
  readonly bytesMax: number;
  readonly inFlight: Record<SignalName, number>;
  /** How many of those in flight have an outcome that waits for a transaction. */
  readonly settling: Record<SignalName, number>;
}

/** Of which targets a record is left out, or why it is refused. */
export interface Fullness {
  readonly skipped: readonly TargetId[];
  readonly refusal?: Refusal;
}

export class ConfiguredTargets {
  readonly #byId = new Map<TargetId, ConfiguredTarget>();
  /** Every target that there has been. */
  names: ReadonlyMap<TargetId, string> = new Map();

  get size(): number {
    return this.#byId.size;
  }

  get ids(): readonly TargetId[] {
    return [...this.#byId.keys()];
  }

  has(id: TargetId): boolean {
    return this.#byId.has(id);
  }

  /** @param bytesMax The bound of the whole queue. @throws {Error} where one has no name yet */
  configure(configured: readonly TargetSettings[], bytesMax: number): void {
    const idOf = new Map([...this.names].map(([id, name]) => [name, id]));
    for (const settings of configured) {
      const id = idOf.get(settings.name);
      if (id === undefined) throw new Error(`The queue did not enter target ${settings.name}`);
      this.#byId.set(id, {
        ...settings,
        id,
        bytesMax: Math.floor(shareOf(settings, configured.length) * bytesMax),
        inFlight: bySignal(() => 0),
        settling: bySignal(() => 0),
      });
    }
  }

  /** @throws {RangeError} */
  idOf(name: string): TargetId {
    for (const target of this.#byId.values()) if (target.name === name) return target.id;
    throw new RangeError(`No target is called ${name}`);
  }

  /** @throws {RangeError} */
  of(id: TargetId): ConfiguredTarget {
    const target = this.#byId.get(id);
    if (target === undefined) throw new RangeError(`No configured target has the number ${id}`);
    return target;
  }

  /** Records in flight, for all of them. */
  get inFlight(): number {
    return [...this.#byId.values()].reduce((sum, { inFlight }) => sum + sumOf(inFlight), 0);
  }

  /** What is kept for targets that are not configured stays until somebody says where it goes. */
  tellForgotten(totals: Totals, log: QueueLog, fields: Record<string, unknown> = {}): void {
    for (const [key, { records, bytes }] of Object.entries(totals.targets)) {
      const name = this.names.get(Number(key));
      if (name === undefined || records === 0 || this.#byId.has(Number(key))) continue;
      log.warn(
        `Target ${name} is not configured, and what is queued for it stays: configure it again, move it to another target with ` +
          "`queue move`, or give it up with `queue abandon`",
        { ...fields, target: name, records, bytes },
      );
    }
  }

  /**
   * Which of the targets have no room for a record of such a cost, and why it is refused for them.
   * @param bytesOf What waits for a target and what is being appended for it, in bytes.
   */
  fullFor(
    targets: readonly ConfiguredTarget[],
    cost: number,
    bytesOf: (id: TargetId) => number,
    drain: DrainRate,
  ): Fullness {
    if (this.#byId.size === 1) return { skipped: [] };
    const full = targets.filter(({ id, bytesMax }) => bytesOf(id) + cost > bytesMax);
    // If no target keeps the record, it may not be answered 200.
    const refusing = full.find(({ required }) => required) ?? (full.length === targets.length ? full[0] : undefined);
    if (refusing === undefined) return { skipped: full.map(({ id }) => id) };
    const what = `The queue is full for ${refusing.name}: ${refusing.bytesMax} bytes`;
    return { skipped: [], refusal: noRoom(what, drain.secondsFor(Math.max(cost, refusing.bytesMax / 100))) };
  }

  /** Those configured, and others that have something. @param oldestAt As {@link TargetStats.oldestAt}. */
  stats(totals: Totals, oldestAt: (id: TargetId) => number | undefined): TargetStats[] {
    const ids = new Set([...this.#byId.keys(), ...Object.keys(totals.targets).map(Number)]);
    return [...ids].sort((a, b) => a - b).flatMap((id): TargetStats[] => {
      const target = this.#byId.get(id);
      const name = this.names.get(id);
      const { records, bytes, skipped, deadRecords, deadBytes, books } = totals.targets[id] ?? emptyTarget();
      const idle = target === undefined && records === 0 && deadRecords === 0 &&
        Object.values(books).every(({ accepted }) => accepted === 0);
      if (name === undefined || idle) return [];
      return [{
        id,
        name,
        configured: target !== undefined,
        records,
        bytes,
        bytesMax: target?.bytesMax ?? 0,
        oldestAt: oldestAt(id),
        inFlight: target === undefined ? 0 : sumOf(target.inFlight),
        skipped,
        deadLetters: { records: deadRecords, bytes: deadBytes },
        books,
      }];
    });
  }
}

function sumOf(counts: Readonly<Record<SignalName, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
