/**
 * Puts test files together. `deno test` gives each file that it is handed an isolate of its own, which loads and compiles every module that
 * the file needs: for most of these tests that takes longer than the tests themselves. Files of a room need the same modules, so a few
 * of them share an isolate here, by a module that imports them.
 */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";

/** A test file: its path, and its size in bytes, which stands for how long it runs. */
export interface TestFile {
  readonly path: string;
  readonly bytes: number;
}

/** Test files below a folder, those of a folder together, without the files and folders that are named. */
export function testFilesIn(folder: string, without: readonly string[] = []): TestFile[] {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith("."))
    .toSorted((a, b) => a.name < b.name ? -1 : 1);
  const files = entries.filter((entry) => entry.isFile() && /_test\.tsx?$/.test(entry.name))
    .map(({ name }) => join(folder, name)).filter((path) => !without.includes(path))
    .map((path) => ({ path, bytes: statSync(path).size }));
  const below = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
    .filter((path) => !without.includes(path));
  return [...files, ...below.flatMap((path) => testFilesIn(path, without))];
}

/** Runs of neighbours, each of `bytesMax` at most unless one file has more. */
export function grouped(files: readonly TestFile[], bytesMax: number): (readonly TestFile[])[] {
  const groups: TestFile[][] = [];
  let room = 0;
  for (const file of files) {
    const last = groups.at(-1);
    if (last === undefined || file.bytes > room) {
      groups.push([file]);
      room = bytesMax - file.bytes;
    } else {
      last.push(file);
      room -= file.bytes;
    }
  }
  return groups;
}

/** Modules that import the files of a group each, in a folder that goes when they are disposed of. */
export interface GroupModules extends Disposable {
  readonly paths: readonly string[];
}

/** Writes them. @param root What the modules' names are told from. */
export function writeGroups(groups: readonly (readonly Pick<TestFile, "path">[])[], root: string): GroupModules {
  const folder = mkdtempSync(join(tmpdir(), "edgeferry-tests-"));
  const paths = groups.map((files, index) => {
    const first = relative(root, files[0]!.path).replaceAll(/[^A-Za-z0-9]+/g, "_").replace(/_test_tsx?$/, "");
    const path = join(folder, `${String(index + 1).padStart(2, "0")}_from_${first}_test.ts`);
    writeFileSync(path, files.map((file) => `import ${JSON.stringify(pathToFileURL(file.path).href)};\n`).join(""));
    return path;
  });
  return { paths, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}
