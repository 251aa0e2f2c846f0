import assert from "node:assert/strict";
import { durabilityOf, durabilityWarnings, lossCosts, type ServerFacts } from "../../src/postgres/server_facts.ts";

const SOUND: ServerFacts = {
  version: "15.18",
  role: "relay",
  fsync: true,
  fullPageWrites: true,
  synchronousStandbys: "",
  synchronousCommit: "on",
  standby: false,
  readOnly: false,
  now: 0,
};

Deno.test("a 200 is safe on a disk that syncs, on a synchronous standby, or by a service's word", () => {
  const rows: [Partial<ServerFacts>, boolean, string | undefined][] = [
    [{}, false, "disk"],
    [{ synchronousStandbys: "second" }, false, "standby"],
    [{ fsync: false }, false, undefined],
    [{ fsync: false, synchronousStandbys: "second" }, false, "standby"],
    [{ fsync: false }, true, "managed"],
    // The role's own default does not matter: each statement that writes sets its own.
    [{ synchronousCommit: "off" }, false, "disk"],
  ];
  for (const [facts, managed, kept] of rows) assert.equal(durabilityOf({ ...SOUND, ...facts }, managed), kept);
});

Deno.test("what works and is risky is a warning, which a managed service is spared", () => {
  assert.deepEqual(durabilityWarnings(SOUND, false), []);
  const risky = { ...SOUND, fsync: false, fullPageWrites: false, synchronousStandbys: "second" };
  assert.deepEqual(durabilityWarnings(risky, false).map((text) => /has (\w+) = off/.exec(text)?.[1]), [
    "fsync",
    "full_page_writes",
  ]);
  assert.deepEqual(durabilityWarnings(risky, true), []);
});

Deno.test("the cost of each loss follows from how it is set up", () => {
  assert.match(lossCosts(SOUND, false).disk, /all that is queued is lost/);
  const copied = lossCosts({ ...SOUND, synchronousStandbys: "second" }, false);
  assert.match(copied.disk, /nothing is lost where a synchronous standby \(second\) is promoted/);
  assert.match(copied.standby, /503/);
  assert.match(lossCosts(SOUND, true).disk, /the service answers for it/);
});
