/** The fenced blocks and files of docs, so that what a page tells people to use is what the tests use. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

/** A file of `docs`, or of the root by `../README.md`. */
export async function docText(name: string): Promise<string> {
  return await readFile(new URL(`../../../docs/${name}`, import.meta.url), "utf8");
}

/** The one block of a page that is of this language and matches. @throws when there is none, or more than one. */
export async function docBlock(page: string, language: string, test: RegExp): Promise<string> {
  const blocks = [...(await docText(page)).matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
    .filter(([, of, block]) => of === language && test.test(block!)).map(([, , block]) => block!);
  assert.equal(blocks.length, 1, `docs/${page} has ${blocks.length} blocks of ${language} with ${test}`);
  return blocks[0]!;
}
