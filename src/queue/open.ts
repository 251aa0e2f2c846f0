/**
 * From the configuration to an engine: the only file that names one.
 * @module
 */
import { openDirectQueue } from "./direct_queue.ts";
import type { SendingQueue } from "./queue.ts";
import { openSqliteQueue, type SqliteQueueSettings } from "./sqlite/queue.ts";

/** What a queue needs to be told; an engine that stores nothing reads less of it. */
export interface QueueSettings extends SqliteQueueSettings {
  readonly storage: "sqlite" | "none";
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
