import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import net from "node:net";
import type { TLSSocket } from "node:tls";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { ConfigSchema } from "../../src/config/schema.ts";
import { ConfigError } from "../../src/errors.ts";
import { receiverEvents } from "../../src/relay/events.ts";
import { type AppAnswer, listen, type WayIn } from "../../src/relay/listen.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { GrpcClient } from "../support/far_end/grpc_client.ts";
import { testCertificates } from "../support/files/certificates.ts";
import { Journal } from "../support/relay/exporting.ts";
import { openRaw, sendRaw } from "../support/bodies/raw_http.ts";
import { MetricCollector } from "../support/relay/telemetry.ts";
import { waitWhile } from "../support/wait_while.ts";

const request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

async function listening(
  http: Record<string, unknown>,
  way: WayIn = "node",
  grpc: Record<string, unknown> = {},
  answer: AppAnswer = () => Promise.resolve(new Response("here")),
) {
  const lines = new Journal<Record<string, unknown>>();
  const log = createLog({ level: "debug", format: "json", write: (line) => lines.push(JSON.parse(line)) });
  const reader = new MetricCollector();
  const metrics = createMetrics(new MeterProvider({ readers: [reader] }));
  const config = ConfigSchema.parse({ receiver: { http: { endpoint: "127.0.0.1:0", ...http }, grpc } });
  const server = await listen(
    config.receiver,
    { receiver: receiverEvents(metrics, log), metrics, log, isReady: () => true },
    answer,
    way,
  );
  return {
    server,
    lines,
    counted: async (name: string) => (await reader.byName()).get(name)?.dataPoints.map(({ value }) => value) ?? [],
    async [Symbol.asyncDispose]() {
      const closed = server.close();
      server.abandon();
      await closed;
    },
  };
}

for (const way of ["node", "deno_serve"] as const) {
  Deno.test(`${way}: it says where it listens, answers, and closes`, async () => {
    await using one = await listening({}, way);
    assert.deepEqual(one.lines.entries.map(({ message, url }) => [message, url]), [["Receiving", one.server.url]]);
    assert.equal((await sendRaw(one.server.url, request)).body.toString(), "here");
    const port = new URL(one.server.url).port;
    await assert.rejects(listening({ endpoint: `127.0.0.1:${port}` }, way), (error) => {
      assert(error instanceof ConfigError);
      assert.match(error.message, /^Cannot listen at receiver\.http\.endpoint 127\.0\.0\.1:\d+: .+; free the port/);
      return true;
    });
  });
}

Deno.test("a connection of the old certificate ends with the answer to its next request; a new one is shown the new", async () => {
  await using certs = await testCertificates();
  const { certificateFile: cert_file, keyFile: key_file } = certs.server;
  await using one = await listening({ tls: { cert_file, key_file, reload_interval: "100ms" } });
  const { url } = one.server;
  using client = Deno.createHttpClient({ caCerts: [certs.ca.certificate], poolMaxIdlePerHost: 1, http2: false });
  const ask = async () => {
    const response = await fetch(url, { client, method: "POST" });
    return [await response.text(), response.headers.get("connection")];
  };
  assert.deepEqual(await ask(), ["here", "keep-alive"]);
  const next = await certs.issueServer("next");
  await writeFile(key_file, next.key);
  await writeFile(cert_file, next.certificate);
  await one.lines.find(({ message }) => message === "Took up a changed certificate of receiver.http.tls", "the change");
  assert.deepEqual(await ask(), ["here", "close"]);
  assert.deepEqual(await ask(), ["here", "keep-alive"]);
  assert.deepEqual(one.server.expiries().map(({ role, daysLeft }) => [role, daysLeft]), [["receiver", 364]]);
});

Deno.test("what is closed and refused before the app is counted and logged", async () => {
  await using one = await listening({ max_connections: 1, max_header_size: "1KiB" });
  using first = await openRaw(one.server.url);
  using second = await openRaw(one.server.url);
  await first.closed;
  assert.equal(one.server.connections(), 1);
  assert.deepEqual(await one.counted("edgeferry_receiver_dropped_connections"), [1]);
  second.write(`POST / HTTP/1.1\r\nX: ${"x".repeat(2_000)}\r\n\r\n`);
  assert.equal((await second.answer()).status, 431);
  assert.deepEqual(await one.counted("edgeferry_receiver_refused_requests"), [1]);
  assert.deepEqual(one.lines.entries.slice(1).map(({ message, level, reason }) => [level, message, reason]), [
    ["warn", "Closed a connection: as many as are allowed are open", undefined],
    ["warn", "Refused a request", "header_too_large"],
  ]);
});

Deno.test("Deno.serve answers by itself what node:http takes: Upgrade, and many header fields", async () => {
  await using host = await listening({}, "deno_serve");
  await using own = await listening({ max_header_size: "64KiB" });
  const fields = (count: number) => Array.from({ length: count }, (_, index) => `A${index}: 1\r\n`).join("");
  const ask = async (url: string, more: string) =>
    (await sendRaw(url, `POST / HTTP/1.1\r\nHost: x\r\n${more}Content-Length: 0\r\n\r\n`)).status;
  // A Deno that mends the first column is noticed here: then docs/deploy/serverless.md has to say so.
  for (
    const [more, byHost, byOwn] of [
      ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", 400, 200],
      ["Connection: Upgrade\r\nUpgrade: websocket\r\n", 400, 200],
      ["Upgrade: h2c\r\n", 200, 200],
      [fields(80), 200, 200],
      [fields(1_000), 400, 200],
    ] as const
  ) {
    assert.deepEqual(
      [await ask(host.server.url, more), await ask(own.server.url, more)],
      [byHost, byOwn],
      more.slice(0, 60),
    );
  }
});

