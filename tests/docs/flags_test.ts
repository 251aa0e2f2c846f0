/** What a relay is run with stands in the task `start`; where the format of another file forces a copy, the copy is compared. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import denoJson from "../../deno.json" with { type: "json" };
import { START_TASK } from "../support/program/start_task.ts";

const root = join(import.meta.dirname!, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** Lists and continued lines as one line of words. */
const COPIES: Readonly<Record<string, string>> = {
  "the task dev": denoJson.tasks.dev.command,
  "docker-compose.yaml": read("docker-compose.yaml").replaceAll(/\n\s+- (?=\S)/g, " "),
  "docs/deploy/edgeferry.service": read("docs/deploy/edgeferry.service").replaceAll(/\\\n\s*/g, ""),
  "docs/deploy/kubernetes.yaml": read("docs/deploy/kubernetes.yaml").replaceAll(/\n\s+- (?=\S)/g, " "),
  "docs/deploy/kubernetes-fleet.yaml": read("docs/deploy/kubernetes-fleet.yaml").replaceAll(/\n\s+- (?=\S)/g, " "),
  "docs/operations.md": read("docs/operations.md"),
};

/** What one place has its own of. */
const OWN = /^(--(allow-\S+|frozen|cached-only|no-prompt|watch\S*)|…)$/;

/** Flags of Deno between `run` and the program. */
function flagsIn(line: string): string[] | undefined {
  const found = /\brun ((?:--\S+ )+(?:… )?)src\/main\.ts (?:run|dev)\b/.exec(line);
  return found?.[1]?.trim().split(" ").filter((flag) => !OWN.test(flag));
}

/** Variables of the allocator: `NAME=1`, `NAME: "1"` and `{ name: NAME, value: "1" }`. */
function allocatorIn(text: string): Record<string, string> {
  const found = text.matchAll(/\b(MALLOC_\w+?_)(?:=|: |, value: )"?(\d+)/g);
  return Object.fromEntries([...found].map(([, name, value]) => [name, value]));
}

Deno.test("the relay runs with the same flags of V8 and the same allocator wherever it is started", () => {
  const { start } = denoJson.tasks;
  assert.deepEqual(flagsIn(start.command), START_TASK.v8Flags);
  assert(START_TASK.v8Flags.length > 0 && Object.keys(START_TASK.allocator).length > 0);
  for (const [where, text] of Object.entries(COPIES)) {
    assert.deepEqual(flagsIn(text), START_TASK.v8Flags, where);
    assert.deepEqual(allocatorIn(text), START_TASK.allocator, where);
  }
  assert(START_TASK.v8Flags[0]!.includes(/`(--heap-growing[^`]*)`/.exec(read("docs/decisions.md"))![1]!.slice(2)));
});
