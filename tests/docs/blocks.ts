/** The fenced blocks of every page. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname!, "../..");

/** Every page, by its path from the root. */
export const PAGES: readonly string[] = [
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "certs/README.md"],
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];

export interface Block {
  readonly page: string;
  readonly language: string;
  readonly text: string;
}

export const BLOCKS: readonly Block[] = PAGES.flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
    .map(([, language, text]) => ({ page, language: language!, text: text! }))
);
