/**
 * The lock under which files of a folder are read, changed and written by one process at a time. It is on the folder and on the
 * one around it, which the first command has to make the folder in; so no file is left behind, and the system gives it up when
 * its holder dies, however it dies.
 * @module
 */
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** The longest wait for another process, in ms, and how often it is asked whether it is through. */
const WAIT_MS_MAX = 15_000;
const ASK_MS = 20;

/** Another process did not give the folder up in time. */
export class LockTimeout extends Error {
  override readonly name = "LockTimeout";
}

/**
 * Runs `body` while no other process of ours does so for the same folder. Where the system has no such lock (some network disks),
 * it runs all the same: `replaceFile` notices most of what the lock would have kept out. Within `body` the folder must not be
 * locked again: that would wait for itself.
 * @throws {LockTimeout} when another process has kept it for 15 s.
 */
export async function underLock<Result>(folder: string, body: () => Promise<Result>): Promise<Result> {
  const path = resolve(folder);
  using locks = new DisposableStack();
  // From the root down, so that no two wait for each other. Under the outer one the folder is there, or is ours to make.
  await lock(await existing(dirname(path)), folder, locks);
  if (await isFolder(path)) await lock(path, folder, locks);
  return await body();
}

async function existing(path: string): Promise<string> {
  let current = path;
  while (dirname(current) !== current && !await isFolder(current)) current = dirname(current);
  return current;
}

function isFolder(path: string): Promise<boolean> {
  return stat(path).then((status) => status.isDirectory(), () => false);
}

async function lock(path: string, wanted: string, locks: DisposableStack): Promise<void> {
  // If it cannot be opened or locked, the write that follows reports it.
  const file = await Deno.open(path, { read: true }).catch(() => undefined);
  if (file === undefined) return;
  locks.use(file);
  const until = performance.now() + WAIT_MS_MAX;
  const { promise, resolve: settle } = Promise.withResolvers<"locked" | "taken">();
  const ask = async () => {
    if (await file.tryLock(true).catch(() => true)) settle("locked");
    else if (performance.now() > until) settle("taken");
    else setTimeout(ask, ASK_MS);
  };
  void ask();
  if (await promise === "locked") return;
  throw new LockTimeout(
    `Cannot write to ${wanted}: another edgeferry command has been writing there for ${WAIT_MS_MAX / 1_000} s; ` +
      "wait for it, or end it, and run this again",
  );
}
