/**
 * The way in by `node:http`, on every socket of our own. It bounds connections, header bytes, header time and idle time, and hands
 * requests to an app: light ones where they are posted to a path that takes them, web objects for the rest.
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { type DropReason, Refusal, type RefusalCode, REFUSALS } from "../../errors.ts";
import { encodeStatus } from "../../otlp/response.ts";
import type { ReceiverEnvironment } from "../app.ts";
import { keepEntries } from "./connections_list.ts";
import { Gate } from "./gate.ts";
import { connectionOf } from "./handshakes.ts";
import type { Answer } from "../inbound.ts";
import { NodeInbound, NodeMessage, urlOf, writeAnswer } from "./node_request.ts";

/** Bounds on connections, whatever is sent over them. */
export interface ConnectionLimits {
  /** Connections open at once; a further one replaces one that has proved nothing, or is closed as it opens. */
  readonly connectionsMax: number;
  /** Connections of one address that are open at once and have proved nothing; 0: no bound. */
  readonly addressConnectionsMax: number;
  /** Request line and header fields, in bytes; above it 431. */
  readonly headerBytesMax: number;
  /** From the connection's opening, or the request's first byte, to the end of the header, in ms; above it 503. */
  readonly headerMs: number;
  /** From there to the end of the body, in ms. The app has a bound of its own, and its answer is better. */
  readonly bodyMs: number;
  /** Between two requests of a connection, in ms; then it is closed. */
  readonly idleMs: number;
  /** After about so long a connection ends with its next answer, in ms; no bound unless given. */
  readonly ageMs?: number;
}

/** What the listener tells beside what the app does. */
export interface ListenerEvents {
  /** A connection was closed without an answer. */
  dropped(reason: DropReason): void;
  /** A request was refused before the app could see it. */
  refused(refusal: Refusal): void;
  /** The app threw, or its answer could not be sent. */
  failed(error: unknown): void;
  /** It had stopped accepting connections, and listens anew. */
  listenedAnew?(): void;
}

export interface ListenOptions {
  readonly hostname: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly limits: ConnectionLimits;
  readonly events: ListenerEvents;
  /** An app's `fetch`. */
  readonly answer: (request: Request, environment: ReceiverEnvironment) => Response | Promise<Response>;
  /** Paths whose POST is handed over as {@link ReceiverEnvironment.inbound}; its answer is then an {@link Answer}. None by default. */
  readonly lightPaths?: ReadonlySet<string>;
  /** ms of a clock that never steps; for tests. */
  readonly now?: () => number;
  /** How often it checks whether it still accepts connections, in ms. Default: 5 s. */
  readonly selfCheckMs?: number;
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
  /** Whether it accepts connections, as far as it has looked. */
  accepting(): boolean;
  /** Takes no new connections and resolves when the last one has closed; idle ones are closed at once. */
  close(): Promise<void>;
  /** Closes the connections that are left, whatever is under way on them. */
  abandon(): void;
}

/** How often it looks for late connections, in ms: the precision of the times above. */
const CHECK_MS = 1_000;

/** Listens. Rejects with the system's error when the address cannot be had. */
export async function listenOnNode(options: ListenOptions): Promise<Listener> {
  const { limits, events } = options;
  const make = options.server ?? createServer;
  const last = new WeakMap<Socket, ServerResponse>();
  const server = make({
    // Node's types do not have this constructor; its argument is what the parser gives.
    IncomingMessage: NodeMessage as unknown as typeof IncomingMessage,
    maxHeaderSize: limits.headerBytesMax,
    // As a `Headers` has them. For a few names Node otherwise keeps the first field only.
    joinDuplicateHeaders: true,
    // It answers without a word; see `serve`.
    requireHostHeader: false,
    headersTimeout: limits.headerMs,
    // An option of `node:https`; 2 minutes unless given.
    handshakeTimeout: limits.headerMs,
    requestTimeout: limits.headerMs + limits.bodyMs + CHECK_MS,
    keepAliveTimeout: limits.idleMs,
    connectionsCheckingInterval: Math.min(CHECK_MS, limits.headerMs),
  }, (incoming, response) => take(incoming, response));

  keepEntries(server);
  const gate = new Gate({ ...options, server });
  const { connections, ages } = gate;

  function take(incoming: IncomingMessage, response: ServerResponse): void {
    const message = incoming as NodeMessage;
    const connection = connectionOf(message.socket);
    last.set(message.socket, response);
    connections.used(connection);
    // Not closed while it is idle: a request could be on its way, and its sender could not tell whether it was taken.
    if (ages.reached(connection)) response.shouldKeepAlive = false;
    // After the parser has handed over what came with the header: most bodies are complete then, and need no waiting.
    queueMicrotask(() => {
      serve(options, message, response, () => connections.proved(connection)).catch((error: unknown) => {
        events.failed(error);
        message.socket.destroy();
      });
    });
  }

  // Sent when the body is read, so that a refused sender need not send it (RFC 9110, 10.1.1).
  server.on("checkContinue", (incoming: IncomingMessage, response: ServerResponse) => {
    (incoming as NodeMessage).beforeReading = () => response.writeContinue();
    take(incoming, response);
  });
  // No sender of telemetry means any other expectation; Node would answer 417, and the data would be lost.
  server.on("checkExpectation", take);
  // A client may close its half of the connection after its request, and is answered all the same, as by Go and by Deno.serve.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on("clientError", (error: Error & { code?: string }, socket: Socket) => {
    // On a connection that broke there is nobody to answer.
    if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
    // The TLS handshake is not finished: an answer would wait for it, and hold the connection for ever.
    if (socket instanceof TLSSocket && socket.getProtocol() === null) return void socket.destroy();
    // Nor on one that has sent nothing: a browser that has opened it ahead of need would take the answer for that to its next request.
    if (socket.bytesRead === 0) {
      events.dropped("idle");
      return void socket.destroy();
    }
    // Already answered, while the rest of its body was still to come.
    const response = last.get(socket);
    if (response?.headersSent === true && !response.req.complete) return void socket.destroy();
    const refusal = refusalOf(error.code, limits, response !== undefined && !response.req.complete);
    events.refused(refusal);
    socket.end(answerAlone(refusal), () => socket.destroy());
  });
  server.on("timeout", (socket: Socket) => {
    events.dropped("idle");
    socket.destroy();
  });
  const port = await gate.listen(options.port);
  return {
    port,
    connections: () => connections.size,
    accepting: () => gate.accepting,
    close() {
      gate[Symbol.dispose]();
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeIdleConnections();
      return closed.promise;
    },
    abandon: () => server.closeAllConnections(),
  };
}

