import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect, createServer as createPlainServer, type Server, type Socket } from "node:net";
import { connect as connectTls, createServer, type TLSSocket } from "node:tls";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { boundHandshakes, connectionOf } from "../../../src/receiver/listener/handshakes.ts";
import { testCertificates } from "../../support/files/certificates.ts";

type Identity = Awaited<ReturnType<typeof testCertificates>>["server"];

const KINDS: Readonly<Record<string, (identity: Identity, listener: (socket: Socket) => void) => Server>> = {
  tls: ({ certificate: cert, key }, listener) => createServer({ cert, key, handshakeTimeout: 300_000 }, listener),
  https: ({ certificate: cert, key }, listener) =>
    createHttpsServer({ cert, key, handshakeTimeout: 300_000 } as Parameters<typeof createHttpsServer>[0])
      .on("secureConnection", listener),
};

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

const closing = (server: Server) => new Promise((resolve) => server.close(resolve));

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

for (const [kind, make] of Object.entries(KINDS)) {
  Deno.test(`${kind}: what a handshake held that failed is let go, long before its time is over`, async () => {
    await using certs = await testCertificates();
    const server = make(certs.server, (socket) => socket.destroy());
    assert.equal(boundHandshakes(server, 300_000, (connection) => connection.destroy()), true);
    const held: WeakRef<Socket>[] = [];
    const failed = Promise.withResolvers<void>();
    server.on("tlsClientError", (_error, socket: Socket) => {
      held.push(new WeakRef(socket));
      socket.destroy();
      if (held.length === 20) failed.resolve();
    });
    const port = await listening(server);
    for (let count = 0; count < 20; count++) {
      const client = connect(port, "127.0.0.1").resume();
      client.on("error", () => {});
      await once(client, "connect");
      // One says what is no TLS, the next one leaves.
      if (count % 2 === 0) client.write("GET / HTTP/1.1\r\n\r\n");
      else client.destroy();
      await once(client, "close");
    }
    await failed.promise;
    await closing(server);
    // A WeakRef holds what it refers to until the event loop has gone round.
    await new Promise((resolve) => setTimeout(resolve));
    collect();
    // The last ones may still stand on the stack of the server.
    assert.ok(held.filter((socket) => socket.deref() !== undefined).length <= 2);
  });

  Deno.test(`${kind}: a handshake that is late is told of, and one that is done is not`, async () => {
    await using certs = await testCertificates();
    const secured = Promise.withResolvers<Socket>();
    const late = Promise.withResolvers<Socket>();
    let told = 0;
    const server = make(certs.server, secured.resolve);
    boundHandshakes(server, 2_000, (connection) => {
      told++;
      connection.destroy();
      late.resolve(connection);
    });
    const port = await listening(server);
    const done = connectTls({ port, host: "localhost", ca: certs.ca.certificate });
    const socket = await secured.promise;
    const accepted = once(server, "connection") as Promise<[Socket]>;
    const silent = connect(port, "127.0.0.1").resume();
    const [[connection]] = await Promise.all([accepted, once(silent, "close")]);
    assert.equal(await late.promise, connection);
    assert.equal(told, 1);
    assert.equal(socket.destroyed, false);
    assert.notEqual(connectionOf(socket as TLSSocket), socket);
    done.destroy();
    socket.destroy();
    await closing(server);
  });
}

Deno.test("a server without TLS is left alone", async () => {
  const server = createPlainServer();
  assert.equal(boundHandshakes(server, 1, () => assert.fail("no handshake")), false);
  assert.equal(server.listenerCount("connection"), 0);
  await listening(server);
  await closing(server);
});
