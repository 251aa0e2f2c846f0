/** The way to one address: by whoever knows its secret, and to nowhere else. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { Tunnel } from "../../../src/exporter/client/tunnel.ts";

/** Sends a head to the tunnel, and behind its answer a word; resolves with all that came when it ends. */
async function say(tunnel: Tunnel, head: string, word = ""): Promise<string> {
  const socket = connect(Number(new URL(tunnel.access.url).port), "127.0.0.1");
  let said = "";
  socket.on("data", (piece) => {
    said += piece;
    if (said === "HTTP/1.1 200 OK\r\n\r\n") socket.end(word);
  });
  socket.on("error", () => {});
  socket.write(head);
  await once(socket, "close");
  return said;
}

Deno.test("what is asked for goes to the one address; who does not know the secret is turned away", async () => {
  await using stack = new AsyncDisposableStack();
  const server = createServer((socket) => {
    socket.on("data", (piece) => socket.end(`heard ${piece}`));
    socket.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => void server.close());
  const tunnel = await Tunnel.open({ address: "127.0.0.1", port: (server.address() as AddressInfo).port });
  stack.defer(() => tunnel.close());
  const { basicAuth: { username, password } } = tunnel.access;
  const proof = (text: string) => `Proxy-Authorization: Basic ${Buffer.from(text).toString("base64")}\r\n`;
  const ours = proof(`${username}:${password}`);
  const asked = "CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example:443\r\n";
  assert.equal(await say(tunnel, `${asked}${ours}\r\n`, "hello"), "HTTP/1.1 200 OK\r\n\r\nheard hello");
  for (const head of [`${asked}\r\n`, `${asked}${proof(`${username}:no`)}\r\n`, `GET / HTTP/1.1\r\n${ours}\r\n`]) {
    assert.match(await say(tunnel, head), /^HTTP\/1\.1 407 /);
  }
  assert.equal(await say(tunnel, `CONNECT x:1 HTTP/1.1\r\nx: ${"x".repeat(5_000)}`), "", "no head is that long");
});

Deno.test("where nothing listens at the address its client is told by the end of the connection", async () => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  const tunnel = await Tunnel.open({ address: "127.0.0.1", port });
  const { basicAuth: { username, password } } = tunnel.access;
  const ours = `Proxy-Authorization: Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  assert.equal(await say(tunnel, `CONNECT x:1 HTTP/1.1\r\n${ours}\r\n\r\n`), "");
  tunnel.close();
});

Deno.test("who says nothing is sent away, however many there are", async () => {
  const tunnel = await Tunnel.open({ address: "127.0.0.1", port: 9 });
  const port = Number(new URL(tunnel.access.url).port);
  await Promise.all(Array.from({ length: 70 }, async () => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "close");
  }));
  tunnel.close();
});
