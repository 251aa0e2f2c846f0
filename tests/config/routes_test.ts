import assert from "node:assert/strict";
import { configFrom } from "../../src/config/load.ts";
import { covers, exporterNames, primaryExporter, routesOf, Routing, targetsOf } from "../../src/config/routes.ts";
import type { ConfigInput } from "../../src/config/schema.ts";
import { SIGNAL_NAMES } from "../../src/signal.ts";

const SEVERAL: ConfigInput = {
  exporters: {
    "eu-1": { endpoint: "https://eu-1.example:4318" },
    "eu-2": { endpoint: "https://eu-2.example:4318" },
    audit: { endpoint: "https://audit.example:4318", required: false },
  },
  groups: { eu: { failover: ["eu-1", "eu-2"] }, all: { balance: { "eu-1": 2, "eu-2": 1 } } },
  routes: [
    { signals: ["traces"], senders: ["checkout-*", "shop"], exporters: ["eu", "audit"] },
    { senders: ["test?"], exporters: ["all"] },
    { exporters: ["eu"] },
  ],
};

const namesFor = (routing: Routing, signal: typeof SIGNAL_NAMES[number], sender: string) =>
  routing.targetsFor(signal, sender).map(({ name }) => name);

Deno.test("exporter alone is one exporter named default, that has everything", () => {
  const config = configFrom({ exporter: { endpoint: "https://one.example" } });
  assert.deepEqual(exporterNames(config), ["default"]);
  assert.equal(primaryExporter(config), "default");
  const routing = new Routing(routesOf(config));
  const target = { name: "default", kind: "single", members: [{ name: "default", weight: 1 }], required: true };
  assert.deepEqual(routing.targets, [target]);
  for (const signal of SIGNAL_NAMES) assert.deepEqual(routing.targetsFor(signal, "anybody"), [target]);
});

Deno.test("the first route that matches signal and sender has the data", () => {
  const config = configFrom(SEVERAL);
  assert.equal(primaryExporter(config), "eu-1");
  assert.equal(config.exporter.endpoint, "https://eu-1.example:4318");
  const routing = new Routing(routesOf(config));
  assert.deepEqual(routing.targets.map(({ name }) => name), ["eu", "audit", "all"]);
  assert.deepEqual(namesFor(routing, "traces", "checkout-7"), ["eu", "audit"]);
  assert.deepEqual(namesFor(routing, "traces", "shop"), ["eu", "audit"]);
  assert.deepEqual(namesFor(routing, "traces", "shop2"), ["eu"]);
  assert.deepEqual(namesFor(routing, "logs", "checkout-7"), ["eu"]);
  assert.deepEqual(namesFor(routing, "metrics", "test1"), ["all"]);
  assert.deepEqual(namesFor(routing, "metrics", "test12"), ["eu"]);
  assert.equal(routing.targetsFor("logs", "x"), routing.targetsFor("logs", "x"), "an answer is made once");
  for (let sender = 0; sender < 25_000; sender++) {
    assert.equal(routing.targetsFor("traces", `checkout-${sender}`).length, 2);
  }
});

Deno.test("a target is an exporter or a group; a group is required when its exporters are", () => {
  const targets = targetsOf(configFrom(SEVERAL));
  assert.deepEqual(targets.get("eu"), {
    name: "eu",
    kind: "failover",
    members: [{ name: "eu-1", weight: 1 }, { name: "eu-2", weight: 1 }],
    required: true,
  });
  assert.deepEqual(targets.get("all")?.members, [{ name: "eu-1", weight: 2 }, { name: "eu-2", weight: 1 }]);
  assert.equal(targets.get("all")?.kind, "balance");
  assert.equal(targets.get("audit")?.required, false);
  assert.deepEqual([...targets.keys()], ["eu-1", "eu-2", "audit", "eu", "all"]);
});

Deno.test("globs that cover others", () => {
  for (const [glob, other] of [["*", "a*"], ["a*", "ab*"], ["a*", "a?"], ["a?", "ab"], ["x", "x"], ["*", "*"]]) {
    assert.ok(covers(glob!, other!), `${glob} ${other}`);
  }
  for (const [glob, other] of [["a*", "*"], ["?", "*"], ["a?*", "a*"], ["ab", "a?"], ["a", "a*"]]) {
    assert.ok(!covers(glob!, other!), `${glob} ${other}`);
  }
});
