import assert from "node:assert/strict";
import type { LiveRelay } from "../../src/queue/postgres/inspect.ts";
import { FleetWatch } from "../../src/relay/fleet.ts";

const RELAY: LiveRelay = { name: "a", role: "both", version: 1, startedAt: 0, alive: true, owns: 2 };
const NONE = { groups: [], groupsMore: 0, ungrouped: 0 };

Deno.test("the database is asked seldom, and an answer that fails leaves the last one", async () => {
  let now = 0;
  let asked = 0;
  let fails = false;
  const watch = new FleetWatch(
    {
      relays() {
        asked++;
        return fails ? Promise.reject(new Error("away")) : Promise.resolve([{ ...RELAY, owns: asked }]);
      },
      group: () => Promise.resolve(NONE),
    },
    { server: undefined },
    false,
    () => now,
  );
  const owned = () => watch.last?.relays[0]?.owns;
  assert.equal(owned(), undefined);
  await watch.refresh();
  assert.deepEqual([owned(), asked], [1, 1]);
  now = 4_999;
  await watch.refresh();
  assert.equal(asked, 1);
  now = 5_000;
  await watch.refresh();
  assert.deepEqual([owned(), asked], [2, 2]);
  fails = true;
  now = 10_000;
  await watch.refresh();
  assert.deepEqual([owned(), asked], [2, 3]);
  assert.equal(watch.keptBy, undefined);
});
