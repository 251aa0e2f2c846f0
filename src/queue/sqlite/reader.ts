/**
 * What is in the file and not in memory: rows behind a lane's cursor, and payloads that memory had no room for.
 * @module
 */
import { OwnedBytes } from "../../codec/owned_bytes.ts";
import type { LaneSet } from "../lane_set.ts";
import type { Entry, Lane } from "../lanes.ts";
import type { TakeLimit } from "../queue.ts";
import { type Connection, RETRY_MS } from "./connection.ts";
import type { Replies } from "./protocol.ts";

/** What one read fetches at most, in bytes and rows. */
const READ_BYTES_MAX = 1024 * 1024;
const READ_RECORDS_MAX = 512;

export class Reader {
  readonly #connection: Pick<Connection, "ask" | "ended" | "questionFailed">;
  readonly #lanes: LaneSet;
  readonly #now: () => number;
  /** One read of a lane at a time, whoever wants it. */
  readonly #reads = new Map<Lane, Promise<void>>();
  /** By `performance.now`. */
  #retryAt = 0;

  /** @param now ms of a clock that never steps */
  constructor(connection: Pick<Connection, "ask" | "ended" | "questionFailed">, lanes: LaneSet, now: () => number) {
    this.#connection = connection;
    this.#lanes = lanes;
    this.#now = now;
  }

  /** Reads on in those of the lanes that a take within the limit needs more of; undefined when it needs none. Never rejects. */
  readFor(lanes: readonly Lane[], limit: TakeLimit): Promise<unknown> | undefined {
    if (performance.now() < this.#retryAt || this.#connection.ended) return undefined;
    const wanting = lanes.filter((lane) => lane.wantsRead(limit));
    return wanting.length === 0 ? undefined : Promise.all(wanting.map((lane) => this.#read(lane, limit)));
  }

  /** The entries of a run whose payload is at hand or could be read; one whose row is gone is let go. Never rejects. */
  async withPayloads(run: Entry[]): Promise<Entry[]> {
    const missing = run.filter(({ loaded }) => !loaded);
    if (missing.length === 0) return run;
    try {
      const { payloads } = await this.#connection.ask("load", { ids: missing.map(({ head }) => head.id) });
      for (const [index, payload] of payloads.entries()) {
        if (payload !== undefined) missing[index]!.load(new OwnedBytes(payload));
      }
    } catch (error) {
      this.#failed(error);
      for (const entry of run) this.#lanes.leave(entry, this.#now() + RETRY_MS);
      return [];
    }
    for (const entry of missing) if (!entry.loaded) this.#lanes.release(entry);
    return run.filter(({ loaded }) => loaded);
  }

  #read(lane: Lane, limit: TakeLimit): Promise<void> {
    let read = this.#reads.get(lane);
    if (read === undefined) {
      read = this.#readNext(lane, limit).finally(() => this.#reads.delete(lane));
      this.#reads.set(lane, read);
    }
    return read;
  }

  async #readNext(lane: Lane, limit: TakeLimit): Promise<void> {
    const { target, signal, encoding, cursor } = lane;
    let reply: Replies["read"];
    try {
      reply = await this.#connection.ask("read", {
        target,
        signal,
        encoding,
        afterId: cursor,
        bytesMax: Math.min(limit.bytesMax, READ_BYTES_MAX),
        recordsMax: Math.min(limit.recordsMax, READ_RECORDS_MAX),
      });
    } catch (error) {
      this.#failed(error);
      return;
    }
    const rows = reply.rows.map(({ payload, ...head }) => ({ head, payload: payload && new OwnedBytes(payload) }));
    if (lane.cursor !== cursor) {
      // The file was replaced meanwhile: its rows start anew.
      for (const { payload } of rows) payload?.[Symbol.dispose]();
      return;
    }
    // Answers come in order: an append that the read has not seen is announced after it, and finds the lane caught up.
    this.#lanes.fill(lane, { rows, exhausted: reply.exhausted, seenTo: reply.seenTo });
  }

  #failed(error: unknown): void {
    this.#retryAt = performance.now() + RETRY_MS;
    this.#connection.questionFailed(error);
  }
}