for (const way of ["node", "deno_serve"] as const) {
  Deno.test(`${way}: nothing of a target beyond its path enters the log, whatever the Host`, async () => {
    await using one = await listening({}, way);
    for (const host of ["[", "x:y", "a b", "%", ""]) {
      const target = "/v1/traces?access_token=secret-of-a-sender";
      const { status } = await sendRaw(
        one.server.url,
        `POST ${target} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n\r\n`,
      );
      assert.ok([0, 200, 400].includes(status), `${host}: ${status}`);
    }
    assert.ok(!JSON.stringify(one.lines.entries).includes("secret"), JSON.stringify(one.lines.entries));
  });
}

const GRPC = { endpoint: "127.0.0.1:0" };

/** An app that takes a call without looking at it. What is none is no call. */
const taking: AppAnswer = (_, { inbound }) => {
  if (inbound === undefined) return Promise.resolve(new Response("here"));
  inbound.body.cancel();
  return Promise.resolve({ status: 200, headers: {}, body: new Uint8Array(0) } as unknown as Response);
};

Deno.test("gRPC: it says where it listens beside HTTP, counts the connections of both, and closes both", async () => {
  await using one = await listening({}, "node", GRPC, taking);
  const { url, grpcUrl } = one.server;
  assert.deepEqual(one.lines.entries.map(({ message, url }) => [message, url]), [
    ["Receiving", url],
    ["Receiving gRPC", grpcUrl],
  ]);
  await using client = await GrpcClient.connect(grpcUrl!);
  assert.equal((await client.call(new Uint8Array(0))).code, 0);
  using byHttp = await openRaw(url);
  byHttp.write(request);
  await byHttp.answer();
  assert.equal(one.server.connections(), 2);
  assert.deepEqual(one.server.listeners(), [
    { protocol: "OTLP/HTTP", url, accepting: true, connections: 1 },
    { protocol: "OTLP/gRPC", url: grpcUrl, accepting: true, connections: 1 },
  ]);
  const closed = one.server.close();
  await client.ended;
  one.server.abandon();
  await closed;
  await assert.rejects(GrpcClient.connect(grpcUrl!));
});

Deno.test("gRPC: a port that is taken is named by its setting, and HTTP is not left open", async () => {
  await using one = await listening({});
  const taken = new URL(one.server.url).host;
  await assert.rejects(listening({}, "node", { endpoint: taken }), (error) => {
    assert(error instanceof ConfigError);
    assert.match(
      error.message,
      /^Cannot listen at receiver\.grpc\.endpoint 127\.0\.0\.1:\d+: .+; free the port or choose/,
    );
    return true;
  });
  await assert.rejects(listening({}, "deno_serve", GRPC), /Cannot use receiver\.grpc here/);
});

Deno.test("gRPC over TLS: a new certificate is shown at once, and calls of the old connection are answered", async () => {
  await using certs = await testCertificates();
  const { certificateFile: cert_file, keyFile: key_file } = certs.server;
  let go = Promise.resolve();
  await using one = await listening(
    { tls: { cert_file, key_file, reload_interval: "100ms" } },
    "node",
    GRPC,
    async (...asked) => {
      await go;
      return await taking(...asked);
    },
  );
  const { grpcUrl } = one.server;
  assert.match(grpcUrl!, /^https:/);
  const tls = { ca: certs.ca.certificate, servername: "localhost" };
  const serial = ({ socket }: GrpcClient) => (socket as TLSSocket).getPeerCertificate().serialNumber;
  await using old = await GrpcClient.connect(grpcUrl!, tls);
  assert.equal((old.socket as TLSSocket).alpnProtocol, "h2");
  assert.equal((await old.call(new Uint8Array(0))).code, 0);
  const gate = Promise.withResolvers<void>();
  go = gate.promise;
  const under = old.call(new Uint8Array(0));
  const next = await certs.issueServer("next");
  await writeFile(key_file, next.key);
  await writeFile(cert_file, next.certificate);
  await one.lines.find(({ message }) => message === "Took up a changed certificate of receiver.http.tls", "the change");
  await old.goaway;
  await using renewed = await GrpcClient.connect(grpcUrl!, tls);
  assert.notEqual(serial(renewed), serial(old));
  gate.resolve();
  assert.equal((await under).code, 0);
  assert.equal((await old.ended).reason, "closed");
  assert.equal((await renewed.call(new Uint8Array(0))).code, 0);
});

Deno.test("gRPC over TLS: who speaks no TLS, or TLS without HTTP/2, comes to nothing", async () => {
  await using certs = await testCertificates();
  const { certificateFile: cert_file, keyFile: key_file } = certs.server;
  await using one = await listening({ tls: { cert_file, key_file } }, "node", GRPC, taking);
  const plain = await GrpcClient.connect(one.server.grpcUrl!.replace("https", "http"));
  await plain.ended;
  const tls = { ca: certs.ca.certificate, servername: "localhost", ALPNProtocols: ["http/1.1"] };
  await assert.rejects(GrpcClient.connect(one.server.grpcUrl!, tls));
});

Deno.test("over TLS: a client that does not shake hands in time is closed, by each protocol", async () => {
  await using certs = await testCertificates();
  const { certificateFile: cert_file, keyFile: key_file } = certs.server;
  await using one = await listening(
    { tls: { cert_file, key_file }, read_header_timeout: "100ms" },
    "node",
    GRPC,
    taking,
  );
  for (const url of [one.server.url, one.server.grpcUrl!]) {
    const socket = net.connect(Number(new URL(url).port), "127.0.0.1");
    socket.on("error", () => {}).resume();
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  }
  await waitWhile(() => one.server.connections() !== 0);
  assert.deepEqual(await one.counted("edgeferry_receiver_dropped_connections"), [2]);
});
