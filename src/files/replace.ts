/**
 * A file written as a whole: whoever reads it meanwhile, or after a crash, sees the old one or the new one.
 * @module
 */
import { randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf } from "../errors.ts";
import { syncFolder } from "./sync_folder.ts";

/** How a file is written. */
export interface ReplaceOptions {
  /** Permission bits. */
  readonly mode: number;
  /**
   * What the change was made from; undefined where there was no file. When something else stands there by now, nothing is written.
   * Not looked at unless given.
   */
  readonly from?: { readonly text: string | undefined };
}

/** The file is no longer what the change was made from. */
export class FileChanged extends Error {
  override readonly name = "FileChanged";
}

/**
 * Writes a file by a temporary name beside it, synced before it takes its own.
 * @throws {FileChanged} when it is not what {@link ReplaceOptions.from} says; what the system says otherwise.
 */
export async function replaceFile(path: string, text: string, { mode, from }: ReplaceOptions): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await writeSynced(temporary, text, mode);
    if (from !== undefined && await textOf(path) !== from.text) {
      throw new FileChanged(`${path} was changed by somebody else meanwhile`);
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Writes a file that is not there yet, and syncs it. @param mode Permission bits. */
export async function writeSynced(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    await file.chmod(mode); // The umask may have taken bits from the mode given to open.
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The text of a file; undefined where there is none. */
export async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
