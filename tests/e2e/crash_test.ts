/** The crash oracle at the size of a test: 20 kills, half of them before each Collector, by HTTP and by gRPC. */
import assert from "node:assert/strict";
import { runOracle } from "./crash_oracle.ts";

const RUNS = [
  ["embedded", 20_251, "http/protobuf", "http"],
  ["embedded", 20_254, "http/protobuf", "grpc"],
  ["real", 20_252, "http/protobuf", "http"],
  ["real", 20_253, "grpc", "grpc"],
] as const;

for (const [farEnd, seed, out, by] of RUNS) {
  Deno.test(`kill -9, ${farEnd} Collector, in by ${by}, out by ${out}: what was answered 200 is there, once but for what was in flight`, async () => {
    const { kills, spans, requests } = await runOracle({ kills: 10, seed, farEnd, out, in: by });
    assert(kills >= 10);
    // It has had something to lose.
    assert(requests.answered200 > 100 && spans.answered > 500, JSON.stringify({ requests, spans }));
    assert(spans.dead > 0);
  });
}
