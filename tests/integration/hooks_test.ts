import assert from "node:assert/strict";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { folder } from "../support/files/folder.ts";
import denoJson from "../../deno.json" with { type: "json" };
import { runTool, toolOutput } from "../support/tools/tool.ts";

/** The task's own words, permissions and all. */
const task = denoJson.tasks.hooks.command.split(" ").slice(1).map((word) =>
  word === "tests/hooks.ts" ? join(import.meta.dirname!, "../hooks.ts") : word
);

Deno.test("the hook keeps a commit back that the gate refuses, and no hook of somebody else's is replaced", async () => {
  await using at = await folder();
  const git = (...args: string[]) =>
    toolOutput("git", ["-c", "user.name=t", "-c", "user.email=t@example.com", ...args], { cwd: at.path });
  await git("init", "--quiet");
  const hooks = () => toolOutput(Deno.execPath(), task, { cwd: at.path });
  assert.match((await runTool(Deno.execPath(), task, { cwd: at.path })).stdout, /pre-commit/);
  assert.equal((await hooks()).code, 0, "a second time changes nothing");

  // The gate of this folder: it passes for as long as there is a file.
  const bin = join(at.path, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "deno"), '#!/bin/sh\n[ "$*" = "task check" ] && [ -e good ]\n');
  await chmod(join(bin, "deno"), 0o755);
  const commit = () =>
    toolOutput("git", ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qam", "x", "--allow-empty"], {
      cwd: at.path,
      env: { PATH: `${bin}:${Deno.env.get("PATH")}` },
    });
  assert.equal((await commit()).success, false);
  await writeFile(join(at.path, "good"), "");
  assert.equal((await commit()).success, true);

  const file = join(at.path, ".git/hooks/pre-commit");
  await writeFile(file, "#!/bin/sh\nexit 0\n");
  const refused = await hooks();
  assert.deepEqual([refused.code, /there is another hook/.test(refused.stderr)], [1, true]);
  assert.equal(await readFile(file, "utf8"), "#!/bin/sh\nexit 0\n");
});
