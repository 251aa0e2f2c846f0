/**
 * The wiring, on one screen: built downstream first, drained upstream first.
 * @module
 */
import { Hono } from "hono";
import { accessOf } from "../admin/access.ts";
import { adminApp, type AdminSources, startAdmin } from "../admin/admin.ts";
import { healthOf, type HealthSources } from "../admin/health.ts";
import { historyFileOf } from "../admin/history_file.ts";
import { StatusPage } from "../admin/status_page.ts";
import type { Config } from "../config/schema.ts";
import { exporterSettings } from "../config/exporter_settings.ts";
import { primaryExporter, routesOf, Routing } from "../config/routes.ts";
import { isLoopback, sameEndpoint } from "../config/units.ts";
import { ConfigError, messageOf } from "../errors.ts";
import { SIGNAL_NAMES } from "../signal.ts";
import { Batcher } from "../queue/batcher.ts";
import type { Fault } from "../queue/sqlite/injected_faults.ts";
import { Admission } from "../receiver/admission.ts";
import { Deadlines } from "../receiver/deadlines.ts";
import { mountReceiver } from "../receiver/app.ts";
import { Preparer } from "../receiver/preparer.ts";
import type { ReceiverEvents } from "../receiver/receive.ts";
import { RetryAfter } from "../receiver/retry_after.ts";
import { OWN_TELEMETRY_MS_MAX, startOwnTelemetry } from "./clients.ts";
import { ExporterSet, mergedBytesMax, NO_EXPORTERS, openExporters, targetsOf } from "./exporters.ts";
import { Recoder } from "../exporter/recode/recoder.ts";
import { exporterEvents, preparerEvents, receiverEvents, recoderEvents } from "./events.ts";
import { listen, type WayIn } from "./listen.ts";
import type { FleetWatch } from "./fleet.ts";
import { openRelayQueue } from "./queue.ts";
import { openLimiter, openRedactor, openSenders, openUsage } from "./senders.ts";
import { sampleAtHead } from "../telemetry/head_sampling.ts";
import { instrument } from "../telemetry/instrument.ts";
import { createLog, type Log } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { UnderWay } from "../passing.ts";
import { within } from "../within.ts";

/** A relay that runs. */
export interface RunningRelay extends AsyncDisposable {
  /** Rejects when the relay cannot go on by itself: a defect, after which it must be started again. */
  readonly failed: Promise<never>;
  /** Answers what is under way, sends what it can within `shutdown.grace`, and keeps the rest on disk. */
  stop(): Promise<void>;
}

/** A relay with sockets of its own. */
export interface Relay extends RunningRelay {
  /** Where senders post, e.g. `http://127.0.0.1:4319`; of an exporter, which takes nothing, where health is asked for. */
  readonly url: string;
  /** Where senders export by OTLP/gRPC; undefined without `receiver.grpc.endpoint`. */
  readonly grpcUrl: string | undefined;
  /** Where health is asked for. */
  readonly adminUrl: string;
  /** Why it is not ready now, each a sentence without a period, as `/readyz` says it; none where it is. */
  reasons(): readonly string[];
}

/** A relay without a socket, for a server that is there already. */
export interface EmbeddedRelay extends RunningRelay {
  /** POST `/v1/traces` and the other signals' paths, GET `/livez` and `/readyz`; `host.route("/otlp", relay.app)` serves them. */
  readonly app: Hono;
}

/** Settings that no configuration has. */
export interface RelaySeams {
  /** How requests come in. Default: `node`. */
  readonly way?: WayIn;
  /** For tests: faults in the transactions of the queue. */
  readonly faults?: readonly Fault[];
  /** For tests, which share threads: starts the queue's. */
  readonly startThread?: () => Worker;
  /** For hosts that freeze a process between requests: nothing is done meanwhile. */
  readonly frozenBetween?: boolean;
}

/** How long a refused sender still has its data, in ms: the time that a stock SDK gives an export in all. */
const REFUSING_MS = 10_000;

/** The longest that a server waits for its connections when it closes, in ms; part of `shutdown.grace`. */
const CLOSE_MS_MAX = 500;

/**
 * Starts a relay on sockets of its own. Where `telemetry.admin.endpoint` is that of the receiver, health is answered there too.
 * @throws {ConfigError} or {@link CertificateError} naming what cannot be used; nothing is left running then.
 */
export function startRelay(config: Config, log: Log = createLog()): Promise<Relay> {
  return startRelayWith(config, log, {});
}

