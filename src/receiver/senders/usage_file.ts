/**
 * The file of usage beside the queue: written from time to time by the relay, read by `token usage`.
 * @module
 */
import { randomBytes } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { messageOf } from "../../errors.ts";
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
    // By a temporary name, so that who reads meanwhile sees the old file or the new one.
    const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
    try {
      await writeFile(temporary, JSON.stringify(usage.snapshot()), { mode: 0o600 });
      await rename(temporary, file);
      failing = false;
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
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

const codeOf = (error: unknown): unknown => error instanceof Error && "code" in error ? error.code : undefined;