/** Why `node:http` gave up a request (llhttp's codes, and Node's own for lateness). */
function refusalOf(code: string | undefined, limits: ConnectionLimits, withinBody: boolean): Refusal {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new Refusal("header_timeout", `Request did not arrive within ${limits.headerMs} ms`, { remedy: "retry" });
    case "HPE_HEADER_OVERFLOW":
      return new Refusal("header_too_large", `Header is over the limit of ${limits.headerBytesMax} bytes`, {
        remedy: "send less",
      });
    default:
      return new Refusal(
        "malformed",
        withinBody
          ? "Body is not chunked correctly: a chunk is a size in hex without a blank behind it, CRLF, and as many bytes (RFC 9112, 7.1)"
          : "Request is not HTTP/1.1",
      );
  }
}

/** A whole answer, for a connection on which no request could be read. */
export function answerAlone(refusal: Refusal): string {
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

async function serve(
  options: ListenOptions,
  message: NodeMessage,
  response: ServerResponse,
  onProved: () => void,
): Promise<void> {
  const scheme = message.socket instanceof TLSSocket ? "https" : "http";
  const hosts = message.headers.host;
  // RFC 9112, 3.2: a request without the field, or with several, is to be answered 400.
  if (hosts === undefined ? message.httpVersion !== "1.0" : hosts.includes(",")) {
    return refuse(options, message, new Refusal("malformed", "Host is missing or sent twice", { remedy: "send one" }));
  }
  const inbound = message.method === "POST" ? lightOf(options, message, scheme, onProved) : undefined;
  let request: Request;
  if (inbound !== undefined) request = inbound as unknown as Request;
  else {
    const web = webRequestOf(message, scheme);
    if (web instanceof Refusal) return refuse(options, message, web);
    request = web;
  }
  const environment = inbound === undefined ? { incoming: message } : { incoming: message, inbound };
  const answer = await options.answer(request, environment) as Response | Answer;
  // Nobody is there any more.
  if (response.destroyed) return void (answer instanceof Response && await answer.body?.cancel());
  if (!(answer instanceof Response)) {
    // A client that has proved nothing is not worth a connection.
    return writeAnswer(message, response, answer, answer.status === REFUSALS.unauthenticated.status);
  }
  if (answer.headers.get("content-type")?.startsWith("text/event-stream") === true) {
    return await stream(answer, response);
  }
  writeAnswer(message, response, {
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    body: new Uint8Array(await answer.arrayBuffer()),
  }, false);
}

/** The request without web objects, where it is posted to a path that takes such. */
function lightOf(
  { lightPaths }: ListenOptions,
  message: NodeMessage,
  scheme: "http" | "https",
  onProved: () => void,
): NodeInbound | undefined {
  if (lightPaths === undefined) return undefined;
  const { url: target = "" } = message;
  // As nearly every sender writes it.
  if (lightPaths.has(target)) return new NodeInbound(message, `${scheme}://localhost${target}`, onProved);
  const url = urlOf(target, scheme);
  if (url === undefined) return undefined;
  const path = url.slice(url.indexOf("/", "https://".length));
  const query = path.indexOf("?");
  return lightPaths.has(query < 0 ? path : path.slice(0, query)) ? new NodeInbound(message, url, onProved) : undefined;
}

function refuse({ events }: ListenOptions, message: NodeMessage, refusal: Refusal): void {
  events.refused(refusal);
  message.socket.end(answerAlone(refusal));
}

/** A request to another path than a signal's: no such path takes a body, so the request has none. */
function webRequestOf(message: NodeMessage, scheme: "http" | "https"): Request | Refusal {
  const url = urlOf(message.url ?? "", scheme);
  if (url === undefined) return new Refusal("malformed", "Request line is not valid", { remedy: "use a path" });
  const { method = "", rawHeaders } = message;
  const headers: [string, string][] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) headers.push([rawHeaders[index]!, rawHeaders[index + 1]!]);
  try {
    return new Request(url, { method, headers });
  } catch {
    // A method or a header that `Request` does not take.
    return new Refusal("malformed", "Request line or header is not valid", { remedy: "use POST and a path" });
  }
}

/** Writes an answer as it comes, until the answer or the connection ends. */
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
