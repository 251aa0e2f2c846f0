/**
 * The file of static tokens: written with care, since people edit it too.
 * @module
 */
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { shownPath } from "../../config/shown.ts";
import { withItem, withoutItems } from "../../config/yaml_document.ts";
import { codeOf, ConfigError, messageOf } from "../../errors.ts";
import { underLock } from "../../files/lock.ts";
import { FileChanged, replaceFile, textOf } from "../../files/replace.ts";
import { SIGNAL_NAMES } from "../../signal.ts";
import { digestOf } from "./authenticator.ts";
import {
  parseTokens,
  parseTokensFile,
  REVOKED_MAX,
  type RevokedToken,
  type SigningKey,
  type TokenEntry,
  type TokensFile,
  type WrittenLimits,
} from "./tokens_schema.ts";

const HEAD = "# Who may send: ids, and the SHA-256 of their tokens, which are kept nowhere themselves.\n" +
  "# A signing key with a secret is a secret itself: this file is for its user alone.\n";

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
  return parsed(await read(file), file);
}

function parsed(text: string | undefined, file: string): TokensFile {
  return text === undefined ? { tokens: [], signingKeys: [], revoked: [] } : parseTokensFile(text, file);
}

async function read(file: string): Promise<string | undefined> {
  try {
    return await textOf(file);
  } catch (error) {
    const name = shownPath(file);
    const state = name === file ? messageOf(error) : codeOf(error) ?? "it is no file";
    throw new ConfigError({
      what: `Cannot read tokens file ${name}`,
      state,
      remedy: "make it a file that this user can read",
    });
  }
}

/** Readings of a file that somebody goes on changing by hand, at most. */
const READINGS_MAX = 5;

/**
 * Changes the file: one process at a time, and never over what somebody else has written meanwhile.
 * @param change The new text; undefined where nothing is to change. It may be asked again, of what the file has become.
 */
async function changeFile(file: string, change: (text: string | undefined) => string | undefined): Promise<void> {
  await underLock(dirname(file), async () => {
    for (let readings = 1;; readings++) {
      const before = await read(file);
      // One that cannot be used stays as it is: what it was meant to say is its owner's to know.
      parsed(before, file);
      const after = change(before);
      if (after === undefined) return;
      parseTokens(after, file);
      try {
        await mkdir(dirname(file), { recursive: true });
        return await replaceFile(file, after, { mode: 0o600, from: { text: before } });
      } catch (error) {
        if (!(error instanceof FileChanged) || readings === READINGS_MAX) {
          throw new ConfigError(
            {
              what: `Cannot write tokens file ${shownPath(file)}`,
              state: messageOf(error),
              remedy: "run the command again",
            },
            {
              cause: error,
            },
          );
        }
      }
    }
  });
}

/** Adds a signing key. @throws {ConfigError} when the file cannot be used, or not with this key. */
export async function addSigningKey(
  file: string,
  key: Pick<SigningKey, "id" | "origins"> & Partial<Omit<SigningKey, "limits">> & { readonly limits?: WrittenLimits },
): Promise<void> {
  await changeFile(file, (text = HEAD) => withItem(text, "signing_keys", key));
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
  await changeFile(file, (text = HEAD) => withItem(text, "tokens", entry));
}

/**
 * Removes every token and signing key of an id. The digests of the tokens are remembered for 90 days, so that the log
 * names a sender that still uses one.
 * @returns how many there were.
 */
export async function removeTokens(file: string, id: string, now: Date = new Date()): Promise<number> {
  let removed = 0;
  await changeFile(file, (text) => {
    const { tokens, signingKeys, revoked } = parsed(text, file);
    const gone = tokens.filter((entry) => entry.id === id);
    removed = gone.length + signingKeys.filter((key) => key.id === id).length;
    if (removed === 0 || text === undefined) return undefined;
    const at = now.toISOString();
    const isOld = (token: RevokedToken) => now.getTime() - Date.parse(token.at) >= REVOKED_MS;
    const fresh = revoked.filter((token) => !isOld(token));
    const tooMany = new Set(fresh.slice(0, Math.max(0, fresh.length + gone.length - REVOKED_MAX)).map(keyOf));
    const forgotten = new Set([...revoked.filter(isOld).map(keyOf), ...tooMany]);
    let next = withoutItems(text, "tokens", (item) => idOf(item) === id);
    next = withoutItems(next, "signing_keys", (item) => idOf(item) === id);
    next = withoutItems(next, "revoked", (item) => forgotten.has(keyOf(item)));
    for (const { sha256 } of gone.slice(-REVOKED_MAX)) next = withItem(next, "revoked", { id, sha256, at });
    return next;
  });
  return removed;
}

const idOf = (item: unknown): unknown => (item as { readonly id?: unknown } | null)?.id;

/** One of the revoked, as it is told from the others. */
const keyOf = (item: unknown): string => {
  const { id, sha256 } = (item ?? {}) as { readonly id?: unknown; readonly sha256?: unknown };
  return `${id} ${sha256}`;
};
