import assert from "node:assert/strict";
import { faultInjector, WorkerCrash } from "../../../src/queue/sqlite/injected_faults.ts";
import { sqliteFaultOf } from "../../../src/queue/storage_error.ts";

Deno.test("a fault strikes once, at its point, the nth time that its kind of transaction passes", () => {
  const pass = faultInjector([
    { point: "written", nth: 2, act: "io_error", only: "settle" },
    { point: "written", nth: 3, act: "crash" },
  ]);
  const settle = { appends: 0, settles: 1 };
  const append = { appends: 1, settles: 0 };
  pass("begun", settle);
  pass("written", settle);
  pass("written", append);
  assert.throws(() => pass("written", { appends: 1, settles: 1 }), (error) => sqliteFaultOf(error) === "io");
  pass("written", append);
  const other = faultInjector([{ point: "marked", nth: 1, act: "crash", only: "append" }]);
  other("marked", settle);
  assert.throws(() => other("marked", append), WorkerCrash);
  other("marked", append);
});
