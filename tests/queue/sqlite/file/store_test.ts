import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { AppendOp, SettleOp } from "../../../../src/queue/sqlite/protocol.ts";
import type { Fault } from "../../../../src/queue/sqlite/injected_faults.ts";
import { moveTarget } from "../../../../src/queue/sqlite/move_target.ts";
import { SqliteStore, WATCH_MS } from "../../../../src/queue/sqlite/file/store.ts";

const decoder = new TextDecoder();

/** One store of target `a`, and what it told. */
class Shelf {
  readonly store: SqliteStore;
  readonly logs: { level: string; message: string }[] = [];
  readonly resets: boolean[] = [];
  readonly target: number;

  constructor(path: string, { targets = ["a"], faults = [] }: { targets?: string[]; faults?: Fault[] } = {}) {
    this.store = new SqliteStore(
      { path, bytesMax: 1e9, deadLetterBytesMax: 1e8, targets, faults, fileBytesMax: undefined },
      [],
      {
        log: (level, message) => this.logs.push({ level, message }),
        rows: (reset) => this.resets.push(reset),
        trouble: () => {},
      },
    );
    this.target = this.number("a");
  }

  number(name: string): number {
    return [...this.store.targets].find(([, known]) => known === name)![0];
  }

  append(texts: readonly string[], targets = [this.target], settles: readonly SettleOp[] = []) {
    const appends = texts.map((text): AppendOp => appendOf(text, targets));
    return this.store.commit({ kind: "commit", appends, settles, packed: new ArrayBuffer(0), now: Date.now() });
  }

  texts(target = this.target, afterId = 0): string[] {
    const { rows } = this.store.read({
      kind: "read",
      target,
      signal: "logs",
      encoding: "identity",
      afterId,
      bytesMax: 1e9,
      recordsMax: 500,
    });
    return this.store.load(rows.map(({ id }) => id)).payloads.map((payload) => decoder.decode(payload));
  }

  /** Does all the work that waits. */
  idle(): void {
    for (let step = 0; step < 50; step++) this.store.idle();
  }

  /** Has it look whether the files are still there. */
  async look(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, WATCH_MS + 20));
    this.store.watch();
  }
}

function appendOf(text: string, targets: readonly number[]): AppendOp {
  const payload = new TextEncoder().encode(text);
  const parts = JSON.stringify([["s", 1, payload.length, payload.length]]);
  return {
    targets,
    skipped: [],
    signal: "logs",
    encoding: "identity",
    mergeable: true,
    items: 1,
    bytes: payload.length,
    cost: payload.length + parts.length + 96,
    inflatedBytes: payload.length,
    // The same for all: records of one millisecond are told apart by their ids alone.
    enqueuedAt: 1_700_000_000_000,
    parts,
    payload,
    giveBack: false,
  };
}

