/**
 * The file of usage beside the queue: written from time to time by the relay, read by `token usage`.
 * @module
 */
import { readFile } from "node:fs/promises";
import { codeOf, messageOf } from "../../errors.ts";
import { replaceFile } from "../../files/replace.ts";
import { USAGE, type Usage, type UsageSnapshot } from "./usage.ts";

/** The file that belongs to a queue's. */
export function usageFileOf(queuePath: string): string {
  return `${queuePath}.usage`;
}

/**
 * What the file says; undefined where there is none.
 * @throws {Error} when it cannot be read, or is none.
 */
export async function readUsage(file: string): Promise<UsageSnapshot | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new Error(`Cannot read usage file ${file}: ${messageOf(error)}`, { cause: error });
  }
  try {
    return USAGE.parse(JSON.parse(text));
  } catch {
    throw new Error(`Cannot use usage file ${file}: it is damaged; remove it, and the relay counts anew`);
  }
}

/** What a keeper of the file tells. */
export interface UsageFileEvents {
  /** The file could not be written; once, until it can be again. */
  failed(error: unknown): void;
}

/** Writes what is counted to the file from time to time; disposing of it writes it once more. */
export interface UsageKeeper extends AsyncDisposable {
  /** Writes at once what has changed. Never rejects. */
  save(): Promise<void>;
}

/** Begins to keep usage in a file. @param intervalMs 0 means that only `save` and the end write. */
export function keepUsage(usage: Usage, file: string, intervalMs: number, events: UsageFileEvents): UsageKeeper {
  let failing = false;
  let last: Promise<void> = Promise.resolve();
  async function write(): Promise<void> {
    if (!usage.changed) return;
    try {
      await replaceFile(file, JSON.stringify(usage.snapshot()), { mode: 0o600 });
      failing = false;
    } catch (error) {
      if (!failing) events.failed(error);
      failing = true;
    }
  }
  const save = () => last = last.then(write);
  const timer = intervalMs === 0 ? undefined : setInterval(save, intervalMs);
  return {
    save,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await save();
    },
  };
}
