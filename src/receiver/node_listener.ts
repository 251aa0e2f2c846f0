/**
 * A listener on `node:http` in front of the receiver, for what `Deno.serve` cannot bound: connections, header bytes, header time
 * and idle time. It hands `Request`s to the same app.
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { type DropReason, Refusal, type RefusalCode, REFUSALS } from "../errors.ts";
import { encodeStatus } from "../otlp/response.ts";

/** Bounds on connections, whatever is sent over them. */
export interface ConnectionLimits {
  /** Open at once; one more is closed as it opens, which a sender retries like any broken connection. */
  readonly connectionsMax: number;
  /** Request line and header fields, in bytes; above it 431. */
  readonly headerBytesMax: number;
  /** From the connection's opening, or the request's first byte, to the end of the header, in ms; above it 503. */
  readonly headerMs: number;
  /** From there to the end of the body, in ms. The app has a bound of its own, and its answer is better. */
  readonly bodyMs: number;
  /** Between two requests of a connection, in ms; then it is closed. */
  readonly idleMs: number;
}

/** What the listener tells beside what the app does. */
export interface ListenerEvents {
  /** A connection was closed without an answer. */
  dropped(reason: DropReason): void;
  /** A request was refused before the app could see it. */
  refused(refusal: Refusal): void;
  /** The app threw, or its answer could not be sent. */
  failed(error: unknown): void;
}

export interface ListenOptions {
  readonly hostname: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly limits: ConnectionLimits;
  readonly events: ListenerEvents;
  readonly answer: (request: Request, incoming: IncomingMessage) => Response | Promise<Response>;
  /** Makes the server: `node:http`'s own unless another is given, e.g. that of `node:https`. */
  readonly server?: (
    options: ServerOptions & { readonly handshakeTimeout: number },
    listener: (request: IncomingMessage, response: ServerResponse) => void,
  ) => Server;
}

/** A listener that takes connections. */
export interface Listener {
  readonly port: number;
  /** Connections open now. */
  connections(): number;
  /** Takes no new connections and resolves when the last one has closed; idle ones are closed at once. */
  close(): Promise<void>;
  /** Closes what is left, whatever is under way on it. */
  abandon(): void;
}

/** How often late connections are looked for, in ms: the precision of the times above. */
const CHECK_MS = 1_000;

/** Listens. Rejects with the system's error when the address cannot be had. */
export async function listenBounded(options: ListenOptions): Promise<Listener> {
  const { limits, events } = options;
  const make = options.server ?? createServer;
  const last = new WeakMap<Socket, ServerResponse>();
  const server = make({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headerMs,
    // Of `node:https`; 2 minutes unless said.
    handshakeTimeout: limits.headerMs,
    requestTimeout: limits.headerMs + limits.bodyMs + CHECK_MS,
    keepAliveTimeout: limits.idleMs,
    connectionsCheckingInterval: Math.min(CHECK_MS, limits.headerMs),
  }, (incoming, response) => {
    last.set(incoming.socket, response);
    serve(options, incoming, response).catch((error: unknown) => {
      events.failed(error);
      incoming.socket.destroy();
    });
  });
  // Who has sent its request may close its half of the connection and is answered all the same, as by Go and by Deno.serve.
  Object.assign(server, { httpAllowHalfOpen: true });
  let connections = 0;
  // Not `maxConnections`, which tells nobody here (no "drop" event in Deno 2.9.6).
  server.on("connection", (socket: Socket) => {
    if (connections >= limits.connectionsMax) {
      events.dropped("max_connections");
      socket.destroy();
      return;
    }
    connections++;
    socket.once("close", () => connections--);
  });
  server.on("clientError", (error: Error & { code?: string }, socket: Socket) => {
    // A connection that has said nothing, or that broke, has nobody to be answered.
    if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
    // TLS has not come about: what is written would wait for it, and hold the connection for ever.
    if (socket instanceof TLSSocket && socket.getProtocol() === null) return void socket.destroy();
    // Already answered, while the rest of its body was still to come.
    const response = last.get(socket);
    if (response?.headersSent === true && !response.req.complete) return void socket.destroy();
    const refusal = refusalOf(error.code, limits);
    events.refused(refusal);
    socket.end(answerAlone(refusal), () => socket.destroy());
  });
  server.on("tlsClientError", (error: Error & { code?: string }) => {
    // Who leaves meanwhile, as a probe of the port does, was not closed by us.
    if (error.code !== "ECONNRESET") events.dropped("handshake");
  });
  server.on("timeout", (socket: Socket) => {
    events.dropped("idle");
    socket.destroy();
  });
  const listening = Promise.withResolvers<void>();
  server.once("error", listening.reject);
  server.listen(options.port, options.hostname, () => listening.resolve());
  await listening.promise;
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    close() {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeIdleConnections();
      return closed.promise;
    },
    abandon: () => server.closeAllConnections(),
  };
}

