/**
 * The ways to the Collector, with the identity that each shows, and the relay's own telemetry, which leaves by them.
 * @module
 */
import { lookup } from "node:dns/promises";
import process from "node:process";
import { exporterSettings, headersFor, type Protocol } from "../config/exporter_settings.ts";
import type { Config } from "../config/schema.ts";
import { proxyVariableFor } from "../doctor/proxy.ts";
import { CollectorClient } from "../exporter/client/client.ts";
import type { ResolveName } from "../exporter/client/transports.ts";
import { encodeStatus, encodeSuccess } from "../otlp/response.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../signal.ts";
import { keepIdentity, type KeptIdentity, openIdentity } from "./client_identity.ts";
import type { Log } from "../telemetry/log.ts";
import { startTelemetry, type Telemetry } from "../telemetry/telemetry.ts";
import { USER_AGENT, VERSION } from "../version.ts";

/** The longest that an append to the `none` engine may take, in ms: senders give up at 10 s. */
const DIRECT_MS_MAX = 8_000;
/** The longest that the relay's own last spans and metrics may take when it stops, in ms; part of `shutdown.grace`. */
export const OWN_TELEMETRY_MS_MAX = 1_000;

/** Requests to the Collector at once, for each signal, with the `none` engine, where each request is one sender's. */
const DIRECT_CONSUMERS = 64;

/** Requests to the Collector under way at once, for each signal, where each is one sender's. */
export function requestsAtOnce({ storage, num_consumers }: Config["sending_queue"]): number {
  return storage === "none" ? Math.max(DIRECT_CONSUMERS, num_consumers) : num_consumers;
}

/** One client of an exporter for each identity: one in all, unless its `signals` give a signal its own. */
export async function openClients(
  config: Config,
  name: string,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<{ clients: Record<SignalName, CollectorClient>; identities: readonly KeptIdentity[] }> {
  const durable = config.sending_queue.storage !== "none";
  const settings = bySignal((signal) => exporterSettings(config, signal, name));
  const targets = bySignal((signal) => ({
    url: settings[signal].url,
    headers: settings[signal].headers,
    timeoutMs: config.sending_queue.storage === "none"
      ? Math.min(settings[signal].timeoutMs, DIRECT_MS_MAX)
      : settings[signal].timeoutMs,
  }));
  const keyOf = (signal: SignalName) =>
    JSON.stringify([settings[signal].tls, new URL(settings[signal].url).protocol, settings[signal].protocol]);
  const opened = new Map<string, CollectorClient>();
  const identities: KeptIdentity[] = [];
  for (const signal of SIGNAL_NAMES) {
    const { tls, url, protocol } = settings[signal];
    const key = keyOf(signal);
    if (opened.has(key)) continue;
    const identity = url.startsWith("https:") ? await openIdentity(tls, durable, log) : undefined;
    const client = new CollectorClient({
      identity: identity ?? { caCerts: [] },
      targets,
      protocol,
      userAgent: USER_AGENT,
      // As many as may be under way: with fewer, a busy relay makes a TLS handshake for most of its requests.
      idleConnectionsMax: requestsAtOnce(config.sending_queue) * SIGNAL_NAMES.length,
      http2: durable,
      resolve: resolverFor(
        protocol,
        SIGNAL_NAMES.filter((each) => keyOf(each) === key).map((each) => new URL(targets[each].url)),
      ),
    });
    opened.set(key, client);
    stack.defer(() => client.close());
    if (identity === undefined) continue;
    const signals = SIGNAL_NAMES.filter((each) => keyOf(each) === key);
    identities.push(stack.use(keepIdentity({ tls, identity, client, signals, log })));
  }
  return { clients: bySignal((signal) => opened.get(keyOf(signal))!), identities };
}

/**
 * What tells a client all addresses of the names in its URLs; undefined where a proxy resolves them, or where nobody can tell.
 * @param env The environment, which a process may have no leave to read. OTLP/gRPC goes by none of its proxies.
 */
export function resolverFor(
  protocol: Protocol,
  urls: readonly URL[],
  env: () => Readonly<Record<string, string | undefined>> = () => process.env,
): ResolveName | undefined {
  if (protocol === "grpc") return addressesOf;
  try {
    return urls.some((url) => proxyVariableFor(url, env()) !== undefined) ? undefined : addressesOf;
  } catch {
    return undefined;
  }
}

async function addressesOf(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

/** The relay's own spans and metrics leave through the mTLS client, never through the queue. Without clients nothing leaves. */
export function startOwnTelemetry(
  { telemetry, exporter }: Config,
  clients: Readonly<Record<SignalName, CollectorClient>> | undefined,
  log: Log,
): Telemetry {
  const target = (signal: "traces" | "metrics") => {
    if (clients === undefined) return undefined;
    const client = clients[signal];
    const { url, headers, timeoutMs } = client.target(signal);
    return {
      url,
      headers: headersFor(headers, telemetry.resource.service_name),
      timeoutMs,
      fetch: (to: string, init: RequestInit) => {
        const http = client.httpFor(signal);
        return http === undefined ? sendAs(signal, client, init) : fetch(to, { ...init, client: http });
      },
    };
  };
  return startTelemetry({
    serviceName: telemetry.resource.service_name,
    serviceVersion: VERSION,
    exporter: {
      traces: telemetry.traces.enabled ? target("traces") : undefined,
      metrics: telemetry.metrics.enabled ? target("metrics") : undefined,
    },
    // `sampleAtHead` has sampled already.
    samplingRatio: 1,
    metricIntervalMs: telemetry.metrics.interval,
    shutdownMs: Math.min(OWN_TELEMETRY_MS_MAX, exporter.timeout),
    log,
  });
}

/** What the SDK posts, sent over gRPC: the answer as OTLP/HTTP has it. Rejects where there is none. */
async function sendAs(signal: SignalName, client: CollectorClient, { body, headers, signal: abort }: RequestInit) {
  const bytes = await new Response(body ?? null).bytes();
  const encoding = new Headers(headers).get("content-encoding") === "gzip" ? "gzip" : "identity";
  const answer = await client.send(signal, bytes, encoding, abort === null || abort === undefined ? {} : { abort });
  if (answer.kind === "none") throw new TypeError(answer.cause);
  const { status, foreign, message, retryAfterMs, partialSuccess } = answer;
  if (foreign) return new Response(message, { status: 502, headers: { "content-type": "text/plain" } });
  const contentType = "application/x-protobuf";
  return new Response(
    status === 200
      ? encodeSuccess(signal, contentType, partialSuccess)
      : encodeStatus(contentType, { code: 0, message }),
    {
      status,
      headers: {
        "content-type": contentType,
        ...(retryAfterMs === undefined ? {} : { "retry-after": String(Math.ceil(retryAfterMs / 1_000)) }),
      },
    },
  );
}
