/** Stands before PostgreSQL, and cuts connections at the worst moment: when the answer to a statement is on its way. */
import { connect, createServer, type Server, type Socket } from "node:net";

export class CuttingProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #armed: { readonly text: string; readonly cut: () => void } | undefined;

  /** Where new connections go: after a failover another server. */
  target: number;

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.target = target;
  }

  static async start(port: number): Promise<CuttingProxy> {
    const server = createServer();
    const proxy = new CuttingProxy(server, port);
    server.on("connection", (client) => proxy.#join(client, connect({ port: proxy.target, host: "127.0.0.1" })));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("The proxy does not listen");
    return address.port;
  }

  /** The answer to the next statement with this in its text is not passed on, and its connection is cut; resolves when that has happened. */
  cutAnswerTo(text: string): Promise<void> {
    return new Promise((cut) => this.#armed = { text, cut });
  }

  /** Cuts every connection now. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(client: Socket, server: Socket): void {
    for (const [socket, other] of [[client, server], [server, client]] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    let cut: (() => void) | undefined;
    client.on("data", (data) => {
      if (this.#armed !== undefined && data.includes(this.#armed.text)) {
        cut = this.#armed.cut;
        this.#armed = undefined;
      }
      server.write(data);
    });
    server.on("data", (data) => {
      if (cut === undefined) return void client.write(data);
      client.destroy();
      server.destroy();
      cut();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
