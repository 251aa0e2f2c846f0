/**
 * The steps behind the door: where the queue is kept.
 * @module
 */
import { constants } from "node:fs";
import { access, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import type { Config } from "../../config/schema.ts";
import { formatSize } from "../../config/units.ts";
import { codeOf, messageOf } from "../../errors.ts";
import { type Check, ok, warning } from "../finding.ts";

/** Where the queue is. */
export interface StorageSubject {
  readonly storage: Config["sending_queue"]["storage"];
  readonly path: string;
  readonly folder: string;
  readonly bytesMax: number;
}

/** Behind the door. */
export const STORAGE_CHECKS: readonly Check<StorageSubject>[] = [
  {
    id: "queue_folder",
    title: "folder of the queue",
    needs: [],
    async run({ storage, path, folder }) {
      if (storage === "none") return ok("No disk is used: sending_queue.storage is none");
      try {
        const there = await existing(folder);
        await access(there, constants.R_OK | constants.W_OK | constants.X_OK);
        if (!(await stat(there)).isDirectory()) throw new Error(`${there} is not a folder`);
        await access(path, constants.R_OK | constants.W_OK).catch((error: unknown) => {
          if (codeOf(error) !== "ENOENT") throw error;
        });
        return ok(there === folder ? `${folder} can be written` : `${folder} will be made in ${there}`);
      } catch (error) {
        return {
          status: "fault",
          fault: "queue_unusable",
          finding: `The queue cannot be kept at ${path}`,
          evidence: [messageOf(error)],
        };
      }
    },
  },
  {
    id: "disk",
    title: "room on the disk",
    needs: ["queue_folder"],
    async run({ storage, path, folder, bytesMax }) {
      if (storage === "none") return ok("No disk is used: sending_queue.storage is none");
      const { bavail, bsize } = await statfs(await existing(folder));
      const used = await stat(path).then(({ size }) => size, () => 0);
      const freeBytes = Number(bavail) * Number(bsize);
      const evidence = `${formatSize(megabytes(freeBytes))} free, queue_size ${formatSize(bytesMax)}`;
      return freeBytes + used >= bytesMax
        ? ok("The disk has room for a full queue", evidence)
        : warning("disk_low", "A full queue does not fit on the disk", evidence);
    },
  },
];

async function existing(folder: string): Promise<string> {
  let current = folder;
  for (;;) {
    try {
      await stat(current);
      return current;
    } catch (error) {
      if (codeOf(error) !== "ENOENT" || dirname(current) === current) throw error;
      current = dirname(current);
    }
  }
}

/** Whole MiB, so that it reads well. */
function megabytes(bytes: number): number {
  return Math.floor(bytes / 1_048_576) * 1_048_576;
}