function inPlace(name: string, body: (path: string, folder: string) => Promise<void>): void {
  Deno.test(`store: ${name}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "edgeferry-store-"));
    try {
      await body(join(folder, "queue.db"), folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `answered ${index}`);

inPlace("a file that is locked while rows are salvaged loses none of them", async (path, folder) => {
  const shelf = new Shelf(path);
  shelf.append(numbered(5));
  rmSync(path);
  await shelf.look();
  const db = new DatabaseSync(path);
  db.exec("BEGIN IMMEDIATE");
  shelf.store.idle();
  db.exec("ROLLBACK");
  db.close();
  shelf.idle();
  assert.deepEqual(shelf.texts(), numbered(5));
  assert.deepEqual(readdirSync(folder).filter((name) => name.includes("rescued")), []);
  shelf.store.close();
});

inPlace("a transaction that fails before it has ids takes none of those that were answered", (path) => {
  const shelf = new Shelf(path, { faults: [{ point: "begun", nth: 2, act: "io_error" }] });
  assert.equal(shelf.append(["aaaa"]).appendFailure, undefined);
  assert.notEqual(shelf.append(["bbbb"]).appendFailure, undefined);
  assert.deepEqual(shelf.texts(), ["aaaa"]);
  shelf.store.close();
  return Promise.resolve();
});

inPlace("a file that is deleted just before the relay stops is there at the next start", (path) => {
  const first = new Shelf(path);
  first.append(numbered(3));
  rmSync(path);
  first.store.close();
  assert.ok(first.logs.some(({ level, message }) => level === "error" && message.includes("was deleted")));
  const again = new Shelf(path);
  again.idle();
  assert.deepEqual(again.texts(), numbered(3));
  again.store.close();
  return Promise.resolve();
});

const doneWith = (id: number, target: number): SettleOp => ({
  kind: "done",
  id,
  target,
  targets: [target],
  rejected: 0,
});

inPlace("ids of a file that is replaced by another queue's name no new record", async (path, folder) => {
  const other = new Shelf(join(folder, "other.db"));
  other.append(["of the other"]);
  other.store.close();
  const shelf = new Shelf(path);
  shelf.append(numbered(5));
  renameSync(join(folder, "other.db"), path);
  await shelf.look();
  // Its delivery ends while another record is taken.
  const { firstId } = shelf.append(["new"], [shelf.target], [doneWith(2, shelf.target)]);
  assert.ok(firstId > 5, `${firstId} is of the file before`);
  shelf.idle();
  assert.deepEqual(shelf.texts().sort(), [...numbered(5), "new", "of the other"].sort());
  shelf.store.close();
});

inPlace("ids of a file that is deleted while an earlier one is salvaged name no new record", async (path) => {
  const shelf = new Shelf(path);
  shelf.append(["answered 0"]);
  rmSync(path);
  await shelf.look();
  const { firstId: before } = shelf.append(numbered(5).slice(1));
  rmSync(path);
  await shelf.look();
  const { firstId } = shelf.append(["new"], [shelf.target], [doneWith(before, shelf.target)]);
  assert.ok(firstId > before + 3, `${firstId} is of the file before`);
  shelf.idle();
  assert.deepEqual(shelf.texts().sort(), [...numbered(5), "new"].sort());
  shelf.store.close();
});

inPlace("a second deletion during a salvage brings no record back twice", async (path, folder) => {
  // Larger than what one step of a salvage moves.
  const large = numbered(4).map((text) => text.padEnd(3_000_000, "."));
  const shelf = new Shelf(path);
  shelf.append(large);
  // Done is done: its account comes with it once, too.
  shelf.append([], [], [doneWith(shelf.append(["done"]).firstId, shelf.target)]);
  rmSync(path);
  await shelf.look();
  while (shelf.texts().length === 0) shelf.store.idle();
  assert.ok(shelf.texts().length < 4, "some are moved, and some are not");
  rmSync(path);
  await shelf.look();
  shelf.append(["new"]);
  shelf.idle();
  const texts = shelf.texts().map((text) => `${text.slice(0, 10)} of ${text.length}`).sort();
  assert.deepEqual(texts, [...numbered(4).map((text) => `${text} of 3000000`), "new of 3"].sort());
  const { accepted, delivered, queued } = shelf.store.totals.targets[shelf.target]!.books.logs;
  assert.deepEqual({ accepted, delivered, queued }, { accepted: 6, delivered: 1, queued: 5 });
  assert.deepEqual(readdirSync(folder).filter((name) => name.includes("rescued")), [], "none stands aside any more");
  shelf.store.close();
});

inPlace(
  "a file that cannot be opened right after a deletion is opened without a request or a failure",
  async (path) => {
    const shelf = new Shelf(path);
    shelf.append(numbered(3));
    rmSync(path);
    // It stands where the new file's WAL is to be.
    rmSync(`${path}-wal`);
    mkdirSync(`${path}-wal`);
    await shelf.look();
    assert.deepEqual(shelf.resets, []);
    rmSync(`${path}-wal`, { recursive: true });
    await shelf.look();
    assert.deepEqual(shelf.resets, [true], "ids of before name nothing any more");
    shelf.idle();
    assert.deepEqual(shelf.texts(), numbered(3));
    assert.equal(shelf.append(["new"]).appendFailure, undefined);
    shelf.store.close();
  },
);

inPlace("ids go on above those of all files that stand aside at a start", async (path) => {
  const first = new Shelf(path);
  first.append(["answered 0"]);
  rmSync(path);
  await first.look();
  first.append(numbered(5).slice(1));
  rmSync(path);
  first.store.close();
  const again = new Shelf(path);
  assert.ok(again.append(["new"]).firstId > 5);
  again.idle();
  assert.deepEqual(again.texts().sort(), [...numbered(5), "new"].sort());
  again.store.close();
});

/** A store of targets `a` and `b`, with one record of both, into which another process has moved one of `c` for `b`. */
async function movedInto(path: string, faults: Fault[] = []): Promise<Shelf> {
  const first = new Shelf(path, { targets: ["a", "b", "c"] });
  first.append(["of c"], [first.number("c")]);
  first.store.close();
  const shelf = new Shelf(path, { targets: ["a", "b"], faults });
  shelf.append(["of both 1"], [shelf.target, shelf.number("b")]);
  await moveTarget(path, "c", "b");
  return shelf;
}

inPlace("rows that another process moves in are read after a commit that tells of them", async (path) => {
  const shelf = await movedInto(path);
  const b = shelf.number("b");
  assert.equal(shelf.append(["of both 2"], [shelf.target, b]).foreign, true);
  assert.deepEqual(shelf.texts(b).sort(), ["of both 1", "of both 2", "of c"]);
  assert.equal(shelf.store.poll().foreign, false);
  shelf.store.close();
});

inPlace("rows that another process moves in are told of by a poll, whatever was asked before", async (path) => {
  const shelf = await movedInto(path);
  shelf.store.stats();
  shelf.store.release();
  assert.equal(shelf.store.poll().foreign, true);
  assert.deepEqual(shelf.texts(shelf.number("b")).sort(), ["of both 1", "of c"]);
  shelf.store.close();
});

inPlace("rows that another process moves in are told of after a failure too", async (path) => {
  const shelf = await movedInto(path, [{ point: "begun", nth: 2, act: "io_error" }]);
  assert.notEqual(shelf.append(["refused"]).appendFailure, undefined);
  assert.deepEqual(shelf.resets, [false]);
  assert.deepEqual(shelf.texts(shelf.number("b")).sort(), ["of both 1", "of c"]);
  shelf.store.close();
});

inPlace("a failure after which nothing has come tells of no rows", (path) => {
  const shelf = new Shelf(path, { faults: [{ point: "begun", nth: 2, act: "io_error" }] });
  shelf.append(["kept"]);
  assert.notEqual(shelf.append(["refused"]).appendFailure, undefined);
  assert.deepEqual(shelf.resets, []);
  shelf.store.close();
  return Promise.resolve();
});

inPlace("what a failed settle has left, found in the file, is told of", (path) => {
  const shelf = new Shelf(path, {
    targets: ["a", "b"],
    faults: [{ point: "committed", nth: 2, act: "io_error" }],
  });
  const b = shelf.number("b");
  const targets = [shelf.target, b];
  const parts = JSON.stringify([["s", 1, 1, 1], ["t", 1, 1, 1]]);
  const append: AppendOp = { ...appendOf("xy", targets), items: 2, parts };
  const commit = (appends: AppendOp[], settles: SettleOp[]) =>
    shelf.store.commit({ kind: "commit", appends, settles, packed: new ArrayBuffer(0), now: Date.now() });
  const { firstId } = commit([append], []);
  const { settleFailure } = commit([], [{
    kind: "parts",
    bytes: 2,
    id: firstId,
    target: shelf.target,
    targets,
    outcomes: [{ kind: "delivered", rejected: 0 }, { kind: "retry" }],
  }]);
  assert.notEqual(settleFailure, undefined);
  assert.deepEqual(shelf.resets, [false]);
  assert.deepEqual(shelf.texts(), ["y"]);
  shelf.store.close();
  return Promise.resolve();
});

inPlace("a file that stands aside and cannot be opened is tried again, until it can", async (path) => {
  const first = new Shelf(path);
  first.append(numbered(5));
  first.store.close();
  const aside = `${path}.damaged-20260101T000000Z`;
  for (const suffix of ["", ".mark"]) renameSync(path + suffix, aside + suffix);
  mkdirSync(`${aside}-wal`);
  const shelf = new Shelf(path);
  shelf.idle();
  assert.deepEqual(shelf.texts(), []);
  assert.deepEqual(shelf.logs.map(({ level }) => level), ["error"]);
  assert.match(shelf.logs[0]!.message, /Cannot open a file whose records are to be moved/);
  rmSync(`${aside}-wal`, { recursive: true });
  while (shelf.texts().length < 5) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    shelf.store.idle();
  }
  shelf.idle();
  assert.deepEqual(shelf.texts(), numbered(5));
  assert.match(shelf.logs.at(-1)!.message, /5 records moved, 0 lost/);
  shelf.store.close();
});
