/**
 * A folder's entries made durable: a file that has been made, renamed or deleted is so after a power cut, too. Two forms, because a
 * thread that serves requests must not wait for a disk, and a queue must not open where this fails.
 * @module
 */
import { closeSync, fsyncSync, openSync } from "node:fs";
import { open } from "node:fs/promises";

/** Syncs where the system can; some network disks cannot sync a folder, and the order of writes is theirs then. */
export async function syncFolder(folder: string): Promise<void> {
  const opened = await open(folder, "r").catch(() => undefined);
  try {
    await opened?.sync().catch(() => {});
  } finally {
    await opened?.close();
  }
}

/** Syncs, and throws what the system says where it cannot: a 200 stands on it. */
export function syncFolderSync(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
