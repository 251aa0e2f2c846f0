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
