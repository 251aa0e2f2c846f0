/**
 * What is in the database and not in memory: takes the oldest free records of a lane, looks for lanes that have some, and loads payloads
 * that memory had no room for.
 * @module
 */
import { Entry, type Lane } from "../lanes.ts";
import type { LaneSet } from "../lane_set.ts";
import type { TakeLimit } from "../queue.ts";
import { codeOfEncoding, codeOfSignal } from "./codes.ts";
import { type Connections, PostgresFailure } from "./connections.ts";
import { payloadOf } from "./payload.ts";
import { LOAD, LOOK, TAKE } from "./statements.ts";

/** What one take of the database brings at most, in bytes and records. */
const BYTES_MAX = 1024 * 1024;
const RECORDS_MAX = 256;
const WITHIN_MS = 8_000;
/** The pause after a failure, in ms. */
const PAUSE_MS = 1_000;
/** How often a floor is looked for from the beginning, in ms: a lower id may have been committed later. */
const SWEEP_MS = 10_000;

export interface ReaderSettings {
  readonly connections: Pick<Connections, "run">;
  readonly lanes: LaneSet;
  /** ms of a clock that never steps. */
  readonly steady: () => number;
  readonly databaseNow?: (() => number) | undefined;
  lease(): number | undefined;
  failed(text: string): void;
  /** The lease may own records that this process does not know of. */
  doubtful(lease: number): void;
  /** Taken records whose payload is not to be had, which are to be anybody's again. */
  bare(lease: number, lane: Lane, ids: readonly number[]): void;
}

/** Where a lane begins: no lower id waits, as far as was seen at `sweptAt`. */
interface Floor {
  least: number;
  sweptAt: number;
}

export class Reader {
  readonly #settings: ReaderSettings;
  readonly #floors = new Map<Lane, Floor>();
  /** One read of a lane at a time, whoever wants it. */
  readonly #reads = new Map<Lane, Promise<void>>();
  /** Lanes that got a record which is nobody's since they were last read. */
  readonly #fed = new Set<Lane>();
  #retryAt = 0;

  constructor(settings: ReaderSettings) {
    this.#settings = settings;
  }

  /** A lane has something that is nobody's. */
  feed(lane: Lane): void {
    lane.behind = true;
    this.#fed.add(lane);
  }

  /** Takes on in those of the lanes that a take within the limit needs more of; undefined when it needs none. Never rejects. */
  readFor(lanes: readonly Lane[], limit: TakeLimit): Promise<unknown> | undefined {
    if (performance.now() < this.#retryAt || this.#settings.lease() === undefined) return undefined;
    const wanting = lanes.filter((lane) => lane.wantsRead(limit));
    return wanting.length === 0 ? undefined : Promise.all(wanting.map((lane) => this.#read(lane, limit)));
  }

  /**
   * Looks where each lane begins, and which have something that nobody owns. Those that were known to have something are looked at, too: a
   * drain needs its floor raised, and a take that failed wakes nobody.
   * @throws {PostgresFailure}
   */
  async look(lanes: readonly Lane[]): Promise<readonly Lane[]> {
    const now = performance.now();
    const asked = lanes.map((lane, n) => {
      const floor = this.#floorOf(lane);
      const sweep = now - floor.sweptAt >= SWEEP_MS;
      return { n, lane, sweep, floor: sweep ? 0 : floor.least };
    });
    const places = asked.map(({ n, lane, floor }) => ({ n, ...placeOf(lane), floor }));
    const rows = await this.#settings.connections.run({
      text: LOOK,
      values: [JSON.stringify(places)],
    }, WITHIN_MS);
    const found: Lane[] = [];
    for (const row of rows) {
      const { lane, sweep } = asked[Number(row.n)]!;
      const floor = this.#floorOf(lane);
      floor.least = Number(row.least);
      if (sweep) floor.sweptAt = now;
      if (row.free !== true) continue;
      this.feed(lane);
      found.push(lane);
    }
    return found;
  }

  /** The entries of a run whose payload is at hand or could be read; one whose row is gone is let go. Never rejects. */
  async withPayloads(run: Entry[]): Promise<Entry[]> {
    const missing = run.filter(({ loaded }) => !loaded);
    if (missing.length === 0) return run;
    const { connections, lanes, steady } = this.#settings;
    const lease = this.#settings.lease();
    try {
      const places = missing.map(({ target, head }, n) => ({ n, ...placeOf({ ...head, target }), record: head.id }));
      const rows = await connections.run({ text: LOAD, values: [JSON.stringify(places)] }, WITHIN_MS);
      for (const row of rows) missing[Number(row.n)]!.load(payloadOf(row.payload));
    } catch (error) {
      this.#failed(error);
      for (const entry of run) {
        // Under a lease that was lost meanwhile they are others'.
        if (this.#settings.lease() === lease) lanes.leave(entry, steady() + PAUSE_MS);
        else lanes.release(entry);
      }
      return [];
    }
    for (const entry of missing) if (!entry.loaded) lanes.release(entry);
    return run.filter(({ loaded }) => loaded);
  }

  #floorOf(lane: Lane): Floor {
    let floor = this.#floors.get(lane);
    if (floor === undefined) this.#floors.set(lane, floor = { least: 0, sweptAt: -Infinity });
    return floor;
  }

  #read(lane: Lane, limit: TakeLimit): Promise<void> {
    let read = this.#reads.get(lane);
    if (read === undefined) {
      read = this.#take(lane, limit).finally(() => this.#reads.delete(lane));
      this.#reads.set(lane, read);
    }
    return read;
  }

