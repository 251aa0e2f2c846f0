/** Which address of a name is gone by. */
import assert from "node:assert/strict";
import { Addresses } from "../../../src/exporter/client/addresses.ts";

const ALL = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

function choice(options: { known?: readonly string[]; resolve?: () => Promise<readonly string[]> } = {}) {
  let now = 0;
  const alive = new Set<string>();
  const asked: string[] = [];
  const changes: (string | undefined)[] = [];
  const addresses = new Addresses({
    resolve: options.resolve ?? (() => Promise.resolve(options.known ?? ALL)),
    onChange: (address) => {
      changes.push(address);
      return Promise.resolve(true);
    },
    now: () => now,
    random: () => 0,
  });
  const ask = (address: string) => {
    asked.push(address);
    return Promise.resolve(alive.has(address));
  };
  return {
    addresses,
    alive,
    asked,
    changes,
    later: (ms: number) => void (now += ms),
    async failed() {
      addresses.failed(ask);
      await addresses.looking;
    },
    async answered() {
      addresses.answered(ask);
      await addresses.looking;
    },
  };
}

Deno.test("after a failure one that answers is gone by, and the next when that one fails", async () => {
  const { addresses, alive, changes, failed, later } = choice();
  alive.add("10.0.0.2").add("10.0.0.3");
  assert.equal(addresses.chosen, undefined);
  await failed();
  assert.equal(addresses.chosen, "10.0.0.2");
  assert.equal(addresses.looking, undefined);
  alive.delete("10.0.0.2");
  later(1_000);
  await failed();
  assert.equal(addresses.chosen, "10.0.0.3");
  assert.deepEqual(changes, ["10.0.0.2", "10.0.0.3"]);
});

Deno.test("where all answer or none does, the choice is the system's", async () => {
  const { addresses, alive, asked, failed, later } = choice();
  await failed();
  assert.equal(addresses.chosen, undefined);
  later(9_999);
  await failed();
  assert.equal(asked.length, 3, "a Collector that is down is not asked at each address after each attempt");
  later(1);
  for (const address of ALL) alive.add(address);
  await failed();
  assert.equal(asked.length, 6);
  assert.equal(addresses.chosen, undefined);
});

Deno.test("once all answer again the choice is the system's again; that is looked at each minute", async () => {
  const { addresses, alive, asked, answered, failed, later } = choice();
  alive.add("10.0.0.1").add("10.0.0.2");
  await failed();
  assert.equal(addresses.chosen, "10.0.0.1");
  alive.add("10.0.0.3");
  later(59_999);
  await answered();
  assert.equal(asked.length, 3);
  later(1);
  await answered();
  assert.equal(addresses.chosen, undefined);
  later(60_000);
  await answered();
  assert.equal(asked.length, 6, "then nobody asks");
});

Deno.test("a choice that is still good stays; one that the name has no more goes", async () => {
  let known = ALL;
  const { addresses, alive, answered, changes, failed, later } = choice({ resolve: () => Promise.resolve(known) });
  alive.add("10.0.0.2");
  await failed();
  later(60_000);
  await answered();
  assert.deepEqual(changes, ["10.0.0.2"]);
  known = ["10.0.0.9"];
  later(60_000);
  await answered();
  assert.equal(addresses.chosen, undefined);
});

Deno.test("a name of one address, and one that is not known, ask nobody", async () => {
  const one = choice({ known: ["10.0.0.1"] });
  await one.failed();
  const none = choice({ resolve: () => Promise.reject(new Error("no such name")) });
  await none.failed();
  assert.deepEqual([...one.asked, ...none.asked], []);
});

Deno.test("of very many addresses eight are asked", async () => {
  const many = choice({ known: Array.from({ length: 20 }, (_, index) => `10.0.0.${index}`) });
  await many.failed();
  assert.equal(many.asked.length, 8);
});

Deno.test("one that is dead is not waited for where another answers", async () => {
  const never = new Promise<boolean>(() => {});
  const addresses = new Addresses({ resolve: () => Promise.resolve(ALL), onChange: () => Promise.resolve(true) });
  addresses.failed((address) => address === "10.0.0.3" ? Promise.resolve(true) : never);
  await addresses.looking;
  assert.equal(addresses.chosen, "10.0.0.3");
});

Deno.test("a choice that is taken over is looked at after a minute, as one of its own", async () => {
  let now = 0;
  const asked: string[] = [];
  const addresses = new Addresses({
    chosen: "10.0.0.2",
    resolve: () => Promise.resolve(ALL),
    onChange: () => Promise.resolve(true),
    now: () => now,
  });
  const ask = (address: string) => {
    asked.push(address);
    return Promise.resolve(true);
  };
  addresses.answered(ask);
  assert.equal(addresses.looking, undefined);
  now = 60_000;
  addresses.answered(ask);
  await addresses.looking;
  assert.equal(asked.length, 3);
  assert.equal(addresses.chosen, undefined);
});
