/**
 * Opens the receiver's sockets: on `node:http` and for gRPC, plain or with TLS, or on `Deno.serve` for hosts that start a program by it.
 * @module
 */
import type { RequestListener, ServerOptions } from "node:http";
import { readFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import type { ListenerHealth } from "../admin/health.ts";
import type { Config } from "../config/schema.ts";
import { type Endpoint, formatEndpoint } from "../config/units.ts";
import { CertificateError, ConfigError, messageOf } from "../errors.ts";
import type { Expiry } from "../pki/expiry.ts";
import type { Identity } from "../pki/identity.ts";
import { refusalAnswer } from "../receiver/answer.ts";
import { unreadableTarget, webAnswer } from "../receiver/web_request.ts";
import { type GrpcListener, listenOnGrpc } from "../receiver/grpc/listener.ts";
import {
  type ConnectionLimits,
  type Listener,
  type ListenerEvents,
  listenOnNode,
} from "../receiver/listener/node_listener.ts";
import type { ReceiverEnvironment } from "../receiver/app.ts";
import type { ReceiverEvents } from "../receiver/receive.ts";
import { SIGNALS } from "../signal.ts";
import { serverIdentityConfig } from "../receiver/listener/tls_identity.ts";
import { readLightly } from "../receiver/listener/tls_reading.ts";
import { keepServerIdentity, openServerIdentity } from "./server_identity.ts";
import type { Log } from "../telemetry/log.ts";
import type { RelayMetrics } from "../telemetry/metrics.ts";

/** The receiver's sockets. */
export interface Listening {
  /** e.g. `http://127.0.0.1:4319`, with the actual port. */
  readonly url: string;
  /** The same for OTLP/gRPC, e.g. `http://127.0.0.1:4327`; undefined without it. */
  readonly grpcUrl: string | undefined;
  /** Connections open now; undefined where that is not known. */
  connections(): number | undefined;
  /** Each of them, as it is now. */
  listeners(): ListenerHealth[];
  /** The end of each certificate that it shows or trusts. */
  expiries(): Expiry[];
  /** Asks senders that hold connections to take their next requests elsewhere, as far as their protocol can. */
  drain(): void;
  /** Takes no new connections and resolves when the others have closed. */
  close(): Promise<void>;
  /** Closes the connections that are left, as far as possible. */
  abandon(): void;
}

/** Hears of connections and of the requests that come by them. */
export interface ListeningEvents {
  /** Whether the relay is ready, for the health service of gRPC. */
  readonly isReady: () => boolean;
  readonly receiver: ReceiverEvents;
  readonly metrics: RelayMetrics;
  readonly log: Log;
}

/** Answers a request, as an app's `fetch` does. */
export type AppAnswer = (request: Request, environment: ReceiverEnvironment) => Promise<Response>;

/** What serves the app: `node` on your own machines, or `deno_serve` where a host waits for that call. */
export type WayIn = "node" | "deno_serve";

/** One line in this time, in ms, about connections that were closed. */
const LOG_INTERVAL_MS = 10_000;

/** Paths whose POSTs the receiver takes without web objects. */
const SIGNAL_PATHS: ReadonlySet<string> = new Set(SIGNALS.map(({ path }) => path));

/** One of the receiver's sockets. */
type Socketed = Omit<Listening, "url" | "grpcUrl" | "drain" | "listeners"> & { readonly port: number };

/**
 * Listens at `receiver.http.endpoint`, and at `receiver.grpc.endpoint` where there is one.
 * @throws {ConfigError} when it cannot listen at an address; {@link CertificateError} for a certificate that it cannot show there.
 */
export async function listen(
  { http, grpc }: Config["receiver"],
  events: ListeningEvents,
  answer: AppAnswer,
  way: WayIn = "node",
): Promise<Listening> {
  if (way === "deno_serve") {
    if (grpc.endpoint !== undefined) {
      throw new ConfigError({
        what: "Cannot use receiver.grpc here",
        state: "the host serves one port, of HTTP",
        remedy: "remove it, or run the relay on a machine of its own",
      });
    }
    const listening = await at("receiver.http.endpoint", http.endpoint, () => onDenoServe(http, events, answer));
    const url = urlOf(http, http.endpoint, listening.port, events.log);
    return {
      ...listening,
      listeners: () => [{ protocol: "OTLP/HTTP", url, accepting: true, connections: undefined }],
      url,
      grpcUrl: undefined,
      drain() {},
    };
  }
  const tls = await openTls(http.tls, events.log);
  const taken = await connectionsWithinFiles(http.max_connections, grpc.endpoint === undefined ? 1 : 2, events.log);
  const byHttp = await at("receiver.http.endpoint", http.endpoint, () => onNode(http, taken, tls, events, answer));
  const url = urlOf(http, http.endpoint, byHttp.port, events.log);
  const { endpoint } = grpc;
  const door: Door = { protocol: "OTLP/HTTP", url, listener: byHttp };
  if (endpoint === undefined) return { ...withIdentity([door], tls), url, grpcUrl: undefined, drain() {} };
  try {
    const byGrpc = await at("receiver.grpc.endpoint", endpoint, () => {
      const { max_concurrent_streams: streamsMax } = grpc;
      return onGrpc(http, { endpoint, streamsMax }, taken, tls, events, answer);
    });
    tls?.onReplaced(byGrpc.renew);
    const grpcUrl = urlOf(http, endpoint, byGrpc.port, events.log, "grpc");
    return {
      ...withIdentity([door, { protocol: "OTLP/gRPC", url: grpcUrl, listener: byGrpc }], tls),
      url,
      grpcUrl,
      drain: byGrpc.drain,
    };
  } catch (error) {
    const closed = byHttp.close();
    byHttp.abandon();
    await closed;
    throw error;
  }
}

/** A listener, and what is said of it. */
interface Door extends Pick<ListenerHealth, "protocol" | "url"> {
  readonly listener: Listener;
}

/** Several listeners as one, which show one identity. */
function withIdentity(doors: readonly Door[], tls: Tls | undefined): Omit<Listening, "url" | "grpcUrl" | "drain"> {
  const kept = tls?.keep();
  const sockets = doors.map(({ listener }) => listener);
  return {
    connections: () => sockets.reduce((sum, each) => sum + each.connections(), 0),
    listeners: () =>
      doors.map(({ protocol, url, listener }) => ({
        protocol,
        url,
        accepting: listener.accepting(),
        connections: listener.connections(),
      })),
    expiries: () => kept?.expiries() ?? [],
    async close() {
      await kept?.[Symbol.asyncDispose]();
      await Promise.all(sockets.map((each) => each.close()));
    },
    abandon() {
      for (const each of sockets) each.abandon();
    },
  };
}

/** Listens, or says why it cannot listen at the address of a setting. */
async function at<Opened>(setting: string, endpoint: Endpoint, open: () => Opened | Promise<Opened>): Promise<Opened> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof ConfigError || error instanceof CertificateError) throw error;
    throw new ConfigError(
      {
        what: `Cannot listen at ${setting} ${formatEndpoint(endpoint)}`,
        state: messageOf(error),
        remedy: "free the port or choose another",
      },
      { cause: error },
    );
  }
}

