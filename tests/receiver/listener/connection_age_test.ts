import assert from "node:assert/strict";
import { ConnectionAge } from "../../../src/receiver/listener/connection_age.ts";

Deno.test("connections that opened together end apart, each once it has its age", () => {
  let now = 0;
  let random = 0;
  const ages = new ConnectionAge<object>(1_000, () => now, () => random);
  const [early, late, unknown] = [{}, {}, {}];
  ages.opened(early);
  random = 1;
  ages.opened(late);
  for (const [at, ended] of [[899, [false, false]], [900, [true, false]], [1_100, [true, true]]] as const) {
    now = at;
    assert.deepEqual([ages.reached(early), ages.reached(late)], ended);
  }
  assert.equal(ages.reached(unknown), false);
});

Deno.test("without a limit none ends", () => {
  let now = 0;
  const ages = new ConnectionAge<object>(undefined, () => now);
  const connection = {};
  ages.opened(connection);
  now = 1e12;
  assert.equal(ages.reached(connection), false);
});
