/**
 * Secrets under keys that are redacted, planted in every place that attributes have: none of them is in the queue's files, the dead
 * letters, the log or what the real Collector receives. The same with a dry run, which changes nothing, finds all of them.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { transcodeJson } from "../../src/otlp/json/transcode.ts";
import { signalOf } from "../../src/signal.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { startCollector } from "../support/tools/collector.ts";
import { folder } from "../support/files/folder.ts";
import { readDeadLetters } from "../support/relay/queue_file.ts";
import { type RelayProcess, startRelayProcess } from "../support/relay/relay.ts";
import { type Sink, type SinkPoint, startSink } from "../support/far_end/sink.ts";

const SALT = "a salt that nobody sees";
const ACTIONS: { key: string; action: "delete" | "hash" }[] = [
  { key: "*.password", action: "delete" },
  { key: "user.?mail", action: "hash" },
];

/** Attributes of one place: a secret under each rule, one inside of a map in a list, and one that is nobody's. */
function planted(secrets: string[]) {
  const secret = () => {
    secrets.push(`s3cret-${secrets.length}-`);
    return { stringValue: secrets.at(-1)! };
  };
  return [
    { key: "db.password", value: secret() },
    { key: "user.email", value: secret() },
    { key: "kept", value: { stringValue: "open" } },
    {
      key: "request",
      value: {
        arrayValue: {
          values: [{
            kvlistValue: {
              values: [{ key: "form.password", value: secret() }, { key: "user.email", value: secret() }],
            },
          }],
        },
      },
    },
  ];
}

const SIGNALS = ["traces", "metrics", "logs"] as const;
type Signal = typeof SIGNALS[number];

/** One request, with attributes wherever there may be some. Puts the secrets in it on the list. */
function request(signal: Signal, secrets: string[]): object {
  const attributes = () => planted(secrets);
  const time = { startTimeUnixNano: "1700000000000000000", timeUnixNano: "1700000001000000000" };
  const exemplars = () => [{ timeUnixNano: "1700000001000000000", asDouble: 1, filteredAttributes: attributes() }];
  const point = () => ({ ...time, asDouble: 1, attributes: attributes(), exemplars: exemplars() });
  const resource = () => ({ attributes: attributes() });
  const scope = () => ({ name: "scope", attributes: attributes() });
  const requests: Record<Signal, () => object> = {
    traces: () => ({
      resourceSpans: [{
        resource: resource(),
        scopeSpans: [{
          scope: scope(),
          spans: [{
            traceId: "5b8efff798038103d269b633813fc60c",
            spanId: "eee19b7ec3c1b174",
            name: "span",
            startTimeUnixNano: "1700000000000000000",
            endTimeUnixNano: "1700000001000000000",
            attributes: attributes(),
            events: [{ name: "event", attributes: attributes() }],
            links: [{
              traceId: "5b8efff798038103d269b633813fc60c",
              spanId: "eee19b7ec3c1b174",
              attributes: attributes(),
            }],
          }],
        }],
      }],
    }),
    metrics: () => ({
      resourceMetrics: [{
        resource: resource(),
        scopeMetrics: [{
          scope: scope(),
          metrics: [
            { name: "gauge", metadata: attributes(), gauge: { dataPoints: [point()] } },
            { name: "sum", sum: { aggregationTemporality: 2, dataPoints: [point()] } },
            {
              name: "histogram",
              histogram: {
                aggregationTemporality: 2,
                dataPoints: [{
                  ...time,
                  count: "1",
                  bucketCounts: ["1"],
                  attributes: attributes(),
                  exemplars: exemplars(),
                }],
              },
            },
            {
              name: "exponential",
              exponentialHistogram: {
                aggregationTemporality: 2,
                dataPoints: [{ ...time, count: "1", zeroCount: "1", attributes: attributes(), exemplars: exemplars() }],
              },
            },
            { name: "summary", summary: { dataPoints: [{ ...time, count: "1", sum: 1, attributes: attributes() }] } },
          ],
        }],
      }],
    }),
    logs: () => ({
      resourceLogs: [{
        resource: resource(),
        scopeLogs: [{
          scope: scope(),
          logRecords: [{
            timeUnixNano: "1700000000000000000",
            attributes: attributes(),
            body: { kvlistValue: { values: attributes() } },
          }],
        }],
      }],
    }),
  };
  return requests[signal]();
}

const ENCODINGS = ["json", "protobuf", "gzip"] as const;

