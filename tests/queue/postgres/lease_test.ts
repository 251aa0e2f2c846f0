import assert from "node:assert/strict";
import { PostgresFailure } from "../../../src/queue/postgres/connections.ts";
import { Lease } from "../../../src/queue/postgres/lease.ts";
import { LEASE, RENEW } from "../../../src/queue/postgres/statements.ts";

/** A lease at a database that answers as it is told, and a clock that a test sets. */
function scene() {
  const state = { now: 0, leases: 0, renewed: 0, lost: 0, there: true, row: true, answersAfterMs: 0 };
  const lease = new Lease(
    {
      run({ text }) {
        if (!state.there) return Promise.reject(new PostgresFailure("unreachable", "away"));
        state.now += state.answersAfterMs;
        if (text === LEASE) return Promise.resolve([{ id: ++state.leases }]);
        assert.equal(text, RENEW);
        state.renewed++;
        return Promise.resolve(state.row ? [{ id: state.leases }] : []);
      },
    },
    { name: "one", role: "both", steady: () => state.now },
    () => state.lost++,
  );
  return { lease, state };
}

Deno.test("a lease that is prolonged in time is kept; one that is not is given up before another may own what it has", async () => {
  const { lease, state } = scene();
  await lease.keep();
  for (let seconds = 1; seconds <= 60; seconds++) {
    state.now = seconds * 1_000;
    await lease.keep();
  }
  assert.deepEqual([lease.id, state.leases, state.lost], [1, 1, 0]);
  assert(state.renewed >= 10 && state.renewed <= 12, `${state.renewed} times in a minute`);
  // The database gives 25 s.
  state.there = false;
  const last = state.now;
  while (lease.id !== undefined && state.now < last + 60_000) {
    state.now += 1_000;
    await lease.keep().catch((error) => assert(error instanceof PostgresFailure));
  }
  assert(state.now - last > 15_000 && state.now - last < 25_000, `after ${state.now - last} ms`);
  assert.equal(state.lost, 1);
  state.there = true;
  state.now += 5_000;
  await lease.keep();
  assert.deepEqual([lease.id, state.leases, state.lost], [2, 2, 1]);
});

Deno.test("its time counts from when it was asked for, and one that the database does not know is lost at once", async () => {
  const { lease, state } = scene();
  await lease.keep();
  state.now = 5_000;
  state.answersAfterMs = 4_000;
  await lease.keep();
  assert.deepEqual([state.now, state.renewed], [9_000, 1]);
  state.now = 5_000 + 20_001;
  assert.deepEqual([lease.id, state.lost], [undefined, 1]);

  await lease.keep();
  assert.equal(lease.id, 2);
  state.now += 5_000;
  state.row = false;
  await lease.keep();
  assert.deepEqual([lease.id, state.lost], [undefined, 2]);
});
