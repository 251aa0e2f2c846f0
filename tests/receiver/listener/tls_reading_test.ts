import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, Socket } from "node:net";
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import { freeEncrypted, handOver, readLightly } from "../../../src/receiver/listener/tls_reading.ts";
import { testCertificates } from "../../support/files/certificates.ts";

interface Served extends AsyncDisposable {
  readonly server: Server;
  /** A client's connection, and the server's end of it. */
  open(): Promise<{ readonly client: TLSSocket; readonly socket: TLSSocket }>;
}

async function serve(lend = false): Promise<Served> {
  await using stack = new AsyncDisposableStack();
  const certificates = stack.use(await testCertificates());
  const { certificate: cert, key } = certificates.server;
  const server = createServer({ cert, key });
  readLightly(server, lend);
  const clients: TLSSocket[] = [];
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stack.defer(async () => {
    for (const client of clients) client.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const moved = stack.move();
  return {
    server,
    async open() {
      const { port } = server.address() as AddressInfo;
      const accepted = once(server, "secureConnection");
      const client = connect({ host: "localhost", port, ca: certificates.ca.certificate });
      clients.push(client);
      const [socket] = await accepted as [TLSSocket];
      return { client, socket };
    },
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

/** Bytes that tell where they are. */
const bytesOf = (length: number) => Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 7919) >> 3));

async function whole(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on("data", (piece: Buffer) => pieces.push(piece));
  await once(socket, "end");
  return Buffer.concat(pieces);
}

Deno.test("what a client sends arrives whole and in order, up to its end", async () => {
  await using served = await serve();
  for (const length of [1, 1_500, 16_385, 3_000_000]) {
    const { client, socket } = await served.open();
    const sent = bytesOf(length);
    client.end(sent);
    assert.deepEqual(await whole(socket), sent);
    socket.end();
    await once(client.resume(), "close");
  }
});

Deno.test("a socket that is paused loses nothing, hands over nothing, and reads no more than it had begun to", async () => {
  await using served = await serve();
  let encryptedBytes = 0;
  served.server.on("connection", (below: Socket) => {
    const handle = Reflect.get(below, "_handle") as { onread: (this: unknown, piece?: unknown) => unknown };
    const { onread } = handle;
    handle.onread = function (piece) {
      if (piece instanceof ArrayBuffer) encryptedBytes += piece.byteLength;
      return onread.call(this, piece);
    };
  });
  const { client, socket } = await served.open();
  const sent = bytesOf(8_000_000);
  const pieces: Buffer[] = [];
  const all = Promise.withResolvers<void>();
  let bytes = 0;
  let pauses = 0;
  let mostRead = 0;
  socket.on("data", (piece: Buffer) => {
    assert.equal(socket.isPaused(), false);
    pieces.push(piece);
    bytes += piece.length;
    if (bytes === sent.length) all.resolve();
    if (pauses === 5) return;
    pauses++;
    socket.pause();
    // Long enough for all of it to come, were it read.
    setTimeout(() => {
      mostRead = Math.max(mostRead, encryptedBytes);
      socket.resume();
    }, 100);
  });
  client.write(sent);
  await all.promise;
  assert.ok(Buffer.concat(pieces).equals(sent));
  assert.equal(pauses, 5);
  // Each pause comes with a piece of at most 64 KiB, and one more may be under way.
  assert.ok(mostRead < 1_000_000, `${mostRead} bytes were read while it was paused`);
});

Deno.test("a connection that breaks ends the socket", async () => {
  await using served = await serve();
  const { client, socket } = await served.open();
  socket.on("error", () => {});
  const first = once(socket, "data");
  client.write("a");
  await first;
  const closed = once(socket, "close");
  client.destroy();
  await closed;
});

Deno.test("Deno hands over encrypted pieces as it is expected to, and their memory is given back at once", async () => {
  await using served = await serve();
  const pieces: ArrayBuffer[] = [];
  const lengths: number[] = [];
  served.server.on("connection", (socket: Socket) => {
    const handle = Reflect.get(socket, "_handle") as { onread: (this: unknown, piece?: unknown) => unknown };
    const { onread } = handle;
    handle.onread = function (piece) {
      if (piece instanceof ArrayBuffer) {
        pieces.push(piece);
        lengths.push(piece.byteLength);
      }
      return onread.call(this, piece);
    };
  });
  const { client, socket } = await served.open();
  client.end(bytesOf(100_000));
  assert.equal((await whole(socket)).length, 100_000);
  assert.ok(lengths.reduce((sum, length) => sum + length, 0) > 100_000);
  assert.deepEqual(pieces.filter(({ byteLength }) => byteLength > 0), []);
});

Deno.test("decrypted pieces do not go through the socket's buffer while it flows", async () => {
  await using served = await serve();
  const { client, socket } = await served.open();
  const push = socket.push.bind(socket);
  let pushed = 0;
  socket.push = (...args) => {
    if (args[0] !== null) pushed++;
    return push(...args);
  };
  client.end(bytesOf(100_000));
  assert.equal((await whole(socket)).length, 100_000);
  assert.equal(pushed, 0);
});

Deno.test("a piece that is lent is given back when its listener returns, and one that is not stays", async () => {
  for (const lend of [false, true]) {
    await using served = await serve(lend);
    const { client, socket } = await served.open();
    const pieces: Buffer[] = [];
    let bytes = 0;
    socket.on("data", (piece: Buffer) => {
      pieces.push(piece);
      bytes += piece.length;
    });
    const ended = once(socket, "end");
    client.end(bytesOf(100_000));
    await ended;
    assert.equal(bytes, 100_000);
    assert.equal(pieces.reduce((sum, { length }) => sum + length, 0), lend ? 0 : 100_000);
  }
});

Deno.test("a socket without Deno's objects behind it is left as it is", () => {
  using stack = new DisposableStack();
  const socket = new Socket();
  stack.defer(() => void socket.destroy());
  assert.equal(freeEncrypted(socket), false);
  assert.equal(handOver(socket as TLSSocket), false);
});
