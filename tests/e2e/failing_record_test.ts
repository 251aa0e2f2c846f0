/** One log record that the real Collector answers 503 because of what is in it: the others arrive, it waits alone, and its sender is named. */
import assert from "node:assert/strict";
import { startSink } from "../support/far_end/sink.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { booksIn, startRelayHere } from "../support/relay/relay.ts";
import { startCollector } from "../support/tools/collector.ts";

/** A statement that fails on a body which is no JSON, and tells the sender of the request so. */
const PARSES_BODIES = `
processors:
  transform/json:
    error_mode: propagate
    log_statements:
      - context: log
        statements:
          - set(log.cache["parsed"], ParseJSON(log.body))
service: { pipelines: { logs: { processors: [transform/json] } } }
`;

/** A sender's request of log records with these bodies. */
async function send(url: string, token: string, ...bodies: string[]): Promise<void> {
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify({
      resourceLogs: [{ scopeLogs: [{ logRecords: bodies.map((stringValue) => ({ body: { stringValue } })) }] }],
    }),
  });
  assert.equal(response.status, 200, await response.text());
}

Deno.test("real Collector: a record that it fails on holds back nobody, and is never set aside", async () => {
  await using certs = await testCertificates();
  await using sink = startSink();
  await using collector = await startCollector({ certsDir: certs.dir, sink, config: PARSES_BODIES });
  await using relay = await startRelayHere({
    engine: "sqlite",
    collectorUrl: collector.httpUrl,
    certsDir: certs.dir,
    config: { exporter: { retry_on_failure: { initial_interval: "200ms", max_interval: "2s" } } },
  });
  const bodies = (from: number, count: number) => Array.from({ length: count }, (_, at) => `{"number":${from + at}}`);
  for (const body of bodies(0, 10)) await send(relay.url, relay.token, body);
  // Among 20 of its own sender's.
  await send(relay.url, relay.token, ...bodies(10, 10), "plain words", ...bodies(20, 10));
  for (const body of bodies(30, 200)) await send(relay.url, relay.token, body);
  const arrived = () => new Set(sink.logRecords().map(({ body }) => String(body)));
  const settled = () => booksIn(relay.queuePath).logs;
  const deadline = performance.now() + 30_000;
  while (arrived().size < 230 || settled().delivered < 230) {
    assert(
      performance.now() < deadline,
      `${arrived().size} of 230 arrived; the relay said:\n${relay.log().join("\n")}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const alarm = relay.log().find((line) => line.includes("record_fails"));
  assert(alarm !== undefined, relay.log().join("\n"));
  assert.match(alarm, /"level":"error"/i);
  assert.match(alarm, /"sender":"[^"]+"/);
  const { queued, deadLettered, delivered } = settled();
  assert.deepEqual([queued, deadLettered, delivered], [1, 0, 230]);
});
