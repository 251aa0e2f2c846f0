/**
 * A watch over the tokens file, so that a token made or revoked counts without a restart.
 * @module
 */
import { readFile } from "node:fs/promises";
import { codeOf, ConfigError, messageOf } from "../../errors.ts";
import { type Watch, watchSource } from "../../files/watch.ts";

/** Options of {@link watchFile}. */
export interface FileWatchOptions {
  /** ms between two looks; 0 means that only `checkNow` looks. */
  readonly intervalMs: number;
  /** Takes a changed text. When it throws, the change is refused: the previous one stays in use. */
  readonly onChange: (text: string) => void;
  /** Hears once of each change that cannot be used, and why. */
  readonly onRefused: (reason: string) => void;
}

/**
 * Watches a file by its text.
 * @param current The text in use; undefined where there is no such file yet, which then is no fault.
 */
export function watchFile(file: string, current: string | undefined, options: FileWatchOptions): Watch {
  return watchSource(
    {
      async read() {
        const text = await readFile(file, "utf8");
        return { content: text, digest: text };
      },
      take: options.onChange,
      faultOf(error, used) {
        if (used === undefined && isMissing(error)) return undefined;
        return error instanceof ConfigError ? error.message : `Cannot read ${file}: ${messageOf(error)}`;
      },
      nameOf: (reason) => reason,
      onRefused: options.onRefused,
    },
    current,
    { intervalMs: options.intervalMs },
  );
}

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}
