/**
 * `config/alerts.yaml` and `config/dashboard.json` against what a running relay exposes after real traffic: every metric, label and
 * value that they name is there. `promtool` reads all three, and the types that Grafana publishes the dashboard. That each alert
 * fires is looked at in `alerts_test.ts`.
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "@std/yaml";
import { startCollector } from "../../src/collector/server.ts";
import { REFUSALS } from "../../src/errors.ts";
import type { SignalName } from "../../src/signal.ts";
import { INSTRUMENTS } from "../../src/telemetry/metrics.ts";
import { prometheusName } from "../../src/telemetry/prometheus.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { requestOf } from "../support/relay/exporting.ts";
import { promtool, runWith } from "../support/tools/promtool.ts";
import { makeTables } from "../support/postgres/fleet.ts";
import { startPostgres } from "../support/postgres/postgres.ts";
import { startRelayHere } from "../support/relay/relay.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const ARRIVAL_MS = 30_000;

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}
interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
}

const rules: Rules = parse(await readFile(join(root, "config/alerts.yaml"), "utf8"));
const dashboard: Dashboard = JSON.parse(await readFile(join(root, "config/dashboard.json"), "utf8"));
/** Each expression, and where it stands; Grafana's variables as it would fill them in. */
const EXPRESSIONS: readonly (readonly [where: string, expr: string])[] = [
  ...rules.groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const)),
  ...dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => [title, expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".+")] as const)
  ),
];

/** Labels that Prometheus itself adds, or that a histogram's series have. */
const ADDED = new Set(["instance", "job", "le"]);

interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

function seriesOf(text: string): Series[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
    const [, name, labels = ""] = /^(\w+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    assert(name, line);
    return {
      name,
      labels: Object.fromEntries([...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, k, v]) => [k, v])),
    };
  });
}

/** What an expression asks for: metrics with their matchers, and the labels that it groups by. */
function asked(expr: string) {
  const selectors = [...expr.matchAll(/\b(edgeferry_\w+|http_server_\w+)(?:\{([^}]*)\})?/g)].map((
    [, name, matchers = ""],
  ) => ({
    name: name!,
    matchers: [...matchers.matchAll(/(\w+)(=~|!=|=)"([^"]*)"/g)].map(([, label, how, value]) => ({
      label: label!,
      how: how!,
      value: value!,
    })),
  }));
  const groups = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels]) => labels!.split(/,\s*/));
  return { selectors, groups };
}

