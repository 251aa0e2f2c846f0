/** The crash oracle of a fleet at the size of a test: what each trouble costs, from sender to Collector. */
import assert from "node:assert/strict";
import process from "node:process";
import { drawTroubles, runFleetOracle, type TroubleName, TROUBLES } from "./fleet_oracle.ts";
import { Random } from "../support/bodies/requests.ts";

/** A disk of its own is mounted. */
const asRoot = { ignore: process.getuid?.() !== 0 };

const ORDEALS: Readonly<Record<string, readonly TroubleName[]>> = {
  "relays are killed, connections and answers cut": [
    "kill two relays",
    "cut answers",
    "kill a relay",
    "cut connections",
    "kill two relays",
  ],
  "backends are terminated and cancelled, PostgreSQL is killed, the primary lost for good": [
    "terminate backends",
    "cancel backends",
    "kill postgres",
    "fail over",
  ],
};

for (const [name, troubles] of Object.entries(ORDEALS)) {
  Deno.test(`fleet behind HTTP, ${name}: what was answered 200 is there`, async () => {
    const { requests, spans } = await runFleetOracle({ seed: 18, troubles });
    assert(requests.answered200 >= 30 * troubles.length && spans.delivered >= spans.answered);
  });
}

Deno.test("fleet behind HTTP, PostgreSQL's disk is full: what was answered 200 is there", asRoot, async () => {
  const { requests } = await runFleetOracle({ seed: 19, troubles: ["fill the disk", "kill a relay"] });
  assert(requests.refused + requests.unanswered > 0, "nobody was refused");
});

Deno.test("a long run has every trouble, and the kills that it was asked for", () => {
  const drawn = drawTroubles(new Random(7), 200);
  const kills = drawn.reduce(
    (sum, each) => sum + (each === "kill two relays" ? 2 : each === "kill a relay" ? 1 : 0),
    0,
  );
  assert(kills === 200 || kills === 201, `${kills} kills`);
  assert.deepEqual(new Set(drawn), new Set(Object.keys(TROUBLES)));
});
