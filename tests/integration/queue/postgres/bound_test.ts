/** The bound of a queue that two relays fill at once, and by how much it is passed: `docs/deploy/fleet.md` promises no more. */
import assert from "node:assert/strict";
import { Refusal } from "../../../../src/errors.ts";
import { costOfRow, encodeParts } from "../../../../src/queue/record_head.ts";
import type { SendingQueue } from "../../../../src/queue/queue.ts";
import { record, TestClock } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Database } from "./scene.ts";

const BYTES = 1_000;
const COST = costOfRow(BYTES, encodeParts(record(1, { bytes: BYTES }).parts));

/** Nothing but its appends looks at the database: it has no background, and by its clock its last look is never a second old. */
const ALONE = { role: "receiver", background: false, bytesMax: 80 * COST, steady: new TestClock().steady } as const;

/** Appends one record after the other until one is refused for want of room; resolves to how many were kept. */
async function fill(queue: SendingQueue, most = Infinity): Promise<number> {
  for (let kept = 0;; kept++) {
    if (kept === most) return kept;
    try {
      await queue.append(record(kept, { bytes: BYTES }));
    } catch (error) {
      assert(error instanceof Refusal && error.code === "queue_full", String(error));
      return kept;
    }
  }
}

Deno.test("near the bound two relays pass it by no more than what was under way when they asked", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "near");
  await using filler = await database.open(ALONE);
  assert.equal(await fill(filler, 70), 70);
  await using one = await database.open(ALONE);
  await using other = await database.open(ALONE);
  const [byOne, byOther] = await Promise.all([fill(one), fill(other)]);
  const kept = 70 + byOne + byOther;
  // Each has one append under way, which the other's statement may not have seen.
  assert.ok(kept === 80 || kept === 81, `${kept} were kept`);
  assert.ok(byOne > 0 && byOther > 0, `${byOne} and ${byOther}`);
  assert.equal(await fill(filler), 0, "whoever comes later is refused");
});

Deno.test("what others have appended since a relay looked passes the bound, and its next look ends that", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "stale");
  await using one = await database.open(ALONE);
  await using other = await database.open(ALONE);
  assert.equal(await fill(one, 40), 40);
  // The other has not seen that, as in the second between two looks: it asks once its own are seven eighths of the bound.
  assert.equal(await fill(other), 70);
  // That is what `stats` does, as a relay with a background does each second.
  await one.stats();
  assert.equal(await fill(one), 0);
});
