import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { DEV_TOKEN_FILE, ensureDevToken } from "../../src/cli/dev_token.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { addToken, readTokens } from "../../src/receiver/senders/tokens_file.ts";
import { folder } from "../support/files/folder.ts";

/** In a folder of its own: the token's file is relative to the working folder. */
async function inFolder(body: (tokensFile: string) => Promise<void>): Promise<void> {
  await using at = await folder();
  const before = process.cwd();
  process.chdir(at.path);
  try {
    await body(join("config", "tokens.yaml"));
  } finally {
    process.chdir(before);
  }
}

Deno.test("the token is made once, in files that their user alone can read", () =>
  inFolder(async (tokensFile) => {
    const token = await ensureDevToken(tokensFile);
    assert.match(token, /^[\w-]{43}$/);
    assert.equal(await ensureDevToken(tokensFile), token);
    assert.equal(await readFile(DEV_TOKEN_FILE, "utf8"), `${token}\n`);
    assert.equal((await stat(DEV_TOKEN_FILE)).mode & 0o777, 0o600);
    assert.equal((await stat("data")).mode & 0o777, 0o700);
    assert.equal((await stat(tokensFile)).mode & 0o777, 0o600);
    assert.deepEqual((await readTokens(tokensFile)).map(({ id, sha256 }) => [id, sha256]), [["dev", digestOf(token)]]);
  }));

Deno.test("what is missing is made again, and other people's tokens stay", () =>
  inFolder(async (tokensFile) => {
    await addToken(tokensFile, { id: "shop", secret: "of-the-shop" });
    const token = await ensureDevToken(tokensFile);
    assert.deepEqual((await readTokens(tokensFile)).map(({ id }) => id), ["shop", "dev"]);
    await writeFile(DEV_TOKEN_FILE, "\n");
    const another = await ensureDevToken(tokensFile);
    assert.notEqual(another, token);
    assert.deepEqual((await readTokens(tokensFile)).map(({ id }) => id), ["shop", "dev", "dev"]);
  }));