/** {@link startRelay}, with settings that no configuration has. */
export async function startRelayWith(config: Config, log: Log, seams: RelaySeams): Promise<Relay> {
  await using stack = new AsyncDisposableStack();
  const core = await build(config, log, stack, seams);
  if (config.role === "exporter") return await startExporter(config, core, log, stack);
  const { http } = config.receiver;
  let listening = false;
  const isReady = () => listening && healthOf(health).ready;
  const health = {
    ...core,
    certificates: () => [...core.certificates(), ...server.expiries()],
    listeners: () => server.listeners(),
  };
  const onePort = sameEndpoint(http.endpoint, config.telemetry.admin.endpoint);
  const sources = openAdmin(config, core, health, onePort, stack, seams);
  const onReceiver = onePort ? adminApp(sources) : undefined;
  const healthPaths = new Set(onReceiver?.routes.map(({ path }) => path));
  const told = { receiver: core.receiver, metrics: core.metrics, log, isReady };
  const server = await listen(config.receiver, told, (request, environment) => {
    const forHealth = onePort && environment.inbound === undefined && healthPaths.has(new URL(request.url).pathname);
    return core.answering.track(Promise.resolve((forHealth ? onReceiver! : core.app).fetch(request, environment)));
  }, seams.way);
  listening = true;
  // A client that never sends the rest of its body keeps its connection for ever: the stop does not wait that long.
  stack.defer(async () => {
    await within(server.close(), CLOSE_MS_MAX);
    server.abandon();
  });
  core.metrics.observeCertificates(health.certificates);
  core.metrics.observeReceiver(() => ({ inFlightBytes: core.admission.bytes, connections: server.connections() }));
  const admin = onePort ? undefined : await startAdmin(config.telemetry.admin.endpoint, sources, core.receiver.failed);
  if (admin !== undefined) stack.defer(async () => void await within(admin[Symbol.asyncDispose](), CLOSE_MS_MAX));
  // Before the servers close, which would wait for the browsers that watch the page.
  stack.defer(() => sources.page?.[Symbol.dispose]());
  return {
    ...running(config, log, core, stack.move(), () => server.drain()),
    url: server.url,
    grpcUrl: server.grpcUrl,
    adminUrl: admin?.url ?? server.url,
    reasons: () => healthOf(health).reasons,
  };
}

/** A relay that sends what others take: it opens no port but admin's. */
async function startExporter(config: Config, core: Core, log: Log, stack: AsyncDisposableStack): Promise<Relay> {
  const sources = openAdmin(config, core, core, false, stack);
  core.metrics.observeCertificates(core.certificates);
  core.metrics.observeReceiver(() => ({ inFlightBytes: 0, connections: undefined }));
  const admin = await startAdmin(config.telemetry.admin.endpoint, sources, core.receiver.failed);
  stack.defer(async () => void await within(admin[Symbol.asyncDispose](), CLOSE_MS_MAX));
  stack.defer(() => sources.page?.[Symbol.dispose]());
  return {
    ...running(config, log, core, stack.move()),
    url: admin.url,
    grpcUrl: undefined,
    adminUrl: admin.url,
    reasons: () => healthOf(core).reasons,
  };
}

/**
 * A relay as a Hono app, for any server. It listens nowhere: it does not use `receiver.http.endpoint` and `telemetry.admin.endpoint`,
 * and the caller is responsible for `receiver.auth.insecure`.
 * @throws {ConfigError} or {@link CertificateError} naming what cannot be used; nothing is left running then.
 */
export function createRelay(config: Config, log: Log = createLog()): Promise<EmbeddedRelay> {
  return createRelayWith(config, log, {});
}

/** {@link createRelay}, with settings that no configuration has. */
export async function createRelayWith(
  config: Config,
  log: Log,
  seams: Omit<RelaySeams, "way">,
): Promise<EmbeddedRelay> {
  if (config.receiver.grpc.endpoint !== undefined) {
    throw new ConfigError({
      what: "Cannot use receiver.grpc.endpoint here",
      state: "this relay has no socket of its own",
      remedy: "start one that has, with startRelay",
    });
  }
  if (config.receiver.http.tls.cert_file !== undefined) {
    throw new ConfigError(
      {
        what: "Cannot use receiver.http.tls here",
        state: "this relay has no socket of its own",
        remedy: "set TLS up in the server that serves it",
      },
    );
  }
  await using stack = new AsyncDisposableStack();
  const core = await build(config, log, stack, seams);
  core.metrics.observeCertificates(core.certificates);
  core.metrics.observeReceiver(() => ({ inFlightBytes: core.admission.bytes, connections: undefined }));
  // The server that mounts it may be open to anybody.
  const admin = openAdmin(config, core, core, true, stack, seams);
  const app = new Hono().route("/", adminApp(admin)).use((_, next) => core.answering.track(next())).route(
    "/",
    core.app,
  );
  return { ...running(config, log, core, stack.move()), app };
}

