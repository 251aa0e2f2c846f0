import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { underLock } from "../../src/files/lock.ts";
import { runToEnd, startProgram } from "../support/program/program.ts";

const LOCK = new URL("../../src/files/lock.ts", import.meta.url).href;

/** A process that adds 1 to the number in a file, `times` times, each by reading, waiting and writing. */
const counting = (folder: string, times: number) => ({
  command: Deno.execPath(),
  args: [
    "eval",
    `import { underLock } from ${JSON.stringify(LOCK)};
     for (let i = 0; i < ${times}; i++) await underLock(${JSON.stringify(folder)}, async () => {
       await Deno.mkdir(${JSON.stringify(folder)}, { recursive: true });
       const file = ${JSON.stringify(join(folder, "count"))};
       const count = Number(await Deno.readTextFile(file).catch(() => "0"));
       await new Promise((done) => setTimeout(done, 2));
       await Deno.writeTextFile(file, String(count + 1));
     });`,
  ],
  cwd: tmpdir(),
});

Deno.test("processes that change one file take turns, also where the folder is made by one of them, and by a link", async () => {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-lock-"));
  try {
    const folder = join(dir, "made");
    await Promise.all([1, 2, 3].map(() => runToEnd(counting(folder, 10))));
    assert.equal(await readFile(join(folder, "count"), "utf8"), "30");
    await symlink("made", join(dir, "link"));
    await Promise.all([folder, join(dir, "link")].map((each) => runToEnd(counting(each, 10))));
    assert.equal(await readFile(join(folder, "count"), "utf8"), "50");
    assert.deepEqual(await readdir(folder), ["count"], "nothing is left behind");
  } finally {
    await rm(dir, { recursive: true });
  }
});

Deno.test("a holder that is killed holds nobody up, and a folder that is not there stays away", async () => {
  const dir = await mkdtemp(join(tmpdir(), "edgeferry-lock-"));
  try {
    await writeFile(join(dir, "x"), "");
    await using holder = startProgram({
      command: Deno.execPath(),
      args: [
        "eval",
        `import { underLock } from ${JSON.stringify(LOCK)};
         await underLock(${JSON.stringify(dir)}, async () => {
           console.log("held");
           await new Promise((done) => setTimeout(done, 600_000));
         });`,
      ],
      cwd: dir,
    });
    await holder.line(/held/);
    let ran = false;
    const waiting = underLock(dir, () => {
      ran = true;
      return Promise.resolve();
    });
    assert.equal(ran, false);
    holder.signal("SIGKILL");
    await waiting;
    assert.equal(ran, true);
    await underLock(join(dir, "a", "b"), () => Promise.resolve());
    assert.deepEqual(await readdir(dir), ["x"]);
  } finally {
    await rm(dir, { recursive: true });
  }
});
