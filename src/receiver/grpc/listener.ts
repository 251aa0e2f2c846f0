/**
 * The listener of OTLP/gRPC: HTTP/2 on sockets of our own, whose calls go to the same app as the requests of OTLP/HTTP, as POSTs to
 * the path of their signal.
 * @module
 */
import { createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { leaveGarbage } from "../../codec/memory.ts";
import { type DropReason, Refusal } from "../../errors.ts";
import { type ConnectionEnd, Http2Connection, type Http2Limits } from "../../http2/connection.ts";
import { fieldOf } from "../../http2/fields.ts";
import { encodeFields } from "../../http2/hpack.ts";
import type { Field } from "../../http2/hpack_tables.ts";
import type { Http2Stream, StreamEvents } from "../../http2/stream.ts";
import { PassingMap } from "../../passing.ts";
import { SIGNALS } from "../../signal.ts";
import { refusalAnswer } from "../answer.ts";
import { Gate } from "../listener/gate.ts";
import { connectionOf } from "../listener/handshakes.ts";
import type { Answer } from "../inbound.ts";
import { answerAlone, type Listener, type ListenOptions } from "../listener/node_listener.ts";
import { urlOf } from "../listener/node_request.ts";
import { answerRefusal } from "./answer.ts";
import { Call, type CallHost, holdsTooMuch } from "./call.ts";
import { HealthService } from "./health.ts";

export interface GrpcListenOptions
  extends Pick<ListenOptions, "hostname" | "port" | "limits" | "events" | "answer" | "selfCheckMs" | "now"> {
  /** Calls that a connection may have open at once. */
  readonly streamsMax: number;
  /** What is held of calls whose senders are not known yet, over all connections, in bytes. */
  readonly unreadBytesMax: number;
  /** What the health service says. */
  readonly isReady: () => boolean;
  /** Makes the server: `node:net`'s unless another is given, e.g. that of `node:tls`, whose `listener` gets what has shaken hands. */
  readonly server?: (options: { readonly handshakeTimeout: number }, listener: (socket: Socket) => void) => Server;
}

/** A listener of gRPC. */
export interface GrpcListener extends Listener {
  /** Asks each sender to take its next calls elsewhere; those under way are answered. The health service says NOT_SERVING. */
  drain(): void;
  /** The same for the connections that are open now, and no others. */
  renew(): void;
}

/** How often late calls are looked for, in ms: the precision of `grpc-timeout` and of the wait for a message. */
const LOOK_MS = 100;
/** Calls that are told at once that they are late: each takes the receiver's steps. */
const REFUSED_AT_ONCE = 50;
/**
 * Calls of a connection that are in the receiver's steps at once, until one of them has proved who sends: while keys are fetched for the
 * proof, strangers would hold there as many headers as they may open calls.
 */
const UNPROVED_AT_ONCE = 4;
/** What may be on its way of one body, and of all bodies of a connection, in bytes. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const WINDOW_BYTES = 1024 * 1024;
/** A peer from which nothing has come for so long, in ms, while a call is open, is asked whether it is there. */
const PING_MS = 30_000;
const PING_ACK_MS = 10_000;

/** The path of OTLP/HTTP, by that of the method. */
const PATHS: ReadonlyMap<string, string> = new Map(SIGNALS.map(({ grpcPath, path }) => [grpcPath, path]));
const HTTP_PATHS: ReadonlySet<string> = new Set(SIGNALS.map(({ path }) => path));

const UNSUPPORTED_TYPE = encodeFields([[":status", "415"], ["content-type", "text/plain"]]);

/** Listens. Rejects with the system's error when the address cannot be had. */
export async function listenOnGrpc(options: GrpcListenOptions): Promise<GrpcListener> {
  const { limits } = options;
  const open = new Set<Connection>();
  const make = options.server ?? ((_, listener) => createServer(listener));
  const server = make({ handshakeTimeout: limits.headerMs }, (socket) => {
    const connection = new Connection(shared, socket, () => open.delete(connection));
    open.add(connection);
    if (closing) connection.drain();
  });
  const gate = new Gate({ ...options, server });
  const shared: Shared = {
    options,
    gate,
    calls: new CallWatch(limits.headerMs),
    health: new HealthService(options.isReady, limits.headerMs),
    unreadBytes: 0,
  };
  let closing = false;
  const port = await gate.listen(options.port);
  const renew = () => {
    for (const connection of [...open]) connection.drain();
  };
  const drain = () => {
    closing = true;
    shared.health.close();
    renew();
  };
  return {
    port,
    connections: () => gate.connections.size,
    accepting: () => gate.accepting,
    renew,
    drain,
    close() {
      gate[Symbol.dispose]();
      const closed = Promise.withResolvers<void>();
      server.close(() => {
        shared.calls[Symbol.dispose]();
        closed.resolve();
      });
      drain();
      return closed.promise;
    },
    abandon() {
      for (const connection of [...open]) connection.destroy("The relay is shutting down");
      // Those that have not shaken hands yet.
      for (const socket of [...gate.connections.all()]) socket.destroy();
    },
  };
}

/** The calls that may be late: of which the message has not begun, or whose sender gives them a time. */
class CallWatch implements Disposable {
  readonly #headerMs: number;
  readonly #calls = new PassingMap<Call>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(headerMs: number) {
    this.#headerMs = headerMs;
  }

  add(call: Call): void {
    this.#calls.set(call.number, call);
    this.#timer ??= setTimeout(() => this.#look(), LOOK_MS);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  delete(call: Call): void {
    this.#calls.delete(call.number);
  }

  /** Has those refused that wait longest while there is not enough `room`: strangers keep each other out, and no sender. */
  makeRoom(room: () => boolean, refuse: (call: Call) => void): void {
    for (const call of this.#calls.values()) {
      if (room()) return;
      if (call.waits) refuse(call);
    }
  }

  #look(): void {
    const now = performance.now();
    let left = REFUSED_AT_ONCE;
    for (const call of this.#calls.values()) {
      if (left === 0) break;
      if (call.deadline <= now) call.expire();
      else if (call.late && call.openedAt + this.#headerMs <= now) {
        call.refuse(
          new Refusal("header_timeout", `Message did not begin within ${this.#headerMs} ms`, { remedy: "retry" }),
        );
      } else continue;
      left--;
    }
    // It goes on while there are any: one is set for each tenth of a second under load, and none for a call. Where more are late, what
    // others have sent meanwhile has its turn.
    this.#timer = this.#calls.size === 0 ? undefined : setTimeout(() => this.#look(), left === 0 ? 0 : LOOK_MS);
  }
}

