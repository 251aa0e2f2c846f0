import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { openQueue } from "../../../../src/queue/open.ts";
import type { SendingQueue } from "../../../../src/queue/queue.ts";
import { assertBalanced } from "../../contract.ts";
import { numberOf, record, settleAll, statsOf, takeAll } from "../../records.ts";
import { fill, inFolder, type Place, range, ready, startWriter } from "../scene.ts";
import { waitWhile } from "../../../support/wait_while.ts";

function damagePages(path: string, pages: readonly number[]): void {
  const fd = openSync(path, "r+");
  for (const page of pages) writeSync(fd, new Uint8Array(4096).fill(0xa5), 0, 4096, (page - 1) * 4096);
  closeSync(fd);
}

/** Resolves when the queue says that it takes nothing, with its reason. */
async function unready(queue: SendingQueue): Promise<string> {
  for (;;) {
    const { ready, reason } = queue.readiness();
    if (!ready) return reason ?? "";
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function numbersIn(queue: SendingQueue): Promise<number[]> {
  const { records } = await statsOf(queue);
  return (await takeAll(queue, records)).map(numberOf).sort((a, b) => a - b);
}

const modesIn = (folder: string) =>
  readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o077] as const);

function onlyForOwner(folder: string): void {
  for (const [name, others] of modesIn(folder)) assert.equal(others, 0, name);
}

// --- a damaged file that was set aside

inFolder("a damaged file that was set aside is salvaged although the relay died before it noted so", async (place) => {
  const queue = await place.open();
  await fill(queue, 0, 400, 1000);
  await queue[Symbol.asyncDispose]();
  // In the middle of its rows; the header tells nothing.
  damagePages(place.path, [30]);
  const writer = await startWriter(place.path, 1_000_000, [{ point: "aside", nth: 1, act: "kill" }]);
  assert.deepEqual(await writer.ended, []);
  assert.equal(existsSync(place.path), false, "it died between the rename and the new file");

  await using again = await place.open();
  const { fields } = await place.log.line(/Salvage .* ended/);
  const { records } = await statsOf(again);
  assert.ok(records > 380, `${records} salvaged`);
  assert.equal(fields.records, records);
  assertBalanced(await statsOf(again));
  onlyForOwner(place.folder);
});

for (const left of ["-wal", ".mark"] as const) {
  inFolder(`a set-aside that was cut off before ${left} was renamed is finished, with what is in it`, async (place) => {
    await using writer = await startWriter(place.path, 0);
    await writer.accepted(200);
    const accepted = await writer.kill();
    assert.ok(statSync(`${place.path}-wal`).size > 0);
    const aside = `${place.path}.damaged-20260101T000000Z`;
    renameSync(place.path, aside);
    if (left === ".mark") renameSync(`${place.path}-wal`, `${aside}-wal`);

    await using queue = await place.open();
    await place.log.line(/Salvage .* ended/);
    const there = await numbersIn(queue);
    assert.deepEqual(accepted.filter((number) => !there.includes(number)), []);
    assertBalanced(await statsOf(queue));
  });
}

inFolder(
  "what has been salvaged is salvaged once, also where the relay died before the file was renamed",
  async (place) => {
    const queue = await place.open();
    await fill(queue, 0, 50);
    await settleAll((await takeAll(queue, 50)).slice(0, 20));
    await queue[Symbol.asyncDispose]();
    copyFileSync(place.path, `${place.path}.damaged-20260101T000000Z`);
    for (const suffix of ["", ".mark"]) rmSync(place.path + suffix);

    const first = await place.open();
    await place.log.line(/Salvage .* 30 records moved, 0 lost/);
    await first[Symbol.asyncDispose]();
    const done = readdirSync(place.folder).find((name) => /\.salvaged-[\w-]+$/.test(name))!;
    renameSync(join(place.folder, done), `${place.path}.damaged-20260101T000000Z`);
    const db = new DatabaseSync(place.path);
    db.exec("INSERT INTO salvages VALUES ('queue.db.damaged-20260101T000000Z', 0, 30, 1)");
    db.close();

    await using again = await place.open();
    const { records, books } = await statsOf(again);
    assert.equal(records, 30);
    assert.equal(books.traces.delivered, 60);
    assertBalanced(await statsOf(again));
    assert.ok(readdirSync(place.folder).some((name) => /\.salvaged-[\w-]+$/.test(name)));
  },
);

