/**
 * The stock SDKs of four languages, and the Collector's own exporter, by OTLP/gRPC: TLS, mutual TLS, gzip, a wrong token, a message over
 * the limit, a full queue, a Collector that is away, and a relay that is started anew.
 */
import assert from "node:assert/strict";
import { type EmbeddedCollector, startCollector } from "../../src/collector/server.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { Changes } from "../support/far_end/changes.ts";
import { collectorTls } from "../support/far_end/far_end.ts";
import { quietPort } from "../support/far_end/quiet_port.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { type Program, startProgram } from "../support/program/program.ts";
import { fillQueue } from "../support/relay/fill_queue.ts";
import {
  booksIn,
  type RelayHere,
  type RelayOptions,
  startRelayHere,
  startRelayProcess,
} from "../support/relay/relay.ts";
import { startCollector as startRealCollector } from "../support/tools/collector.ts";
import { STOCK_GRPC_SDKS } from "../support/tools/stock_sdks.ts";

type Sdk = keyof typeof STOCK_GRPC_SDKS;
const SDKS = Object.keys(STOCK_GRPC_SDKS) as Sdk[];

const ARRIVAL_MS = 60_000;
const SPAN = /(?:java|go|node|python) \d+;/g;

/** A Collector, and the numbered spans that have arrived there. */
async function farEnd(certificates: TestCertificates, port = 0) {
  const arrived = new Set<string>();
  const changes = new Changes();
  const collector: EmbeddedCollector = await startCollector({
    host: "127.0.0.1",
    port,
    tls: await collectorTls(certificates.dir),
    onReceived: ({ body }) => {
      for (const span of new TextDecoder("latin1").decode(body).match(SPAN) ?? []) arrived.add(span);
      changes.tell();
    },
  });
  return {
    collector,
    arrived,
    /** Resolves when all spans of a sender have arrived. */
    async all(sdk: Sdk, spans: number): Promise<void> {
      const made = numbered(sdk, spans);
      await changes.until(() => made.isSubsetOf(arrived), ARRIVAL_MS);
      assert.deepEqual([...made.difference(arrived)], [], "made and not arrived");
    },
    /** Resolves with whether so many spans have arrived. */
    count: (spans: number) => changes.until(() => arrived.size >= spans, ARRIVAL_MS),
    [Symbol.asyncDispose]: () => collector[Symbol.asyncDispose](),
  };
}

function numbered(sdk: Sdk, spans: number): Set<string> {
  return new Set(Array.from({ length: spans }, (_, number) => `${sdk} ${number};`));
}

const GRPC: RelayOptions["config"] = { receiver: { grpc: { endpoint: "127.0.0.1:0" }, limits: { queue_share: 1 } } };
const SILENT = {
  telemetry: { admin: { endpoint: "127.0.0.1:0" }, traces: { enabled: false }, metrics: { enabled: false } },
};

interface Sending {
  readonly endpoint: string;
  readonly token: string;
  readonly spans: number;
  readonly intervalMs: number;
  readonly env?: Readonly<Record<string, string>>;
}

async function send(sdk: Sdk, certificates: TestCertificates, sending: Sending): Promise<Program> {
  const { command, args } = await STOCK_GRPC_SDKS[sdk]();
  return startProgram({
    command,
    args,
    cwd: certificates.dir,
    env: {
      PROTOCOL: "grpc",
      ENDPOINT: sending.endpoint,
      TOKEN: sending.token,
      SPANS: String(sending.spans),
      INTERVAL_MS: String(sending.intervalMs),
      OTEL_BSP_SCHEDULE_DELAY: "200",
      ...sending.env,
    },
  });
}

/** Those that try again. The JS exporter by gRPC (0.223) never does, whatever it is answered; see the last test of a full queue. */
const RETRYING = SDKS.filter((sdk) => sdk !== "node");

/** A test for each SDK. */
function eachSdk(
  name: string,
  test: (sdk: Sdk, certificates: TestCertificates) => Promise<void>,
  sdks: readonly Sdk[] = SDKS,
): void {
  for (const sdk of sdks) {
    Deno.test(`${sdk} by gRPC: ${name}`, async () => {
      await using certificates = await testCertificates();
      await test(sdk, certificates);
    });
  }
}

