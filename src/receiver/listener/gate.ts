/**
 * What every listener on a socket of our own shares: how many connections it takes, and whether it still accepts any.
 * @module
 */
import type { AddressInfo, Server, Socket } from "node:net";
import type { DropReason } from "../../errors.ts";
import { ConnectionAge } from "./connection_age.ts";
import { type ConnectionBounds, Connections } from "./connections.ts";
import { boundHandshakes } from "./handshakes.ts";
import { SelfCheck } from "./self_check.ts";

/** What the gate is told, and tells. */
export interface GateOptions {
  readonly server: Server;
  readonly hostname: string;
  readonly limits: ConnectionBounds & {
    /** What a TLS handshake may take, in ms; then its connection is closed. */
    readonly headerMs: number;
    /** After about so long a connection is to end with its next answer, in ms; no bound unless given. */
    readonly ageMs?: number;
  };
  readonly events: {
    /** A connection was closed without an answer. */
    dropped(reason: DropReason): void;
    failed(error: unknown): void;
    /** It had stopped accepting connections, and listens anew. */
    listenedAnew?(): void;
  };
  /** How often it checks whether it still accepts connections, in ms. Default: 5 s. */
  readonly selfCheckMs?: number | undefined;
  /** ms of a clock that never steps; for tests. */
  readonly now?: () => number;
}

const SELF_CHECK_MS = 5_000;

/** The gate of one listener. */
export class Gate implements Disposable {
  readonly #server: Server;
  readonly #hostname: string;
  readonly #check: SelfCheck;
  readonly connections: Connections<Socket>;
  readonly ages: ConnectionAge<Socket>;

  constructor({ server, hostname, limits, events, selfCheckMs = SELF_CHECK_MS, now }: GateOptions) {
    this.#server = server;
    this.#hostname = hostname;
    const ages = this.ages = new ConnectionAge<Socket>(limits.ageMs, now);
    const connections = this.connections = new Connections<Socket>(limits, events.dropped);
    const check = this.#check = new SelfCheck({
      server,
      hostname,
      intervalMs: selfCheckMs,
      onListenedAnew: () => events.listenedAnew?.(),
      onFailed: events.failed,
    });
    // Not `maxConnections`, which tells nobody here (no "drop" event in Deno 2.9.6).
    server.on("connection", (socket: Socket) => {
      const ours = check.checking;
      check.accepted();
      if (ours && connections.size >= limits.connectionsMax) return void socket.destroy();
      if (!connections.opened(socket, limits.addressConnectionsMax > 0 ? socket.remoteAddress ?? "" : "")) return;
      ages.opened(socket);
      socket.once("close", () => connections.closed(socket));
    });
    boundHandshakes(server, limits.headerMs, (connection) => {
      connection.destroy();
      events.dropped("handshake");
    });
    server.on("tlsClientError", (error: Error & { code?: string }, socket: Socket) => {
      // By `node:https` it is closed; by `node:tls` one that is late is not.
      socket.destroy();
      // A client that leaves meanwhile, as a probe of the port does, was not closed by us.
      if (error.code !== "ECONNRESET") events.dropped("handshake");
    });
  }

  /** Whether it accepts connections, as far as it has looked. */
  get accepting(): boolean {
    return this.#check.accepting;
  }

  /**
   * Has the server listen, and looks from then on whether it accepts connections.
   * @param port 0: any that is free.
   * @returns the port. Rejects with the system's error where it cannot listen.
   */
  async listen(port: number): Promise<number> {
    const listening = Promise.withResolvers<void>();
    this.#server.once("error", listening.reject);
    this.#server.listen(port, this.#hostname, () => listening.resolve());
    await listening.promise;
    const address = this.#server.address() as AddressInfo;
    this.#check.start(address.port);
    return address.port;
  }

  [Symbol.dispose](): void {
    this.#check[Symbol.dispose]();
  }
}