inFolder("files that an older version set aside are told of, and not read again", async (place) => {
  const queue = await place.open();
  await fill(queue, 0, 10);
  await queue[Symbol.asyncDispose]();
  copyFileSync(place.path, `${place.path}.damaged-20260101T000000Z`);
  const db = new DatabaseSync(place.path);
  db.exec("INSERT INTO salvages VALUES ('', 0, 0, 1)");
  db.close();
  await using again = await place.open();
  const { level, fields } = await place.log.line(/older version set this file aside/);
  assert.equal(level, "warn");
  assert.equal(fields.oldName, `${place.path}.damaged-20260101T000000Z`);
  assert.equal((await statsOf(again)).records, 10);
});

inFolder(
  "on a disk that is full the reserve is given up for the new file, and all is salvaged in the end",
  async (place) => {
    if (process.getuid?.() !== 0) return;
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=90m", "tmpfs", place.folder]);
    try {
      const queue = await place.open();
      await fill(queue, 0, 300, 100_000);
      await queue[Symbol.asyncDispose]();
      damagePages(place.path, [3000]);
      execFileSync("sh", ["-c", `cat /dev/zero > ${place.folder}/filler 2>/dev/null || true`]);
      await using again = await place.open();
      await place.log.line(/set aside/);
      // Part of it fits into the reserve's room; then it waits for space, and is not forgotten.
      await place.log.line(/disk is full/);
      rmSync(join(place.folder, "filler"));
      const { fields } = await place.log.line(/Salvage .* ended/);
      const { records } = await statsOf(again);
      assert.ok(records >= 295, `${records} of 300`);
      assert.equal(fields.records, records);
      assertBalanced(await statsOf(again));
      onlyForOwner(place.folder);
    } finally {
      execFileSync("umount", ["-l", place.folder]);
    }
  },
);

// --- files that go while the relay runs

inFolder(
  "the file is deleted under the relay: it is noticed, and all that was in it is in a new one",
  async (place) => {
    await using queue = await place.open();
    await fill(queue, 0, 100);
    const deliveries = await takeAll(queue, 100);
    await settleAll(deliveries.slice(0, 10));
    await settleAll(deliveries.slice(10, 13), { kind: "dead", reason: "bad", status: 400 });
    rmSync(place.path);
    const { level } = await place.log.line(/deleted while the relay ran/);
    assert.equal(level, "error");
    await place.log.line(/Salvage .* 87 records moved, 0 lost/);
    await fill(queue, 100, 110);
    // What was in flight may be settled still; it is in the new file under another id, and is delivered again.
    await settleAll(deliveries.slice(13, 20));
    const { books, deadLetters } = await statsOf(queue);
    assert.equal(books.traces.accepted, 330);
    assert.deepEqual(deadLetters.records, 3);
    assertBalanced(await statsOf(queue));
    await queue[Symbol.asyncDispose]();
    await using again = await place.open();
    assert.deepEqual(await numbersIn(again), range(13, 110));
    onlyForOwner(place.folder);
    assert.deepEqual(readdirSync(place.folder).filter((name) => name.includes("rescued")), []);
  },
);

inFolder("kill -9 after the file was deleted and copied: the copy is found at the next start", async (place) => {
  const writer = await startWriter(place.path, 0, [{ point: "aside", nth: 1, act: "kill" }]);
  await writer.accepted(200);
  rmSync(place.path);
  const accepted = await writer.ended;
  await using queue = await place.open();
  await place.log.line(/Salvage .* 0 lost/);
  const there = await numbersIn(queue);
  assert.deepEqual(accepted.filter((number) => !there.includes(number)), []);
  assertBalanced(await statsOf(queue));
});