/** What the connections of one listener have together. */
interface Shared {
  readonly options: GrpcListenOptions;
  readonly gate: Gate;
  readonly calls: CallWatch;
  readonly health: HealthService;
  /** Held of calls that wait for their message, and of bodies that nobody reads yet, in bytes. */
  unreadBytes: number;
}

/** One connection. */
class Connection implements CallHost {
  readonly #shared: Shared;
  readonly #http2: Http2Connection;
  #proved = false;
  /** Calls in the receiver's steps, and those that are ready for them. */
  #asking = 0;
  #ready: Call[] = [];

  constructor(shared: Shared, readonly socket: Socket, onClosed: () => void) {
    this.#shared = shared;
    const { events, limits } = shared.options;
    socket.setNoDelay(true);
    this.#http2 = new Http2Connection(socket, {
      side: "server",
      limits: http2Limits(shared.options),
      events: {
        opened: (stream, fields, end) => this.#opened(stream, fields, end),
        oversized: (stream) => {
          const what = `Header is over the limit of ${limits.headerBytesMax} bytes`;
          this.#refuse(stream, new Refusal("header_too_large", what, { remedy: "send less" }));
        },
        malformed: (why) => events.refused(new Refusal("malformed", why, { remedy: "see what sends or passes it on" })),
        foreign: ([first]) => {
          const isTls = first === TLS_HANDSHAKE;
          const refusal = isTls ? notTls() : notHttp2();
          events.refused(refusal);
          return isTls ? NOTHING : new TextEncoder().encode(answerAlone(refusal));
        },
        closed: (end) => {
          const reason = dropReasonOf(end);
          if (reason !== undefined) events.dropped(reason);
          onClosed();
        },
        failed: events.failed,
      },
    });
  }

  drain(): void {
    this.#http2.drain();
  }

  destroy(message: string): void {
    this.#http2.destroy(message);
  }

  begun(call: Call): void {
    this.#ready.push(call);
    this.#takeReady();
  }

  #takeReady(): void {
    while (this.#proved || this.#asking < UNPROVED_AT_ONCE) {
      const call = this.#ready.shift();
      if (call === undefined) return;
      // It has made room meanwhile.
      if (call.done) continue;
      this.#asking++;
      call.taken();
      void this.#ask(call);
    }
  }

  ended(call: Call): void {
    this.#shared.calls.delete(call);
  }

  proved(): void {
    if (this.#proved) return;
    this.#proved = true;
    this.#shared.gate.connections.proved(connectionOf(this.socket));
    this.#takeReady();
  }

  hold(call: Call, bytes: number): boolean {
    this.#shared.unreadBytes += bytes;
    // Of strangers all of it is garbage soon, and V8 lets more of it lie than may be held.
    if (bytes > 0 && !this.#proved) leaveGarbage(bytes);
    const room = () => this.#shared.unreadBytes <= this.#shared.options.unreadBytesMax;
    if (!room()) this.#shared.calls.makeRoom(room, (other) => other === call ? undefined : this.#makeRoom(other));
    return room();
  }

  /** Without the receiver's steps, which would hold it for longer. */
  #makeRoom(call: Call): void {
    const refusal = holdsTooMuch();
    this.#shared.options.events.refused(refusal);
    call.answer(refusalAnswer(call, refusal, refusal.retryAfterS));
  }

  /** Never rejects. */
  async #ask(call: Call): Promise<void> {
    try {
      const answer = await this.#shared.options.answer(call as unknown as Request, { inbound: call }) as
        | Response
        | Answer;
      if (answer instanceof Response) throw new Error(`The app answered a call with a Response of ${answer.status}`);
      call.answer(answer);
      // A client that has proved nothing is not worth a connection.
      if (answer.refused?.refusal.code === "unauthenticated" && !this.#proved) this.drain();
    } catch (error) {
      this.#shared.options.events.failed(error);
      const refusal = new Refusal("internal", "The relay failed to take the request", { remedy: "retry" });
      call.answer(refusalAnswer(call, refusal, refusal.retryAfterS));
    } finally {
      this.#asking--;
      this.#takeReady();
    }
  }

  #opened(stream: Http2Stream, fields: readonly Field[], end: boolean): StreamEvents {
    const connection = connectionOf(this.socket);
    this.#shared.gate.connections.used(connection);
    // This call is answered, and others that are on their way.
    if (this.#shared.gate.ages.reached(connection)) this.drain();
    const path = fieldOf(fields, ":path")!;
    // gRPC: "If Content-Type does not begin with application/grpc, gRPC servers SHOULD respond with HTTP status of 415".
    if (
      fieldOf(fields, ":method") !== "POST" ||
      !/^application\/grpc(?:[+; ]|$)/i.test(fieldOf(fields, "content-type") ?? "")
    ) {
      this.#shared.options.events.refused(
        new Refusal("unsupported_type", NOT_GRPC, {
          remedy: "send POST with Content-Type application/grpc",
        }),
      );
      stream.sendHeaders(UNSUPPORTED_TYPE);
      stream.sendData(NOT_GRPC_BODY, true);
      // It is not worth waiting for a window.
      if (stream.waitingBytes > 0) stream.reset();
      return ignoring(stream);
    }
    const scheme = this.socket instanceof TLSSocket ? "https" : "http";
    const signalPath = PATHS.get(path);
    if (signalPath === undefined) {
      const events = this.#shared.health.opened(path, stream, end, () => this.#proved);
      if (events !== undefined) return events;
      void this.#unknown(stream, path, scheme);
      return ignoring(stream);
    }
    const call = new Call(this, stream, `${scheme}://localhost${signalPath}`, fields);
    this.#shared.calls.add(call);
    if (end) call.end();
    return { data: (piece) => call.data(piece), end: () => call.end(), cut: (cause) => call.cut(cause) };
  }

  /** The app sees what it has no route for, too. */
  async #unknown(stream: Http2Stream, path: string, scheme: "http" | "https"): Promise<void> {
    try {
      const url = new URL(urlOf(path, scheme) ?? `${scheme}://localhost/`);
      // What is a path of OTLP/HTTP is none of gRPC.
      if (HTTP_PATHS.has(url.pathname)) url.pathname += "/";
      const answer = await this.#shared.options.answer(new Request(url, { method: "POST" }), {});
      await answer.body?.cancel();
    } catch (error) {
      this.#shared.options.events.failed(error);
    }
    const methods = SIGNALS.map(({ grpcPath }) => grpcPath).join(", ");
    answerRefusal(stream, new Refusal("not_found", "No such method", { remedy: `use ${methods}` }), undefined);
  }

  #refuse(stream: Http2Stream, refusal: Refusal): void {
    this.#shared.options.events.refused(refusal);
    answerRefusal(stream, refusal, refusal.retryAfterS);
  }
}

