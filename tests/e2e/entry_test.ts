/** The entry that people type: from any folder, by a link, without an echo of the command before its words. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { folder } from "../support/files/folder.ts";

const entry = fileURLToPath(new URL("../../src/edgeferry", import.meta.url));
const run = promisify(execFile);

Deno.test("src/edgeferry runs a command by its task and says nothing of its own", async () => {
  await using at = await folder();
  const bin = join(at.path, "bin");
  await mkdir(bin);
  await symlink(Deno.execPath(), join(bin, "deno"));
  await symlink(entry, join(bin, "edgeferry"));
  const options = { cwd: at.path, env: { ...process.env, PATH: `${bin}:${process.env["PATH"]}` } };
  for (const program of [entry, "edgeferry"]) {
    const { stdout, stderr } = await run(program, ["metrics", "--json"], options);
    assert(Array.isArray(JSON.parse(stdout)) && stderr === "", `${program}: ${stderr}`);
  }
  // What is called `run` by the program is called `start` by its task.
  const { stdout } = await run("edgeferry", ["run", "--help"], options);
  assert.match(stdout, /^Usage: edgeferry run /);
  const help = await run("edgeferry", ["--help"], options);
  assert.match(help.stdout, /^Usage: edgeferry /);
  const commands = [...help.stdout.matchAll(/^ {2}(?!help)([a-z]+) /gm)].map(([, command]) => command!);
  assert(commands.includes("run") && commands.length > 5, help.stdout);
  for (const command of commands) {
    // `dev` would go on watching files behind its help.
    if (command === "dev") continue;
    const { stdout } = await run("edgeferry", [command, "--help"], options);
    assert(stdout.startsWith(`Usage: edgeferry ${command} `), stdout);
  }
  await assert.rejects(run("edgeferry", ["nonsense"], options), (error) => {
    const { code, stderr } = error as { code?: number; stderr?: string };
    return code === 2 && stderr === "error: unknown command 'nonsense'\n";
  });
  await assert.rejects(run("edgeferry", ["queue", "stats", "--path", "/nonexistent"], options), (error) => {
    const { code, stderr } = error as { code?: number; stderr?: string };
    return code === 1 && /^Cannot read queue \/nonexistent: there is no such file; .*\n$/.test(stderr ?? "");
  });
});
