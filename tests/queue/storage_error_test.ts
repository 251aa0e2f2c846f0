import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { sqliteFaultOf, StorageError } from "../../src/queue/storage_error.ts";

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
  assert.equal(sqliteFaultOf(new StorageError("missing", "gone")), "other");
  assert.equal(sqliteFaultOf("text"), "other");
});
