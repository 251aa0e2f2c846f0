/**
 * OTLP/gRPC: one unary call a request, over HTTP/2 of our own (`docs/decisions-grpc.md`). Calls share a connection, and another is opened
 * when the peer takes no more on it.
 * @module
 */
import type { Socket } from "node:net";
import { discard } from "../../codec/bytes.ts";
import { type ConnectionEnd, Http2Connection, type Http2Limits } from "../../http2/connection.ts";
import { withoutBlanks } from "../../http2/fields.ts";
import { encodeFields } from "../../http2/hpack.ts";
import type { Field } from "../../http2/hpack_tables.ts";
import type { Http2Stream, StreamCut } from "../../http2/stream.ts";
import { formatGrpcTimeout, MESSAGE_PREFIX_BYTES, messagePrefix } from "../../otlp/grpc.ts";
import { whenAborted } from "../../within.ts";
import { ANSWER_CODINGS, GrpcAnswer } from "./grpc_answer.ts";
import { openSocket, rehearse, type SocketOptions } from "./grpc_socket.ts";
import type { Answered, Carried, ClientIdentity, Place, Transport } from "./transport.ts";

/** Settings of a transport. */
export interface GrpcTransportOptions {
  readonly identity: ClientIdentity;
  readonly userAgent: string;
  /** Goes to this place, whatever the name in a URL resolves to. */
  readonly at?: Place | undefined;
}

/** Bounds of a connection. An answer is small; a peer that is silent is found by the time of the attempt that waits for it. */
const LIMITS: Http2Limits = {
  streamsMax: 1,
  streamWindowBytes: 256 * 1024,
  windowBytes: 1024 * 1024,
  headerListBytesMax: 64 * 1024,
  headerMs: 10_000,
  // As long as HTTP's pool keeps one.
  idleMs: 90_000,
  // grpc-go ends a connection whose client asks by PING more often than each 5 minutes.
  pingMs: 0,
  pingAckMs: 0,
  takeMs: 0,
};

/** How often a request that the peer has not looked at is sent again at once: a server that ends by GOAWAY has another connection. */
const REPEATS_MAX = 2;

/** The peer says that it has not looked at the request. */
class UnprocessedError extends Error {}

export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions;
  readonly #pools = new Map<string, Pool>();

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
  }

  async post(request: Carried): Promise<Answered> {
    for (let repeats = 0;; repeats++) {
      try {
        return await this.#call(request);
      } catch (error) {
        if (!(error instanceof UnprocessedError) || repeats === REPEATS_MAX || request.abort.aborted) throw error;
      }
    }
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
  }

  async #call({ signal, url: text, headers, body, encoding, timeoutMs, abort }: Carried): Promise<Answered> {
    const url = new URL(text);
    const pool = this.#poolFor(url);
    const block = encodeFields([
      ...headOf(url),
      ...fieldsOf(headers),
      ["content-type", "application/grpc"],
      ["te", "trailers"],
      ["user-agent", this.#options.userAgent],
      ["grpc-accept-encoding", ANSWER_CODINGS],
      ["grpc-timeout", formatGrpcTimeout(timeoutMs)],
      ...(encoding === "identity" ? [] : [["grpc-encoding", encoding] as const]),
    ]);
    // A copy, for the socket may still hold it when whoever has sent it gives the bytes back.
    const message = new Uint8Array(MESSAGE_PREFIX_BYTES + body.length);
    message.set(messagePrefix(body.length, encoding !== "identity"));
    message.set(body, MESSAGE_PREFIX_BYTES);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const answer = new GrpcAnswer(signal);
    let ended = false;
    let early = false;
    const stream: Http2Stream = await pool.request(block, abort, {
      headers: (fields) => answer.header(fields),
      data(piece) {
        answer.data(piece);
        stream.consumed(piece.length);
      },
      trailers: (fields) => answer.trailers(fields),
      end() {
        ended = true;
        // Before a reset that may follow it takes what waits away.
        early = stream.waitingBytes > 0;
        resolve();
      },
      cut: (cut) => ended ? undefined : reject(errorOf(cut)),
    });
    const goOn = whenAborted(abort, () => stream.reset());
    try {
      if (abort.aborted) throw new Error("given up");
      stream.sendData(message, true);
      await promise;
      // The peer wants no more.
      if (early) stream.reset();
      // The socket may hold the end of it all the same: taken away, its frames would be without what they state.
      else if (stream.sent) discard(message);
      return answer.answered(early);
    } finally {
      goOn();
      if (!ended) stream.reset();
    }
  }

  #poolFor(url: URL): Pool {
    const known = this.#pools.get(url.origin);
    if (known !== undefined) return known;
    const pool = new Pool(url, this.#options.identity, this.#options.at?.address);
    this.#pools.set(url.origin, pool);
    return pool;
  }
}

/** RFC 9113, 8.3.1. */
function headOf({ protocol, host, pathname }: URL): Field[] {
  return [[":method", "POST"], [":scheme", protocol.slice(0, -1)], [":path", pathname], [":authority", host]];
}

