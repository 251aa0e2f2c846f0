/**
 * Every rule of `config/alerts.yaml` fires for a relay that is ill in its way, and none for one that is well: Prometheus's own
 * evaluation, over what running relays have exposed. A scrape counts as a minute; only `up`, which is Prometheus's, and the
 * disk's slowness are put.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "@std/yaml";
import { type Misbehaviour, startCollector } from "../../src/collector/server.ts";
import type { SignalName } from "../../src/signal.ts";
import { ending, testCertificates } from "../support/files/certificates.ts";
import { requestOf } from "../support/relay/exporting.ts";
import { folder } from "../support/files/folder.ts";
import { makeTables } from "../support/postgres/fleet.ts";
import { startPostgres } from "../support/postgres/postgres.ts";
import { promtool } from "../support/tools/promtool.ts";
import { type RelayHere, type RelayOptions, startRelayHere } from "../support/relay/relay.ts";

const RULES = fileURLToPath(new URL("../../config/alerts.yaml", import.meta.url));
const ARRIVAL_MS = 30_000;
const OLD_MS = 20 * 60_000;
/** Longer than every `for` and every window that a rule waits for. */
const WELL_MINUTES = 16;
const ILL_MINUTES = 12;

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly labels: object }[] }[];
}

/** What the endpoint says; undefined where nobody answers. */
async function scrape(url: string): Promise<string | undefined> {
  try {
    return await (await fetch(`${url}/metrics`)).text();
  } catch {
    return undefined;
  }
}

/** The values of each series, a scrape each; `_` where it was not exposed. */
function seriesIn(scrapes: readonly (string | undefined)[]): Map<string, string[]> {
  const series = new Map<string, string[]>();
  for (const [at, text] of scrapes.entries()) {
    for (const line of (text ?? "").split("\n")) {
      if (line === "" || line.startsWith("#")) continue;
      const [, name, value] = /^(.*) (\S+)$/.exec(line) ?? [];
      const values = series.get(name!) ?? scrapes.map(() => "_");
      values[at] = value!;
      series.set(name!, values);
    }
  }
  return series;
}

/** A series with the labels that a scrape adds. */
function scraped(name: string): string {
  const target = 'instance="a:9464",job="edgeferry"';
  return name.endsWith("}") ? `${name.slice(0, -1)},${target}}` : `${name}{${target}}`;
}

async function send(relay: RelayHere, signal: SignalName, items = 2, token = relay.token): Promise<number> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/x-protobuf" };
  const body = requestOf(signal, Array.from({ length: items }, (_, index) => `n${index}`));
  const answer = await fetch(`${relay.url}/v1/${signal}`, { method: "POST", headers, body });
  await answer.body?.cancel();
  return answer.status;
}

/** Scrapes until the text has it. */
async function until(relay: RelayHere, test: (text: string) => boolean): Promise<string> {
  for (const deadline = performance.now() + ARRIVAL_MS;;) {
    const text = await scrape(relay.adminUrl) ?? "";
    if (test(text)) return text;
    assert(performance.now() < deadline, text);
  }
}

/** Alerts about one target of several. */
const OF_SEVERAL: ReadonlySet<string> = new Set([
  "EdgeferryTargetUnreachable",
  "EdgeferryTargetFilling",
  "EdgeferryTargetSkipped",
  "EdgeferryExporterDown",
]);

/** The alert about relays that share a queue. */
const OF_FLEETS = "EdgeferryNobodySends";

interface Alert {
  /** Beside those of its rule. */
  readonly labels: object;
  /** When it is asked for; the last of the ill ones unless given. */
  readonly minute?: number;
}

/**
 * Has promtool evaluate the rules that are asked for over what was scraped: of each nothing fires while the relay is well, and what
 * is said, and nothing else, when it is ill.
 */
