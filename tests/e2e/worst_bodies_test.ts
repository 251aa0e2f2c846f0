/**
 * No body within the limits holds the event loop for longer than 100 ms, or takes more than three times its inflated size: the worst
 * of each kind that were found. `docs/limits.md` has the table.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { WORST_BODIES } from "../support/bodies/worst.ts";
import { START_TASK } from "../support/program/start_task.ts";
import type { Took } from "../support/program/worst_body.ts";

const STALL_MS_MAX = 100;
/** Of what is small, the heap's own steps are more. */
const MEMORY_BYTES_FLOOR = 28 << 20;
const program = fileURLToPath(new URL("../support/program/worst_body.ts", import.meta.url));

for (const [number, { name, refused }] of WORST_BODIES.entries()) {
  Deno.test(`the worst of its kind: ${name}`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        ...START_TASK.v8Flags,
        program,
        String(number),
      ],
      env: START_TASK.allocator,
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    const took = JSON.parse(new TextDecoder().decode(stdout)) as Took;
    const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
    console.log(
      `| ${name} | ${(took.bodyBytes / 1024).toFixed(0)} KiB | ${mib(took.inflatedBytes)} MiB | ${
        took.refused ?? 200
      } | ` +
        `${took.stallMs.toFixed(0)} ms | ${mib(took.memoryBytes)} MiB | ${took.tookMs.toFixed(0)} ms |`,
    );
    assert.equal(took.refused, refused);
    assert(took.stallMs <= STALL_MS_MAX, `the event loop was held for ${took.stallMs} ms`);
    const most = Math.max(3 * took.inflatedBytes, MEMORY_BYTES_FLOOR);
    assert(took.memoryBytes <= most, `${mib(took.memoryBytes)} MiB of at most ${mib(most)}`);
  });
}