/** Why `node:http` gave a request up (llhttp's codes, and node's own for lateness). */
function refusalOf(code: string | undefined, limits: ConnectionLimits): Refusal {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new Refusal("header_timeout", `Request did not arrive within ${limits.headerMs} ms; retry`);
    case "HPE_HEADER_OVERFLOW":
      return new Refusal("header_too_large", `Header is over the limit of ${limits.headerBytesMax} bytes; send less`);
    default:
      return new Refusal("malformed", "Request is not HTTP/1.1");
  }
}

/** A whole answer, for a connection on which no request could be read. */
function answerAlone(refusal: Refusal): string {
  const body = new TextDecoder().decode(
    encodeStatus("application/json", { code: REFUSALS[refusal.code].grpcCode, message: refusal.message }),
  );
  return [
    `HTTP/1.1 ${refusal.status} ${REASONS[refusal.code] ?? "Bad Request"}`,
    "content-type: application/json",
    `content-length: ${body.length}`,
    ...(refusal.retryAfterS === undefined ? [] : [`retry-after: ${refusal.retryAfterS}`]),
    "connection: close",
    "",
    body,
  ].join("\r\n");
}

const REASONS: Readonly<Partial<Record<RefusalCode, string>>> = {
  header_timeout: "Service Unavailable",
  header_too_large: "Request Header Fields Too Large",
};

async function serve(options: ListenOptions, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const request = requestOf(incoming);
  if (request instanceof Refusal) {
    options.events.refused(request);
    incoming.socket.end(answerAlone(request));
    return;
  }
  const answer = await options.answer(request, incoming);
  // Nobody is there any more.
  if (response.destroyed) return void await answer.body?.cancel();
  if (answer.headers.get("content-type")?.startsWith("text/event-stream") === true) {
    return await stream(answer, response);
  }
  const body = new Uint8Array(await answer.arrayBuffer());
  const fields: [string, string][] = [...answer.headers];
  fields.push(["content-length", String(body.length)]);
  if (!incoming.complete) leaveSoon(incoming);
  response.writeHead(answer.status, fields.flat());
  if (body.length === 0) response.end();
  else response.end(body);
}

/** Writes an answer as it comes, until one of the two ends. */
async function stream(answer: Response, response: ServerResponse): Promise<void> {
  response.writeHead(answer.status, [...answer.headers].flat());
  response.flushHeaders();
  const reader = answer.body!.getReader();
  response.once("close", () => void reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done || response.destroyed) break;
    if (!response.write(value)) await new Promise((resolve) => response.once("drain", resolve).once("close", resolve));
  }
  response.end();
}

/** How long the rest of a body is read after its request has been answered, in ms: closed at once, the answer would be lost. */
const LINGER_MS = 1_000;

/** Reads on for a while and forgets what it reads; then the connection is closed, unless the body has come to its end. */
function leaveSoon(incoming: IncomingMessage): void {
  const timer = setTimeout(() => {
    if (!incoming.complete) incoming.socket.destroy();
  }, LINGER_MS);
  incoming.socket.once("close", () => clearTimeout(timer));
}

/** What has no body (RFC 9110, 9.3.1 and 9.3.2); the app refuses them by their method. */
const BODILESS = new Set(["GET", "HEAD"]);

function requestOf(incoming: IncomingMessage): Request | Refusal {
  const { method = "", url = "", rawHeaders } = incoming;
  const headers: [string, string][] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) headers.push([rawHeaders[index]!, rawHeaders[index + 1]!]);
  try {
    return new Request(url.startsWith("/") ? `http://localhost${url}` : url, {
      method,
      headers,
      ...(BODILESS.has(method) ? {} : { body: bodyOf(incoming) }),
    });
  } catch {
    // A method, a target or a header that `Request` does not take.
    return new Refusal("malformed", "Request line or header is not valid; use POST and a path");
  }
}

/** The body as it arrives: read on when the app has room, so that no more than a chunk or two waits here. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  let open = true;
  return new ReadableStream({
    start(controller) {
      incoming.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
        if (!open) return;
        controller.enqueue(chunk);
        if (controller.desiredSize! <= 0) incoming.pause();
      });
      incoming.once("end", () => {
        if (open) controller.close();
        open = false;
      });
      incoming.once("error", (error) => {
        if (open) controller.error(error);
        open = false;
      });
      incoming.pause();
    },
    pull: () => void incoming.resume(),
    cancel() {
      open = false;
      // What is still to come is read and forgotten, so that the answer is not lost in a reset of the connection.
      incoming.resume();
    },
  });
}
