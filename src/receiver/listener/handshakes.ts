/**
 * The time that TLS handshakes have. Deno 2.9.6 has a timer for each connection, and stops it when a handshake is done, but not when it
 * fails: until its end the timer holds the socket and all that belongs to it, 6 KB and more. Here it is one timer for all connections,
 * and what has failed is let go at once.
 * @module
 */
import type { Server, Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { Deadlines } from "../deadlines.ts";

/** Deno's name for what it was told as `handshakeTimeout`. As an option 0 would be its default of 2 minutes, and here it is none. */
const OWN_MS = "_handshakeTimeout";

/**
 * Bounds the handshakes of a server that does not listen yet, in place of the server's own timers. Where these cannot be switched off, or
 * there is no TLS, nothing is changed.
 * @param ms What each of them may take.
 * @param onLate Told of a connection, the one below TLS, whose handshake is not over by then: it is to be closed.
 * @returns whether it does.
 */
export function boundHandshakes(server: Server, ms: number, onLate: (connection: Socket) => void): boolean {
  if (typeof Reflect.get(server, OWN_MS) !== "number") return false;
  Reflect.set(server, OWN_MS, 0);
  const deadlines = new Deadlines(ms);
  const lifts = new WeakMap<Socket, () => void>();
  const lift = (connection: Socket) => lifts.get(connection)?.();
  server.on("connection", (connection: Socket) => {
    lifts.set(connection, deadlines.set(() => onLate(connection)));
    connection.once("close", () => lift(connection));
  });
  server.on("secureConnection", (socket: Socket) => lift(connectionOf(socket)));
  server.on("tlsClientError", (_error: Error, socket: Socket) => lift(connectionOf(socket)));
  return true;
}

/** The connection below TLS, which is the one that the gate counts. */
export function connectionOf(socket: Socket): Socket {
  const below: unknown = socket instanceof TLSSocket ? Reflect.get(socket, "_parent") : undefined;
  return below === undefined ? socket : below as Socket;
}
