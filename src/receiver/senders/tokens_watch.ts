/**
 * A watch over the tokens file, so that a token made or revoked counts without a restart.
 * @module
 */
import { readFile } from "node:fs/promises";
import { codeOf, ConfigError, messageOf } from "../../errors.ts";

/** Options of {@link watchFile}. */
export interface FileWatchOptions {
  /** ms between two looks; 0 means that only `checkNow` looks. */
  readonly intervalMs: number;
  /** Takes a changed text. When it throws, the change is refused: the previous one stays in use. */
  readonly onChange: (text: string) => void;
  /** Hears once of each change that cannot be used, and why. */
  readonly onRefused: (reason: string) => void;
}

/** A watch; disposing of it ends it, and no callback is called after that. */
export interface FileWatch extends AsyncDisposable {
  /** Looks at once, after a look that is under way. Never rejects. */
  checkNow(): Promise<"unchanged" | "changed" | "refused">;
}

/**
 * Watches a file by its content, so that rewriting, renaming over and switching a link are noticed, and touching is not.
 * @param current The content in use; undefined where there is no such file yet, which then is no fault.
 */
export function watchFile(file: string, current: string | undefined, options: FileWatchOptions): FileWatch {
  return watchText(() => readFile(file, "utf8"), file, current, options);
}

/** The same for a text that is read otherwise, e.g. from several files; `name` is what errors call it. */
function watchText(
  read: () => Promise<string>,
  name: string,
  current: string | undefined,
  options: FileWatchOptions,
): FileWatch {
  let used = current;
  /** What was refused last: its text, or why it could not be read. */
  let refused: string | undefined;
  let disposed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last: Promise<"unchanged" | "changed" | "refused"> = Promise.resolve("unchanged");

  async function look(): Promise<"unchanged" | "changed" | "refused"> {
    if (disposed) return "unchanged";
    let seen: string | undefined;
    try {
      const text = await read();
      if (disposed) return "unchanged";
      seen = `text ${text}`;
      if (text === used) {
        refused = undefined;
        return "unchanged";
      }
      if (seen === refused) return "refused";
      options.onChange(text);
      used = text;
      refused = undefined;
      return "changed";
    } catch (error) {
      if (disposed || (used === undefined && isMissing(error))) return "unchanged";
      const reason = error instanceof ConfigError ? error.message : `Cannot read ${name}: ${messageOf(error)}`;
      seen ??= `error ${reason}`;
      if (seen !== refused) options.onRefused(reason);
      refused = seen;
      return "refused";
    }
  }

  function checkNow() {
    last = last.then(look);
    return last;
  }

  function schedule(): void {
    if (disposed || options.intervalMs === 0) return;
    timer = setTimeout(() => void checkNow().then(schedule), options.intervalMs);
  }

  schedule();
  return {
    checkNow,
    async [Symbol.asyncDispose]() {
      disposed = true;
      clearTimeout(timer);
      await last;
    },
  };
}

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}
