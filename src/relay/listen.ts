/**
 * Where the receiver listens: on `node:http`, plain or with TLS, or on `Deno.serve` for hosts that start a program by it.
 * @module
 */
import type { RequestListener, ServerOptions } from "node:http";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import { formatEndpoint } from "../config/units.ts";
import { CertificateError, ConfigError, messageOf } from "../errors.ts";
import type { Expiry } from "../pki/expiry.ts";
import type { Identity } from "../pki/identity.ts";
import { refusalAnswer } from "../receiver/answer.ts";
import { unreadableTarget, webAnswer } from "../receiver/web_request.ts";
import { listenOnNode } from "../receiver/node_listener.ts";
import type { ReceiverEnvironment } from "../receiver/app.ts";
import type { ReceiverEvents } from "../receiver/receive.ts";
import { SIGNALS } from "../signal.ts";
import { serverIdentityConfig } from "../receiver/tls_identity.ts";
import { keepServerIdentity, openServerIdentity } from "./server_identity.ts";
import type { Log } from "../telemetry/log.ts";
import type { RelayMetrics } from "../telemetry/metrics.ts";

/** The receiver's socket. */
export interface Listening {
  /** e.g. `http://127.0.0.1:4319`, with the port that was had. */
  readonly url: string;
  /** Connections open now; undefined where nobody can tell. */
  connections(): number | undefined;
  /** Whether it accepts connections, as far as anybody can tell. */
  accepting(): boolean;
  /** The end of each certificate that it shows or trusts. */
  expiries(): Expiry[];
  /** Takes no new connections and resolves when those that are left have closed. */
  close(): Promise<void>;
  /** Closes what is left, as far as it can be. */
  abandon(): void;
}

/** What is told of connections. */
export interface ListeningEvents {
  readonly receiver: ReceiverEvents;
  readonly metrics: RelayMetrics;
  readonly log: Log;
}

/** Answers a request, as an app's `fetch` does. */
export type AppAnswer = (request: Request, environment: ReceiverEnvironment) => Promise<Response>;

/** What stands before the app: `node`, on every machine of one's own, or `deno_serve`, where a host waits for that call. */
export type WayIn = "node" | "deno_serve";

/** One line in this time, in ms, about connections that were closed. */
const LOG_INTERVAL_MS = 10_000;

/** What POSTs of these paths are is known before anything is made of them. */
const SIGNAL_PATHS: ReadonlySet<string> = new Set(SIGNALS.map(({ path }) => path));

/**
 * Listens at `receiver.http.endpoint`.
 * @throws {ConfigError} when the address cannot be had; {@link CertificateError} for what cannot be shown there.
 */
export async function listen(
  http: Config["receiver"]["http"],
  events: ListeningEvents,
  answer: AppAnswer,
  way: WayIn = "node",
): Promise<Listening> {
  const { hostname, port } = http.endpoint;
  const { log } = events;
  try {
    const listening = way === "node" ? await onNode(http, events, answer) : onDenoServe(http, events, answer);
    const scheme = http.tls.cert_file === undefined ? "http" : "https";
    const url = `${scheme}://${formatEndpoint({ hostname, port: listening.port })}`;
    log.info("Receiving", { url });
    return { ...listening, url };
  } catch (error) {
    if (error instanceof ConfigError || error instanceof CertificateError) throw error;
    throw new ConfigError(
      {
        what: `Cannot listen at receiver.http.endpoint ${formatEndpoint({ hostname, port })}`,
        state: messageOf(error),
        remedy: "free the port or choose another",
      },
      { cause: error },
    );
  }
}

async function onNode(
  http: Config["receiver"]["http"],
  { receiver, metrics, log }: ListeningEvents,
  answer: AppAnswer,
): Promise<Omit<Listening, "url"> & { readonly port: number }> {
  const tls = await openTls(http.tls, log);
  const listener = await listenOnNode({
    ...(tls === undefined ? {} : { server: tls.server }),
    ...http.endpoint,
    limits: {
      connectionsMax: await connectionsWithinFiles(http.max_connections, log),
      addressConnectionsMax: http.max_connections_per_address,
      headerBytesMax: http.max_header_size,
      headerMs: http.read_header_timeout,
      bodyMs: http.request_body_timeout,
      idleMs: http.idle_timeout,
      ...(http.max_connection_age === undefined ? {} : { ageMs: http.max_connection_age }),
    },
    answer,
    lightPaths: SIGNAL_PATHS,
    events: {
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
    },
  });
  if (tls === undefined) return { ...listener, expiries: () => [] };
  const kept = tls.keep();
  return {
    ...listener,
    expiries: kept.expiries,
    async close() {
      await kept[Symbol.asyncDispose]();
      await listener.close();
    },
  };
}

/** Files that the relay needs beside its senders' connections: the queue, the Collector, admin, what is watched. */
const FILES_RESERVED = 200;
/** The fewest connections that are taken, however few files there are. */
const CONNECTIONS_MIN = 16;

/** As many connections as there are files for: without one Deno stops accepting for good, and panics where it looks for a signal. */
async function connectionsWithinFiles(connectionsMax: number, log: Log): Promise<number> {
  const filesMax = await openFilesMax();
  if (filesMax === undefined) return connectionsMax;
  const room = Math.max(CONNECTIONS_MIN, filesMax - FILES_RESERVED);
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

/** How to make a server of `node:https`, and to keep its identity; undefined without a certificate. */
async function openTls(tls: Config["receiver"]["http"]["tls"], log: Log) {
  const config = serverIdentityConfig(tls);
  if (config === undefined) return undefined;
  const identity = await openServerIdentity(config, log);
  /** Which identity a connection was let in with; they are counted. */
  const shown = new WeakMap<Socket, number>();
  let current = 0;
  let server: Server | undefined;
  return {
    server(options: ServerOptions, listener: RequestListener) {
      // Who has no certificate, or not a good one, is told so by the receiver; see `receiver/senders/certificate.ts`.
      server = createServer({
        ...options,
        ...secureContext(identity),
        minVersion: "TLSv1.2",
        requestCert: config.ca !== undefined,
        rejectUnauthorized: false,
      }, (request, response) => {
        // A connection of the old identity ends with the answer to its next request: closed while it is idle, it could meet a
        // request that is on its way, and no sender can tell whether that one was taken.
        if (shown.get(request.socket) !== current) response.shouldKeepAlive = false;
        listener(request, response);
      });
      return server.on("secureConnection", (socket) => void shown.set(socket, current));
    },
    keep: () =>
      keepServerIdentity({
        tls,
        config,
        identity,
        log,
        replace(next) {
          server?.setSecureContext(secureContext(next));
          current++;
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
): Omit<Listening, "url"> & { readonly port: number } {
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
    accepting: () => true,
    expiries: () => [],
    close: () => server.shutdown(),
    abandon: () => {},
  };
}
