/** The fenced blocks of README.md, so that what it tells people to use is what the tests use. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const file = fileURLToPath(new URL("../../../README.md", import.meta.url));

/** The one block of a language whose text matches. @throws when there is none, or more than one. */
export async function readmeBlock(language: string, test: RegExp): Promise<string> {
  const text = await readFile(file, "utf8");
  const blocks = [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
    .filter(([, of, block]) => of === language && test.test(block!)).map(([, , block]) => block!);
  assert.equal(blocks.length, 1, `README.md has ${blocks.length} blocks of ${language} with ${test}`);
  return blocks[0]!;
}