Deno.test("alerts and dashboard name what a running relay exposes", async (t) => {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const failing = new Set<SignalName>(["traces"]);
  const collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: {
      ca: [certificates.ca.certificate],
      cert: certificates.server.certificate,
      key: certificates.server.key,
    },
    misbehave: (signal, _count, body) => {
      if (failing.delete(signal)) return { kind: "status", status: 503 };
      // An empty request is taken: who refuses that one too refuses everything, and nothing is set aside for it.
      if (signal === "logs") return body.length === 0 ? undefined : { kind: "status", status: 400 };
      return signal === "metrics" ? { kind: "partial_success", rejected: 1, message: "one" } : undefined;
    },
    onReceived: () => {},
  });
  stack.defer(() => collector.stop());
  const exporter = {
    endpoint: collector.url,
    retry_on_failure: { initial_interval: "10ms", max_interval: "50ms" },
    tls: {
      ca_file: certificates.ca.certificateFile,
      cert_file: certificates.client.certificateFile,
      key_file: certificates.client.keyFile,
    },
  };
  const relay = stack.use(
    await startRelayHere({
      engine: "sqlite",
      collectorUrl: collector.url,
      certsDir: certificates.dir,
      http: { max_request_body_size: "1KiB" },
      // Some series are there where there are several targets.
      config: {
        exporters: { one: exporter, two: exporter },
        groups: { pair: { failover: ["one", "two"] } },
        routes: [{ signals: ["profiles"], exporters: ["pair"] }, { exporters: ["one"] }],
      },
    }),
  );
  const send = async (signal: SignalName, body: Uint8Array<ArrayBuffer>, token = relay.token) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/x-protobuf" };
    const answer = await fetch(`${relay.url}/v1/${signal}`, { method: "POST", headers, body });
    await answer.body?.cancel();
    return answer.status;
  };
  for (const signal of ["traces", "metrics", "logs"] as const) {
    assert.equal(await send(signal, requestOf(signal, ["a", "b"])), 200);
  }
  assert.equal(await send("traces", requestOf("traces", ["a"]), "nobody's"), 401);
  assert.equal(await send("traces", new Uint8Array(2_048)), 413);
  let text = "";
  const settled = [
    /edgeferry_exporter_sent_items_total\{signal="traces"\} 2$/m,
    /edgeferry_exporter_rejected_items_total\{signal="metrics"\} 1$/m,
    /edgeferry_dead_letter_items_total\{signal="logs"\} 2$/m,
    /edgeferry_certificate_days_left\{role="collector"/,
  ];
  const deadline = performance.now() + ARRIVAL_MS;
  do {
    assert(performance.now() < deadline, text);
    const answer = await fetch(`${relay.adminUrl}/metrics`);
    assert.equal(answer.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    text = await answer.text();
  } while (!settled.every((each) => each.test(text)));
  // What is told of a fleet is told by one that shares a database.
  const postgres = stack.use(await startPostgres());
  await makeTables(postgres);
  const receiver = stack.use(
    await startRelayHere({
      engine: "none",
      collectorUrl: "https://127.0.0.1:9",
      certsDir: certificates.dir,
      config: { role: "receiver", sending_queue: { storage: "postgres", postgres: { url: postgres.url("relay") } } },
    }),
  );
  const fleet = seriesOf(await (await fetch(`${receiver.adminUrl}/metrics`)).text());
  const series = [...seriesOf(text), ...fleet.filter(({ name }) => name.startsWith("edgeferry_fleet_"))];

  await t.step("promtool reads the metrics, no series is there twice, and every instrument has its name", async () => {
    const { words } = await promtool(["check", "metrics"], text);
    assert.equal(words, 'edgeferry_certificate_days_left use base unit "seconds" instead of "days"');
    const lines = text.split("\n").filter((line) => !line.startsWith("#") && line !== "").map((line) =>
      line.replace(/ \S+$/, "")
    );
    assert.equal(new Set(lines).size, lines.length);
    const families = new Set([...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name));
    // No action is configured, nothing was refused after its items were counted, no connection was dropped, nothing had to move, and
    // the queue is shared with nobody.
    const absent = [
      "edgeferry_receiver_dropped_connections",
      "edgeferry_redaction_attributes",
      "edgeferry_receiver_refused_items",
      "edgeferry_exporter_moved_requests",
      "edgeferry_fleet_durability",
      "edgeferry_fleet_relays",
    ];
    const missing = Object.entries(INSTRUMENTS).filter(([name, row]) => !families.has(prometheusName(name, row)));
    assert.deepEqual(missing.map(([name]) => name).sort(), absent.sort());
  });

  for (const [where, expr] of EXPRESSIONS) {
    await t.step(where, () => {
      const { selectors, groups } = asked(expr);
      assert(selectors.length > 0 || expr.startsWith("up{"), expr);
      for (const { name, matchers } of selectors) {
        const fitting = series.filter((each) =>
          each.name === name && matchers.every(({ label, how, value }) => {
            // The reasons that alarm are not what happens here; that they are ours is looked at instead.
            if (label === "reason") {
              return value.split("|").every((code) => code in REFUSALS) && "reason" in each.labels;
            }
            if (ADDED.has(label)) return true;
            const own = each.labels[label];
            return own !== undefined &&
              (how === "=" ? own === value : how === "!=" ? own !== value : new RegExp(`^(?:${value})$`).test(own));
          })
        );
        assert(fitting.length > 0, `${name}${JSON.stringify(matchers)} is not exposed`);
        for (const label of groups.filter((label) => !ADDED.has(label))) {
          assert(fitting.some(({ labels }) => label in labels), `${name} has no label ${label}`);
        }
      }
    });
  }

  await t.step("promtool reads the rules, and the dashboard's expressions as rules", async () => {
    const checked = await promtool(["check", "rules", join(root, "config/alerts.yaml")]);
    assert(checked.ok, checked.words);
    const dir = await mkdtemp(join(tmpdir(), "edgeferry-rules-"));
    try {
      const recorded = EXPRESSIONS.map(([, expr], index) => ({ record: `r${index}`, expr }));
      await writeFile(join(dir, "all.yaml"), stringify({ groups: [{ name: "all", rules: recorded }] }));
      const { ok, words } = await promtool(["check", "rules", join(dir, "all.yaml")]);
      assert(ok, words);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});

Deno.test("Grafana's own types read the dashboard, and refuse what they do not know", async () => {
  const text = JSON.stringify(dashboard);
  const read = (board: string) => runWith("go", ["run", "."], board, join(root, "tests/support/tools/grafana"));
  const taken = await read(text);
  assert.deepEqual([taken.ok, taken.out], [true, String(dashboard.panels.length)], taken.words);
  const { ok, words } = await read(
    text.replaceAll('"reduceOptions"', '"reducedOptions"').replace('"expr"', '"expression"'),
  );
  assert(!ok);
  assert.match(words, /panels\[0\]\.options\.\w+: unexpected field 'reducedOptions'/);
  assert.match(words, /panels\[0\]\.targets\S*: unexpected field 'expression'/);
});
