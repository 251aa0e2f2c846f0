/**
 * What a relay owns records by: a row that it prolongs, and that runs out by the clock of the database when it does not. A relay that
 * has not been able to for a while gives up what it owned and takes a new lease, before another may own it: each lease has a number of
 * its own, which fences what was taken under an older one.
 * @module
 */
import { randomUUID } from "node:crypto";
import type { Connections } from "./connections.ts";
import { END_LEASE, LEASE, OTHERS, RENEW } from "./statements.ts";
import { SCHEMA_VERSION } from "./schema.ts";

/** How often a lease is prolonged, in ms. */
const RENEW_MS = 5_000;
/** For how long, in seconds: a killed relay's records are sent by another after it. */
const ALIVE_S = 25;
/** After so long without having prolonged it, in ms of a clock of its own, a relay holds its lease for lost. */
const LOST_MS = 20_000;
/** How long one attempt may take, in ms. */
const WITHIN_MS = 4_000;

export interface LeaseSettings {
  /** Of this relay, for people. */
  readonly name: string;
  readonly role: string;
  /** ms of a clock that never steps; `performance.now` unless given. */
  readonly steady?: () => number;
}

export class Lease {
  readonly #connections: Pick<Connections, "run">;
  readonly #settings: LeaseSettings;
  readonly #lost: () => void;
  readonly #relay = randomUUID();
  #id: number | undefined;
  readonly #steady: () => number;
  /** When the last attempt that succeeded began: the database has given it its time since then. */
  #renewedAt = 0;
  #triedAt = -Infinity;
  #working = false;

  /** @param lost Called when it was held, and is not any more. */
  constructor(connections: Pick<Connections, "run">, settings: LeaseSettings, lost: () => void) {
    this.#connections = connections;
    this.#settings = settings;
    this.#lost = lost;
    this.#steady = settings.steady ?? (() => performance.now());
  }

  /** Its number; undefined while there is none. */
  get id(): number | undefined {
    if (this.#id !== undefined && this.#steady() - this.#renewedAt > LOST_MS) this.#lose();
    return this.#id;
  }

  /** Prolongs it where that is due, takes a new one where there is none. @throws {PostgresFailure} */
  async keep(): Promise<void> {
    const startedAt = this.#steady();
    const held = this.id;
    if (this.#working || (held !== undefined && startedAt - this.#triedAt < RENEW_MS)) return;
    this.#working = true;
    this.#triedAt = startedAt;
    try {
      if (held === undefined) await this.#take(startedAt);
      else await this.#renew(held, startedAt);
    } finally {
      this.#working = false;
    }
  }

  /** Whether another relay lives that sends. @throws {PostgresFailure} */
  async othersSend(): Promise<boolean> {
    const [row] = await this.#connections.run({ text: OTHERS, values: [this.#relay] }, WITHIN_MS);
    return row?.send === true;
  }

  /** Lets it run out, and takes another when {@link keep} is called: what is on its way under it can still be settled in time. */
  giveUp(): void {
    this.#id = undefined;
  }

  /** Ends it: what it owned is free at once. @throws {PostgresFailure} */
  async end(): Promise<void> {
    const held = this.#id;
    this.#id = undefined;
    if (held !== undefined) {
      await this.#connections.run({ text: END_LEASE, values: [held] }, WITHIN_MS);
    }
  }

  async #take(startedAt: number): Promise<void> {
    const { name, role } = this.#settings;
    const [row] = await this.#connections.run({
      text: LEASE,
      values: [this.#relay, name, role, SCHEMA_VERSION, ALIVE_S],
    }, WITHIN_MS);
    this.#id = Number(row?.id);
    this.#renewedAt = startedAt;
  }

  async #renew(held: number, startedAt: number): Promise<void> {
    const values = [held, ALIVE_S, this.#relay];
    const rows = await this.#connections.run({ text: RENEW, values }, WITHIN_MS);
    if (this.#id !== held) return;
    if (rows.length > 0) this.#renewedAt = startedAt;
    else this.#lose();
  }

  #lose(): void {
    this.#id = undefined;
    this.#lost();
  }
}
