/**
 * Requests that are answered are garbage at once. Deno 2.9.6 has those under way in a Map, by which it finds the late ones: an entry is
 * made for each request, and deleted. With each few dozen V8 gives such a Map another table. The one before, once it has grown old, still
 * refers to the requests that were in it, and to the next table, so that each request grew old, with its header and all, and a thorough
 * collection of garbage was due each two seconds. Here a connection has one entry as long as it is open, which lets go of what is answered.
 * @module
 */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";

/** What Deno knows of a connection's request. It is late by its `startTime` unless all of it has come (`req.complete`). */
interface Entry {
  headersCompleted: boolean;
  /** By `performance.now()`. */
  startTime: number;
  req: Pick<IncomingMessage, "complete"> | null;
}

/** Deno's list of connections, by Deno's names. */
interface ConnectionsList {
  readonly _active: ReadonlyMap<Socket, Entry>;
  /** A request begins. */
  pushActive(socket: Socket): void;
  /** None is under way. */
  popActive(socket: Socket): void;
  /** This one is answered. */
  popActiveIfReq(socket: Socket, request: IncomingMessage): void;
}

/** Deno's name for its list, which it makes before it listens. */
const LIST = "http.server.connections";

/** Where none is under way there is none that could be late. */
const NONE: Entry["req"] = { complete: true };

/**
 * Has a server keep one entry for each connection, from when it listens.
 * @returns a function that tells whether it does: where Deno's list is another than is known here nothing is changed.
 */
export function keepEntries(server: Server): () => boolean {
  let does = false;
  server.on("listening", () => {
    const list = listOf(server);
    if (list === undefined) return;
    const makeEntry: ConnectionsList["pushActive"] = Object.getPrototypeOf(list).pushActive;
    list.pushActive = function (socket) {
      const entry = this._active.get(socket);
      if (entry === undefined) return makeEntry.call(this, socket);
      entry.headersCompleted = false;
      entry.startTime = performance.now();
      entry.req = null;
    };
    list.popActive = function (socket) {
      const entry = this._active.get(socket);
      if (entry === undefined) return;
      entry.headersCompleted = true;
      entry.req = NONE;
    };
    list.popActiveIfReq = function (socket, request) {
      if (this._active.get(socket)?.req === request) this.popActive(socket);
    };
    does = true;
  });
  return () => does;
}

function listOf(server: Server): ConnectionsList | undefined {
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === LIST);
  const list: unknown = symbol === undefined ? undefined : Reflect.get(server, symbol);
  return isKnown(list) ? list : undefined;
}

// Its Map is none of ours by `instanceof`.
function isKnown(list: unknown): list is ConnectionsList {
  return has(list, "_active") && calls(list._active, "get") &&
    calls(list, "pushActive") && calls(list, "popActive") && calls(list, "popActiveIfReq");
}

function calls(value: unknown, name: string): boolean {
  return has(value, name) && typeof value[name] === "function";
}

function has<Name extends string>(value: unknown, name: Name): value is Record<Name, unknown> {
  return typeof value === "object" && value !== null && name in value;
}
