/**
 * What arrives on TLS connections, with less on its way to the socket's reader.
 *
 * Deno reads each piece of a connection into 64 KiB of its own, gives them to TLS, which copies what is in them, and leaves them to
 * the garbage collector; what is decrypted then goes through all of a Readable. And a TLS socket of Deno 2.9.6 that is paused reads on:
 * a client could have any amount in memory. None of it can be asked for, so this stands where Deno's own JavaScript does, on `onread`
 * of the objects behind `_handle`; where they are not as expected, nothing is changed. `tests/receiver/listener/tls_reading_test.ts` pins them.
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import type { Server, TLSSocket } from "node:tls";
import { connectionOf } from "./handshakes.ts";

/** The part of Deno's own objects that is used. */
interface Handle {
  /** Called with each piece; with undefined at the end, and after an error. */
  onread: (this: unknown, piece?: unknown) => unknown;
  /** Reads on; looks `onread` up anew. */
  readStart(): number;
  readStop(): number;
}

/**
 * Has all connections of a TLS server read so. To be called before it listens.
 * @param lend Decrypted pieces are only lent to the listeners of `data`, and their memory is given back when these return: where
 * nobody keeps a piece or a view of it, as the parser of `node:http`, which copies.
 */
export function readLightly(server: Server, lend = false): void {
  // Here the handshake has not begun, and the server's own listener has made the TLS socket: it was there first.
  server.on("connection", (socket: Socket) => void freeEncrypted(socket));
  server.on("secureConnection", (socket: TLSSocket) => void handOver(socket, lend));
}

/**
 * Gives the memory of each encrypted piece back as soon as TLS has it.
 * @param socket The connection below TLS.
 * @returns whether it does.
 */
export function freeEncrypted(socket: Socket): boolean {
  const handle = handleOf(socket);
  if (handle === undefined) return false;
  const { onread } = handle;
  handle.onread = function (piece) {
    onread.call(this, piece);
    if (piece instanceof ArrayBuffer) piece.transfer(0);
  };
  return true;
}

/**
 * Hands each decrypted piece straight to the listeners of `data`, unless the socket is paused or still holds some, and reads nothing
 * while it is paused.
 * @param lend See {@link readLightly}.
 * @returns whether it does.
 */
export function handOver(socket: TLSSocket, lend = false): boolean {
  const handle = handleOf(socket);
  if (handle === undefined) return false;
  const { onread } = handle;
  handle.onread = function (piece) {
    const flows = socket.readableFlowing === true && socket.readableLength === 0 && !socket.destroyed;
    if (!flows || !(piece instanceof ArrayBuffer)) return onread.call(this, piece);
    socket.emit("data", Buffer.from(piece));
    if (lend) piece.transfer(0);
  };
  handle.readStart();
  const below = handleOf(connectionOf(socket));
  if (below !== undefined) {
    socket.on("pause", () => void below.readStop());
    // Told late: it may have been paused since.
    socket.on("resume", () => void (socket.isPaused() || below.readStart()));
  }
  return true;
}

function handleOf(socket: Socket): Handle | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fits = typeof handle === "object" && handle !== null && "onread" in handle &&
    typeof handle.onread === "function" && "readStart" in handle && typeof handle.readStart === "function" &&
    "readStop" in handle && typeof handle.readStop === "function";
  return fits ? handle as Handle : undefined;
}
