/** The task `start` of `deno.json`, so that what users run is what is tested and measured. */
import assert from "node:assert/strict";
import { join } from "node:path";
import denoJson from "../../../deno.json" with { type: "json" };

const ROOT = join(import.meta.dirname!, "../../..");

const words = denoJson.tasks.start.command.split(" ");
const deno = words.indexOf("deno");
assert.deepEqual(
  [words[deno + 1], words.slice(-2)],
  ["run", ["src/main.ts", "run"]],
  "The task is deno run … src/main.ts run",
);

const env: Record<string, string> = Object.fromEntries(
  words.slice(0, deno).map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]),
);

export const START_TASK = {
  /** The variables that it sets. */
  env,
  /** Those of them that are the allocator's (glibc). */
  allocator: Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith("MALLOC_"))),
  /** Deno's arguments, permissions included, with the file's whole path. */
  args: words.slice(deno + 1).map((word) => word === "src/main.ts" ? join(ROOT, word) : word),
  /** What it gives V8. */
  v8Flags: words.filter((word) => word.startsWith("--v8-flags=")),
};