for (const suffix of ["-wal", "-shm"] as const) {
  for (const how of ["deleted", "replaced"] as const) {
    inFolder(
      `queue.db${suffix} is ${how} under the relay: what it held is in the file before a kill`,
      async (place) => {
        await using writer = await startWriter(place.path, 0);
        await writer.accepted(200);
        if (how === "replaced") {
          writeFileSync(join(place.folder, "other"), "of a backup");
          renameSync(join(place.folder, "other"), place.path + suffix);
        } else {
          rmSync(place.path + suffix);
        }
        const inode = how === "deleted" ? undefined : statSync(place.path + suffix).ino;
        // Another is there: the relay has noticed.
        await waitWhile(() => (statSync(place.path + suffix, { throwIfNoEntry: false })?.ino ?? inode) === inode);
        const accepted = await writer.kill();
        await using queue = await place.open();
        const there = await numbersIn(queue);
        assert.deepEqual(accepted.filter((number) => !there.includes(number)), []);
        assertBalanced(await statsOf(queue));
      },
    );
  }
}

inFolder("the mark is deleted under the relay: it is made again", async (place) => {
  await using queue = await place.open();
  await fill(queue, 0, 10);
  rmSync(`${place.path}.mark`);
  const { level } = await place.log.line(/mark was deleted/);
  assert.equal(level, "warn");
  await fill(queue, 10, 20);
  assert.ok(statSync(`${place.path}.mark`).size > 0);
});

inFolder("the lock is deleted under the relay: a second one is kept out all the same", async (place) => {
  await using queue = await place.open();
  rmSync(`${place.path}.lock`);
  await waitWhile(() => !existsSync(`${place.path}.lock`));
  // Made before it is locked.
  let refused = false;
  while (!refused) {
    await place.open().then((other) => other[Symbol.asyncDispose](), ({ code }) => refused = code === "locked");
  }
  await fill(queue, 0, 10);
});

/** Copies the file as a backup, then has more kept in it. */
async function withBackup({ path, open }: Place): Promise<{ queue: SendingQueue; backup: string }> {
  const backup = `${path}.backup`;
  const first = await open();
  await fill(first, 0, 50);
  await first[Symbol.asyncDispose]();
  copyFileSync(path, backup);
  const queue = await open();
  await fill(queue, 50, 100);
  return { queue, backup };
}

inFolder(
  "a backup is restored over the running queue: what the relay had stays, the backup is set aside",
  async (place) => {
    const { queue, backup } = await withBackup(place);
    await using _ = queue;
    await settleAll((await takeAll(queue, 100)).slice(0, 10));
    renameSync(backup, place.path);
    const { level } = await place.log.line(/replaced while the relay ran/);
    assert.equal(level, "error");
    await place.log.line(/Salvage .* 90 records moved, 0 lost/);
    await fill(queue, 100, 110);
    assert.deepEqual(await numbersIn(queue), range(10, 110));
    assertBalanced(await statsOf(queue));
    assert.equal(readdirSync(place.folder).filter((name) => /\.replaced-\d+T\d+Z$/.test(name)).length, 1);
  },
);

inFolder("another queue's file takes the place of the running one: what is in either is kept", async (place) => {
  const other = join(place.folder, "other.db");
  const theirs = await openQueue({
    storage: "sqlite",
    path: other,
    bytesMax: 1 << 20,
    deadLetterBytesMax: 1 << 20,
    log: place.log,
  });
  await fill(theirs, 1000, 1020);
  await theirs[Symbol.asyncDispose]();
  await using queue = await place.open();
  await fill(queue, 0, 50);
  renameSync(other, place.path);
  await place.log.line(/replaced while the relay ran/);
  await place.log.line(/Salvage .* 50 records moved, 0 lost/);
  await place.log.line(/Salvage .* 20 records moved, 0 lost/);
  assert.deepEqual(await numbersIn(queue), [...range(0, 50), ...range(1000, 1020)]);
  assertBalanced(await statsOf(queue));
});

inFolder(
  "a file that is no queue takes the place of the running one: it is set aside, nothing is lost",
  async (place) => {
    await using queue = await place.open();
    await fill(queue, 0, 50);
    writeFileSync(join(place.folder, "x"), "no database at all");
    renameSync(join(place.folder, "x"), place.path);
    await place.log.line(/replaced while the relay ran/);
    await place.log.line(/Salvage .* 50 records moved, 0 lost/);
    assert.deepEqual(await numbersIn(queue), range(0, 50));
  },
);