/** One test for all SDKs, side by side: they only wait. */
function allSdks(name: string, test: (sdk: Sdk, certificates: TestCertificates) => Promise<void>): void {
  Deno.test(`all SDKs by gRPC: ${name}`, async () => {
    const results = await Promise.allSettled(SDKS.map(async (sdk) => {
      await using certificates = await testCertificates();
      await test(sdk, certificates);
    }));
    const failed = results.flatMap((result, index) =>
      result.status === "rejected" ? [new Error(`${SDKS[index]} failed`, { cause: result.reason })] : []
    );
    if (failed.length > 0) throw new AggregateError(failed, failed.map(({ message }) => message).join("; "));
  });
}

async function relayHere(
  certificates: TestCertificates,
  collectorUrl: string,
  more: Partial<RelayOptions> = {},
): Promise<RelayHere> {
  return await startRelayHere({
    engine: "sqlite",
    collectorUrl,
    certsDir: certificates.dir,
    config: { ...GRPC, ...SILENT },
    ...more,
  });
}

eachSdk("TLS, a client certificate in a token's place, and gzip", async (sdk, certificates) => {
  await using end = await farEnd(certificates);
  const { ca, client, server } = certificates;
  const tls = { cert_file: server.certificateFile, key_file: server.keyFile, client_ca_file: ca.certificateFile };
  await using relay = await relayHere(certificates, end.collector.url, { http: { endpoint: "127.0.0.1:0", tls } });
  const endpoint = (await relay.grpcUrl()).replace("127.0.0.1", "localhost");
  await using sender = await send(sdk, certificates, {
    endpoint,
    token: "none",
    spans: 20,
    intervalMs: 1,
    env: {
      OTEL_EXPORTER_OTLP_CERTIFICATE: ca.certificateFile,
      OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: client.certificateFile,
      OTEL_EXPORTER_OTLP_CLIENT_KEY: client.keyFile,
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    },
  });
  await end.all(sdk, 20);
  assert.equal((await sender.ended).code, 0);
});

eachSdk("a wrong token is not tried again, and its reason is told", async (sdk, certificates) => {
  await using end = await farEnd(certificates);
  await using relay = await relayHere(certificates, end.collector.url);
  await using sender = await send(sdk, certificates, {
    endpoint: await relay.grpcUrl(),
    token: "wrong",
    spans: 1,
    intervalMs: 1,
  });
  // Node's shutdown rejects with the error of its last export.
  await sender.ended;
  assert.equal(end.arrived.size, 0);
  const refusals = relay.log().filter((line) => /unauthenticated/.test(line));
  assert.equal(refusals.length, 1, relay.log().join("\n"));
});

eachSdk("a full queue: it waits as RetryInfo says, and nothing is lost", async (sdk, certificates) => {
  const port = await quietPort();
  const spans = 40;
  await using relay = await relayHere(certificates, `https://localhost:${port}`, {
    config: {
      ...GRPC,
      ...SILENT,
      sending_queue: { queue_size: "1MiB" },
      exporter: { retry_on_failure: { initial_interval: "50ms", max_interval: "200ms" } },
    },
    http: { endpoint: "127.0.0.1:0", max_request_body_size: "1MiB" },
  });
  await fillQueue(relay);
  await using sender = await send(sdk, certificates, {
    endpoint: await relay.grpcUrl(),
    token: relay.token,
    spans,
    intervalMs: 200,
  });
  await sender.line(/sending/);
  // Well below what the least patient SDK gives an export: Go's second and last try comes 2.5 to 7.5 s after its first.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  assert(relay.log().some((line) => /queue_full/.test(line)), "the queue was full");
  await using end = await farEnd(certificates, port);
  await end.all(sdk, spans);
  assert.equal((await sender.ended).code, 0);
}, RETRYING);

eachSdk("a full queue: what it refuses is not sent again, as docs/senders.md says", async (sdk, certificates) => {
  await using relay = await relayHere(certificates, `https://localhost:${await quietPort()}`, {
    config: { ...GRPC, ...SILENT, sending_queue: { queue_size: "1MiB" } },
    http: { endpoint: "127.0.0.1:0", max_request_body_size: "1MiB" },
  });
  await fillQueue(relay);
  const metadata = { endpoint: await relay.grpcUrl(), token: relay.token };
  await using sender = await send(sdk, certificates, { ...metadata, spans: 1, intervalMs: 1 });
  // Its first export is its last: the process ends with the refusal.
  assert.equal((await sender.ended).code, 1);
  assert.match(sender.lines.join("\n"), /UNAVAILABLE: The queue is full/);
}, ["node"]);