async function post(relay: RelayProcess, signal: Signal, request: object, encoding: typeof ENCODINGS[number]) {
  const json = JSON.stringify(request);
  const protobuf = new Uint8Array(transcodeJson(signal, Buffer.from(json), 1 << 20).protobuf);
  const response = await fetch(`${relay.url}${signalOf(signal).path}`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${relay.token}`,
      "content-type": encoding === "json" ? "application/json" : "application/x-protobuf",
      ...(encoding === "gzip" ? { "content-encoding": "gzip" } : {}),
    },
    body: encoding === "json" ? json : encoding === "gzip" ? new Uint8Array(gzipSync(protobuf)) : protobuf,
  });
  assert.equal(response.status, 200, await response.text());
}

/** The redacted attributes that the relay's own metrics tell of, by the action. */
function counted(sink: Sink, dryRun: boolean): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const point of sink.dataPoints()) {
    if (point.metric.name !== "edgeferry_redaction_attributes" || point.kind !== "sum") continue;
    assert.equal(point.attributes["dry_run"], String(dryRun));
    const rule = `${point.attributes["key"]} ${point.attributes["action"]} ${point.attributes["signal"]}`;
    counts[rule] = Number(point.value);
  }
  return counts;
}

/** What a scene found, by the place it was looked for in. */
interface Found {
  readonly secrets: readonly string[];
  readonly places: Readonly<Record<"queue" | "received" | "dead letters", string>>;
  readonly logs: string;
  readonly counts: Readonly<Record<string, number>>;
}

async function scene(dryRun: boolean): Promise<Found> {
  await using at = await folder();
  await using certs = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certs.dir, sink });
  const queuePath = join(at.path, "queue.db");
  const start = () =>
    startRelayProcess({
      engine: "sqlite",
      collectorUrl: collector.httpUrl,
      certsDir: certs.dir,
      queuePath,
      env: { REDACTION_SALT: SALT },
      config: {
        redaction: { actions: ACTIONS, salt: "${env:REDACTION_SALT}", dry_run: dryRun },
        // Plain payloads, so that a secret in the file would be seen.
        exporter: { compression: "none", retry_on_failure: { initial_interval: "50ms", max_interval: "100ms" } },
        telemetry: {
          metrics: { interval: "1s" },
          log: { format: "json", level: "debug" },
          admin: { endpoint: "127.0.0.1:0" },
        },
      },
    });
  const secrets: string[] = [];
  const all = SIGNALS.map((signal) => [signal, request(signal, secrets)] as const);
  const logs: string[] = [];
  let counts: Record<string, number>;
  let queue: string;
  let received: string;
  {
    await using relay = await start();
    sink.answerAlways({ status: 503 });
    for (const [signal, one] of all) for (const encoding of ENCODINGS) await post(relay, signal, one, encoding);
    const names = (await readdir(at.path)).filter((name) => name.startsWith("queue.db"));
    queue = (await Promise.all(names.map((name) => readFile(join(at.path, name), "latin1")))).join();
    sink.answerAlways();
    const summaries = (points: readonly SinkPoint[]) => points.filter(({ metric }) => metric.name === "summary");
    await sink.waitFor(
      (now) =>
        now.spans().filter(({ name }) => name === "span").length >= 3 && summaries(now.dataPoints()).length >= 3 &&
        now.logRecords().length >= 3 && Object.keys(counted(now, dryRun)).length >= 6,
      60_000,
    );
    received = sink.requests.map(({ body }) => Buffer.from(body).toString("utf8")).join();
    await relay.stop();
    logs.push(...relay.log());
    counts = counted(sink, dryRun);
  }
  {
    await using relay = await start();
    sink.answerAlways({ status: 400, message: "no" });
    for (const [signal, one] of all) await post(relay, signal, one, "gzip");
    for (const signal of SIGNALS) {
      await relay.line(new RegExp(`Set aside what the Collector will never take.*"${signal}"`));
    }
    await relay.stop();
    logs.push(...relay.log());
  }
  const letters = SIGNALS.flatMap((signal) => readDeadLetters(queuePath, signal));
  assert.equal(letters.length, 3);
  return {
    secrets,
    counts,
    places: {
      queue,
      received,
      "dead letters": letters.map(({ request }) => Buffer.from(request).toString("latin1")).join(),
    },
    logs: logs.join("\n") + collector.logs(),
  };
}

Deno.test("real Collector: no secret reaches the disk, the Collector, the dead letters or a log", async () => {
  const { secrets, places, logs, counts } = await scene(false);
  assert.ok(secrets.length > 80);
  for (const secret of secrets) {
    for (const [place, text] of Object.entries(places)) assert.ok(!text.includes(secret), `${place}: ${secret}`);
    assert.ok(!logs.includes(secret), `logs: ${secret}`);
  }
  // What is hashed has its key and a value that only those who have the salt can tell; what no rule is for is as it was.
  const hash = createHmac("sha256", SALT).update(secrets[1]!).digest("hex");
  for (const [place, text] of Object.entries(places)) {
    for (const kept of ["user.email", hash, "open"]) {
      assert.ok(text.includes(kept), `${place}: ${kept}`);
    }
    // The relay's own metric names the rule.
    assert.doesNotMatch(text, /(?:db|form)\.password/, place);
    assert.ok(!text.includes(SALT), place);
  }
  assert.ok(!logs.includes(SALT));
  // Each place has two attributes for each rule; three requests of each signal were taken.
  const PLACES_OF = { traces: 5, metrics: 2 + 1 + 5 + 4, logs: 4 };
  for (const signal of SIGNALS) {
    assert.equal(counts[`*.password delete ${signal}`], PLACES_OF[signal] * 2 * 3, signal);
    assert.equal(counts[`user.?mail hash ${signal}`], PLACES_OF[signal] * 2 * 3, signal);
  }
});

Deno.test("real Collector: a dry run changes nothing, and counts the same", async () => {
  const { secrets, places, logs, counts } = await scene(true);
  for (const secret of secrets) {
    for (const [place, text] of Object.entries(places)) assert.ok(text.includes(secret), `${place}: ${secret}`);
    assert.ok(!logs.includes(secret), `logs: ${secret}`);
  }
  assert.match(logs, /redaction.dry_run is true/);
  assert.equal(counts["*.password delete traces"], 5 * 2 * 3);
});
