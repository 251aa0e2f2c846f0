/** Two senders of OTLP/gRPC that are programs and no SDK: the Java agent, and telemetrygen. */
import assert from "node:assert/strict";
import { startCollector } from "../../src/collector/server.ts";
import { decodeRequest } from "../../src/otlp/decode.ts";
import type { SignalName } from "../../src/signal.ts";
import { Changes } from "../support/far_end/changes.ts";
import { collectorTls } from "../support/far_end/far_end.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { runProgram, startProgram } from "../support/program/program.ts";
import { SILENT } from "../support/relay/config.ts";
import { type RelayHere, startRelayHere } from "../support/relay/relay.ts";
import { javaWithAgent, telemetrygen } from "../support/tools/stock_sdks.ts";

const ARRIVAL_MS = 60_000;

/** A Collector, and what has arrived there as JSON, an item each. */
async function farEnd(certificates: TestCertificates) {
  const items: Record<SignalName, string[]> = { traces: [], metrics: [], logs: [], profiles: [] };
  const changes = new Changes();
  const collector = await startCollector({
    host: "127.0.0.1",
    port: 0,
    tls: await collectorTls(certificates.dir),
    onReceived: ({ signal, body }) => {
      for (const item of itemsIn(decodeRequest(signal, body))) items[signal].push(JSON.stringify(item));
      changes.tell();
    },
  });
  return {
    url: collector.url,
    /** Those of a signal that have this in them, once there are so many. */
    async with(signal: SignalName, text: string, count: number): Promise<readonly string[]> {
      const found = () => items[signal].filter((item) => item.includes(text));
      assert(
        await changes.until(() => found().length >= count, ARRIVAL_MS),
        `${signal}: ${found().length} of ${count}`,
      );
      return found();
    },
    [Symbol.asyncDispose]: () => collector[Symbol.asyncDispose](),
  };
}

/** Spans, log records and metrics of a request, wherever they stand. */
function itemsIn(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap(itemsIn);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) =>
    ["spans", "logRecords", "metrics"].includes(key) && Array.isArray(each) ? each : itemsIn(each)
  );
}

async function relayTo(certificates: TestCertificates, collectorUrl: string): Promise<RelayHere> {
  return await startRelayHere({
    engine: "sqlite",
    collectorUrl,
    certsDir: certificates.dir,
    config: { receiver: { grpc: { endpoint: "127.0.0.1:0" } }, ...SILENT },
  });
}

Deno.test("telemetrygen by gRPC: all that it makes arrives, once", async () => {
  await using certificates = await testCertificates();
  await using end = await farEnd(certificates);
  await using relay = await relayTo(certificates, end.url);
  const endpoint = new URL(await relay.grpcUrl()).host;
  const command = await telemetrygen();
  // A trace is two spans.
  for (const [signal, items] of [["traces", 40], ["metrics", 20], ["logs", 20]] as const) {
    await runProgram({
      command,
      args: [
        signal,
        "--otlp-insecure",
        `--otlp-endpoint=${endpoint}`,
        `--otlp-header=authorization="Bearer ${relay.token}"`,
        `--${signal}=20`,
        "--rate=200",
      ],
      cwd: certificates.dir,
    });
    const arrived = await end.with(signal, "", items);
    assert.equal(arrived.length, items);
    if (signal === "traces") assert.equal(new Set(arrived).size, items);
  }
  assert.deepEqual(relay.log().filter((line) => /Refused/.test(line)), []);
});

Deno.test("the Java agent by gRPC: traces, metrics and logs of a program that knows nothing of it", async () => {
  await using certificates = await testCertificates();
  await using end = await farEnd(certificates);
  await using relay = await relayTo(certificates, end.url);
  const { command, args } = await javaWithAgent();
  await using program = startProgram({
    command,
    args,
    cwd: certificates.dir,
    env: {
      ASKED: `${relay.adminUrl}/livez`,
      TIMES: "5",
      OTEL_EXPORTER_OTLP_ENDPOINT: await relay.grpcUrl(),
      OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer%20${relay.token}`,
    },
  });
  assert.equal((await program.ended).code, 0, program.lines.join("\n"));
  assert.equal((await end.with("traces", "/livez", 5)).length, 5);
  assert.equal((await end.with("logs", "asked", 5)).length, 5);
  await end.with("metrics", "http.client.request.duration", 1);
  assert.deepEqual(program.lines.filter((line) => /Failed to export/.test(line)), []);
  assert.deepEqual(relay.log().filter((line) => /Refused/.test(line)), []);
});