allSdks("15 s without a Collector: nothing is lost", async (sdk, certificates) => {
  const port = await quietPort();
  const spans = 60;
  await using relay = await relayHere(certificates, `https://localhost:${port}`);
  const sending = { endpoint: await relay.grpcUrl(), token: relay.token, spans, intervalMs: 250 };
  await using sender = await send(sdk, certificates, sending);
  assert.equal((await sender.ended).code, 0);
  await using end = await farEnd(certificates, port);
  await end.all(sdk, spans);
});

allSdks(
  "the relay is started anew: the sender goes on, and what was answered OK arrives",
  async (sdk, certificates) => {
    await using end = await farEnd(certificates);
    const options: RelayOptions = {
      engine: "sqlite",
      collectorUrl: end.collector.url,
      certsDir: certificates.dir,
      queuePath: `${certificates.dir}/queue.db`,
      auth: { tokens: `tokens: [{ id: test, sha256: ${digestOf(TOKEN)} }]` },
      config: { receiver: { grpc: { endpoint: `127.0.0.1:${await quietPort()}` } }, ...SILENT },
    };
    await using first = await startRelayProcess(options);
    // It goes on until it is stopped.
    const sending = { endpoint: await first.grpcUrl(), token: TOKEN, spans: 1_000_000, intervalMs: 50 };
    await using sender = await send(sdk, certificates, sending);
    assert(await end.count(1), sender.lines.join("\n"));
    await first.stop();
    await using second = await startRelayProcess(options);
    // More than can have been on their way when the first stopped. What was made between the two is up to the SDK's patience.
    assert(await end.count(end.arrived.size + 30), sender.lines.join("\n"));
    await sender.stop();
    await second.stop();
    const { accepted, delivered, queued } = booksIn(options.queuePath!).traces;
    assert.deepEqual([delivered, queued], [accepted, 0]);
    assert(end.arrived.size <= accepted);
  },
);

const TOKEN = "a-token-of-the-tests";

Deno.test("a Collector's otlp_grpc exporter over mutual TLS: a message over the limit is dropped there, and said", async () => {
  await using certificates = await testCertificates();
  await using end = await farEnd(certificates);
  const { ca, client, server } = certificates;
  const tls = { cert_file: server.certificateFile, key_file: server.keyFile, client_ca_file: ca.certificateFile };
  await using relay = await relayHere(certificates, end.collector.url, {
    http: { endpoint: "127.0.0.1:0", tls, max_request_body_size: "4KiB" },
  });
  const endpoint = (await relay.grpcUrl()).replace("127.0.0.1", "localhost");
  const exporters = "{ exporters: [otlp_grpc/relay] }";
  await using agent = await startRealCollector({
    certsDir: certificates.dir,
    config: [
      "receivers: { otlp: { protocols: { http: { tls: null } } } }",
      `
exporters:
  otlp_grpc/relay:
    endpoint: "${endpoint}"
    tls: { ca_file: ${ca.certificateFile}, cert_file: ${client.certificateFile}, key_file: ${client.keyFile} }
service: { pipelines: { traces: ${exporters}, metrics: ${exporters}, logs: ${exporters} } }
`,
    ],
  });
  const post = async (name: string) => {
    const body = JSON.stringify({
      resourceSpans: [{
        scopeSpans: [{ spans: [{ name, traceId: "0".repeat(31) + "1", spanId: "0".repeat(15) + "1" }] }],
      }],
    });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`http://127.0.0.1:${agent.httpPort}/v1/traces`, { method: "POST", headers, body });
    await answer.body?.cancel();
  };
  // gzip, the exporter's default, makes it small on the wire: the limit holds for what it inflates to.
  await post("x".repeat(10_000));
  const line = await agent.waitForLog(/RESOURCE_EXHAUSTED|ResourceExhausted/, 30_000);
  assert.match(line, /over the limit of 4096 bytes/);
  assert.match(line, /Exporting failed. Dropping data|not retryable/i);
  await post("go 0;");
  await end.all("go", 1);
});
