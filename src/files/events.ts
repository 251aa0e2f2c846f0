/**
 * Events of the file system around a few files, links followed. They are hints: where a system has none, an interval must do.
 * @module
 */
import { type FSWatcher, readlinkSync, watch } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

/** Several files are replaced one after another: a look waits this long after an event, in ms. */
const EVENT_SETTLE_MS = 50;

/** Calls back a moment after something has happened in a folder that leads to one of the files. */
export function watchFolders(paths: readonly string[], onEvent: () => Promise<unknown>): { close(): void } {
  const watchers = new Map<string, FSWatcher>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  function open(): void {
    if (closed) return;
    const wanted = new Set(paths.flatMap(foldersTo));
    for (const [folder, watcher] of watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      watchers.delete(folder);
    }
    for (const folder of wanted) {
      if (watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { persistent: false }, () => {
          timer ??= setTimeout(() => {
            timer = undefined;
            // A link that was switched leads to other folders.
            void onEvent().then(open);
          }, EVENT_SETTLE_MS);
        });
        watcher.on("error", () => {});
        watchers.set(folder, watcher);
      } catch {
        // Where the system has no such events, or no more of them, the interval alone finds the change.
      }
    }
  }

  open();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

/** Links followed to one file at most. */
const LINKS_MAX = 16;

/** The folders whose entries decide what a path means: its own, and those of each symbolic link on the way. */
function foldersTo(path: string): string[] {
  const folders = new Set<string>();
  const pending = [resolve(path)];
  for (let links = 0; links < LINKS_MAX;) {
    const next = pending.pop();
    if (next === undefined) break;
    folders.add(dirname(next));
    for (let current = next; dirname(current) !== current; current = dirname(current)) {
      let target: string;
      try {
        target = readlinkSync(current);
      } catch {
        continue; // No link, or not there.
      }
      folders.add(dirname(current));
      links++;
      pending.push(join(resolve(dirname(current), target), relative(current, next)));
      break;
    }
  }
  return [...folders];
}