inFolder("a backup is copied over the file while the WAL has all since: nothing is lost", async (place) => {
  const { queue, backup } = await withBackup(place);
  copyFileSync(backup, place.path);
  await fill(queue, 100, 110);
  await queue[Symbol.asyncDispose]();
  await using again = await place.open();
  assert.deepEqual(await numbersIn(again), range(0, 110));
  assert.deepEqual(place.log.lines, []);
});

inFolder(
  "a backup is copied over the file and the WAL has not all: it is told, and the queue goes on",
  async (place) => {
    const { queue, backup } = await withBackup(place);
    await using _ = queue;
    // More than a WAL holds before it is copied into the database, twice: the second time it begins anew.
    for (const from of [1000, 2000]) await fill(queue, from, from + 100, 60_000);
    await fill(queue, 3000, 3010);
    copyFileSync(backup, place.path);
    const { level } = await place.log.line(/another program wrote it|is damaged/);
    assert.equal(level, "error");
    await place.log.line(/Salvage .* ended/);
    await ready(queue);
    await fill(queue, 100, 110);
    const there = await numbersIn(queue);
    assert.deepEqual(range(100, 110).filter((number) => !there.includes(number)), []);
    assertBalanced(await statsOf(queue));
  },
);

inFolder("the file is moved away: appends are refused, and taken again once it is back", async (place) => {
  await using queue = await place.open();
  await fill(queue, 0, 50);
  const deliveries = await takeAll(queue, 50);
  renameSync(place.path, `${place.path}.elsewhere`);
  assert.match(await unready(queue), /moved away while the relay ran; put it back, or restart/);
  await assert.rejects(queue.append(record(99)), { code: "storage_failed", message: /moved away/ });
  // Outcomes are written where the file is now.
  await settleAll(deliveries.slice(0, 10));
  renameSync(`${place.path}.elsewhere`, place.path);
  await ready(queue);
  await fill(queue, 50, 60);
  await queue[Symbol.asyncDispose]();
  await using again = await place.open();
  assert.deepEqual(await numbersIn(again), range(10, 60));
});

inFolder("the folder is renamed, and renamed back", async (place) => {
  const data = join(place.folder, "data");
  const queue = await place.open({ path: join(data, "queue.db") });
  await using _ = queue;
  await fill(queue, 0, 50);
  renameSync(data, `${data}.elsewhere`);
  assert.match(await unready(queue), /moved away/);
  renameSync(`${data}.elsewhere`, data);
  await ready(queue);
  await fill(queue, 50, 60);
  assert.deepEqual(await numbersIn(queue), range(0, 60));
});

inFolder("the folder is deleted with all that is in it: it is made again, and nothing is lost", async (place) => {
  const data = join(place.folder, "data");
  const settings = { path: join(data, "queue.db") };
  const queue = await place.open(settings);
  await fill(queue, 0, 50);
  rmSync(data, { recursive: true });
  await place.log.line(/Salvage .* 50 records moved, 0 lost/);
  await fill(queue, 50, 60);
  await queue[Symbol.asyncDispose]();
  await using again = await place.open(settings);
  assert.deepEqual(await numbersIn(again), range(0, 60));
  onlyForOwner(data);
});

inFolder("the folder is replaced by one that has a queue: what is in either is kept", async (place) => {
  const data = join(place.folder, "data");
  const other = join(place.folder, "other");
  for (const [folder, from] of [[other, 1000], [data, 0]] as const) {
    const queue = await place.open({ path: join(folder, "queue.db") });
    await fill(queue, from, from + 20);
    await queue[Symbol.asyncDispose]();
  }
  await using queue = await place.open({ path: join(data, "queue.db") });
  await fill(queue, 20, 40);
  renameSync(data, `${data}.elsewhere`);
  renameSync(other, data);
  await place.log.line(/Salvage .* 40 records moved, 0 lost/);
  await place.log.line(/Salvage .* 20 records moved, 0 lost/);
  assert.deepEqual(await numbersIn(queue), [...range(0, 40), ...range(1000, 1020)]);
});

