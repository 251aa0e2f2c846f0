/**
 * From the configuration to an engine: the only file that names one.
 * @module
 */
import { openDirectQueue } from "./direct_queue.ts";
import { openPostgresQueueWhenThere } from "./postgres/late_queue.ts";
import type { PostgresQueueSettings } from "./postgres/settings.ts";
import type { SendingQueue } from "./queue.ts";
import { openSqliteQueue, type SqliteQueueSettings } from "./sqlite/queue.ts";

/** What the engine for several relays needs besides. */
export interface FleetSettings
  extends Pick<PostgresQueueSettings, "connect" | "name" | "role" | "connectionsMax" | "background"> {
  /** Told once the queue is open: at once, or when its database is there. */
  opened(): void;
}

/** What a queue needs to be told; an engine that stores nothing reads less of it. */
export interface QueueSettings extends SqliteQueueSettings {
  readonly storage: "sqlite" | "none" | "postgres";
  /** What a relay of several is to the others, and how it connects (`postgres`). */
  readonly fleet?: FleetSettings;
}

/**
 * Opens the engine that the settings name.
 * @throws {StorageError} with a text for people, when its file cannot be used or another relay has it; what `openPostgresQueueWhenThere` throws
 */
export function openQueue(settings: QueueSettings): Promise<SendingQueue> {
  switch (settings.storage) {
    case "sqlite":
      return openSqliteQueue(settings);
    case "none":
      return Promise.resolve(openDirectQueue(settings));
    case "postgres":
      if (settings.fleet === undefined) throw new TypeError("The engine postgres needs to be told how to connect");
      return openPostgresQueueWhenThere({ ...settings, ...settings.fleet }, settings.fleet.opened);
  }
}
