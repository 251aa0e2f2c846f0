/** Relays that are killed and frozen: what they had is sent by another, and nothing accepted is lost. */
import assert from "node:assert/strict";
import { assertBalanced } from "../../../queue/contract.ts";
import { statsOf } from "../../../queue/records.ts";
import { startPostgres } from "../../../support/postgres/postgres.ts";
import { Fleet } from "./fleet.ts";
import { Database } from "./scene.ts";

/** Ends as each of these tests does: all that was accepted has arrived, what was refused has not, the books balance. */
async function assertWhole(fleet: Fleet, database: Database): Promise<void> {
  await using queue = await database.open({ role: "receiver" });
  let stats = await statsOf(queue);
  while (stats.records > 0) stats = await statsOf(queue);
  assert.deepEqual(fleet.missing, []);
  assert.deepEqual([...fleet.refused].filter((number) => fleet.delivered.has(number)), []);
  assertBalanced(stats);
  const kept = stats.books.traces.accepted / 3;
  assert.ok(kept >= fleet.accepted.size, "what was accepted is in the books");
}

Deno.test("two of three relays are killed: what they had is sent by the third", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "killed");
  await using fleet = new Fleet({ ...server.config("relay"), database: database.name });
  const [one, two] = await Promise.all([fleet.start(100_000), fleet.start(100_000), fleet.start(0)]);
  await fleet.until(() => fleet.accepted.size > 1_000);
  for (const relay of [one, two]) relay.hold();
  await fleet.until(() => fleet.taken.size > 0);
  await Promise.all([one.kill(), two.kill()]);
  assert.notEqual(fleet.missing.length, 0, "they had something in their hands");
  await fleet.until(() => fleet.missing.length === 0);
  await assertWhole(fleet, database);
});

Deno.test("a relay that is frozen loses its lease: another sends what it had, its late settle is void", async () => {
  await using server = await startPostgres();
  const database = await Database.make(server, "frozen");
  await using fleet = new Fleet({ ...server.config("relay"), database: database.name });
  const frozen = await fleet.start(100_000);
  await fleet.start(0);
  await fleet.until(() => fleet.accepted.size > 500);
  frozen.hold();
  await fleet.until(() => fleet.taken.size > 0);
  frozen.freeze();
  const accepted = fleet.accepted.size;
  // Its lease runs out by the clock of the database.
  await fleet.until(() => fleet.missing.length === 0);
  frozen.thaw();
  await fleet.until(() => fleet.accepted.size > accepted + 500);
  assert.notEqual(fleet.duplicates, 0, "what it had on its way has arrived twice");
  await frozen.kill();
  await fleet.until(() => fleet.missing.length === 0);
  await assertWhole(fleet, database);
});
