/**
 * The token of `dev`: made once, kept in a file that only its user can read, so that `send` finds it.
 * @module
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { underLock } from "../files/lock.ts";
import { replaceFile } from "../files/replace.ts";
import { digestOf } from "../receiver/senders/authenticator.ts";
import { addToken, newSecret, readTokens } from "../receiver/senders/tokens_file.ts";

/** Where `dev` keeps its token, relative to the working folder. */
export const DEV_TOKEN_FILE = "data/dev.token";

/** The development token, in both files; made where there is none. */
export async function ensureDevToken(tokensFile: string): Promise<string> {
  // Two of `dev` that start at once make one token.
  const secret = await underLock(
    dirname(DEV_TOKEN_FILE),
    async () => await readSecret() ?? await writeSecret(newSecret()),
  );
  const known = (await readTokens(tokensFile)).some((entry) => entry.sha256.toLowerCase() === digestOf(secret));
  if (!known) await addToken(tokensFile, { id: "dev", secret });
  return secret;
}

async function readSecret(): Promise<string | undefined> {
  try {
    const secret = (await readFile(DEV_TOKEN_FILE, "utf8")).trim();
    return secret === "" ? undefined : secret;
  } catch {
    return undefined;
  }
}

async function writeSecret(secret: string): Promise<string> {
  await mkdir(dirname(DEV_TOKEN_FILE), { recursive: true, mode: 0o700 });
  await replaceFile(DEV_TOKEN_FILE, `${secret}\n`, { mode: 0o600 });
  return secret;
}
