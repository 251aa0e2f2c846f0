/**
 * Where the receiver listens: on `Deno.serve`, which costs least, or on `node:http`, which bounds connections, headers and idle
 * time.
 * @module
 */
import type { IncomingMessage, RequestListener, ServerOptions } from "node:http";
import { createServer, type Server } from "node:https";
import type { Config } from "./config/schema.ts";
import { formatEndpoint, isLoopback } from "./config/units.ts";
import { ConfigError, messageOf } from "./errors.ts";
import { listenBounded, type Listener } from "./receiver/node_listener.ts";
import type { ReceiverEvents } from "./receiver/app.ts";
import { checkTlsFiles, readTlsFiles } from "./receiver/tls_files.ts";
import { type FileWatch, watchText } from "./receiver/tokens_watch.ts";
import type { Log } from "./telemetry/log.ts";
import type { RelayMetrics } from "./telemetry/metrics.ts";

/** The receiver's socket. */
export interface Listening {
  /** e.g. `http://127.0.0.1:4319`, with the port that was had. */
  readonly url: string;
  /** Connections open now; undefined where nobody can tell. */
  connections(): number | undefined;
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

/** One line in this time, in ms, about connections that were closed. */
const LOG_INTERVAL_MS = 10_000;

/** Whether connections are bounded. Off loopback, where strangers can connect, they are unless it is said otherwise. */
export function isBounded({ listener, endpoint, tls }: Config["receiver"]["http"]): boolean {
  if (tls.cert_file !== undefined) return true;
  return listener === "bounded" || (listener === "auto" && !isLoopback(endpoint.hostname));
}

/**
 * Listens at `receiver.http.endpoint`.
 * @throws {ConfigError} when the address cannot be had.
 */
export async function listen(
  http: Config["receiver"]["http"],
  events: ListeningEvents,
  answer: (request: Request, incoming?: IncomingMessage) => Promise<Response>,
): Promise<Listening> {
  const { hostname, port } = http.endpoint;
  const { log } = events;
  try {
    const listening = isBounded(http) ? await bounded(http, events, answer) : unbounded(http, events, answer);
    const scheme = http.tls.cert_file === undefined ? "http" : "https";
    const url = `${scheme}://${formatEndpoint({ hostname, port: listening.port })}`;
    log.info("Receiving", { url });
    return { ...listening, url };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(
      `Cannot listen at receiver.http.endpoint ${formatEndpoint({ hostname, port })}: ${messageOf(error)}; ` +
        "free the port or choose another",
      { cause: error },
    );
  }
}

async function bounded(
  http: Config["receiver"]["http"],
  { receiver, metrics, log }: ListeningEvents,
  answer: (request: Request, incoming?: IncomingMessage) => Promise<Response>,
): Promise<Listener> {
  const tls = await openTls(http.tls, log);
  const listener = await listenBounded({
    ...(tls === undefined ? {} : { server: tls.server }),
    ...http.endpoint,
    limits: {
      connectionsMax: http.max_connections,
      headerBytesMax: http.max_header_size,
      headerMs: http.read_header_timeout,
      bodyMs: http.request_body_timeout,
      idleMs: http.idle_timeout,
    },
    answer,
    events: {
      refused: (refusal) => receiver.refused(undefined, undefined, refusal, undefined),
      failed: (error) => receiver.failed(error),
      dropped: () => {
        metrics.droppedConnection();
        log.limited("connections", LOG_INTERVAL_MS).warn("Closed a connection: as many as are allowed are open", {
          max_connections: http.max_connections,
        });
      },
    },
  });
  if (tls === undefined) return listener;
  const watch = tls.watch();
  return {
    ...listener,
    async close() {
      await watch[Symbol.asyncDispose]();
      await listener.close();
    },
  };
}

/** How to make a server of `node:https`, and a watch over its files; undefined without a certificate. */
async function openTls(tls: Config["receiver"]["http"]["tls"], log: Log) {
  const { cert_file: cert, key_file: key, client_ca_file: clientCa } = tls;
  if (cert === undefined || key === undefined) return undefined;
  const files = { cert, key, clientCa };
  const text = await readTlsFiles(files);
  const identity = checkTlsFiles(text);
  let server: Server | undefined;
  return {
    server: (options: ServerOptions, listener: RequestListener) =>
      // Who has no certificate, or not a good one, is told so by the receiver; see `receiver/peer.ts`.
      server = createServer({
        ...options,
        ...identity,
        minVersion: "TLSv1.2",
        requestCert: clientCa !== undefined,
        rejectUnauthorized: false,
      }, listener),
    watch: (): FileWatch =>
      watchText(() => readTlsFiles(files), "receiver.http.tls", text, {
        intervalMs: tls.reload_interval,
        onChange: (text) => {
          server?.setSecureContext(checkTlsFiles(text));
          // Those that are open were let in by the old files.
          server?.closeIdleConnections();
          log.info("Took up a changed certificate of receiver.http.tls", { file: cert });
        },
        onRefused: (reason) => log.error("Refused a changed certificate; the old one goes on", { cause: reason }),
      }),
  };
}

function unbounded(
  http: Config["receiver"]["http"],
  { receiver }: ListeningEvents,
  answer: (request: Request) => Promise<Response>,
): Omit<Listening, "url"> & { readonly port: number } {
  const server = Deno.serve({
    ...http.endpoint,
    onListen: () => {},
    onError: (error) => {
      receiver.failed(error);
      return new Response(null, { status: 503, headers: { "retry-after": "1" } });
    },
  }, answer);
  return {
    port: server.addr.port,
    connections: () => undefined,
    close: () => server.shutdown(),
    abandon: () => {},
  };
}
