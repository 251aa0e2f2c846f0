/**
 * Files of certificates and keys, written so that nobody ever reads half of one, and so that a set which belongs together comes
 * together: what a crash has left between two of them is finished by the next run.
 * @module
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { CertificateError, codeOf, messageOf } from "../errors.ts";
import { writeSynced } from "../files/replace.ts";
import { syncFolder } from "../files/sync_folder.ts";

/** Permission bits of a key's file. */
export const KEY_MODE = 0o600;
/** Permission bits of a certificate's file. */
export const CERTIFICATE_MODE = 0o644;

/** A file to be written. */
export interface NewFile {
  /** In the folder. */
  readonly name: string;
  readonly text: string;
  readonly mode: number;
}

/** Stands in the folder while a set that is complete on disk takes its names, one a line. */
const PENDING = /^\.([0-9a-f]{12})\.pending$/;
/** A file that has not taken its name yet. */
const TEMPORARY = /^(.+)\.([0-9a-f]{12})\.tmp$/;

function temporaryName(name: string, id: string): string {
  return `${name}.${id}.tmp`;
}

/**
 * Writes files into a folder, which is made where it is missing. All are complete on disk under temporary names before the first
 * takes its own, in the order given; from then on the set is finished by {@link finishWriting} whatever happens to this process.
 * @throws {CertificateError} `permissions` or `unwritable`.
 */
export async function writeAll(dir: string, files: readonly NewFile[]): Promise<void> {
  await finishWriting(dir);
  const id = randomBytes(6).toString("hex");
  const pending = `.${id}.pending`;
  const temporary: string[] = [];
  const write = async ({ name, text, mode }: NewFile) => {
    const path = join(dir, temporaryName(name, id));
    temporary.push(path);
    await writeSynced(path, text, mode);
  };
  try {
    await mkdir(dir, { recursive: true });
    for (const file of files) await write(file);
    const names = files.map(({ name }) => name).join("\n");
    await write({ name: pending, text: names, mode: KEY_MODE });
    await syncFolder(dir);
    await rename(join(dir, temporaryName(pending, id)), join(dir, pending));
  } catch (cause) {
    for (const path of temporary) await rm(path, { force: true });
    throw unwritable(dir, cause);
  }
  await finishWriting(dir);
}

/**
 * Gives the files of an interrupted {@link writeAll} their names. Does nothing in a folder where none was, or that is not there.
 * @throws {CertificateError} `permissions` or `unwritable`.
 */
export async function finishWriting(dir: string): Promise<void> {
  try {
    for (const { marker, id } of await pendingIn(dir)) {
      const names = (await readFile(join(dir, marker), "utf8")).split("\n");
      await syncFolder(dir);
      for (const name of names) {
        await rename(join(dir, temporaryName(name, id)), join(dir, name)).catch((error: unknown) => {
          // It has its name already.
          if (codeOf(error) !== "ENOENT") throw error;
        });
      }
      await syncFolder(dir);
      await rm(join(dir, marker), { force: true });
    }
  } catch (cause) {
    throw unwritable(dir, cause);
  }
}

/** What an interrupted {@link writeAll} has left in a folder. */
export interface Leftovers {
  /** Files of a set that is complete, and finished by the next run that writes there. */
  readonly pending: readonly string[];
  /** Files that were never complete, by the names they have: of no use to anybody. */
  readonly abandoned: readonly string[];
}

/** Looks for what an interrupted {@link writeAll} has left. */
export async function leftoversIn(dir: string): Promise<Leftovers> {
  const known = new Set((await pendingIn(dir)).map(({ id }) => id));
  const pending: string[] = [];
  const abandoned: string[] = [];
  for (const name of (await namesIn(dir)).sort()) {
    const [, wanted, id] = TEMPORARY.exec(name) ?? [];
    if (wanted === undefined || id === undefined) continue;
    if (known.has(id)) pending.push(wanted);
    else abandoned.push(name);
  }
  return { pending, abandoned };
}

async function pendingIn(dir: string): Promise<{ marker: string; id: string }[]> {
  return (await namesIn(dir)).flatMap((marker) => {
    const id = PENDING.exec(marker)?.[1];
    return id === undefined ? [] : [{ marker, id }];
  });
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

function unwritable(dir: string, cause: unknown): CertificateError {
  const code = codeOf(cause);
  const denied = code === "EACCES" || code === "EPERM" || (cause instanceof Error && cause.name === "NotCapable");
  const remedy = denied
    ? "give the folder to the user that runs this program, or name another with --dir"
    : "free the path or name another with --dir";
  return new CertificateError(
    denied ? "permissions" : "unwritable",
    { what: `Cannot write certificates to ${dir}`, state: messageOf(cause), remedy },
    { cause },
  );
}