function urlOf(
  http: Config["receiver"]["http"],
  { hostname }: Endpoint,
  port: number,
  log: Log,
  protocol?: "grpc",
): string {
  const scheme = http.tls.cert_file === undefined ? "http" : "https";
  const url = `${scheme}://${formatEndpoint({ hostname, port })}`;
  log.info(protocol === undefined ? "Receiving" : "Receiving gRPC", { url });
  return url;
}

function onNode(
  http: Config["receiver"]["http"],
  connectionsMax: number,
  tls: Tls | undefined,
  events: ListeningEvents,
  answer: AppAnswer,
): Promise<Listener> {
  return listenOnNode({
    ...(tls === undefined ? {} : { server: tls.server }),
    ...http.endpoint,
    limits: connectionLimits(http, connectionsMax),
    answer,
    lightPaths: SIGNAL_PATHS,
    events: listenerEvents(http, events),
  });
}

function onGrpc(
  http: Config["receiver"]["http"],
  { endpoint, streamsMax }: { readonly endpoint: Endpoint; readonly streamsMax: number },
  connectionsMax: number,
  tls: Tls | undefined,
  events: ListeningEvents,
  answer: AppAnswer,
): Promise<GrpcListener> {
  return listenOnGrpc({
    ...(tls === undefined ? {} : { server: tls.grpcServer }),
    ...endpoint,
    limits: connectionLimits(http, connectionsMax),
    streamsMax,
    unreadBytesMax: http.max_in_flight_bytes / 4,
    isReady: events.isReady,
    answer,
    events: listenerEvents(http, events),
  });
}

function connectionLimits(http: Config["receiver"]["http"], connectionsMax: number): ConnectionLimits {
  return {
    connectionsMax,
    addressConnectionsMax: http.max_connections_per_address,
    headerBytesMax: http.max_header_size,
    headerMs: http.read_header_timeout,
    bodyMs: http.request_body_timeout,
    idleMs: http.idle_timeout,
    ...(http.max_connection_age === undefined ? {} : { ageMs: http.max_connection_age }),
  };
}

