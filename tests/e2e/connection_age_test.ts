/** Behind a balancer of connections, nginx `stream`: a relay that is added gets its share of senders that keep theirs. */
import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import { testCertificates } from "../support/files/certificates.ts";
import { SILENT } from "../support/relay/config.ts";
import { startRelayHere } from "../support/relay/relay.ts";
import { freePort } from "../support/tools/collector.ts";
import { startNginxStream } from "../support/tools/nginx.ts";

const SENDERS = 16;
const BODY = JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ name: "kept" }] }] }] });

/** A sender that keeps its connection for as long as the relay does. */
function sender(port: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const headers = { "content-type": "application/json" };
  return {
    /** The status, and the port of this end. */
    post: () =>
      new Promise<{ status: number | undefined; from: number | undefined }>((resolve, reject) => {
        request({ host: "127.0.0.1", port, path: "/v1/traces", method: "POST", agent, headers }, (response) => {
          const from = response.socket.localPort;
          response.resume().on("end", () => resolve({ status: response.statusCode, from })).on("error", reject);
        }).on("error", reject).end(BODY);
      }),
    [Symbol.dispose]: () => agent.destroy(),
  };
}

Deno.test("senders that keep their connections spread over a relay that is added, and no request fails", async () => {
  await using certs = await testCertificates();
  const ports = [await freePort(), await freePort()] as const;
  const start = (port: number) =>
    startRelayHere({
      engine: "sqlite",
      collectorUrl: "https://127.0.0.1:9",
      certsDir: certs.dir,
      http: { endpoint: `127.0.0.1:${port}`, max_connection_age: "1s" },
      auth: { insecure: true },
      config: SILENT,
    });
  await using first = await start(ports[0]);
  await using nginx = await startNginxStream(ports);
  using stack = new DisposableStack();
  const senders = Array.from({ length: SENDERS }, () => stack.use(sender(nginx.port)));
  const before = await Promise.all(senders.map((each) => each.post()));
  assert.deepEqual(new Set(before.map(({ status }) => status)), new Set([200]));
  await using second = await start(ports[1]);

  // Each goes on; a connection's end is nothing that it sees. Its own age ends it, so that this comes to an end.
  const opened = new Set(before.map(({ from }) => from));
  while (opened.size < 3 * SENDERS) {
    for (const { status, from } of await Promise.all(senders.map((each) => each.post()))) {
      assert.equal(status, 200);
      opened.add(from);
    }
  }
  const connections = async (adminUrl: string) => {
    const text = await (await fetch(`${adminUrl}/metrics`)).text();
    return Number(/^edgeferry_receiver_connections(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1]);
  };
  const [one, other] = [await connections(first.adminUrl), await connections(second.adminUrl)];
  assert.equal(one + other, SENDERS);
  assert(other >= SENDERS / 4, `${other} of ${SENDERS} connections are the added relay's`);
});
