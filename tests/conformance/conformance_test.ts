import assert from "node:assert/strict";
import { SIGNALS } from "../../src/signal.ts";
import { hasJitter } from "./client_rows.ts";
import { serverRows } from "./rows.ts";
import { Random } from "../support/bodies/requests.ts";
import { askRelay, askRelayByGrpc } from "./subjects.ts";
import { differencesOf, tableOf } from "./table.ts";

Deno.test("the relay answers as OTLP/HTTP demands, in every row", async () => {
  const results = await askRelay();
  assert.deepEqual(differencesOf(results), []);
  // Nothing is green for want of a question.
  for (const { row, cases } of results) assert(cases.length > 0, `${row.clause}: ${row.request} was not asked`);
});

Deno.test("the relay answers as OTLP/gRPC demands, in every row", async () => {
  const results = await askRelayByGrpc();
  assert.deepEqual(differencesOf(results), []);
  for (const { row, cases } of results) assert(cases.length > 0, `${row.clause}: ${row.request} was not asked`);
});

Deno.test("the table has every signal in both encodings, and a line for each row", () => {
  const rows = serverRows({ bodyBytesMax: 1_000 });
  const valid = rows[0]!.cases.map(({ name }) => name);
  assert.deepEqual(valid, SIGNALS.flatMap(({ name }) => [`${name} protobuf`, `${name} JSON`]));
  const results = rows.map((row, index) => ({
    row,
    cases: row.cases.map(({ name }) => ({ name, fault: index === 0 && name.endsWith("JSON") ? "500" : undefined })),
  }));
  assert.equal(tableOf([{ name: "x", results }]).split("\n").length, rows.length + 2);
  assert.deepEqual(differencesOf(results), [`valid: as expected (${valid.length - SIGNALS.length}); 500 (JSON)`]);
});

Deno.test("jitter is told from what a busy machine does to fixed waits", () => {
  const random = new Random(11);
  /** Late by up to so many ms, each `chance` in one. */
  const noise = (ms: number, chance: number) => random.chance(chance) ? random.below(ms) : 0;
  const waits = (wait: () => number) => Array.from({ length: 28 }, wait);
  for (let run = 0; run < 1_000; run++) {
    assert(hasJitter(waits(() => 50 + random.below(51)), 100));
    assert(hasJitter(waits(() => 50 + random.below(51) + noise(60, 0.5)), 100), "on a busy machine");
    assert(!hasJitter(waits(() => 100 + noise(300, 0.9)), 100), "the longest, on a very busy machine");
    assert(!hasJitter(waits(() => 98 + noise(6, 0.9)), 100), "a timer that is early");
    assert(!hasJitter(waits(() => 75 + noise(300, 0.2)), 100), "fixed waits that are shorter");
  }
});
