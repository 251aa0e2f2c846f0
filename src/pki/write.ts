/**
 * Files of certificates and keys, written so that nobody ever reads half of one.
 * @module
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { CertificateError, messageOf } from "../errors.ts";

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

/**
 * Writes files into a folder, which is made where it is missing. All are complete on disk under temporary names before the first
 * takes its own, in the order given.
 * @throws {CertificateError} `permissions` or `unwritable`.
 */
export async function writeAll(dir: string, files: readonly NewFile[]): Promise<void> {
  const suffix = `.${randomBytes(6).toString("hex")}.tmp`;
  const temporary: string[] = [];
  try {
    await mkdir(dir, { recursive: true });
    for (const { name, text, mode } of files) {
      const path = join(dir, name + suffix);
      const file = await open(path, "wx", mode);
      temporary.push(path);
      try {
        await file.chmod(mode); // The umask may have taken bits from the mode given to open.
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    for (const { name } of files) await rename(join(dir, name + suffix), join(dir, name));
  } catch (cause) {
    for (const path of temporary) await rm(path, { force: true });
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    const denied = code === "EACCES" || code === "EPERM" || (cause instanceof Error && cause.name === "NotCapable");
    const state = `Cannot write certificates to ${dir}: ${messageOf(cause)}`;
    throw new CertificateError(
      denied ? "permissions" : "unwritable",
      denied
        ? `${state}; give the folder to the user that runs this program, or name another with --dir`
        : `${state}; free the path or name another with --dir`,
      { cause },
    );
  }
}
