/** Configurations that pages show are taken by the relay as they stand there. Programs and commands are run elsewhere. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { parse } from "@std/yaml";
import { loadConfig } from "../../src/config/load.ts";
import { OPTIONS } from "../../src/config/schema.ts";
import { parseTokensFile } from "../../src/receiver/senders/tokens_schema.ts";
import { folder } from "../support/files/folder.ts";
import { BLOCKS } from "./blocks.ts";

const SECTIONS = new Set(OPTIONS.map(({ path }) => path[0]!));
/** Configurations of other programs: a Collector's, and where each is tested. */
const OTHERS = /^exporters:\n {2}otlp_(http|grpc):|^receivers:\n {2}otlp:/;

Deno.test("each configuration of a page can be used", async () => {
  await using at = await folder();
  const env = { ADMIN_TOKEN: "a-token-of-this-test", REDACTION_SALT: "salt" };
  let [configurations, tokens] = [0, 0];
  for (const { page, language, text } of BLOCKS) {
    if (language !== "yaml" || OTHERS.test(text)) continue;
    const sections = Object.keys(parse(text) as Record<string, unknown>);
    try {
      if (sections.every((name) => SECTIONS.has(name))) {
        const file = join(at.path, `${configurations++}.yaml`);
        await writeFile(file, text);
        await loadConfig({ file, env });
      } else {
        assert.deepEqual(sections, ["tokens"], "a configuration, or a tokens file");
        // The page cuts the digest short.
        const { length } = parseTokensFile(text.replace("5e88…", "5e".repeat(32)), page).tokens;
        tokens += length;
      }
    } catch (error) {
      throw new Error(`${page}:\n${text}`, { cause: error });
    }
  }
  assert(configurations >= 4 && tokens >= 1, `${configurations} configurations, ${tokens} tokens`);
});

Deno.test("each JSON of a page is JSON", () => {
  for (const { page, language, text } of BLOCKS) {
    if (language === "json") assert.doesNotThrow(() => JSON.parse(text), `${page}:\n${text}`);
  }
});

Deno.test("the variables that README.md shows are those of .env.example", async () => {
  const [block, ...others] = BLOCKS.filter(({ language }) => language === "dotenv");
  assert.deepEqual([block?.page, others], ["README.md", []]);
  const example = parseEnv(await readFile(join(import.meta.dirname!, "../../.env.example"), "utf8"));
  assert.deepEqual({ ...parseEnv(block!.text) }, { ...example });
});