inFolder("the file is cut short under the relay: it is noticed, and what is left is kept", async (place) => {
  const first = await place.open();
  await fill(first, 0, 400, 1000);
  await first[Symbol.asyncDispose]();
  await using queue = await place.open();
  truncateSync(place.path, Math.floor(statSync(place.path).size / 2 / 4096) * 4096);
  const { level } = await place.log.line(/another program wrote it|damaged/);
  assert.equal(level, "error");
  await place.log.line(/Salvage .* ended/);
  const { records } = await statsOf(queue);
  assert.ok(records > 50 && records < 400, `${records} left`);
  await fill(queue, 1000, 1010);
  assertBalanced(await statsOf(queue));
});

inFolder("another program writes a row: that is no damage", async (place) => {
  await using queue = await place.open();
  await fill(queue, 0, 10);
  const db = new DatabaseSync(place.path);
  db.exec("CREATE TABLE theirs (a); PRAGMA wal_checkpoint(PASSIVE)");
  db.close();
  appendFileSync(`${place.path}.beside`, "nothing of ours");
  await fill(queue, 10, 20);
  // A look comes every quarter of a second.
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.deepEqual(place.log.lines, []);
  assert.deepEqual(await numbersIn(queue), range(0, 20));
});

// --- disks

inFolder("the disk is mounted read-only under the relay, and writable again", async (place) => {
  if (process.getuid?.() !== 0) return;
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", place.folder]);
  try {
    await using queue = await place.open();
    await fill(queue, 0, 50);
    // What is open for writing keeps a file system writable; a lazy bind mount over it is what an operator's mistake looks like.
    execFileSync("mount", ["--bind", place.folder, place.folder]);
    execFileSync("mount", ["-o", "remount,ro,bind", place.folder]);
    // The file that is open stays writable: nothing is lost, and nothing is refused.
    await fill(queue, 50, 60);
    execFileSync("umount", [place.folder]);
    assert.deepEqual(await numbersIn(queue), range(0, 60));
  } finally {
    execFileSync("umount", ["-l", place.folder]);
  }
});

inFolder("without a free inode a start is refused with the remedy, and a running relay goes on", async (place) => {
  if (process.getuid?.() !== 0) return;
  execFileSync("mount", ["-t", "tmpfs", "-o", "nr_inodes=16", "tmpfs", place.folder]);
  let number = 0;
  const fillers = () => {
    for (;;) {
      try {
        writeFileSync(join(place.folder, `filler-${number++}`), "", { flag: "wx" });
      } catch {
        return;
      }
    }
  };
  try {
    const queue = await place.open();
    fillers();
    await fill(queue, 0, 50);
    await queue[Symbol.asyncDispose]();
    // The WAL and the shared memory went with the close: their inodes are taken.
    rmSync(`${place.path}.reserve`);
    fillers();
    await assert.rejects(place.open(), { name: "StorageError", message: /free inodes|disk is full/ });
    for (const name of readdirSync(place.folder)) if (name.startsWith("filler")) rmSync(join(place.folder, name));
    await using again = await place.open();
    assert.deepEqual(await numbersIn(again), range(0, 50));
  } finally {
    execFileSync("umount", ["-l", place.folder]);
  }
});

// --- one relay a file, by whatever name

inFolder("a second relay is kept out by whatever name it has for the file", async (place) => {
  const settings = (path: string) => ({ path: join(place.folder, path) });
  mkdirSync(join(place.folder, "data"));
  mkdirSync(join(place.folder, "hard"));
  symlinkSync("data", join(place.folder, "folder-link"));
  await using writer = await startWriter(join(place.folder, "data", "queue.db"), 0);
  await writer.accepted(10);
  symlinkSync("data/queue.db", join(place.folder, "file-link.db"));
  linkSync(join(place.folder, "data", "queue.db"), join(place.folder, "hard", "link.db"));
  for (const way of ["folder-link/queue.db", "file-link.db", "hard/link.db"]) {
    await assert.rejects(place.open(settings(way)), { name: "StorageError", code: "locked" }, way);
  }
  await writer.accepted(20);
  const accepted = await writer.kill();
  await using queue = await place.open(settings("file-link.db"));
  const there = await numbersIn(queue);
  assert.deepEqual(accepted.filter((number) => !there.includes(number)), []);
});
