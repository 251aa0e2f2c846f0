import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { grouped, type TestFile, testFilesIn, writeGroups } from "./groups.ts";

const sized = (...bytes: readonly number[]): TestFile[] =>
  bytes.map((size, index) => ({ path: `/tests/${index}_test.ts`, bytes: size }));

Deno.test("every test file of a folder is found, and none of what is left out", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-groups-"));
  try {
    for (const name of ["room", "room/inner", "e2e", ".cache"]) mkdirSync(join(folder, name));
    const names = ["b_test.ts", "a_test.tsx", "help.ts", "room/c_test.ts", "room/inner/d_test.ts", "e2e/x_test.ts"];
    for (const name of [...names, ".cache/y_test.ts", "room/left_out_test.ts"]) {
      writeFileSync(join(folder, name), "1234");
    }
    const found = testFilesIn(folder, ["e2e", "room/left_out_test.ts"].map((name) => join(folder, name)));
    assert.deepEqual(
      found,
      ["a_test.tsx", "b_test.ts", "room/c_test.ts", "room/inner/d_test.ts"].map((name) => ({
        path: join(folder, name),
        bytes: 4,
      })),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Deno.test("each file is in one group, in order; a group is no larger than it may be, but for one file that is", () => {
  const sizes = (files: readonly TestFile[]) => grouped(files, 10).map((group) => group.map(({ bytes }) => bytes));
  assert.deepEqual(sizes(sized(4, 4, 2, 1, 30, 5, 5, 1)), [[4, 4, 2], [1], [30], [5, 5], [1]]);
  assert.deepEqual(sizes([]), []);
});

Deno.test("a group's module imports its files, and goes with the others", () => {
  let folder: string;
  {
    using modules = writeGroups([sized(1, 1), sized(1)], "/tests");
    assert.deepEqual(modules.paths.map((path) => basename(path)), ["01_from_0_test.ts", "02_from_0_test.ts"]);
    folder = dirname(modules.paths[0]!);
    const imported = [...readFileSync(modules.paths[0]!, "utf8").matchAll(/import "(.*)";/g)];
    assert.deepEqual(imported.map(([, url]) => fileURLToPath(url!)), ["/tests/0_test.ts", "/tests/1_test.ts"]);
  }
  assert.ok(!existsSync(folder));
});