/** As HTTP/2 takes them: its peers end the call for a capital letter, and for a blank at either end (RFC 9113, 8.2.1). */
function fieldsOf(headers: Readonly<Record<string, string>>): readonly Field[] {
  const fields = Object.entries(headers).map(([name, value]): Field => [name.toLowerCase(), value]);
  // Ours is sent, as over HTTP.
  return withoutBlanks(fields.filter(([name]) => name !== "user-agent"));
}

function errorOf({ reason, unprocessed, message }: StreamCut): Error {
  if (unprocessed) return new UnprocessedError(message);
  return new Error(reason === "local" ? "given up" : message);
}

type Events = Parameters<Http2Connection["request"]>[1];

/** A connection, and what has become of it. */
interface Opened {
  readonly connection: Http2Connection;
  /** The peer has said how many calls it takes at once, and so that it speaks HTTP/2. */
  ready: boolean;
  end: ConnectionEnd | undefined;
}

/** The connections to one origin. */
class Pool {
  readonly #url: URL;
  readonly #identity: ClientIdentity;
  readonly #address: string | undefined;
  readonly #open = new Set<Opened>();
  #opening: { readonly opened: Promise<Opened>; readonly abort: AbortController; waiting: number } | undefined;
  /** The last one was opened. */
  #opens = false;
  #closed = false;

  constructor(url: URL, identity: ClientIdentity, address: string | undefined) {
    this.#url = url;
    this.#identity = identity;
    this.#address = address;
  }

  /** Begins a request on a connection that has room, or on a new one. Rejects where there is none to be had. */
  async request(block: Uint8Array, abort: AbortSignal, events: Events): Promise<Http2Stream> {
    let fresh: Opened | undefined;
    for (;;) {
      for (const opened of this.#open) {
        const stream = opened.connection.request(block, events);
        if (stream === undefined) continue;
        if (this.#closed) this.#drain(opened);
        return stream;
      }
      if (fresh?.connection.usable === true && fresh.connection.streams === 0) {
        throw new Error("the server takes no calls: its SETTINGS_MAX_CONCURRENT_STREAMS is 0");
      }
      fresh = await this.#another(abort);
      // It ended before anything was sent on it: another one would, too.
      if (fresh.end !== undefined) throw new Error(this.#explained(fresh, fresh.end.message));
    }
  }

  /** Over TLS the peer has agreed to HTTP/2; without it what it sends, or that it closes, is all that tells. */
  #explained({ ready }: Opened, message: string): string {
    return ready || this.#url.protocol === "https:" ? message : `the server does not speak HTTP/2: ${message}`;
  }

  /** Waits for a new connection; of those who wait, the last one that gives up ends it. */
  async #another(abort: AbortSignal): Promise<Opened> {
    const opening = this.#opening ??= this.#connect();
    const { promise, reject } = Promise.withResolvers<never>();
    const goOn = whenAborted(abort, () => reject(new Error("given up")));
    opening.waiting++;
    try {
      return await Promise.race([opening.opened, promise]);
    } finally {
      goOn();
      if (--opening.waiting === 0) opening.abort.abort();
    }
  }

  #connect() {
    const abort = new AbortController();
    const options = { url: this.#url, identity: this.#identity, address: this.#address, abort: abort.signal };
    const opened = this.#openOne(options).finally(() => this.#opening = undefined);
    // Whoever waits is told.
    opened.catch(() => {});
    return { opened, abort, waiting: 0 };
  }

  async #openOne(options: SocketOptions): Promise<Opened> {
    const opened = this.#opens;
    this.#opens = false;
    if (!opened) await rehearse(options);
    const one = await openSocket(options, (socket) => this.#speak(socket, options.abort));
    this.#opens = true;
    return one;
  }

  /** Resolves when the peer has said how many calls it takes at once, or the connection has ended before. */
  #speak(socket: Socket, abort: AbortSignal): Promise<Opened> {
    const { promise, resolve } = Promise.withResolvers<Opened>();
    const connection = new Http2Connection(socket, {
      side: "client",
      limits: LIMITS,
      events: {
        ready: () => {
          entry.ready = true;
          this.#open.add(entry);
          resolve(entry);
        },
        goaway: () => void this.#open.delete(entry),
        closed: (end) => {
          this.#open.delete(entry);
          entry.end = end;
          resolve(entry);
        },
        // What a stream's events throw has reset that stream; its request is told.
        failed: () => {},
      },
    });
    const entry: Opened = { connection, ready: false, end: undefined };
    // Nobody is left who waits for it.
    whenAborted(abort, () => entry.ready ? undefined : connection.destroy());
    return promise;
  }

  #drain(opened: Opened): void {
    this.#open.delete(opened);
    opened.connection.drain();
  }

  /** Takes nothing new but from those who wait already; what is under way ends. */
  close(): void {
    this.#closed = true;
    for (const opened of [...this.#open]) this.#drain(opened);
  }
}
