/** The crash oracle at the size of a test: 30 kills, half of them before each Collector, by HTTP and by gRPC. */
import assert from "node:assert/strict";
import { runOracle } from "./crash_oracle.ts";

const RUNS = [
  ["embedded", 20_251, "http/protobuf", "http", 10],
  ["embedded", 20_254, "http/protobuf", "grpc", 5],
  ["real", 20_252, "http/protobuf", "http", 10],
  ["real", 20_253, "grpc", "grpc", 5],
] as const;

for (const [farEnd, seed, out, by, killsMin] of RUNS) {
  Deno.test(`kill -9, ${farEnd} Collector, in by ${by}, out by ${out}: what was answered 200 is there, once but for what was in flight`, async () => {
    const { kills, spans, requests } = await runOracle({ kills: killsMin, seed, farEnd, out, in: by });
    assert(kills >= killsMin);
    // It has had something to lose.
    assert(
      requests.answered200 >= 10 * killsMin && spans.answered > 40 * killsMin,
      JSON.stringify({ requests, spans }),
    );
    assert(spans.dead > 0);
  });
}
