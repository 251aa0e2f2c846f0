/** A backlog at the size of a test: memory does not grow with it, and a start over it accepts at once and drains in order. */
import assert from "node:assert/strict";
import { runBacklog } from "./backlog.ts";

const MIB = 192;

Deno.test("a backlog is on disk, not in memory, and leaves oldest first while new requests are taken", async () => {
  const { rssMib, drain } = await runBacklog({ mib: MIB });
  // The second half of it would show as half its size, were it kept in memory.
  const grownMib = rssMib.eighths[7]! - rssMib.eighths[3]!;
  assert(grownMib < MIB / 4, JSON.stringify(rssMib));
  assert(drain.answeredMeanwhile > 0, JSON.stringify(drain));
});
