/**
 * What the `certs` commands have in common: their defaults, and how they write dates.
 * @module
 */

/** The folder of the certificates. */
export const DIR_DEFAULT = "certs";
export const OPENS_CA = "the passphrase of an encrypted CA key is in this file";

export function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** A certificate may say anything, terminal escapes included. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