async function fire(
  folder: string,
  scrapes: readonly (string | undefined)[],
  series: ReadonlyMap<string, readonly string[]>,
  fired: Readonly<Record<string, Alert | readonly Alert[]>>,
  isAsked: (alert: string) => boolean,
): Promise<void> {
  const inputSeries = [
    { series: scraped("up"), values: scrapes.map((text) => text === undefined ? 0 : 1).join(" ") },
    ...[...series].map(([name, values]) => ({ series: scraped(name), values: values.join(" ") })),
  ];
  const { groups }: Rules = parse(await readFile(RULES, "utf8"));
  const rules = groups.flatMap((group) => group.rules).filter(({ alert }) => isAsked(alert));
  assert.deepEqual(Object.keys(fired).sort(), rules.map(({ alert }) => alert).sort(), "every rule is tried");
  const alertTests = rules.flatMap(({ alert, labels: own }) => {
    const alerts = [fired[alert]!].flat();
    return [
      { alertname: alert, eval_time: `${WELL_MINUTES - 1}m`, exp_alerts: [] },
      {
        alertname: alert,
        eval_time: `${alerts[0]?.minute ?? WELL_MINUTES + ILL_MINUTES - 1}m`,
        exp_alerts: alerts.map(({ labels }) => ({
          exp_labels: { instance: "a:9464", job: "edgeferry", ...own, ...labels },
        })),
      },
    ];
  });
  // What an alert says is for people; which ones fire, and for what, is looked at here.
  const silent = groups.map((group) => ({
    name: "edgeferry",
    rules: group.rules.map((rule) => ({ ...rule, annotations: {} })),
  }));
  await writeFile(join(folder, "rules.yaml"), stringify({ groups: silent }));
  const test = { interval: "1m", input_series: inputSeries, alert_rule_test: alertTests };
  await writeFile(
    join(folder, "test.yaml"),
    stringify({ rule_files: ["rules.yaml"], evaluation_interval: "1m", tests: [test] }),
  );
  const { ok, words } = await promtool(["test", "rules", join(folder, "test.yaml")]);
  assert(ok, words);
}

const numberIn = (text: string, series: RegExp): number => Number(series.exec(text)?.[1] ?? 0);
const FAILURES = /^edgeferry_exporter_send_failures_total\{.*signal="traces".*\} (\d+)$/m;

