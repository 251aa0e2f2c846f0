/**
 * Files that were put beside the queue because they are not the queue any more: damaged ones, and copies of one that was deleted.
 * Their names say whether their rows have been moved: a file is pending until its name begins with `.salvaged-`, so that a relay
 * that died, or had no disk space, in between finds it at its next start.
 * @module
 */
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { syncFolderSync } from "../../../files/sync_folder.ts";

/** What belongs to a database: its WAL, its shared memory and its mark. The database itself has none. */
const SUFFIXES = ["", "-wal", "-shm", ".mark"] as const;

/** Why a file stands aside. `damaged` and `rescued` ones are to be salvaged. */
export type AsideKind = "damaged" | "rescued" | "replaced" | "salvaged";

/**
 * A dated name beside the queue that nothing has.
 * @param now ms since the Unix epoch
 */
export function asideName(path: string, kind: AsideKind, now: number): string {
  const date = new Date(now).toISOString().replace(/[-:]|\.\d+/g, "");
  const first = `${path}.${kind}-${date}`;
  const taken = (name: string) => SUFFIXES.some((suffix) => existsSync(name + suffix));
  let name = first;
  for (let copy = 2; taken(name); copy++) name = `${first}-${copy}`;
  return name;
}

/**
 * Renames the database with what belongs to it, durably. A death in between is made good by {@link finishSetAside}.
 * @param which The files to rename; all that there are, unless given.
 */
export function setAside(
  path: string,
  aside: string,
  which: (suffix: string) => boolean = () => true,
): void {
  for (const suffix of SUFFIXES) {
    if (existsSync(path + suffix) && which(suffix)) renameSync(path + suffix, aside + suffix);
  }
  syncFolderSync(dirname(path));
}

/**
 * Where the database is gone and its WAL is not, SQLite would delete the WAL, or apply it to a database that it does not belong to.
 * It goes to the damaged file that was set aside last and has none; without such a file it is set aside by itself. A rescued copy has it
 * in it, and has other pages: there it is removed.
 * @returns what was set aside by itself
 */
export function finishSetAside(path: string, now: number): string | undefined {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0) return undefined;
  const last = pendingAsides(path).at(-1);
  let moved = false;
  if (last?.startsWith(`${path}.rescued-`)) {
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
  }
  for (const suffix of SUFFIXES.slice(1)) {
    if (last === undefined || !existsSync(path + suffix) || existsSync(last + suffix)) continue;
    renameSync(path + suffix, last + suffix);
    moved = true;
  }
  const orphan = statSync(`${path}-wal`, { throwIfNoEntry: false });
  let aside: string | undefined;
  if (orphan !== undefined && orphan.size > 0) {
    aside = asideName(path, "replaced", now);
    renameSync(`${path}-wal`, `${aside}-wal`);
  }
  rmSync(`${path}-shm`, { force: true });
  if (moved || aside !== undefined) syncFolderSync(dirname(path));
  return aside === undefined ? undefined : `${aside}-wal`;
}

/** The files beside the queue whose rows have not been moved, as far as their names tell; oldest first. */
export function pendingAsides(path: string): string[] {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  const dated = /^(?:damaged|rescued)-(\d{8}T\d{6}Z)(?:-(\d+))?$/;
  return readdirSync(folder)
    .flatMap((name) => {
      const match = name.startsWith(start) ? dated.exec(name.slice(start.length)) : null;
      return match === null ? [] : [{ name, date: match[1]!, copy: Number(match[2] ?? 1) }];
    })
    .sort((a, b) => a.date < b.date ? -1 : a.date > b.date ? 1 : a.copy - b.copy)
    .map(({ name }) => join(folder, name));
}

/**
 * All that could be read of it has been moved. A copy that the relay made itself is removed if `complete`; any other file is
 * evidence and is kept.
 * @returns its name from now on; undefined where it has been removed
 */
export function markSalvaged(path: string, aside: string, complete: boolean, now: number): string | undefined {
  if (complete && aside.startsWith(`${path}.rescued-`)) {
    for (const suffix of SUFFIXES) rmSync(aside + suffix, { force: true });
    return undefined;
  }
  const name = asideName(path, "salvaged", now);
  // The database first: its name alone says that it is pending.
  setAside(aside, name);
  return name;
}
