/** The crash oracle at the size of a test: 20 kills, half of them before each Collector. */
import assert from "node:assert/strict";
import { runOracle } from "./crash_oracle.ts";

const RUNS = [["embedded", 20_251, "http/protobuf"], ["real", 20_252, "http/protobuf"], [
  "real",
  20_253,
  "grpc",
]] as const;

for (const [farEnd, seed, out] of RUNS) {
  Deno.test(`kill -9, ${farEnd} Collector, ${out}: what was answered 200 is there, once but for what was in flight`, async () => {
    const { kills, spans, requests } = await runOracle({ kills: 10, seed, farEnd, out });
    assert(kills >= 10);
    // It has had something to lose.
    assert(requests.answered200 > 100 && spans.answered > 500, JSON.stringify({ requests, spans }));
    assert(spans.dead > 0);
  });
}
