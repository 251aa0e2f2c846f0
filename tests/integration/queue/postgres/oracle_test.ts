import assert from "node:assert/strict";
import { runOracle, type TroubleName } from "./oracle.ts";

const ORDEALS: Readonly<Record<string, readonly TroubleName[]>> = {
  "relays are killed": ["kill a relay", "kill two relays", "kill two relays"],
  "backends are terminated and cancelled, connections and answers cut": [
    "terminate backends",
    "cut answers",
    "cancel backends",
    "cut connections",
    "cut answers",
  ],
  "PostgreSQL is killed and frozen": ["kill postgres", "freeze postgres", "kill postgres"],
  "the primary is lost for good, twice": ["fail over", "kill a relay", "fail over"],
};

for (const [name, troubles] of Object.entries(ORDEALS)) {
  Deno.test(`fleet on postgres, ${name}: nothing accepted is lost, nothing refused is sent`, async () => {
    const figures = await runOracle({ seed: 7, troubles });
    // A duplicate is of a record that was on its way when something broke.
    assert.ok(figures.duplicates < figures.accepted, JSON.stringify(figures));
  });
}
