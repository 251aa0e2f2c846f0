import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { routingFaults, routingWarnings } from "../../src/config/check_routes.ts";
import { configFrom, loadConfig } from "../../src/config/load.ts";
import { messageOf } from "../../src/errors.ts";

const TWO = "exporters: { eu-1: { endpoint: https://a.example }, eu-2: { endpoint: https://b.example } }\n";

async function loaded(text: string, env: Record<string, string> = {}) {
  const dir = await mkdtemp(join(tmpdir(), "config-"));
  try {
    await writeFile(join(dir, "relay.yaml"), text);
    return await loadConfig({ file: "relay.yaml", cwd: dir, env });
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function faults(text: string, env: Record<string, string> = {}): Promise<string[]> {
  return await loaded(text, env).then(() => [], (error) => messageOf(error).split("\n"));
}

Deno.test("each mistake is named with its place and the nearest name", async () => {
  const cases: [text: string, fault: string | RegExp][] = [
    [
      `${TWO}routes: [{ exporters: [eu-3] }]\n`,
      "relay.yaml:2:24: Cannot use routes.0.exporters: no exporter and no group is called eu-3; did you mean eu-1?",
    ],
    [
      `${TWO}routes: [{ exporter: [eu-1] }]\n`,
      "relay.yaml:2:12: Unknown key routes.0.exporter; did you mean exporters?",
    ],
    [
      `${TWO}routes: [{ exporters: [eu-1, eu-1] }]\n`,
      "relay.yaml:2:30: Cannot use routes.0.exporters: eu-1 is in it twice",
    ],
    [
      `${TWO}routes: [{ exporters: [] }]\n`,
      /^relay\.yaml:2:23: Cannot use routes\.0\.exporters \(a list\): it must be a list/,
    ],
    [
      `${TWO}routes: [{ signals: [spans], exporters: [eu-1] }]\n`,
      /routes\.0\.signals\.0 "spans": .*traces, metrics, logs, profiles$/,
    ],
    [
      `${TWO}routes: [{ signals: [traces], exporters: [eu-1] }]\n`,
      "relay.yaml:2:1: Cannot use routes: the last one is not for all signals and senders, so some data would go nowhere; add one such as { exporters: [eu-1] }",
    ],
    [`${TWO}routes: [{ senders: ["a*"], exporters: [eu-1] }]\n`, /the last one is not for all/],
    [
      `${TWO}routes: [{ exporters: [eu-1] }, { senders: [a], exporters: [eu-2] }, { exporters: [eu-2] }]\n`,
      /^relay\.yaml:2:33: Cannot use routes\.1: the routes before it match all that it matches/,
    ],
    [
      TWO,
      /^relay\.yaml:1:1: Cannot use exporters without routes: nothing says which of eu-1, eu-2 has the data; add routes: \[\{ exporters: \[eu-1, eu-2\] \}\]/,
    ],
    ["exporters: {}\n", "relay.yaml:1:1: Cannot use exporters: it names none; add one, or remove the key"],
    [
      `${TWO}exporter: { timeout: 1s }\nroutes: [{ exporters: [eu-1] }]\n`,
      "relay.yaml:2:1: Cannot use exporter beside exporters: move its keys to exporters.default, or to another name there",
    ],
    [
      "exporters: { eu-1: { timeout: 1s } }\n",
      "relay.yaml:1:14: Cannot use exporters.eu-1: it has no endpoint; set endpoint to the Collector's URL",
    ],
    [
      "exporters: { eu-1: { endpoimt: https://a.example } }\n",
      "relay.yaml:1:22: Unknown key exporters.eu-1.endpoimt; did you mean exporters.eu-1.endpoint?",
    ],
    [
      "exporters: { eu-1: { endpoint: https://a.example, timeout: soon } }\n",
      /^relay\.yaml:1:60: Cannot use exporters\.eu-1\.timeout "soon": it must be a duration/,
    ],
    [
      "exporters: { eu-1: nonsense }\n",
      /^relay\.yaml:1:20: Cannot use exporters\.eu-1: it must be a mapping with the keys endpoint, /,
    ],
    [
      "exporters: { e.u: { endpoint: https://a.example } }\n",
      /^relay\.yaml:1:14: Cannot use exporters\.e\.u: a name has 1 to 63 letters/,
    ],
    [
      `${TWO}groups: { eu-1: { failover: [eu-2] } }\nroutes: [{ exporters: [eu-1] }]\n`,
      /^relay\.yaml:2:11: Cannot use groups\.eu-1: an exporter has this name already/,
    ],
    [
      `${TWO}groups: { eu: { failover: [eu-1, eu-4] } }\nroutes: [{ exporters: [eu] }]\n`,
      "relay.yaml:2:34: Cannot use groups.eu.failover: no exporter is called eu-4; did you mean eu-1?",
    ],
    [
      `${TWO}groups: { eu: { failover: [eu-1] }, all: { balance: { eu: 1 } } }\nroutes: [{ exporters: [all, eu] }]\n`,
      "relay.yaml:2:55: Cannot use groups.all.balance: eu is a group, and a group holds exporters alone; name those",
    ],
    [
      `${TWO}groups: { eu: { failover: [eu-1], balance: { eu-2: 1 } } }\nroutes: [{ exporters: [eu] }]\n`,
      /groups\.eu: it has failover and balance; set one/,
    ],
    [`${TWO}groups: { eu: {} }\nroutes: [{ exporters: [eu] }]\n`, /groups\.eu: it has neither failover nor balance/],
    [
      `${TWO}groups: { eu: { balance: { eu-1: 0 } } }\nroutes: [{ exporters: [eu] }]\n`,
      /groups\.eu\.balance\.eu-1 0: it must be a mapping of 1 to 64 names/,
    ],
    [
      "exporters: { a: { endpoint: https://a.example, required: false } }\nroutes: [{ exporters: [a] }]\n",
      /^relay\.yaml:2:10: Cannot use routes\.0: all that it names has required: false/,
    ],
    [
      `${TWO}sending_queue: { storage: none }\nroutes: [{ exporters: [eu-1, eu-2] }]\n`,
      /routes\.0: with sending_queue\.storage none the answer to a sender is that of one required/,
    ],
    ["routes: [{ exporters: [defualt] }]\n", /no exporter and no group is called defualt; there is default alone/],
    [
      "exporters: { a: { endpoint: 'https://a.example', headers: { x: '${sendr}' } } }\n",
      /headers\.x: it has a \$\{…\} that is neither/,
    ],
  ];
  for (const [text, fault] of cases) {
    const found = await faults(text);
    if (typeof fault === "string") assert.ok(found.includes(fault), `${text}${found.join("\n")}`);
    else assert.match(found.join("\n"), fault, text);
  }
});

Deno.test("mixed groups, idle exporters and doubled ways are said", () => {
  const base = { a: { endpoint: "https://a.example" }, b: { endpoint: "https://b.example", required: false } };
  assert.throws(
    () => configFrom({ exporters: base, groups: { g: { failover: ["a", "b"] } }, routes: [{ exporters: ["g"] }] }),
    /groups\.g: some of its exporters have required: false and some not/,
  );
  const config = configFrom({
    exporters: { a: base.a, c: { endpoint: "https://c.example" }, idle: { endpoint: "https://d.example" } },
    groups: { g: { failover: ["a", "c"] }, unused: { failover: ["c"] } },
    routes: [{ exporters: ["g", "a"] }],
  });
  assert.deepEqual(routingFaults(config), []);
  assert.deepEqual(routingWarnings(config), [
    "No route leads to the exporter idle: nothing is sent to it",
    "No route names the group unused: it is not used",
    "The exporter a is named by a route and is in a group that one names: what goes to both may arrive there twice",
  ]);
  assert.deepEqual(routingWarnings(configFrom({})), []);
});

Deno.test("what a group takes of its first exporter alone is said where another's differs", () => {
  const exporters = {
    a: { endpoint: "https://a.example" },
    b: { endpoint: "https://b.example", compression: "gzip" as const, retry_on_failure: { initial_interval: "2s" } },
    c: { endpoint: "https://c.example", timeout: "3s", headers: { "x-scope": "c" } },
  };
  const groups = { eu: { failover: ["a", "c", "b"] }, us: { balance: { b: 1 } }, idle: { failover: ["b", "a"] } };
  const routes = [{ signals: ["logs" as const], exporters: ["us"] }, { exporters: ["eu"] }];
  assert.deepEqual(routingWarnings(configFrom({ exporters, groups, routes })), [
    "No route names the group idle: it is not used",
    "The group eu uses compression of its first exporter, a: that of b is another and is not used",
    "The group eu uses retry_on_failure of its first exporter, a: that of b is another and is not used",
  ]);
});

Deno.test("variables of an exporter are for the one named default, and say so where there is none", async () => {
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: "https://env.example",
    OTEL_EXPORTER_OTLP_HEADERS: "x-scope-orgid=${sender}",
  };
  const { config } = await loaded("exporters: { default: { timeout: 3s } }\n", env);
  assert.equal(config.exporters["default"]?.endpoint, "https://env.example");
  assert.equal(config.exporters["default"]?.timeout, 3_000);
  assert.deepEqual(config.exporter.headers, { "x-scope-orgid": "${sender}" });
  const { warnings } = await loaded("exporters: { a: { endpoint: https://a.example } }\n", env);
  assert.match(warnings.join("\n"), /OTEL_EXPORTER_OTLP_ENDPOINT sets nothing: it is for the exporter default/);
  const whole = {
    EDGEFERRY_EXPORTERS: "{ a: { endpoint: https://a.example }, b: { endpoint: https://b.example } }",
    EDGEFERRY_GROUPS: "{ g: { balance: { a: 1, b: 3 } } }",
    EDGEFERRY_ROUTES: "[{ exporters: [g] }]",
  };
  const { config: fromVariables } = await loadConfig({ env: whole, file: null });
  assert.deepEqual(fromVariables.groups, { g: { balance: { a: 1, b: 3 } } });
});