/** How a record of TLS begins that opens a handshake (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 22;
const NOTHING = new Uint8Array(0);
const NOT_GRPC = "This port speaks OTLP/gRPC";
const NOT_GRPC_BODY = new TextEncoder().encode(`${NOT_GRPC}\n`);

function notTls(): Refusal {
  return new Refusal("malformed", "The connection is TLS, and this port serves none", {
    remedy: "use http:// or insecure in the sender, or set receiver.http.tls",
  });
}

function notHttp2(): Refusal {
  return new Refusal("malformed", NOT_GRPC, {
    remedy: "set the sender's protocol to grpc (OTEL_EXPORTER_OTLP_PROTOCOL=grpc), or its endpoint to the relay's " +
      "port of OTLP/HTTP",
  });
}

function ignoring(stream: Http2Stream): StreamEvents {
  return { data: (piece) => stream.consumed(piece.length), end() {}, cut() {} };
}

function http2Limits({ limits, streamsMax, unreadBytesMax }: GrpcListenOptions): Http2Limits {
  // No connection alone may fill what all of them may hold; a peer may always send 65,535 bytes before it knows better.
  const windowBytes = Math.max(65_535, Math.min(WINDOW_BYTES, unreadBytesMax));
  return {
    streamsMax,
    streamWindowBytes: Math.min(STREAM_WINDOW_BYTES, windowBytes),
    windowBytes,
    headerListBytesMax: limits.headerBytesMax,
    headerMs: limits.headerMs,
    idleMs: limits.idleMs,
    pingMs: PING_MS,
    pingAckMs: PING_ACK_MS,
    takeMs: limits.bodyMs,
  };
}

function dropReasonOf({ reason }: ConnectionEnd): DropReason | undefined {
  switch (reason) {
    case "idle":
      return "idle";
    case "flood":
    case "late":
    case "protocol":
      return "protocol";
    default:
      return undefined;
  }
}