type Core = Awaited<ReturnType<typeof build>>;

/** Everything except sockets; the stack closes it. */
async function build(config: Config, log: Log, stack: AsyncDisposableStack, seams: RelaySeams) {
  const { role } = config;
  const routing = new Routing(routesOf(config));
  // Senders first, although they come last in a request: a bad tokens file must fail before anything else starts.
  const senders = role === "exporter" ? undefined : await openSenders(config, log, stack);
  // Its thread starts while certificates are read.
  const own = stack.use(new AsyncDisposableStack());
  const opening = openRelayQueue(config, routing, log, own, seams);
  // Where something else fails meanwhile, it is closed once it is open.
  const closed = opening.then(() => {}, () => {});
  stack.defer(() => closed);
  const opened = role === "receiver" ? NO_EXPORTERS : await openExporters(config, routing, log, stack);
  const clients = role === "receiver" ? undefined : opened.clientsOf(primaryExporter(config));
  const telemetry = stack.use(startOwnTelemetry(config, clients, log));
  const metrics = createMetrics(telemetry.meterProvider);
  const { queue, database, fleet } = await opening;
  const usage = await openUsage(config.sending_queue, log, stack);
  metrics.observeQueue(() => queue.stats());
  if (fleet !== undefined) metrics.observeFleet(() => fleetState(fleet));
  let fullAt = -Infinity;
  const exporter = new ExporterSet({
    config,
    routing,
    targets: role === "receiver" ? [] : routing.targets,
    queue,
    opened,
    recoder: stack.use(new Recoder(recoderEvents(log))),
    refusing: () => performance.now() - fullAt < REFUSING_MS,
    events: (target, name) => exporterEvents(metrics, log, (signal) => opened.originOf(target, signal), name),
  });
  stack.defer(() => exporter.stop(0));
  metrics.observeExporters(() => exporter.state);
  const batcher = new Batcher(queue, {
    bytesMax: config.sending_queue.batch.max_size,
    inflatedBytesMax: Math.min(...SIGNAL_NAMES.map((signal) => mergedBytesMax(config, exportersOf(routing), signal))),
  }, metrics.appended);

  const { http } = config.receiver;
  const admission = new Admission(http.max_in_flight_bytes);
  const limiter = openLimiter(config, queue);
  const app = new Hono();
  instrument(app, {
    ...telemetry,
    // No trace passes through the relay, so an unsampled request needs no id.
    tracerProvider: sampleAtHead(telemetry.tracerProvider, config.telemetry.traces.sampling_ratio),
    server: { address: http.endpoint.hostname, port: http.endpoint.port },
  });
  const told = receiverEvents(metrics, log);
  const receiver: ReceiverEvents = {
    ...told,
    refused(request) {
      if (request.refusal.code === "queue_full") fullAt = performance.now();
      told.refused(request);
    },
  };
  const preparer = stack.use(
    new Preparer({
      payloadEncoding: compresses(config, routing) ? "gzip" : "identity",
      bounds: { resourcesMax: http.max_request_resources, messagesMax: http.max_request_messages },
      redactor: openRedactor(config, log),
    }, preparerEvents(log)),
  );
  const bodies = stack.use(new Deadlines(http.request_body_timeout, { keepTimer: true }));
  if (senders !== undefined) {
    mountReceiver(app, {
      ...senders,
      retryAfter: new RetryAfter({ maxMs: http.max_retry_after }),
      limiter,
      admission,
      usage,
      limits: { bodyBytesMax: http.max_request_body_size, deadlines: bodies },
      preparer,
      targetsFor: targetsOf(routing, queue),
      admits: (targets, bytes) => queue.admits(targets, bytes),
      append: (submission) => batcher.append(submission),
      events: receiver,
      allowedOrigins: http.cors.allowed_origins,
    });
  }
  return {
    app,
    queue,
    exporter,
    batcher,
    admission,
    limiter,
    bodies,
    metrics,
    receiver,
    /** Requests whose answer a stop waits for. */
    answering: new UnderWay(),
    collect: () => telemetry.collect(),
    fleet: fleet === undefined ? undefined : () => fleet.last,
    lastUses: (senders: ReadonlySet<string>) => usage.lastUses(senders),
    queuePath: config.sending_queue.storage === "sqlite" ? config.sending_queue.path : undefined,
    certificates: () => [...opened.identities.flatMap((each) => each.expiries()), ...database?.expiries() ?? []],
  };
}

