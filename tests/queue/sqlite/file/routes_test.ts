import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Routes } from "../../../../src/queue/sqlite/file/routes.ts";
import { MIGRATIONS } from "../../../../src/queue/sqlite/file/schema.ts";

function fresh(): DatabaseSync {
  const db = new DatabaseSync(":memory:");
  for (const step of MIGRATIONS) db.exec(step);
  return db;
}

Deno.test("targets and routes keep their numbers, whatever order a record names its targets in", () => {
  const db = fresh();
  const routes = new Routes(db);
  assert.equal(routes.targetOf("default"), 1);
  const [eu, us] = [routes.targetOf("eu"), routes.targetOf("us")];
  assert.equal(routes.targetOf("eu"), eu);
  assert.equal(routes.idOf([1]), 1);
  const both = routes.idOf([us, eu]);
  assert.equal(routes.idOf([eu, us]), both);
  const own = routes.idOf([us]);
  assert.deepEqual(routes.targetsOf(both), [eu, us]);
  assert.deepEqual(routes.to(us).map(({ id }) => id).sort(), [both, own].sort());
  const again = new Routes(db);
  assert.deepEqual([again.targetOf("us"), again.idOf([us, eu]), again.targetsOf(own)], [us, both, [us]]);
  // Each target has books, and so has what is counted for several.
  const books = db.prepare("SELECT DISTINCT target FROM books ORDER BY target").all().map(({ target }) => target);
  assert.deepEqual(books, [0, 1, eu, us]);
  db.close();
});

Deno.test("a route that another process has added is found; one that is nowhere is damage", () => {
  const db = fresh();
  const routes = new Routes(db);
  const other = new Routes(db);
  const route = other.idOf([1, other.targetOf("later")]);
  assert.equal(routes.targetsOf(route).length, 2);
  assert.throws(() => routes.targetsOf(99), { errcode: 11 });
  db.close();
});

Deno.test("what a transaction has made that is rolled back is made again, and names no record before", () => {
  const db = fresh();
  const routes = new Routes(db);
  db.exec("BEGIN");
  const eu = routes.targetOf("eu");
  routes.idOf([1, eu]);
  routes.rolledBack();
  db.exec("ROLLBACK");
  assert.deepEqual([...routes.targets.values()], ["default"]);
  assert.deepEqual(routes.to(eu), []);
  db.exec("BEGIN");
  const again = routes.idOf([1, routes.targetOf("eu")]);
  routes.committed();
  db.exec("COMMIT");
  routes.rolledBack();
  assert.deepEqual(new Routes(db).targetsOf(again), routes.targetsOf(again), "what is committed stays");
  db.close();
});

Deno.test("a target and a route that another process has made meanwhile are the same ones", () => {
  const db = fresh();
  const routes = new Routes(db);
  const other = new Routes(db);
  const eu = other.targetOf("eu");
  const both = other.idOf([1, eu]);
  assert.equal(routes.targetOf("eu"), eu);
  assert.equal(routes.idOf([1, eu]), both);
  db.close();
});
