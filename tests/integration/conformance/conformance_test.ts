import assert from "node:assert/strict";
import { COLLECTOR_DIFFERENCES } from "../../conformance/differences.ts";
import { askCollector } from "../../conformance/subjects.ts";
import { differencesOf } from "../../conformance/table.ts";

Deno.test("the real Collector differs where it is known to", async () => {
  assert.deepEqual(differencesOf(await askCollector()), COLLECTOR_DIFFERENCES);
});
