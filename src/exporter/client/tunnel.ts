/**
 * A way to one address for Deno's HTTP client, which can be told of no address but by a proxy: a proxy of our own on loopback that
 * connects to that address whatever is asked for, so that the name in the URL stays the one that is asked for and verified. It takes
 * nobody but who knows its secret.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { Place, TunnelAccess } from "./transport.ts";

/** The head of a CONNECT request is short. */
const HEAD_BYTES_MAX = 4_096;

/** How long one that has connected has to show that it is ours, in ms. */
const HEAD_MS_MAX = 2_000;

/** Connections that have not shown it yet; of more, the first goes. */
const UNKNOWN_MAX = 64;

export class Tunnel {
  readonly access: TunnelAccess;
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  readonly #unknown = new Set<Socket>();

  private constructor(server: Server, secret: string) {
    this.#server = server;
    const { port } = server.address() as AddressInfo;
    this.access = { url: `http://127.0.0.1:${port}`, basicAuth: { username: USER, password: secret } };
  }

  /** Opens one. Rejects where nothing may listen on loopback. */
  static async open(place: Place): Promise<Tunnel> {
    const secret = randomUUID();
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    // It holds up no end of the process.
    server.unref();
    const tunnel = new Tunnel(server, secret);
    server.on("connection", (near) => tunnel.#take(near, place, secret));
    return tunnel;
  }

  #take(near: Socket, { address, port }: Place, secret: string): void {
    this.#keep(near);
    const known = this.#meet(near);
    let head = Buffer.alloc(0);
    const onData = (piece: Uint8Array) => {
      head = Buffer.concat([head, piece]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) {
        if (head.length > HEAD_BYTES_MAX) near.destroy();
        return;
      }
      near.off("data", onData);
      near.pause();
      known();
      if (!isOurs(head.toString("latin1", 0, end), secret)) {
        near.end("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", () => near.destroy());
        return;
      }
      const early = head.subarray(end + 4);
      const far = connect({ host: address, port, allowHalfOpen: true });
      this.#keep(far);
      far.setNoDelay(true);
      near.setNoDelay(true);
      far.once("connect", () => {
        near.write("HTTP/1.1 200 OK\r\n\r\n");
        if (early.length > 0) far.write(early);
        near.pipe(far);
        far.pipe(near);
      });
      far.once("close", () => near.destroy());
      near.once("close", () => far.destroy());
    };
    near.on("data", onData);
  }

  /** One that has not shown yet that it is ours. What is returned says that its head was read. */
  #meet(near: Socket): () => void {
    this.#unknown.add(near);
    const timer = setTimeout(() => near.destroy(), HEAD_MS_MAX);
    const known = () => {
      clearTimeout(timer);
      this.#unknown.delete(near);
    };
    near.once("close", known);
    const [first] = this.#unknown;
    if (this.#unknown.size > UNKNOWN_MAX) first?.destroy();
    return known;
  }

  #keep(socket: Socket): void {
    this.#open.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#open.delete(socket));
  }

  /** Takes no more connections; those that are open end with their client's. */
  close(): void {
    this.#server.close();
  }
}

const USER = "edgeferry";

/** Whether a head is a CONNECT with our secret. */
function isOurs(head: string, secret: string): boolean {
  const [line = "", ...fields] = head.split("\r\n");
  const expected = `Basic ${Buffer.from(`${USER}:${secret}`).toString("base64")}`;
  return line.startsWith("CONNECT ") && fields.some((field) => {
    const [name = "", value = ""] = field.split(/:\s*/, 2);
    return name.toLowerCase() === "proxy-authorization" && value === expected;
  });
}
