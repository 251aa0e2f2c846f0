import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { createServer, type Server, type ServerOptions } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { keepEntries } from "../../../src/receiver/listener/connections_list.ts";

const REQUEST = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";

/** A server with one entry a connection, which answers everything. */
async function start(options: ServerOptions = {}) {
  const server = createServer(options, (request, response) => {
    request.resume().on("end", () => response.end("done"));
  });
  const kept = keepEntries(server);
  assert.equal(kept(), false);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  assert.equal(kept(), true);
  const { port } = server.address() as AddressInfo;
  return {
    server,
    entries: () => entriesOf(server),
    connect: async () => {
      const socket = connect(port, "127.0.0.1");
      await once(socket, "connect");
      return socket;
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

interface Entry {
  readonly req: unknown;
}

function entriesOf(server: Server): Entry[] {
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) =>
    description === "http.server.connections"
  );
  const list: { readonly _active: ReadonlyMap<unknown, Entry> } = Reflect.get(server, symbol!);
  const entries: Entry[] = [];
  Map.prototype.forEach.call(list._active, (entry: Entry) => entries.push(entry));
  return entries;
}

async function ask(socket: Socket): Promise<void> {
  socket.write(REQUEST);
  let answer = "";
  while (!answer.endsWith("done")) answer += String((await once(socket, "data"))[0]);
}

Deno.test("an entry is a connection's, and has nothing of a request that is answered", async () => {
  await using one = await start();
  const [first, second] = [await one.connect(), await one.connect()];
  for (let time = 0; time < 3; time++) await ask(first);
  await ask(second);
  const entries = one.entries();
  assert.deepEqual(entries.map(({ req }) => req), [{ complete: true }, { complete: true }]);
  const closed = once(one.server, "connection").then(([socket]) => once(socket as Socket, "close"));
  const third = await one.connect();
  await ask(third);
  assert.deepEqual([one.entries()[0] === entries[0], one.entries().length], [true, 3]);
  third.destroy();
  await closed;
  assert.equal(one.entries().length, 2);
});

Deno.test("the server of HTTPS has the same list", async () => {
  const server = createSecureServer({});
  const kept = keepEntries(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  assert.equal(kept(), true);
  server.close();
  await once(server, "close");
});

Deno.test("a server without such a list is left as it is", () => {
  const server = new EventEmitter();
  const kept = keepEntries(server as unknown as Server);
  server.emit("listening");
  Object.defineProperty(server, Symbol("http.server.connections"), { value: { _active: new Map() } });
  server.emit("listening");
  assert.equal(kept(), false);
});

Deno.test("on a kept connection a request is late by its own beginning, and a connection at rest is not late at all", async () => {
  await using one = await start({
    headersTimeout: 300,
    requestTimeout: 600,
    keepAliveTimeout: 60_000,
    connectionsCheckingInterval: 50,
  });
  const late: string[] = [];
  one.server.on("clientError", (error: Error & { code?: string }, socket: Socket) => {
    late.push(error.code ?? "");
    socket.destroy();
  });
  const [resting, half, body] = [await one.connect(), await one.connect(), await one.connect()];
  for (const socket of [resting, half, body]) await ask(socket);
  const began = performance.now();
  half.write(REQUEST.slice(0, 20));
  body.write(REQUEST.slice(0, -1));
  await once(half, "close");
  assert(performance.now() - began >= 300);
  await once(body, "close");
  assert(performance.now() - began >= 600);
  assert.deepEqual(late, ["ERR_HTTP_REQUEST_TIMEOUT", "ERR_HTTP_REQUEST_TIMEOUT"]);
  // It has been open for longer than either.
  await ask(resting);
});