function listenerEvents(http: Config["receiver"]["http"], { receiver, metrics, log }: ListeningEvents): ListenerEvents {
  return {
    refused: (refusal) => receiver.refused({ refusal }),
    failed: (error) => receiver.failed(error),
    listenedAnew: () =>
      log.error("The receiver had stopped accepting connections and listens again; raise the limit on open files", {
        max_connections: http.max_connections,
      }),
    dropped: (reason) => {
      metrics.droppedConnection(reason);
      if (reason !== "max_connections" && reason !== "max_connections_per_address") return;
      log.limited(reason, LOG_INTERVAL_MS).warn("Closed a connection: as many as are allowed are open", {
        [reason]: http[reason],
      });
    },
  };
}

/** Files that the relay needs beside its senders' connections: for the queue, the Collector, admin and watched files. */
const FILES_RESERVED = 200;
/** The least number of connections, however few files there are. */
const CONNECTIONS_MIN = 16;

/**
 * As many connections, for each of the listeners, as there are files for: without one Deno stops accepting for good, and panics where
 * it looks for a signal.
 */
async function connectionsWithinFiles(connectionsMax: number, listeners: number, log: Log): Promise<number> {
  const filesMax = await openFilesMax();
  if (filesMax === undefined) return connectionsMax;
  const room = Math.max(CONNECTIONS_MIN, Math.floor((filesMax - FILES_RESERVED) / listeners));
  if (room >= connectionsMax) return connectionsMax;
  log.warn("Fewer connections are taken than receiver.http.max_connections says; raise the limit on open files", {
    max_connections: connectionsMax,
    open_files: filesMax,
    taken: room,
  });
  return room;
}

/** The limit on this process's open files; undefined where it cannot be read, or there is none. */
async function openFilesMax(): Promise<number | undefined> {
  try {
    const limits = await readFile("/proc/self/limits", "utf8");
    const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
    return Number.isNaN(soft) ? undefined : soft;
  } catch {
    // Another system, or Deno may not read there.
    return undefined;
  }
}

type Tls = NonNullable<Awaited<ReturnType<typeof openTls>>>;

/** How to make the servers that show one identity, and to keep it; undefined without a certificate. */
async function openTls(tls: Config["receiver"]["http"]["tls"], log: Log) {
  const config = serverIdentityConfig(tls);
  if (config === undefined) return undefined;
  const identity = await openServerIdentity(config, log);
  /** The number of the identity that a connection was accepted with. */
  const shown = new WeakMap<Socket, number>();
  let current = 0;
  const servers: TlsServer[] = [];
  const replaced: (() => void)[] = [];
  // The receiver answers a sender that has no certificate, or a bad one; see `receiver/senders/certificate.ts`.
  const settings = { minVersion: "TLSv1.2", requestCert: config.ca !== undefined, rejectUnauthorized: false } as const;
  return {
    server(options: ServerOptions, listener: RequestListener) {
      const server = createServer({ ...options, ...secureContext(identity), ...settings }, (request, response) => {
        // A connection of the old identity ends with the answer to its next request: closed while it is idle, it could meet a
        // request that is on its way, and no sender can tell whether that one was taken.
        if (shown.get(request.socket) !== current) response.shouldKeepAlive = false;
        listener(request, response);
      });
      servers.push(server);
      readLightly(server, true);
      return server.on("secureConnection", (socket) => void shown.set(socket, current));
    },
    grpcServer(options: { readonly handshakeTimeout: number }, listener: (socket: Socket) => void) {
      const context = { ...options, ...secureContext(identity), ...settings, ALPNProtocols: ["h2"] };
      const server = createTlsServer(context, listener);
      servers.push(server);
      readLightly(server);
      return server;
    },
    /** Told after each change, e.g. to have the connections of the old identity end. */
    onReplaced: (use: () => void) => void replaced.push(use),
    keep: () =>
      keepServerIdentity({
        tls,
        config,
        identity,
        log,
        replace(next) {
          for (const server of servers) server.setSecureContext(secureContext(next));
          current++;
          for (const use of replaced) use();
        },
      }),
  };
}

/** As `node:tls` takes it. */
function secureContext({ caCerts, cert, key }: Identity) {
  return { cert, key, ...(caCerts.length === 0 ? {} : { ca: caCerts }) };
}

function onDenoServe(
  http: Config["receiver"]["http"],
  { receiver }: ListeningEvents,
  answer: AppAnswer,
): Socketed {
  const server = Deno.serve({
    ...http.endpoint,
    onListen: () => {},
    onError: (error) => {
      receiver.failed(error);
      return new Response(null, { status: 503, headers: { "retry-after": "1" } });
    },
  }, (request, info) => {
    const refusal = unreadableTarget(request);
    if (refusal === undefined) return answer(request, { info });
    receiver.refused({ refusal });
    return webAnswer(refusalAnswer(new Headers(), refusal));
  });
  return {
    port: server.addr.port,
    connections: () => undefined,
    expiries: () => [],
    close: () => server.shutdown(),
    abandon: () => {},
  };
}
