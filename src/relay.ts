/**
 * The wiring, on one screen: built downstream first, drained upstream first.
 * @module
 */
import { Hono } from "hono";
import { startAdmin } from "./admin/admin.ts";
import type { Config } from "./config/schema.ts";
import { exporterSettings } from "./config/exporter_settings.ts";
import { messageOf } from "./errors.ts";
import { CollectorClient } from "./exporter/client.ts";
import { Exporter } from "./exporter/exporter.ts";
import { MERGED_INFLATED_BYTES_MAX } from "./exporter/lane.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "./otlp/signal.ts";
import { Batcher } from "./queue/batcher.ts";
import type { Fault } from "./queue/faults.ts";
import { openQueue } from "./queue/open.ts";
import { Admission } from "./receiver/admission.ts";
import { Deadlines } from "./receiver/deadlines.ts";
import { mountReceiver } from "./receiver/app.ts";
import { exporterEvents, receiverEvents } from "./relay_events.ts";
import { listen } from "./relay_listen.ts";
import { keepIdentity, type KeptIdentity, openIdentity } from "./relay_identity.ts";
import { openLimiter, openRedactor, openSenders, openUsage } from "./relay_senders.ts";
import { sampleAtHead } from "./telemetry/head_sampling.ts";
import { instrument } from "./telemetry/instrument.ts";
import type { Log } from "./telemetry/log.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { startTelemetry, type Telemetry } from "./telemetry/telemetry.ts";
import { USER_AGENT, VERSION } from "./version.ts";

/** A running relay. */
export interface Relay extends AsyncDisposable {
  /** Where senders post, e.g. `http://127.0.0.1:4319`. */
  readonly url: string;
  /** Where health is asked for. */
  readonly adminUrl: string;
  /** Rejects when the relay cannot go on by itself: a defect, after which it must be started again. */
  readonly failed: Promise<never>;
  /** Answers what is under way, sends what it can within `shutdown.grace`, and keeps the rest on disk. */
  stop(): Promise<void>;
}

/** What tests put in; a relay for use has none. */
export interface RelaySeams {
  /** Faults in the transactions of the queue. */
  readonly faults?: readonly Fault[];
}

/** The longest that an append to the `none` engine may take, in ms: senders give up at 10 s. */
const DIRECT_MS_MAX = 8_000;
/** Senders that wait for the Collector at once, for each signal, with the `none` engine. */
const DIRECT_CONSUMERS = 64;
/** The longest that the relay's own last spans and metrics may take when it stops, in ms; part of `shutdown.grace`. */
const OWN_TELEMETRY_MS_MAX = 1_000;
/** The longest that a server waits for its connections when it closes, in ms; part of `shutdown.grace`. */
const CLOSE_MS_MAX = 500;

/**
 * Starts a relay.
 * @throws {ConfigError} or {@link CertificateError} naming what cannot be used; nothing is left running then.
 */
