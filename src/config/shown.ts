/**
 * How a message shows a value that somebody has set: the value itself if it cannot be a secret, else its length and what it looks
 * like. People put a key where its path belongs, a password into a URL and a token in place of a time; all code that prints a
 * setting uses these functions. Beside them is the reading of PEM in the forms that variables force on people.
 * @module
 */
import { Buffer } from "node:buffer";

/** Stands where a secret is. */
export const HIDDEN = "(hidden)";

/** Longer values are no words that a person has to read again. */
const SHOWN_CHARACTERS_MAX = 120;
/** What an option that takes PEM takes at most, in UTF-16 units; base64 of it is a third longer. */
const PEM_CHARACTERS_MAX = 1_500_000;

const BEGIN = "-----BEGIN ";

/**
 * The PEM text that a value is: itself, with `\n` written as two characters where it is one line, or what it is the base64 of
 * (RFC 4648, 4 and 5), as forms of hosts for variables force it. Undefined for anything else, such as a path.
 */
export function pemTextOf(value: string): string | undefined {
  if (value.includes(BEGIN)) return value.includes("\n") ? value : value.replaceAll("\\r", "").replaceAll("\\n", "\n");
  const decoded = bytesOf(value)?.toString("latin1");
  return decoded?.includes(BEGIN) === true ? decoded : undefined;
}

