/**
 * Log lines that would otherwise be written for every record.
 * @module
 */

/** Where a queue logs. WARN: nothing is lost. ERROR: data is lost or a person is needed. */
export interface QueueLog {
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** How often one text may be repeated, in ms. */
const REPEAT_MS = 30_000;

/** Writes errors and warnings at most twice a minute by key, with the count of those left out in between. */
export class Alarm {
  readonly #log: QueueLog;
  readonly #now: () => number;
  readonly #told = new Map<string, { at: number; suppressed: number }>();

  constructor(log: QueueLog, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** Logs `message` as an ERROR, unless one of this key was logged in the last half minute. `count` is of what it tells. */
  raise(key: string, message: string, fields: Record<string, unknown>, count = 1): void {
    this.#tell("error", key, message, fields, count);
  }

  /** The same as a WARN: nothing is lost. */
  warn(key: string, message: string, fields: Record<string, unknown>, count = 1): void {
    this.#tell("warn", key, message, fields, count);
  }

  #tell(level: keyof QueueLog, key: string, message: string, fields: Record<string, unknown>, count: number): void {
    const last = this.#told.get(key);
    const now = this.#now();
    if (last !== undefined && now >= last.at && now - last.at < REPEAT_MS) {
      last.suppressed += count;
      return;
    }
    this.#told.set(key, { at: now, suppressed: 0 });
    this.#log[level](message, { ...fields, count: count + (last?.suppressed ?? 0) });
  }
}
