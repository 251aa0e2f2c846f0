/**
 * The file of static tokens: written with care, since people edit it too.
 * @module
 */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { stringify } from "@std/yaml";
import { ConfigError, messageOf } from "../../errors.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import { digestOf } from "./authenticator.ts";
import {
  parseTokens,
  parseTokensFile,
  REVOKED_MAX,
  type SigningKey,
  type TokenEntry,
  type TokensFile,
  type WrittenLimits,
} from "./tokens_schema.ts";

const HEAD = "# Who may send: an id and the SHA-256 of its token. The tokens themselves are kept nowhere.\n";

/** How long a revoked token is remembered, in ms. */
const REVOKED_MS = 90 * 86_400_000;

/** 32 random bytes: 43 characters of base64url. */
export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

/**
 * Every entry; none when there is no such file.
 * @throws {ConfigError} when the file cannot be read or used.
 */
export async function readTokens(file: string): Promise<readonly TokenEntry[]> {
  return (await readTokensFile(file)).tokens;
}

/** The same with the signing keys. @throws {ConfigError} */
export async function readTokensFile(file: string): Promise<TokensFile> {
  const text = await textOf(file);
  return text === undefined ? { tokens: [], signingKeys: [], revoked: [] } : parseTokensFile(text, file);
}

/** The file's text, written anew. */
function written(
  { tokens, signingKeys, revoked }: { readonly [part in keyof TokensFile]: readonly unknown[] },
): string {
  return HEAD + stringify({
    tokens,
    ...(signingKeys.length === 0 ? {} : { signing_keys: signingKeys }),
    ...(revoked.length === 0 ? {} : { revoked }),
  });
}

/** A key as it is written. */
function keyEntry({ max_age_ms: _, ...entry }: SigningKey) {
  return entry;
}

/** Adds a signing key. @throws {ConfigError} when the file cannot be used, or not with this key. */
export async function addSigningKey(
  file: string,
  key: Pick<SigningKey, "id" | "origins"> & Partial<Omit<SigningKey, "limits">> & { readonly limits?: WrittenLimits },
): Promise<void> {
  const { signingKeys, ...others } = await readTokensFile(file);
  const next = written({ ...others, signingKeys: [...signingKeys.map(keyEntry), key] });
  parseTokens(next, file);
  await replace(file, next);
}

/**
 * Adds the digest of a secret under an id. Two entries may have the same id: that is how a token is rotated.
 * @throws {ConfigError} when the file cannot be used as it is, or not with this token; it stays as it was.
 */
export async function addToken(
  file: string,
  token: Partial<Omit<TokenEntry, "limits">> & {
    readonly id: string;
    readonly secret: string;
    readonly limits?: WrittenLimits;
  },
): Promise<void> {
  const { id, secret, signals, ...more } = token;
  const entry = { id, sha256: digestOf(secret), signals: signals ?? SIGNAL_NAMES, ...more };
  const { tokens, signingKeys, revoked } = await readTokensFile(file);
  const entries = [...tokens, entry];
  const addition = stringify([entry]).trimEnd().split("\n").map((line) => `  ${line}\n`).join("");
  const text = await textOf(file) ?? `${HEAD}tokens:\n`;
  // Appending keeps people's comments; where the file's shape does not allow it, the file is written anew.
  const appended = `${text.trimEnd()}\n${addition}`;
  const anew = written({ tokens: entries, signingKeys: signingKeys.map(keyEntry), revoked });
  const next = parsesTo(appended, file, entries.length) ? appended : anew;
  parseTokens(next, file);
  await replace(file, next);
}

/**
 * Removes every token and signing key of an id. The digests of the tokens are remembered for 90 days, so that whoever still uses
 * one is told of by name.
 * @returns how many there were.
 */
export async function removeTokens(file: string, id: string, now: Date = new Date()): Promise<number> {
  const { tokens, signingKeys, revoked } = await readTokensFile(file);
  const kept = tokens.filter((entry) => entry.id !== id);
  const keptKeys = signingKeys.filter((key) => key.id !== id);
  const removed = tokens.length - kept.length + signingKeys.length - keptKeys.length;
  const at = now.toISOString();
  const remembered = [
    ...revoked.filter((token) => now.getTime() - Date.parse(token.at) < REVOKED_MS),
    ...tokens.filter((entry) => entry.id === id).map(({ sha256 }) => ({ id, sha256, at })),
  ].slice(-REVOKED_MAX);
  if (removed > 0) {
    await replace(file, written({ tokens: kept, signingKeys: keptKeys.map(keyEntry), revoked: remembered }));
  }
  return removed;
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new ConfigError(
      `Cannot read tokens file ${file}: ${messageOf(error)}; make it a file that this user can read`,
    );
  }
}

function parsesTo(text: string, file: string, count: number): boolean {
  try {
    return parseTokens(text, file).length === count;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}

/** By a temporary name, so that a relay that reads it meanwhile sees the old file or the new one. */
async function replace(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  await writeFile(temporary, text, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
