/** The crash oracle at the size of a test: 20 kills, half of them before each Collector. */
import assert from "node:assert/strict";
import { runOracle } from "./crash_oracle.ts";

for (const [farEnd, seed] of [["embedded", 20_251], ["real", 20_252]] as const) {
  Deno.test(`kill -9, ${farEnd} Collector: what was answered 200 is there, once but for what was in flight`, async () => {
    const { kills, spans, requests } = await runOracle({ kills: 10, seed, farEnd });
    assert(kills >= 10);
    // It has had something to lose.
    assert(requests.answered200 > 100 && spans.answered > 500, JSON.stringify({ requests, spans }));
    assert(spans.dead > 0);
  });
}