function exportersOf({ targets }: Routing): string[] {
  return targets.flatMap(({ members }) => members.map(({ name }) => name));
}

/** How many relays live, and what keeps a 200 safe. */
async function fleetState(fleet: FleetWatch) {
  await fleet.refresh();
  const living = fleet.last?.relays.filter(({ alive }) => alive);
  const count = (role: string) => living?.filter((relay) => relay.role === role).length ?? 0;
  return {
    relays: living === undefined
      ? undefined
      : Object.fromEntries(["both", "receiver", "exporter"].map((role) => [role, count(role)])),
    keptBy: fleet.keptBy,
  };
}

/** Whether any exporter sends compressed data. */
function compresses(config: Config, routing: Routing): boolean {
  return exportersOf(routing).some((name) =>
    SIGNAL_NAMES.some((signal) => exporterSettings(config, signal, name).compression !== "none")
  );
}

/** What admin shows, and to whom; the stack closes its sampling. If nobody may look, nothing is sampled. */
function openAdmin(
  config: Config,
  { collect, lastUses, queuePath, fleet }: Pick<Core, "collect" | "lastUses" | "queuePath" | "fleet">,
  health: HealthSources,
  onReceiver: boolean,
  stack: AsyncDisposableStack,
  { frozenBetween = false }: Pick<RelaySeams, "frozenBetween"> = {},
): AdminSources {
  const { endpoint, token } = config.telemetry.admin;
  const access = accessOf({ token, exposed: onReceiver || !isLoopback(endpoint.hostname) });
  return {
    ...health,
    access,
    page: access.possible
      ? stack.use(
        new StatusPage({
          ...health,
          collect,
          lastUses,
          queuePath,
          fleet,
          background: !frozenBetween,
          historyFile: queuePath === undefined ? undefined : historyFileOf(queuePath),
        }),
      )
      : undefined,
  };
}

/** The shortest time that a stop may take, in ms, also without `shutdown.grace`. */
const STOP_MS_MIN = 1_000;

/** A stop has an end, whatever hangs, for example a disk: its caller goes on. */
async function endWithin(ended: Promise<void>, ms: number, log: Log): Promise<void> {
  if (await within(ended, ms)) return;
  log.error("The relay did not stop within shutdown.grace; what was answered is safe in the queue", { ms });
  ended.catch((error) => log.warn("Stopping failed", { cause: messageOf(error) }));
}

/** How it ends: upstream first. */
function running(
  config: Config,
  log: Log,
  { exporter, batcher, admission, limiter, bodies, answering, queue }: Core,
  stack: AsyncDisposableStack,
  drain: () => void = () => {},
): RunningRelay {
  const failed = exporter.running.then(() => new Promise<never>(() => {}));
  failed.catch((error) => log.error("The exporter has failed; restart the relay", { cause: messageOf(error) }));
  const { grace } = config.shutdown;
  const end = async () => {
    // Not by the time of day, which somebody may set meanwhile.
    const deadline = performance.now() + grace - OWN_TELEMETRY_MS_MAX - CLOSE_MS_MAX;
    const remainingMs = () => Math.max(0, deadline - performance.now());
    admission.close();
    limiter.close();
    drain();
    // Requests under way first: after the server's own shutdown, bodies that still arrive cannot be read (denoland/deno#36809).
    await within(answering.settled(), remainingMs());
    // A sender whose body has not arrived by now is told to send it again, while its connection is open.
    bodies.pass();
    await within(answering.settled(), CLOSE_MS_MAX);
    await within(batcher.idle(), remainingMs());
    await exporter.drain(remainingMs());
    await exporter.stop(remainingMs());
    // Refuses the senders that still wait for the Collector's answer, before the connections close.
    await queue[Symbol.asyncDispose]();
    await stack.disposeAsync();
    log.info("Stopped");
  };
  let stopping: Promise<void> | undefined;
  const stop = () => stopping ??= endWithin(end(), Math.max(grace, STOP_MS_MIN), log);
  return { failed, stop, [Symbol.asyncDispose]: stop };
}