Deno.test("each alert fires for a relay that is ill in its way, and none for one that is well", async () => {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const dir = stack.use(await folder());
  const queuePath = join(dir.path, "queue.db");
  let ill: (signal: SignalName, body: Uint8Array) => Misbehaviour | undefined = () => undefined;
  const tls = {
    ca: [certificates.ca.certificate],
    cert: certificates.server.certificate,
    key: certificates.server.key,
  };
  const collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls,
    misbehave: (signal, _count, body) => ill(signal, body),
    onReceived: () => {},
  });
  stack.defer(() => collector.stop());
  const options: RelayOptions = {
    engine: "sqlite",
    collectorUrl: collector.url,
    certsDir: certificates.dir,
    queuePath,
    http: { max_request_body_size: "1MiB" },
    config: {
      exporter: { retry_on_failure: { initial_interval: "10ms", max_interval: "20ms" } },
      sending_queue: { queue_size: "1MiB" },
      telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
    },
  };

  const scrapes: (string | undefined)[] = [];
  {
    await using well = await startRelayHere(options);
    for (const signal of ["traces", "metrics", "logs"] as const) assert.equal(await send(well, signal), 200);
    const text = await until(
      well,
      (text) =>
        ["traces", "metrics", "logs"].every((signal) =>
          text.includes(`edgeferry_exporter_sent_items_total{signal="${signal}"} 2\n`)
        ) && text.includes('edgeferry_certificate_days_left{role="collector"'),
    );
    scrapes.push(...Array.from({ length: WELL_MINUTES }, () => text));
    // An empty request is taken: who refuses that one too refuses everything, and nothing is set aside for it.
    ill = (signal, body) =>
      signal === "logs"
        ? body.length === 0 ? undefined : { kind: "status", status: 400 }
        : signal === "metrics"
        ? { kind: "partial_success", rejected: 1, message: "one" }
        : { kind: "status", status: 503 };
    assert.equal(await send(well, "traces"), 200);
    await until(well, (text) => numberIn(text, FAILURES) > 0);
  }
  {
    // What is queued is of long ago, and a count has gone wrong.
    using db = new DatabaseSync(queuePath);
    assert.equal(db.prepare("UPDATE records SET enqueued_at = ?").run(Date.now() - OLD_MS).changes, 1);
    db.exec("UPDATE books SET accepted = accepted + 1 WHERE signal = 'logs'");
  }
  const short = await certificates.issueClient("short", ending(2));
  const { exporter } = options.config!;
  const relay = await startRelayHere({
    ...options,
    config: {
      ...options.config,
      exporter: {
        ...exporter,
        tls: {
          ca_file: certificates.ca.certificateFile,
          cert_file: short.certificateFile,
          key_file: short.keyFile,
        },
      },
    },
  });
  {
    await using ended = relay;
    scrapes.push(await scrape(ended.adminUrl));
    assert.equal(await send(relay, "logs"), 200);
    assert.equal(await send(relay, "metrics"), 200);
    await until(
      relay,
      (text) =>
        /^edgeferry_dead_letter_items_total\{.*\} 2$/m.test(text) &&
        /^edgeferry_exporter_rejected_items_total\{.*\} 1$/m.test(text),
    );
    let status = 200;
    while (status === 200) status = await send(relay, "traces", 5_000);
    assert.equal(status, 503);
    let failures = 0;
    for (let minute = 1; minute < ILL_MINUTES; minute++) {
      assert.equal(await send(relay, "traces", 5_000), 503, "the queue is full");
      assert.equal(await send(relay, "traces", 1, "nobody's"), 401, "which is the sender's, and alarms nobody");
      const before = failures;
      const text = await until(relay, (text) => numberIn(text, FAILURES) > before);
      failures = numberIn(text, FAILURES);
      scrapes.push(text);
    }
  }
  scrapes.push(...await Promise.all([1, 2, 3].map(() => scrape(relay.adminUrl))));
  assert.equal(scrapes.at(-1), undefined, "it has ended");

  const series = seriesIn(scrapes);
  const illFrom = WELL_MINUTES;
  for (const [name, values] of series) {
    if (!name.startsWith("edgeferry_queue_append_duration_seconds_bucket")) continue;
    // A disk that takes long: from then on none of it is below 1 s. The buckets are the relay's.
    const upTo = Number(/le="([^"]+)"/.exec(name)![1]!.replace("+Inf", "Infinity"));
    for (let minute = illFrom; minute < values.length; minute++) values[minute] = upTo > 1 ? String(minute * 5) : "0";
  }
  const [nearEnd = ""] =
    [...series].find(([name, values]) =>
      name.startsWith('edgeferry_certificate_days_left{role="client"') && values[illFrom] === "1"
    ) ?? [];
  const client = Object.fromEntries(
    [...nearEnd.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label, value]),
  );
  assert.equal(client["role"], "client");
  await fire(dir.path, scrapes, series, {
    EdgeferryDown: { labels: {}, minute: scrapes.length - 1 },
    EdgeferryCollectorUnreachable: { labels: { signal: "traces" } },
    EdgeferryQueueOld: { labels: {} },
    EdgeferryQueueFilling: { labels: {} },
    EdgeferryRefusing: { labels: { reason: "queue_full" } },
    EdgeferryDeadLetters: { labels: { signal: "logs" } },
    EdgeferryItemsRejected: { labels: { signal: "metrics" } },
    EdgeferryBooksUnbalanced: { labels: { signal: "logs" } },
    EdgeferrySlow: { labels: {} },
    EdgeferryCertificateEndsSoon: { labels: client },
    EdgeferryCertificateEnds: { labels: client },
  }, (alert) => !OF_SEVERAL.has(alert) && alert !== OF_FLEETS);
});

