/** What is published of the library: Deno's own tools say whether it may be, in processes of their own. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

async function deno(...args: string[]): Promise<{ code: number; said: string }> {
  const env = { NO_COLOR: "1", DENO_TLS_CA_STORE: "" };
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: root, env, stdin: "null" })
    .output();
  return { code, said: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test("the library's examples run, nothing of it is undocumented, and it may be published", async () => {
  const sources = (await readdir(join(root, "src"), { recursive: true })).filter((name) => name.endsWith(".ts"));
  const examples: string[] = [];
  let count = 0;
  for (const name of sources) {
    const blocks = (await readFile(join(root, "src", name), "utf8")).match(/^ \* ```ts$/gm)?.length ?? 0;
    if (blocks > 0) examples.push(join("src", name));
    count += blocks;
  }
  assert(examples.includes("src/mod.ts"));
  const run = await deno("test", "--allow-net", "--allow-env", "--allow-read", "--allow-sys", "--doc", ...examples);
  assert.match(run.said, new RegExp(`^ok \\| ${count} passed \\| 0 failed`, "m"));
  const published = await deno("publish", "--dry-run", "--allow-dirty");
  assert.equal(published.code, 0, published.said);
  assert.doesNotMatch(published.said, /^warning/m);
  // The types of dependencies are documented where they come from.
  const lint = await deno("doc", "--lint", "--no-npm", "src/mod.ts");
  assert.equal(lint.code, 0, lint.said);
});