export async function startRelay(config: Config, log: Log, seams: RelaySeams = {}): Promise<Relay> {
  await using stack = new AsyncDisposableStack();
  // First, though it stands last: without senders that can be told apart nothing else is begun.
  const senders = await openSenders(config, log, stack);
  const { clients, identities } = await openClients(config, log, stack);
  const telemetry = stack.use(startOwnTelemetry(config, clients, log));
  const metrics = createMetrics(telemetry.meterProvider);
  const direct = config.sending_queue.storage === "none";
  const queue = stack.use(
    await openQueue({
      storage: config.sending_queue.storage,
      path: config.sending_queue.path,
      bytesMax: config.sending_queue.queue_size,
      ...(config.sending_queue.max_age === undefined ? {} : { maxAgeMs: config.sending_queue.max_age }),
      deadLetterBytesMax: config.sending_queue.dead_letters.max_size,
      log,
      ...seams,
    }),
  );
  const usage = await openUsage(config.sending_queue.path, log, stack);
  metrics.observeQueue(() => queue.stats());
  const settings = bySignal((signal) => exporterSettings(config, signal));
  const exporter = new Exporter({
    queue,
    clients,
    compression: bySignal((signal) => settings[signal].compression),
    consumers: direct ? DIRECT_CONSUMERS : config.sending_queue.num_consumers,
    batchBytesMax: config.sending_queue.batch.max_size,
    linger: { bytesMin: config.sending_queue.batch.min_size, ms: config.sending_queue.batch.flush_timeout },
    retry: {
      initialMs: config.exporter.retry_on_failure.initial_interval,
      maxMs: config.exporter.retry_on_failure.max_interval,
    },
    events: exporterEvents(metrics, log),
  });
  stack.defer(() => exporter.stop(0));
  const batcher = new Batcher(queue, {
    bytesMax: config.sending_queue.batch.max_size,
    inflatedBytesMax: MERGED_INFLATED_BYTES_MAX,
  }, metrics.appended);

  const { http } = config.receiver;
  const admission = new Admission(http.max_in_flight_bytes);
  const app = new Hono();
  instrument(app, {
    ...telemetry,
    // No trace passes through the relay, so that a request which is not sampled needs no id.
    tracerProvider: sampleAtHead(telemetry.tracerProvider, config.telemetry.traces.sampling_ratio),
    server: { address: http.endpoint.hostname, port: http.endpoint.port },
  });
  const receiver = receiverEvents(metrics, log);
  mountReceiver(app, {
    ...senders,
    limiter: openLimiter(config, queue),
    admission,
    usage,
    redactor: openRedactor(config, log),
    limits: {
      bodyBytesMax: http.max_request_body_size,
      deadlines: stack.use(new Deadlines(http.request_body_timeout, { keepTimer: true })),
    },
    payloadEncoding: SIGNAL_NAMES.every((signal) => settings[signal].compression === "none") ? "identity" : "gzip",
    append: (submission) => batcher.append(submission),
    events: receiver,
    allowedOrigins: http.cors.allowed_origins,
  });
  const answering = new Set<Promise<Response>>();
  const server = await listen(http, { receiver, metrics, log }, (request, connection) => {
    const answer = Promise.resolve(app.fetch(request, connection));
    answering.add(answer);
    const done = () => void answering.delete(answer);
    answer.then(done, done);
    return answer;
  });
  // A client that never sends the rest of its body keeps its connection for ever: nothing is waited for that long.
  stack.defer(async () => {
    await within(server.close(), CLOSE_MS_MAX);
    server.abandon();
  });
  const certificates = () => [...identities, server].flatMap((each) => each.expiries());
  metrics.observeCertificates(certificates);
  metrics.observeReceiver(() => ({ inFlightBytes: admission.bytes, connections: server.connections() }));
  const admin = startAdmin(config.telemetry.admin.endpoint, { queue, exporter, certificates });
  stack.defer(() => within(admin[Symbol.asyncDispose](), CLOSE_MS_MAX));

  const failed = exporter.running.then(() => new Promise<never>(() => {}));
  failed.catch((error) => log.error("The exporter has failed; restart the relay", { cause: messageOf(error) }));
  const running = stack.move();
  let stopping: Promise<void> | undefined;
  const stop = () =>
    stopping ??= (async () => {
      const deadline = Date.now() + config.shutdown.grace - OWN_TELEMETRY_MS_MAX - CLOSE_MS_MAX;
      const remainingMs = () => Math.max(0, deadline - Date.now());
      admission.close();
      // Those let in before, first: the server's own shutdown makes bodies unreadable that still arrive (denoland/deno#36809).
      await within(Promise.allSettled(answering), remainingMs());
      await within(batcher.idle(), remainingMs());
      await exporter.drain(remainingMs());
      await exporter.stop(remainingMs());
      // Refuses whoever still waits for the Collector's answer, before the connections close.
      await queue[Symbol.asyncDispose]();
      await running.disposeAsync();
      log.info("Stopped");
    })();
  return {
    url: server.url,
    adminUrl: admin.url,
    failed,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** One client for each identity: one in all, unless `exporter.signals` gives a signal its own. */
async function openClients(
  config: Config,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<{ clients: Record<SignalName, CollectorClient>; identities: readonly KeptIdentity[] }> {
  const durable = config.sending_queue.storage !== "none";
  const settings = bySignal((signal) => exporterSettings(config, signal));
  const targets = bySignal((signal) => ({
    url: settings[signal].url,
    headers: settings[signal].headers,
    timeoutMs: config.sending_queue.storage === "none"
      ? Math.min(settings[signal].timeoutMs, DIRECT_MS_MAX)
      : settings[signal].timeoutMs,
  }));
  const keyOf = (signal: SignalName) => JSON.stringify([settings[signal].tls, new URL(settings[signal].url).protocol]);
  const opened = new Map<string, CollectorClient>();
  const identities: KeptIdentity[] = [];
  for (const signal of SIGNAL_NAMES) {
    const { tls, url } = settings[signal];
    const key = keyOf(signal);
    if (opened.has(key)) continue;
    const identity = url.startsWith("https:") ? await openIdentity(tls, durable, log) : undefined;
    const client = new CollectorClient({
      identity: identity ?? { caCerts: [] },
      targets,
      userAgent: USER_AGENT,
      idleConnectionsMax: config.sending_queue.num_consumers,
    });
    opened.set(key, client);
    stack.defer(() => client.close());
    if (identity === undefined) continue;
    const signals = SIGNAL_NAMES.filter((each) => keyOf(each) === key);
    identities.push(stack.use(keepIdentity({ tls, identity, client, signals, log })));
  }
  return { clients: bySignal((signal) => opened.get(keyOf(signal))!), identities };
}

/** The relay's own spans and metrics leave through the mTLS client, never through the queue. */
function startOwnTelemetry(
  { telemetry, exporter }: Config,
  clients: Readonly<Record<SignalName, CollectorClient>>,
  log: Log,
): Telemetry {
  const target = (signal: "traces" | "metrics") => {
    const client = clients[signal];
    const { url, headers, timeoutMs } = client.target(signal);
    return {
      url,
      headers,
      timeoutMs,
      fetch: (to: string, init: RequestInit) => fetch(to, { ...init, client: client.http }),
    };
  };
  return startTelemetry({
    serviceName: telemetry.resource.service_name,
    serviceVersion: VERSION,
    exporter: {
      traces: telemetry.traces.enabled ? target("traces") : undefined,
      metrics: telemetry.metrics.enabled ? target("metrics") : undefined,
    },
    // Of those that `sampleAtHead` lets through.
    samplingRatio: 1,
    metricIntervalMs: telemetry.metrics.interval,
    shutdownMs: Math.min(OWN_TELEMETRY_MS_MAX, exporter.timeout),
    log,
  });
}

async function within(work: PromiseLike<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([work, new Promise<void>((resolve) => timer = setTimeout(resolve, ms))]);
  clearTimeout(timer);
}