Deno.test("each alert about one target of several names it, and fires for no other", async () => {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const dir = stack.use(await folder());
  let ill = false;
  const far = async (fails: boolean) => {
    const collector = await startCollector({
      host: "127.0.0.1",
      port: 0,
      tls: {
        ca: [certificates.ca.certificate],
        cert: certificates.server.certificate,
        key: certificates.server.key,
      },
      misbehave: () => fails && ill ? { kind: "status", status: 503 } : undefined,
      onReceived: () => {},
    });
    stack.defer(() => collector.stop());
    return collector.url;
  };
  const tls = {
    ca_file: certificates.ca.certificateFile,
    cert_file: certificates.client.certificateFile,
    key_file: certificates.client.keyFile,
  };
  const retry_on_failure = { initial_interval: "10ms", max_interval: "20ms" };
  const eu = await far(false);
  const us = await far(true);
  await using relay = await startRelayHere({
    engine: "sqlite",
    collectorUrl: eu,
    certsDir: certificates.dir,
    queuePath: join(dir.path, "queue.db"),
    http: { max_request_body_size: "1MiB" },
    config: {
      exporters: {
        eu: { endpoint: eu, tls, retry_on_failure },
        us: { endpoint: us, tls, retry_on_failure },
        audit: { endpoint: us, tls, retry_on_failure, required: false },
      },
      groups: { pair: { failover: ["us", "eu"] } },
      routes: [
        { signals: ["traces"], exporters: ["eu", "us"] },
        { signals: ["logs"], exporters: ["eu", "audit"] },
        { exporters: ["pair"] },
      ],
      sending_queue: { queue_size: "1MiB" },
      telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
    },
  });
  const sums = (text: string, name: string, ...labels: string[]) =>
    text.split("\n").filter((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  const books = (text: string, account: string, target: string) =>
    sums(text, "edgeferry_books_items", `account="${account}"`, `target="${target}"`);
  for (const signal of ["traces", "metrics", "logs"] as const) assert.equal(await send(relay, signal), 200);
  const well = await until(
    relay,
    (text) => ["eu", "us", "audit", "pair"].every((target) => books(text, "delivered", target) > 0),
  );
  const scrapes: (string | undefined)[] = Array.from({ length: WELL_MINUTES }, () => well);
  ill = true;
  assert.equal(await send(relay, "metrics"), 200);
  const capacity = (text: string, target: string) =>
    sums(text, "edgeferry_target_capacity_bytes", `target="${target}"`);
  const size = (text: string, target: string) => sums(text, "edgeferry_target_size_bytes", `target="${target}"`);
  /** What eu has not taken yet would fill the queue for all. */
  const sendTaken = async (signal: "traces" | "logs", items: number): Promise<string> => {
    assert.equal(await send(relay, signal, items), 200);
    return await until(relay, (text) => books(text, "queued", "eu") === 0);
  };
  // us is more than half full, and takes on; audit is full.
  let text = well;
  while (size(text, "us") <= 0.55 * capacity(text, "us")) text = await sendTaken("traces", 8_000);
  while (sums(text, "edgeferry_target_skipped_items") === 0) text = await sendTaken("logs", 20_000);
  await until(relay, (text) => sums(text, "edgeferry_exporter_up", 'exporter="us"', 'signal="metrics"') === 0);
  await until(
    relay,
    (text) =>
      sums(text, "edgeferry_target_failures", 'signal="traces"', 'target="us"') > 2 &&
      books(text, "queued", "eu") === 0,
  );
  for (let minute = 0; minute < ILL_MINUTES; minute++) {
    // Which audit misses.
    await sendTaken("logs", 20_000);
    scrapes.push(await until(relay, (text) => sums(text, "edgeferry_target_failures", 'target="audit"') > 2));
  }
  await fire(dir.path, scrapes, seriesIn(scrapes), {
    EdgeferryTargetUnreachable: [{ labels: { target: "us", signal: "traces" } }, {
      labels: { target: "audit", signal: "logs" },
    }],
    EdgeferryTargetFilling: [{ labels: { target: "us" } }, { labels: { target: "audit" } }],
    EdgeferryTargetSkipped: { labels: { target: "audit" } },
    EdgeferryExporterDown: [{ labels: { exporter: "us", signal: "metrics" } }, {
      labels: { exporter: "us", signal: "traces" },
    }],
  }, (alert) => OF_SEVERAL.has(alert));
});

Deno.test("a fleet in which nobody sends any more alarms, and one with an exporter does not", async () => {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const dir = stack.use(await folder());
  const postgres = stack.use(await startPostgres());
  await makeTables(postgres);
  const member = (role: "receiver" | "exporter") =>
    startRelayHere({
      engine: "none",
      collectorUrl: "https://127.0.0.1:9",
      certsDir: certificates.dir,
      config: { role, sending_queue: { storage: "postgres", postgres: { url: postgres.url("relay") } } },
    });
  const exporter = await member("exporter");
  const receiver = stack.use(await member("receiver"));
  const living = (count: number) =>
    until(receiver, (text) => text.includes(`edgeferry_fleet_relays{role="exporter"} ${count}\n`));
  const well = await living(1);
  await exporter[Symbol.asyncDispose]();
  const ill = await living(0);
  const scrapes = [
    ...Array.from({ length: WELL_MINUTES }, () => well),
    ...Array.from({ length: ILL_MINUTES }, () => ill),
  ];
  const fleet = new Map([...seriesIn(scrapes)].filter(([name]) => name.startsWith("edgeferry_fleet_")));
  await fire(dir.path, scrapes, fleet, { [OF_FLEETS]: { labels: {} } }, (alert) => alert === OF_FLEETS);
});
