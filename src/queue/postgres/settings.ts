/**
 * What the `postgres` engine needs to be told.
 * @module
 */
import type { Client } from "../../postgres/driver.ts";
import type { QueueLog } from "../alarm.ts";
import type { TargetSettings } from "../queue.ts";

/** What a relay does: takes from senders, sends to the Collector, or both. */
export type RelayRole = "both" | "receiver" | "exporter";

export interface PostgresQueueSettings {
  /** Most bytes queued, those in flight included, as `cost.ts` counts them. */
  readonly bytesMax: number;
  /** Records older than this, in ms, are dropped and counted as expired; undefined: none ever. */
  readonly maxAgeMs?: number;
  /** Most payload bytes among the dead letters. */
  readonly deadLetterBytesMax: number;
  /** Where records go; `DEFAULT_TARGETS` unless given. */
  readonly targets?: readonly TargetSettings[];
  readonly log: QueueLog;
  /** A new connection, which the engine ends; with the rights of a relay. */
  connect(): Promise<Client>;
  /** Of this relay, for people. */
  readonly name: string;
  /** `both` unless given. A receiver owns nothing and takes nothing. */
  readonly role?: RelayRole;
  /** 4 unless given. */
  readonly connectionsMax?: number;
  /**
   * Whether the append stays prepared in its session; a pooler in transaction mode is noticed. True unless given, and false without
   * `background`: an instance that is new with each request has nothing of it.
   */
  readonly prepare?: boolean;
  /** False: nothing is done but with an append, on hosts that freeze their instances. Only for a receiver. */
  readonly background?: boolean;
  /** Payload bytes taken and not settled, from which on no more are taken; 16 MiB unless given. */
  readonly takenBytesMax?: number;
  /** ms since the Unix epoch; for tests. */
  readonly now?: () => number;
  /** ms of a clock that never steps; for tests. */
  readonly steady?: () => number;
  /** The database's clock, in ms since the Unix epoch, as ages are counted by it; for tests. */
  readonly databaseNow?: () => number;
}
