import assert from "node:assert/strict";
import { startProgram } from "../support/program/program.ts";
import { MissingTool, runTool, toolOutput } from "../support/tools/tool.ts";

Deno.test("a program that is missing is named in one line, with what to install", async () => {
  const env = { PATH: "/nowhere" };
  // Deno looks for a program by the PATH that it has itself, or that it is given.
  for (
    const start of [
      () => toolOutput("no-such-nginx", []),
      () => Promise.resolve().then(() => startProgram({ command: "no-such-nginx", args: [], cwd: ".", env })),
    ]
  ) {
    await assert.rejects(start, (error) => {
      assert(error instanceof MissingTool);
      assert.equal(error.message, "Cannot run no-such-nginx: it is not on PATH; install it");
      assert.equal(error.stack?.includes("\n"), false, error.stack);
      return true;
    });
  }
  assert.match(new MissingTool("nginx").message, /apt-get install nginx-light$/);
});

Deno.test("what a program says on its two outputs is kept apart, and a failure has both", async () => {
  const { stdout, stderr } = await runTool("sh", ["-c", "cat; echo told >&2"], { input: "read" });
  assert.deepEqual([stdout, stderr], ["read", "told\n"]);
  await assert.rejects(runTool("sh", ["-c", "echo out; echo told >&2; exit 3"]), /ended with 3: out\ntold/);
  await assert.rejects(toolOutput("sh", [], { cwd: "/no/such/folder" }), Deno.errors.NotFound);
});