/** What base64 stands for; undefined for what is no base64, or too short to be a certificate or key. */
function bytesOf(value: string): Buffer | undefined {
  if (value.length < 64 || value.length > PEM_CHARACTERS_MAX) return undefined;
  const packed = value.replaceAll(/\\[nr]|\s+/g, "").replace(/^(["'])(.*)\1$/s, "$2");
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(packed)) return undefined;
  return Buffer.from(packed.replaceAll("-", "+").replaceAll("_", "/"), "base64");
}

/** How long a value is and what it looks like: `1704 characters, base64 of a PEM`. No part of it is told. */
export function described(value: string): string {
  const trimmed = value.trim();
  if (value === "") return "empty";
  return `${value.length} character${value.length === 1 ? "" : "s"}, ${looks(trimmed)}`;
}

const RANDOM = "random letters and digits, such as a token";
const PLAIN = "plain text";

function looks(value: string): string {
  if (value === "") return "all blank";
  if (/^-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(value)) return "PEM text of a private key";
  if (/^-----BEGIN CERTIFICATE-----/.test(value)) return "PEM text of a certificate";
  if (value.includes(BEGIN)) return "PEM text";
  if (value.includes("-----END ")) return "PEM text without its BEGIN line";
  const bytes = bytesOf(value);
  if (bytes?.includes(BEGIN) === true) return "base64 of a PEM";
  // An ASN.1 SEQUENCE (X.690, 8.1), as every certificate and key is.
  if (bytes?.[0] === 0x30) return "the body of a PEM without its BEGIN and END lines";
  if (/\b(?:bearer|basic) /i.test(value)) return "the value of an Authorization header";
  if (/^ey[\w-]+\.[\w-]+\.[\w-]*$/.test(value)) return "a JWT";
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) {
    return value.includes("@") ? "a URL with a user name or password" : "a URL";
  }
  if (/^[^\s@]+:[^\s@]+@[^\s@]+$/.test(value)) return "a URL with a user name or password";
  if (/^[{[]/.test(value)) return "JSON or a list";
  if (/[\r\n]/.test(value)) return "several lines of text";
  return isDense(value) ? RANDOM : PLAIN;
}

/** Runs of letters and digits that no word is like: base64, hexadecimal, identifiers of random digits. */
function isDense(value: string): boolean {
  for (const [run] of value.matchAll(/[A-Za-z0-9+/_=~-]{16,}/g)) {
    if (/[a-z]/.test(run) && /[A-Z]/.test(run) && /\d/.test(run)) return true;
    if (/[0-9a-f]{24,}/i.test(run) || /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(run)) return true;
    if ((run.match(/\d/g)?.length ?? 0) >= 5 && /[a-z]/i.test(run)) return true;
    if (/[A-Za-z0-9+]{32,}/.test(run)) return true;
  }
  return false;
}

/** A word or a number as it was written, in quotes; what may be a secret as {@link described} has it, in brackets. */
export function shownText(value: string): string {
  const safe = value.length <= SHOWN_CHARACTERS_MAX && !/[\r\n\0@{}]|-----|\?.*=|bearer |basic /i.test(value) &&
    !isDense(value);
  return safe ? JSON.stringify(value) : `(${described(value)})`;
}

/** A name, such as a key or a header, as it was written, without quotes; what may be a secret as {@link described} has it. */
export function shownName(name: string): string {
  const shown = shownText(name);
  return shown.startsWith("(") ? shown : name;
}

/**
 * Text that is no secret by its setting, as it was written, unless it is what belongs into one that is.
 * @param random It may be of random letters and digits, as the names are that issuers of JWT give out.
 */
export function shownPlain(value: string, random = false): string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return shownUrl(value);
  const looked = looks(value.trim());
  return looked === PLAIN || (random && looked === RANDOM) ? value : `(${described(value)})`;
}

/** Whether a text can be the path of a file and nothing that must be hidden. */
function isPath(value: string): boolean {
  if (value.length > 1_024 || /[\r\n\0@]|-----|:\/\/|^(?:bearer|basic) /i.test(value)) return false;
  // A word alone may be a password; a path has a folder or an ending.
  if (!/[/\\]|\.[A-Za-z0-9]{1,8}$/.test(value)) return false;
  if (/^ey[\w-]+\.[\w-]+\.[\w-]*$/.test(value)) return false;
  const bytes = bytesOf(value);
  if (bytes?.includes(BEGIN) === true || bytes?.[0] === 0x30) return false;
  if (/^[A-Za-z0-9+/=]{24,}$/.test(value) && isDenseName(value.replaceAll("/", ""))) return false;
  return !value.split(/[/\\.]/).some(isDenseName);
}

/**
 * As {@link isDense} for a name of a path: volumes and temporary folders have names of a few random characters that are no
 * secret. Random text changes between small letters, capitals and digits all the time; names do so seldom.
 */
function isDenseName(name: string): boolean {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(name)) return false;
  return name.length > 100 || /[0-9a-f]{32,}/i.test(name) ||
    (name.match(/[a-z](?=[A-Z\d])|[A-Z](?=\d)|\d(?=[A-Za-z])|[A-Z](?=[a-z])/g)?.length ?? 0) >= 8;
}

/** The path of a file as it was written; what is no path as {@link described} has it, in brackets. */
export function shownPath(value: string): string {
  return isPath(value) ? value : `(${described(value)})`;
}

/** A URL without what may be a secret: user name, password, query, fragment, and names in its path that look random. */
export function shownUrl(value: string): string {
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*:\/\/)?(.*)$/is.exec(value.trim()) ?? [];
  const at = rest.lastIndexOf("@");
  const [, bare = "", query = ""] = /^([^?#]*)([?#])?/s.exec(rest.slice(at + 1)) ?? [];
  const [authority = "", ...path] = bare.split("/");
  // A word alone may be a password.
  if (scheme === "" && !/[.:]|^localhost$/.test(authority)) return `(${described(value)})`;
  if (/[\s\0]|-----/.test(bare) || isDense(authority) || value.length > 2_048 || pemTextOf(value) !== undefined) {
    return `(${described(value)})`;
  }
  const names = path.map((name) => isDenseName(name) || (isDense(name)) ? HIDDEN : name);
  return `${scheme}${at < 0 ? "" : `${HIDDEN}@`}${[authority, ...names].join("/")}${
    query === "" ? "" : `${query}${HIDDEN}`
  }`;
}
