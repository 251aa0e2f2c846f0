/**
 * From the configuration to an engine: the only file that names one.
 * @module
 */
import type { QueueLog } from "./alarm.ts";
import { openDirectQueue } from "./direct_queue.ts";
import type { Fault } from "./sqlite/file/injected_faults.ts";
import type { SendingQueue, TargetSettings } from "./queue.ts";
import { openSqliteQueue } from "./sqlite/queue.ts";

/** What a queue needs to be told, whatever the engine. */
export interface QueueSettings {
  readonly storage: "sqlite" | "none";
  /** The database's file (`sqlite`). Beside it: `.lock`, `.mark`, `-wal`, `-shm`. */
  readonly path: string;
  /** Most bytes queued, those in flight included, as `cost.ts` counts them. */
  readonly bytesMax: number;
  /** Records older than this, in ms, are dropped and counted as expired; unset: none ever. */
  readonly maxAgeMs?: number;
  /** Most payload bytes among the dead letters. */
  readonly deadLetterBytesMax: number;
  /** Where records go; {@link DEFAULT_TARGETS} unless given. */
  readonly targets?: readonly TargetSettings[];
  readonly log: QueueLog;
  /** ms since the Unix epoch; for tests. */
  readonly now?: () => number;
  /** ms of a clock that never steps; for tests. */
  readonly steady?: () => number;
  /** Faults on purpose; for tests. */
  readonly faults?: readonly Fault[];
  /** Payload bytes taken and not settled, from which on no more are taken; 16 MiB unless given. */
  readonly takenBytesMax?: number;
  /** Most bytes the database's file may have; for tests of a full disk. */
  readonly fileBytesMax?: number;
}

/**
 * Opens the engine that the settings name.
 * @throws {StorageError} with a text for people, when its file cannot be used or another relay has it
 */
export function openQueue(settings: QueueSettings): Promise<SendingQueue> {
  switch (settings.storage) {
    case "sqlite":
      return openSqliteQueue(settings);
    case "none":
      return Promise.resolve(openDirectQueue(settings));
  }
}
