/** A connection to the Collector that goes silent, as behind a NAT that forgot it: one attempt is lost by it, and nothing else. */
import assert from "node:assert/strict";
import { startCollector as startEmbedded } from "../../src/collector/server.ts";
import type { Protocol } from "../../src/config/exporter_settings.ts";
import { startFreezingProxy } from "../support/far_end/freezing_proxy.ts";
import { startSink } from "../support/far_end/sink.ts";
import { type TestCertificates, testCertificates } from "../support/files/certificates.ts";
import { booksIn, ENGINES, startRelayHere } from "../support/relay/relay.ts";
import { startCollector } from "../support/tools/collector.ts";
import { waitWhile } from "../support/wait_while.ts";

/** A Collector, and the names of the spans that have reached it. */
interface Behind extends AsyncDisposable {
  readonly port: number;
  readonly protocol: Protocol;
  names(): readonly string[];
}

async function real(certs: TestCertificates, protocol: Protocol): Promise<Behind> {
  const stack = new AsyncDisposableStack();
  const sink = stack.use(startSink());
  const collector = stack.use(await startCollector({ certsDir: certs.dir, sink }));
  return {
    port: protocol === "grpc" ? collector.grpcPort : collector.httpPort,
    protocol,
    names: () => sink.spans().map(({ name }) => name),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const COLLECTORS: Record<string, (certs: TestCertificates) => Promise<Behind>> = {
  "the real Collector": (certs) => real(certs, "http/protobuf"),
  "the real Collector over gRPC": (certs) => real(certs, "grpc"),
  async "the embedded Collector, HTTP/1.1 alone"(certs) {
    const bodies: string[] = [];
    const collector = await startEmbedded({
      host: "127.0.0.1",
      port: 0,
      tls: { ca: [certs.ca.certificate], cert: certs.server.certificate, key: certs.server.key },
      onReceived: ({ body }) => bodies.push(new TextDecoder().decode(body)),
    });
    return {
      port: collector.port,
      protocol: "http/protobuf",
      names: () => bodies.flatMap((body) => body.match(/span-\d+/g) ?? []),
      [Symbol.asyncDispose]: () => collector.stop(),
    };
  },
};

async function send(url: string, token: string, name: string): Promise<number> {
  const response = await fetch(`${url}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify({
      resourceSpans: [{ scopeSpans: [{ spans: [{ name, traceId: "1".repeat(32), spanId: "2".repeat(16) }] }] }],
    }),
  });
  await response.body?.cancel();
  return response.status;
}

for (const [what, start] of Object.entries(COLLECTORS)) {
  for (const engine of ENGINES) {
    Deno.test(`${engine}: ${what} is reached again by a new connection after one timeout`, async () => {
      await using certs = await testCertificates();
      await using collector = await start(certs);
      await using proxy = await startFreezingProxy(collector.port);
      await using relay = await startRelayHere({
        engine,
        collectorUrl: `https://localhost:${proxy.port}`,
        certsDir: certs.dir,
        config: {
          exporter: {
            protocol: collector.protocol,
            timeout: "1s",
            retry_on_failure: { initial_interval: "50ms", max_interval: "200ms" },
          },
        },
      });
      const arrived = async (name: string) => {
        const deadline = performance.now() + 30_000;
        while (!collector.names().includes(name)) {
          assert(performance.now() < deadline, `${name} has not arrived; the relay said:\n${relay.log().join("\n")}`);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      };
      assert.equal(await send(relay.url, relay.token, "span-1"), 200);
      await arrived("span-1");
      // Its answer has come back, too.
      await waitWhile(() => engine === "sqlite" && booksIn(relay.queuePath).traces.delivered === 0);
      proxy.freeze();
      if (engine === "sqlite") assert.equal(await send(relay.url, relay.token, "span-2"), 200);
      else {
        // The sender is told to send it again, and is taken then.
        assert.equal(await send(relay.url, relay.token, "span-2"), 503);
        assert.equal(await send(relay.url, relay.token, "span-2"), 200);
      }
      await arrived("span-2");
      assert.equal(await send(relay.url, relay.token, "span-3"), 200);
      await arrived("span-3");
      assert(relay.log().some((line) => line.includes("connection_silent")), relay.log().join("\n"));
    });
  }
}
