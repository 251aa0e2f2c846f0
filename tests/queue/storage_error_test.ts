import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { sqliteFaultOf, StorageError, storageErrorOf } from "../../src/queue/storage_error.ts";

function thrownBy(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return assert.fail("nothing was thrown");
}

Deno.test("SQLite's faults are known by code where there is one, by text where there is none", () => {
  const db = new DatabaseSync(":memory:");
  try {
    db.exec("CREATE TABLE t (a); PRAGMA max_page_count = 2");
    const insert = db.prepare("INSERT INTO t VALUES (zeroblob(100000))");
    assert.equal(sqliteFaultOf(thrownBy(() => insert.run())), "full");
    assert.equal(sqliteFaultOf(thrownBy(() => db.exec("INSERT INTO t VALUES (zeroblob(100000))"))), "full");
    db.exec("PRAGMA query_only = ON");
    assert.equal(sqliteFaultOf(thrownBy(() => db.prepare("DELETE FROM t").run())), "read_only");
    assert.equal(sqliteFaultOf(thrownBy(() => db.exec("DELETE FROM t"))), "read_only");
  } finally {
    db.close();
  }
  assert.equal(sqliteFaultOf(thrownBy(() => new DatabaseSync("/nonexistent/x.db"))), "cannot_open");
  // Extended codes carry the primary one in their low byte: SQLITE_IOERR_FSYNC, SQLITE_BUSY_SNAPSHOT, SQLITE_CORRUPT_INDEX.
  for (
    const [errcode, fault] of [[1034, "io"], [517, "busy"], [779, "corrupt"], [26, "corrupt"], [1, "other"]] as const
  ) {
    assert.equal(sqliteFaultOf(Object.assign(new Error("x"), { errcode })), fault);
  }
  assert.equal(sqliteFaultOf(new StorageError("missing", { what: "Cannot read queue q.db", state: "gone" })), "other");
  assert.equal(sqliteFaultOf("text"), "other");
});

Deno.test("each fault is told with the file, its state and the remedy; what has been told stays as it is", () => {
  const faults = [
    [{ errcode: 13 }, "disk_full", /its disk is full; free space there/],
    [{ errcode: 8 }, "read_only", /the file is read-only; make it and its folder writable/],
    [{ errcode: 14 }, "unusable", /cannot be opened \(what happened\); check owner, mode, mount, free inodes/],
    [{ errcode: 5 }, "locked", /another process has locked it; end that process/],
    [{ code: "EROFS" }, "read_only", /the file is read-only; make it and its folder writable/],
    [{ code: "ENOSPC" }, "disk_full", /its disk is full; free space there/],
    [{ errcode: 10 }, "unusable", /what happened; check its disk/],
  ] as const;
  for (const [properties, code, text] of faults) {
    const cause = Object.assign(new Error("what happened"), properties);
    const error = storageErrorOf("/data/queue.db", cause);
    assert.deepEqual([error.code, error.cause], [code, cause]);
    assert.match(error.message, /queue \/data\/queue\.db: /);
    assert.match(error.message, text);
    assert.equal(storageErrorOf("/other", error), error);
  }
});