  async #take(lane: Lane, limit: TakeLimit): Promise<void> {
    const { connections, lanes, steady, databaseNow } = this.#settings;
    const lease = this.#settings.lease();
    if (lease === undefined) return;
    const { target, signal, encoding } = placeOf(lane);
    const recordsMax = Math.min(limit.recordsMax, RECORDS_MAX);
    const bytesMax = Math.min(limit.bytesMax, BYTES_MAX);
    this.#fed.delete(lane);
    try {
      const values = [
        target,
        signal,
        encoding,
        this.#floorOf(lane).least,
        recordsMax,
        bytesMax,
        lease,
        databaseNow?.() ?? null,
      ];
      const rows = await connections.run({ text: TAKE, values }, WITHIN_MS);
      // Under a lease that was lost meanwhile they are others'.
      if (this.#settings.lease() !== lease) return;
      const bare: number[] = [];
      for (const row of rows) {
        if (row.parts === null) {
          bare.push(Number(row.record));
          continue;
        }
        const head = {
          id: Number(row.record),
          targets: [lane.target],
          signal: lane.signal,
          encoding: lane.encoding,
          mergeable: row.mergeable === true,
          items: Number(row.items),
          bytes: Number(row.bytes),
          cost: Number(row.cost),
          inflatedBytes: Number(row.inflated_bytes),
          enqueuedAt: steady() - Number(row.age_ms),
          parts: String(row.parts),
        };
        const payload = payloadOf(row.payload);
        lanes.giveBack(new Entry({ target: lane.target, head, payload, knownAt: steady() }), 0);
      }
      const candidates = rows.length === 0 ? 0 : Number(rows[0]!.candidates);
      if (candidates < recordsMax && candidates === rows.length && !this.#fed.has(lane)) lane.behind = false;
      lane.wake(steady());
      if (bare.length > 0) this.#settings.bare(lease, lane, bare);
    } catch (error) {
      this.#failed(error);
      // It may have been made, and may be made later yet.
      if (error instanceof PostgresFailure && error.kind === "unknown") this.#settings.doubtful(lease);
    }
  }

  #failed(error: unknown): void {
    if (!(error instanceof PostgresFailure)) throw error;
    this.#retryAt = performance.now() + PAUSE_MS;
    this.#settings.failed(error.message);
  }
}

/** Where the rows of a lane are. */
export function placeOf({ target, signal, encoding }: Pick<Lane, "target" | "signal" | "encoding">) {
  return { target, signal: codeOfSignal(signal), encoding: codeOfEncoding(encoding) };
}
