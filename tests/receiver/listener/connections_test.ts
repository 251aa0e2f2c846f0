import assert from "node:assert/strict";
import { Connections } from "../../../src/receiver/listener/connections.ts";
import { Random } from "../../support/bodies/requests.ts";

class Fake {
  destroyed = false;
  destroy(): void {
    this.destroyed = true;
  }
}

function scene(connectionsMax: number, addressConnectionsMax = 0) {
  const dropped: string[] = [];
  const connections = new Connections<Fake>(
    { connectionsMax, addressConnectionsMax },
    (reason) => dropped.push(reason),
  );
  const open = (address = "a") => {
    const one = new Fake();
    return { one, taken: connections.opened(one, address) };
  };
  return { connections, dropped, open };
}

Deno.test("room is made by the unproved one that was silent longest; proved ones stay", () => {
  const { connections, dropped, open } = scene(3);
  const [first, second, third] = [open().one, open().one, open().one];
  connections.used(first!);
  connections.proved(second!);
  assert.equal(open().taken, true);
  assert.deepEqual([first, second, third].map((one) => one!.destroyed), [false, false, true]);
  connections.proved(first!);
  assert.deepEqual(dropped, ["max_connections"]);
  const last = open();
  assert.equal(last.taken, true, "the fourth has proved nothing");
  connections.proved(last.one);
  assert.equal(open().taken, false, "all have proved who they are");
  assert.equal(connections.size, 3);
});

Deno.test("where many may be open a few go at once, so that a flood asks for room less often", () => {
  const { connections, dropped, open } = scene(1_000);
  for (let index = 0; index < 1_001; index++) open();
  assert.deepEqual([connections.size, dropped.length], [993, 8]);
});

Deno.test("one address is bounded by its unproved ones alone, and costs nobody else", () => {
  const { connections, dropped, open } = scene(100, 2);
  const other = open("b").one;
  const mine = Array.from({ length: 4 }, () => open("a").one);
  assert.deepEqual(mine.map(({ destroyed }) => destroyed), [true, true, false, false]);
  assert.equal(other.destroyed, false);
  connections.proved(mine[2]!);
  connections.proved(mine[2]!);
  open("a");
  assert.deepEqual(mine.map(({ destroyed }) => destroyed), [true, true, false, false]);
  assert.deepEqual(dropped, ["max_connections_per_address", "max_connections_per_address"]);
});

Deno.test("whatever opens, proves and closes: no more are open than may be, and the counts come back to nothing", () => {
  const random = new Random(7);
  const { connections, open } = scene(20, 5);
  const all = new Map<Fake, string>();
  for (let step = 0; step < 20_000; step++) {
    const address = random.pick(["a", "b", "c", "d", "e", "f"]);
    const { one, taken } = open(address);
    if (taken) all.set(one, address);
    for (const known of [...all.keys()]) {
      const fate = random.below(20);
      if (known.destroyed || fate === 0) {
        connections.closed(known);
        all.delete(known);
      } else if (fate === 1) connections.proved(known);
      else if (fate < 4) connections.used(known);
    }
    assert.equal(connections.size, all.size);
    assert.ok(all.size <= 20);
  }
  for (const one of all.keys()) connections.closed(one);
  assert.equal(connections.size, 0);
  const fresh = Array.from({ length: 5 }, () => open("a").one);
  assert.ok(fresh.every(({ destroyed }) => !destroyed), "nothing was left counted");
});
