import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { totalsOf } from "./run.ts";

const script = join(import.meta.dirname!, "run.ts");

Deno.test("the last summary counts, in colours or without", () => {
  const text =
    "ok | 1 passed | 0 failed (1ms)\n\x1b[31mFAILED\x1b[0m | 20 passed (23 steps) | 2 failed | 1 ignored (3s)\n";
  assert.deepEqual(totalsOf(text), { passed: 20, failed: 2, skipped: 1 });
  assert.equal(totalsOf("error: no test modules found"), undefined);
});

Deno.test("what fails is counted and ends with 1, also where no test has begun", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-run-"));
  try {
    writeFileSync(join(folder, "a_test.ts"), 'Deno.test("a", () => {});\nDeno.test.ignore("b", () => {});\n');
    writeFileSync(join(folder, "b_test.ts"), 'Deno.test("c", () => {\n  throw new Error("no");\n});\n');
    writeFileSync(join(folder, "c_test.ts"), 'throw new Error("before any test");\n');
    const run = (...files: string[]) => {
      const args = ["run", "-A", "--no-check", script, "--no-check", ...files.map((file) => join(folder, file))];
      const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8", cwd: folder });
      return [status, stdout.trimEnd().split("\n").at(-1)];
    };
    assert.deepEqual(run("a_test.ts"), [0, "1 passed, 0 failed, 1 skipped"]);
    assert.deepEqual(run("a_test.ts", "b_test.ts"), [1, "1 passed, 1 failed, 1 skipped"]);
    assert.deepEqual(run("c_test.ts"), [1, "0 passed, 1 failed, 0 skipped"]);
    assert.deepEqual(run("gone_test.ts"), [1, "0 passed, 1 failed, 0 skipped"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
