/** Servers to ask: the relay with an upstream that does as it is told, and the real Collector. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeStatus, encodeSuccess } from "../../src/otlp/response.ts";
import { SIGNALS } from "../../src/signal.ts";
import { digestOf } from "../../src/receiver/senders/authenticator.ts";
import { startCollector as startEmbedded } from "../../src/collector/server.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { PROFILES_GATE, startCollector } from "../support/tools/collector.ts";
import { startRelayHere } from "../support/relay/relay.ts";
import { GrpcClient } from "../support/far_end/grpc_client.ts";
import { askGrpc, grpcRows } from "./grpc_rows.ts";
import type { Target } from "./exchange.ts";
import { serverRows, type Upstream } from "./rows.ts";
import { askAll, type RowResult } from "./table.ts";

/** The limit of the servers started here, in bytes: small enough to be tried in every case. */
const BODY_BYTES_MAX = 1 << 20;
const TRACES_TOKEN = "token-for-traces-alone";
const TOKEN = "token-for-all";
const SPENT_TOKEN = "token-of-a-sender-that-has-used-up-its-rate";

/** Asks a server that runs already. */
export async function askServer(
  target: Target,
  options: {
    readonly bodyBytesMax: number;
    readonly tracesToken?: string | undefined;
    readonly spentToken?: string | undefined;
  },
): Promise<RowResult[]> {
  return await askAll(serverRows(options), target, {
    needs: new Set([
      ...(target.token === undefined ? [] : ["token" as const]),
      ...(options.tracesToken === undefined ? [] : ["traces-token" as const]),
      ...(options.spentToken === undefined ? [] : ["spent-token" as const]),
    ]),
  });
}

/** The relay, with the engine whose answer is the Collector's, and a Collector that does as it is told. */
async function relayScene(stack: AsyncDisposableStack) {
  const certs = stack.use(await testCertificates());
  let behaviour: Upstream | undefined;
  const collector = stack.use(
    await startEmbedded({
      host: "127.0.0.1",
      port: 0,
      tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
      misbehave: () => behaviour,
    }),
  );
  const tokens = [
    `  - { id: all, sha256: ${digestOf(TOKEN)} }`,
    `  - { id: traces, sha256: ${digestOf(TRACES_TOKEN)}, signals: [traces] }`,
    // One request in 1,000 s: the one below, and none after it.
    `  - { id: spent, sha256: ${digestOf(SPENT_TOKEN)}, limits: { requests_per_second: 0.001 } }`,
  ];
  const relay = stack.use(
    await startRelayHere({
      engine: "none",
      collectorUrl: collector.url,
      certsDir: certs.dir,
      auth: { tokens: `tokens:\n${tokens.join("\n")}\n` },
      config: {
        receiver: {
          http: { endpoint: "127.0.0.1:0", max_request_body_size: `${BODY_BYTES_MAX}` },
          grpc: { endpoint: "127.0.0.1:0" },
        },
        exporter: { retry_on_failure: { initial_interval: "1ms", max_interval: "1ms" } },
        telemetry: { traces: { enabled: false }, metrics: { enabled: false } },
      },
    }),
  );
  const first = await fetch(`${relay.url}/v1/traces`, {
    method: "POST",
    headers: { authorization: `Bearer ${SPENT_TOKEN}`, "content-type": "application/json" },
    body: "{}",
  });
  await first.body?.cancel();
  return { relay, upstream: (next: Upstream | undefined) => void (behaviour = next) };
}

/** Asks the relay by HTTP. */
export async function askRelay(): Promise<RowResult[]> {
  await using stack = new AsyncDisposableStack();
  const { relay, upstream } = await relayScene(stack);
  return await askAll(
    serverRows({ bodyBytesMax: BODY_BYTES_MAX, tracesToken: TRACES_TOKEN, spentToken: SPENT_TOKEN }),
    { url: relay.url, token: TOKEN },
    { needs: new Set(["token", "traces-token", "spent-token", "upstream"]), upstream },
  );
}

/** Asks the relay by gRPC. */
export async function askRelayByGrpc(): Promise<RowResult[]> {
  await using stack = new AsyncDisposableStack();
  const { relay, upstream } = await relayScene(stack);
  const url = await relay.grpcUrl();
  const needs = new Set(["token", "upstream"] as const);
  return await askGrpc(grpcRows(BODY_BYTES_MAX), () => GrpcClient.connect(url), TOKEN, { needs, upstream });
}

/** The real Collector, with a token asked for and an upstream that does as it is told. */
async function collectorScene(stack: AsyncDisposableStack) {
  const certs = stack.use(await testCertificates());
  let behaviour: Upstream | undefined;
  const upstream = createServer((request, response) => {
    request.resume();
    const type = "application/x-protobuf";
    const signal = SIGNALS.find(({ path }) => path === request.url)?.name ?? "traces";
    request.once("end", () => {
      if (behaviour?.kind === "status") {
        response.writeHead(behaviour.status, { "content-type": type, ...behaviour.headers });
        response.end(encodeStatus(type, { code: 14, message: "told to" }));
      } else response.writeHead(200, { "content-type": type }).end(encodeSuccess(signal, type, behaviour));
    });
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  const { port } = upstream.address() as AddressInfo;
  stack.defer(async () => {
    await new Promise((resolve) => {
      upstream.close(resolve);
      upstream.closeAllConnections();
    });
  });
  const collector = stack.use(
    await startCollector({
      certsDir: certs.dir,
      config: `
extensions:
  bearertokenauth: { token: "${TOKEN}" }
receivers:
  otlp:
    protocols:
      http: { auth: { authenticator: bearertokenauth }, max_request_body_size: ${BODY_BYTES_MAX} }
      grpc: { auth: { authenticator: bearertokenauth }, max_recv_msg_size_mib: 1 }
exporters:
  otlp_http/upstream:
    endpoint: http://127.0.0.1:${port}
    sending_queue: { enabled: false }
    retry_on_failure: { enabled: false }
service:
  extensions: [health_check, bearertokenauth]
  pipelines:
    traces: { exporters: [otlp_http/upstream] }
    metrics: { exporters: [otlp_http/upstream] }
    logs: { exporters: [otlp_http/upstream] }
    profiles: { receivers: [otlp], exporters: [otlp_http/upstream] }
`,
      featureGates: PROFILES_GATE,
    }),
  );
  const pem = async (name: string) => await readFile(join(certs.dir, name), "utf8");
  return {
    collector,
    tls: { ca: await pem("ca.crt"), cert: await pem("client.crt"), key: await pem("client.key") },
    tell: (next: Upstream | undefined) => void (behaviour = next),
  };
}

/** Asks the real Collector by HTTP. */
export async function askCollector(): Promise<RowResult[]> {
  await using stack = new AsyncDisposableStack();
  const { collector, tls, tell } = await collectorScene(stack);
  return await askAll(
    serverRows({ bodyBytesMax: BODY_BYTES_MAX }),
    { url: collector.httpUrl, token: TOKEN, tls },
    { needs: new Set(["token", "upstream"]), upstream: tell },
  );
}

/** Asks the real Collector by gRPC. */
export async function askCollectorByGrpc(): Promise<RowResult[]> {
  await using stack = new AsyncDisposableStack();
  const { collector, tls, tell } = await collectorScene(stack);
  const connect = () => GrpcClient.connect(`https://${collector.grpcEndpoint}`, { ...tls, servername: "localhost" });
  const needs = new Set(["token", "upstream"] as const);
  return await askGrpc(grpcRows(BODY_BYTES_MAX), connect, TOKEN, { needs, upstream: tell });
}
