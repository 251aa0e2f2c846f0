/** A name of several addresses, one of which accepts connections and answers nothing: over mutual TLS, on addresses of loopback. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { CollectorClient } from "../../../src/exporter/client/client.ts";
import { bySignal, signalOf } from "../../../src/signal.ts";
import { startMtlsEndpoint } from "../../support/far_end/mtls_endpoint.ts";
import { testCertificates } from "../../support/files/certificates.ts";
import { requestOf } from "../../support/relay/exporting.ts";

const BODY = requestOf("traces", ["a"]);
/** How long the test waits for an address that is dead. */
const DEAD_MS = 1_000;
/** How long one that answers has: more than it takes on a machine that is busy with other things. */
const LIVE_MS = 20_000;

interface Address extends AsyncDisposable {
  readonly port: number;
  /** Connections taken so far. */
  readonly connections: number;
  /** From now on it answers nothing, if it has. */
  freeze(): void;
}

/** What stands at one address: passes all on to a port of 127.0.0.1, or, without one, accepts connections and is silent. */
async function standAt(host: string, port: number, to?: number): Promise<Address> {
  const open = new Set<Socket>();
  let frozen = false;
  let connections = 0;
  const keep = (socket: Socket) => {
    open.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => open.delete(socket));
  };
  const server: Server = createServer((near) => {
    connections++;
    keep(near);
    near.resume();
    if (to === undefined || frozen) return;
    const far = connect(to, "127.0.0.1");
    keep(far);
    near.on("data", (piece) => frozen || far.write(piece));
    far.on("data", (piece) => frozen || near.write(piece));
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    freeze: () => void (frozen = true),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

async function scene(stack: AsyncDisposableStack, resolve?: (host: string) => Promise<readonly string[]>) {
  const certs = stack.use(await testCertificates());
  const endpoint = stack.use(await startMtlsEndpoint(certs));
  // The system's choice for localhost.
  const silent = stack.use(await standAt("127.0.0.1", 0));
  const live = stack.use(await standAt("127.0.0.2", silent.port, endpoint.port));
  const other = stack.use(await standAt("127.0.0.3", silent.port, endpoint.port));
  const client = new CollectorClient({
    identity: { caCerts: [certs.ca.certificate], cert: certs.client.certificate, key: certs.client.key },
    targets: bySignal((signal) => ({
      url: `https://localhost:${silent.port}${signalOf(signal).path}`,
      headers: {},
      timeoutMs: LIVE_MS,
    })),
    userAgent: "test",
    idleConnectionsMax: 4,
    resolve: resolve ?? (() => Promise.resolve(["127.0.0.1", "127.0.0.2", "127.0.0.3"])),
  });
  stack.defer(() => client.close());
  const send = async (timeoutMs = LIVE_MS) => {
    const answer = await client.send("traces", BODY, "identity", { timeoutMs });
    return answer.kind === "none" ? answer.cause : answer.status;
  };
  const sendInVain = async () => assert.equal(await send(DEAD_MS), `no answer within ${DEAD_MS} ms`);
  return { client, endpoint, silent, live, other, send, sendInVain, certs };
}

Deno.test("an address that is dead costs one timeout; the next attempt goes by one that answers", async () => {
  await using stack = new AsyncDisposableStack();
  const { client, silent, live, other, send, sendInVain } = await scene(stack);
  await sendInVain();
  for (let request = 0; request < 5; request++) assert.equal(await send(), 200);
  const dead = silent.connections;
  assert.ok(dead > 0);
  assert.equal(client.httpFor("traces"), client.httpFor("logs"), "all signals of the name go by it");
  // The one that is gone by dies, too.
  const [chosen, left] = live.connections > other.connections ? [live, other] : [other, live];
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  chosen.freeze();
  await sendInVain();
  const before = left.connections;
  assert.equal(await send(), 200);
  assert.ok(left.connections > before);
});

Deno.test("another identity goes by the same address, and so does the trial of it", async () => {
  await using stack = new AsyncDisposableStack();
  const { client, endpoint, send, sendInVain, certs } = await scene(stack);
  await sendInVain();
  assert.equal(await send(), 200);
  const trial = client.withIdentity(client.identity);
  stack.defer(() => trial.close());
  const answer = await trial.send("traces", BODY, "identity");
  assert.ok(answer.kind === "answer" && answer.status === 200);
  const issued = await certs.issueClient("other");
  client.replaceIdentity({
    caCerts: [certs.ca.certificate],
    cert: issued.certificate,
    key: issued.key,
  });
  assert.equal(await send(), 200);
  // Not the last of all: an empty request that asked another address of the name, with the old identity, may still arrive.
  const last = endpoint.requests.findLast(({ message }) => Object.keys(message).length > 0);
  assert.equal(last?.fingerprint, new X509Certificate(issued.certificate).fingerprint256);
});

Deno.test("where nobody resolves the name the system's choice stays", async () => {
  await using stack = new AsyncDisposableStack();
  const { sendInVain, live, other } = await scene(stack, () => Promise.resolve(["127.0.0.1"]));
  for (let attempt = 0; attempt < 2; attempt++) await sendInVain();
  assert.equal(live.connections + other.connections, 0);
});
