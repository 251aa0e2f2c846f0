/**
 * The way in by `node:http`: its request without web objects, for what comes often. A web `Request` with its stream, a `Response`, and
 * the events of a Readable cost more than all that the receiver does with a small body.
 * @module
 */
import { Buffer } from "node:buffer";
import { IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { leaveGarbage } from "../../codec/memory.ts";
import type { Answer, Inbound, InboundBody, InboundPeer } from "../inbound.ts";
import type { HeaderFields } from "../senders/peer.ts";

/** The most bytes held of a body that nobody reads yet; then no more is read from the connection. */
const UNREAD_BYTES_MAX = 256 * 1024;

/** From this size on, in bytes, a piece that nobody reads is counted as garbage. */
const GARBAGE_BYTES_MIN = 16 * 1024;

/**
 * A request of `node:http` that is no stream: the parser's pieces go to the reader as they come. `createServer` gets it
 * (`IncomingMessage`) for all requests; a body that nobody reads is forgotten.
 */
export class NodeMessage extends IncomingMessage implements InboundBody {
  /** Node's own mark for "is read": without it the server would make the rest of the body flow when the answer has left. */
  protected readonly _consuming = true;
  #take: ((piece: Uint8Array) => void) | undefined;
  #ended: PromiseWithResolvers<void> | undefined;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #forgotten = false;
  #broken: Error | undefined;
  #paused = false;
  /** Called once, before the first piece is waited for: a sender that has asked (`Expect: 100-continue`) is told to go on. */
  beforeReading: (() => void) | undefined;
  /** Called when all of it has come. */
  afterEnd: (() => void) | undefined;

  /** Called by the parser. @returns false where it is to read no further for now. */
  override push(piece: Uint8Array | null): boolean {
    if (piece === null) {
      this.#ended?.resolve();
      this.afterEnd?.();
      return true;
    }
    if (this.#forgotten) {
      // The rest of a large body that was refused is read, and is garbage at once.
      if (piece.length >= GARBAGE_BYTES_MIN) leaveGarbage(piece.length);
      return true;
    }
    if (this.#take !== undefined) {
      this.#hand(this.#take, piece);
      return true;
    }
    this.#unread.push(piece);
    this.#unreadBytes += piece.length;
    this.#paused = this.#unreadBytes >= UNREAD_BYTES_MAX;
    return !this.#paused;
  }

  forEachPiece(take: (piece: Uint8Array) => void): Promise<void> | undefined {
    if (this.#broken !== undefined) throw this.#broken;
    const ready = this.#unread;
    this.#unread = [];
    for (const piece of ready) take(piece);
    if (this.complete) return undefined;
    this.#take = take;
    this.#ended = Promise.withResolvers<void>();
    this.beforeReading?.();
    this.#goOn();
    return this.#ended.promise;
  }

  cancel(): void {
    this.#forgotten = true;
    this.#take = undefined;
    this.#unread = [];
    this.#goOn();
  }

  /** The connection broke: nobody else tells the reader. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.complete) {
      this.#broken = error ?? new Error("The connection was closed");
      this.#ended?.reject(this.#broken);
    }
    super._destroy(error, callback);
  }

  /** What the reader throws ends its reading, and must not end the parser. */
  #hand(take: (piece: Uint8Array) => void, piece: Uint8Array): void {
    try {
      take(piece);
    } catch (error) {
      this.cancel();
      this.#ended?.reject(error);
    }
  }

  #goOn(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.socket.resume();
  }
}

// Nothing is left in it for a reader of streams. Not in the class, whose types have a plain property here.
Object.defineProperty(NodeMessage.prototype, "readableEnded", {
  get(this: NodeMessage) {
    return this.complete;
  },
});

/** A request of `node:http` as the receiver takes it; also what Hono and the instrumentation read of a `Request`. */
export class NodeInbound implements Inbound, HeaderFields, InboundPeer {
  readonly method: string;
  readonly url: string;
  readonly #message: NodeMessage;
  readonly #onProved: () => void;

  /** @param url See {@link Inbound.url}. @param onProved See {@link InboundPeer.proved}. */
  constructor(message: NodeMessage, url: string, onProved: () => void) {
    this.method = message.method ?? "";
    this.url = url;
    this.#message = message;
    this.#onProved = onProved;
  }

  get headers(): HeaderFields {
    return this;
  }

  get body(): InboundBody {
    return this.#message;
  }

  get peer(): InboundPeer {
    return this;
  }

  get(name: string): string | null {
    const field = this.#message.headers[name];
    // Only `set-cookie` is a list, which no request has.
    return typeof field === "string" ? field : null;
  }

  keys(): Iterable<string> {
    return Object.keys(this.#message.headers);
  }

  get socket(): Socket {
    return this.#message.socket;
  }

  address(): string | undefined {
    return this.#message.socket.remoteAddress;
  }

  proved(): void {
    this.#onProved();
  }
}

/**
 * The absolute URL of what a request line asks for; undefined where that is no path of a server (RFC 9112, 3.2). Slashes that follow
 * each other count as one: senders that are told a base with a slash at its end write `//v1/traces`.
 */
export function urlOf(target: string, scheme: "http" | "https"): string | undefined {
  if (target.startsWith("/") && !target.includes("//")) return `${scheme}://localhost${target}`;
  const absolute = target.startsWith("/") ? URL.parse(`${scheme}://localhost${target}`) : URL.parse(target);
  if (absolute === null || (absolute.protocol !== "http:" && absolute.protocol !== "https:")) return undefined;
  return `${scheme}://localhost${absolute.pathname.replaceAll(/\/{2,}/g, "/")}${absolute.search}`;
}

/** Writes an answer that is there as a whole. @param close Whether the connection is to end with it. */
export function writeAnswer(
  message: NodeMessage,
  response: ServerResponse,
  { status, headers, body }: Answer,
  close: boolean,
): void {
  if (message.complete && body.length > 0) {
    response.statusCode = status;
    for (const name in headers) response.setHeader(name, headers[name]!);
    response.setHeader("content-length", body.length);
    if (close) response.setHeader("connection", "close");
    // A string, each character a byte, and no header made before it: `node:http` of Deno sends both by one write, past the Writable.
    return void response.end(Buffer.from(body.buffer, body.byteOffset, body.length).toString("latin1"), "latin1");
  }
  const fields: string[] = [];
  for (const name in headers) fields.push(name, headers[name]!);
  // Not with 204 (RFC 9110, 8.6).
  if (status !== 204) fields.push("content-length", String(body.length));
  if (close) fields.push("connection", "close");
  response.writeHead(status, fields);
  if (message.complete) return void response.end();
  if (body.length > 0) response.write(body);
  else response.flushHeaders();
  endLater(message, response);
}

/** How long the rest of a body is read after its request has been answered, in ms: closed at once, the answer would be lost. */
const LINGER_MS = 1_000;

/** Reads on for a while and forgets what it reads; then the connection is closed, unless the body has come to its end. */
function endLater(message: NodeMessage, response: ServerResponse): void {
  const timer = setTimeout(() => message.socket.destroy(), LINGER_MS);
  response.once("close", () => clearTimeout(timer));
  message.afterEnd = () => response.end();
  message.cancel();
}
