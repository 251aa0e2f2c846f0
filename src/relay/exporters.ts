/**
 * The way out of the relay, as configured: a client for each exporter and identity, and a sender for each target of the routes.
 * @module
 */
import { exporterSettings, namesSender } from "../config/exporter_settings.ts";
import { type ExportTarget, primaryExporter, type Routing } from "../config/routes.ts";
import type { Config } from "../config/schema.ts";
import type { CollectorClient, ExportClient } from "../exporter/client/client.ts";
import { Exporter, type ExporterEvents } from "../exporter/exporter.ts";
import { EndpointHealth } from "../exporter/endpoint_health.ts";
import { GroupClient, type GroupEvents } from "../exporter/group.ts";
import { GRPC_MERGED_BYTES_MAX, MERGED_INFLATED_BYTES_MAX } from "../exporter/lane.ts";
import { MembersProof, type ProvedForm } from "../exporter/members.ts";
import type { Recoder } from "../exporter/recode/recoder.ts";
import { type Failure, formOf, type SharedEndpoint } from "../exporter/way.ts";
import type { SendingQueue, TargetId } from "../queue/queue.ts";
import { bySignal, SIGNAL_NAMES, type SignalName } from "../signal.ts";
import type { Log } from "../telemetry/log.ts";
import type { SendingTo } from "../admin/health.ts";
import type { ExportersState } from "../telemetry/metrics.ts";
import type { KeptIdentity } from "./client_identity.ts";
import { openClients, requestsAtOnce } from "./clients.ts";

/** How often queued data is tried while the queue is full, in ms: senders keep refused data for 10 s. */
const FULL_RETRY_MS = 2_000;

/** The clients of an exporter. */
type Clients = Readonly<Record<SignalName, CollectorClient>>;

/** Every exporter in use, opened. */
export interface OpenedExporters {
  /** The clients of an exporter, by its name. @throws {RangeError} for one that is not opened */
  clientsOf(name: string): Clients;
  /** Where a signal of a target goes; for a group, its first exporter. */
  originOf(target: ExportTarget, signal: SignalName): string;
  readonly identities: readonly KeptIdentity[];
}

/** For a relay that sends nothing. */
export const NO_EXPORTERS: OpenedExporters = {
  identities: [],
  clientsOf(name) {
    throw new RangeError(`No exporter ${name} is opened`);
  },
  originOf: () => "",
};

/**
 * Opens the exporters that the routes lead to, and the one by which the relay's own telemetry leaves.
 * @throws {CertificateError}
 */
export async function openExporters(
  config: Config,
  routing: Routing,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<OpenedExporters> {
  const opened = new Map<string, Clients>();
  const identities: KeptIdentity[] = [];
  const routed = routing.targets.flatMap(({ members }) => members.map(({ name }) => name));
  for (const name of new Set([primaryExporter(config), ...routed])) {
    const { clients, identities: own } = await openClients(config, name, log, stack);
    opened.set(name, clients);
    identities.push(...own);
  }
  const clientsOf = (name: string): Clients => {
    const clients = opened.get(name);
    if (clients === undefined) throw new RangeError(`No exporter ${name} is opened`);
    return clients;
  };
  return {
    identities,
    clientsOf,
    originOf: ({ members }, signal) => new URL(clientsOf(members[0]?.name ?? "")[signal].target(signal).url).origin,
  };
}

/** The targets of a sender's data, as the queue numbers them; the same array for the same ones. */
export function targetsOf(
  routing: Routing,
  queue: Pick<SendingQueue, "target">,
): (signal: SignalName, sender: string) => readonly TargetId[] {
  const idsOf = (targets: readonly ExportTarget[]) => targets.map(({ name }) => queue.target(name));
  const all = idsOf(routing.targets);
  // With one there is nothing to look up.
  if (all.length === 1) return () => all;
  const known = new Map<readonly ExportTarget[], readonly TargetId[]>();
  return (signal, sender) => {
    const targets = routing.targetsFor(signal, sender);
    const ids = known.get(targets) ?? idsOf(targets);
    known.set(targets, ids);
    return ids;
  };
}

/** What a set is made from. */
export interface ExporterSetOptions {
  readonly config: Config;
  readonly routing: Routing;
  /** Those of the routes that are sent to; none where another relay sends. */
  readonly targets: readonly ExportTarget[];
  readonly queue: SendingQueue;
  readonly opened: OpenedExporters;
  readonly recoder: Recoder;
  /** Whether senders have been refused lately because the queue is full. */
  readonly refusing: () => boolean;
  /** The events of a target; without a name where there is only one. */
  readonly events: (target: ExportTarget, name: string | undefined) => ExporterEvents & GroupEvents;
}

/** What is known of the exporters of groups, by exporter and signal: each is shared by all targets that send there. */
class Endpoints {
  readonly #healths = new Map<string, Endpoint>();
  /** By the form of body, too. */
  readonly #proofs = new Map<string, MembersProof>();
  readonly #opened: OpenedExporters;

  constructor(opened: OpenedExporters) {
    this.#opened = opened;
  }

  get all(): readonly Endpoint[] {
    return [...this.#healths.values()];
  }

  /** @param events Told what is found out. */
  of(exporter: string, signal: SignalName, form: ProvedForm, events: ExporterEvents): Endpoint & SharedEndpoint {
    const key = `${exporter} ${signal}`;
    const client = this.#opened.clientsOf(exporter)[signal];
    const endpoint = this.#healths.get(key) ?? { exporter, signal, client, health: new EndpointHealth() };
    this.#healths.set(key, endpoint);
    const proof = this.#proofs.get(`${key} ${form}`) ?? new MembersProof({
      form,
      ask: (body, encoding) => client.send(signal, body, encoding),
      connections: () => client.renewed,
      onChange: (members) => events.members(signal, form, members, client.target(signal).url),
    });
    this.#proofs.set(`${key} ${form}`, proof);
    return { ...endpoint, proof };
  }
}

interface Endpoint {
  readonly exporter: string;
  readonly signal: SignalName;
  readonly client: CollectorClient;
  readonly health: EndpointHealth;
}

interface Sending {
  readonly target: ExportTarget;
  readonly exporter: Exporter;
}

/** The senders of all targets as one: each call goes to every one of them. */
export class ExporterSet {
  readonly #sending: readonly Sending[];
  readonly #endpoints: Endpoints;

  constructor(options: ExporterSetOptions) {
    const endpoints = this.#endpoints = new Endpoints(options.opened);
    this.#sending = options.targets.map((target) => ({ target, exporter: exporterFor(target, endpoints, options) }));
  }

  /** Each target by itself, in the order of the routes. */
  get targets(): readonly SendingTo[] {
    return this.#sending.map(({ target, exporter }) => ({ name: target.name, required: target.required, exporter }));
  }

  /** The required targets; all, if none is required. */
  get #required(): readonly Sending[] {
    const required = this.#sending.filter(({ target }) => target.required);
    return required.length === 0 ? this.#sending : required;
  }

  /** Rejects when a lane of one target has failed: a defect of ours. */
  get running(): Promise<void> {
    return Promise.all(this.#sending.map(({ exporter }) => exporter.running)).then(() => {});
  }

  /** Failures in a row of a signal, at the target with the most; 0 is healthy. */
  failures(signal: SignalName): number {
    return Math.max(0, ...this.#required.map(({ exporter }) => exporter.failures(signal)));
  }

  /** Whether a signal's wait after its last failure is still on, at a target that fails. */
  waits(signal: SignalName): boolean {
    return this.#required.some(({ exporter }) => exporter.waits(signal));
  }

  /** By target and by way; nothing where there is one exporter alone. */
  get state(): ExportersState {
    const failures = this.#sending.length === 1
      ? []
      : this.#sending.flatMap(({ target, exporter }) =>
        SIGNAL_NAMES.map((signal) => ({ target: target.name, signal, failures: exporter.failures(signal) }))
      );
    const up = this.#endpoints.all.map(({ exporter, signal, health }) => ({ exporter, signal, up: health.up }));
    return { failures, up };
  }

  /** The last request of a signal that failed, on whichever target. */
  lastFailure(signal: SignalName): Failure | undefined {
    const failures = this.#sending.flatMap(({ exporter }) => exporter.lastFailure(signal) ?? []);
    return failures.toSorted((a, b) => b.at - a.at)[0];
  }

  /** Where a signal goes: to the target that fails most, or else to the first. */
  urlOf(signal: SignalName): string {
    const [worst] = this.#sending.toSorted((a, b) => b.exporter.failures(signal) - a.exporter.failures(signal));
    return worst?.exporter.urlOf(signal) ?? "";
  }

  /** Sends until the queue is empty, no Collector takes the rest, or the time is over. */
  async drain(graceMs: number): Promise<void> {
    await Promise.all(this.#sending.map(({ exporter }) => exporter.drain(graceMs)));
  }

  /** Stops taking, gives up attempts under way after `graceMs`, and leaves unsettled records in the queue. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(this.#sending.map(({ exporter }) => exporter.stop(graceMs)));
  }
}

function exporterFor(
  target: ExportTarget,
  endpoints: Endpoints,
  { config, routing, queue, opened, recoder, refusing, events }: ExporterSetOptions,
): Exporter {
  // What a group sends is composed as its first exporter wants it.
  const [first] = target.members;
  const settings = bySignal((signal) => exporterSettings(config, signal, first?.name));
  const forms = bySignal((signal) => formOf(settings[signal].compression));
  const alone = routing.targets.length === 1 && target.members.length === 1;
  const told = events(target, alone ? undefined : target.name);
  const { sending_queue: queueSettings } = config;
  return new Exporter({
    queue,
    target: queue.target(target.name),
    clients: bySignal((signal) => clientFor(target, signal, forms[signal], endpoints, opened, told)),
    // A group that has it, too, learns from what is sent here, and the other way round.
    ...(target.kind === "single" && first !== undefined && inGroup(first.name, routing)
      ? { shared: bySignal((signal) => endpoints.of(first.name, signal, forms[signal], told)) }
      : {}),
    recoder,
    compression: bySignal((signal) => settings[signal].compression),
    bySender: bySignal((signal) =>
      target.members.some(({ name }) => namesSender(exporterSettings(config, signal, name).headers))
    ),
    consumers: queueSettings.num_consumers,
    consumersAlone: requestsAtOnce(queueSettings),
    batchBytesMax: queueSettings.batch.max_size,
    inflatedBytesMax: bySignal((signal) => mergedBytesMax(config, target.members.map(({ name }) => name), signal)),
    linger: { bytesMin: queueSettings.batch.min_size, ms: queueSettings.batch.flush_timeout },
    retry: { ...settings.traces.retry, mostMs: () => refusing() ? FULL_RETRY_MS : Infinity },
    events: told,
  });
}

/** The most that a request made of several may have inflated, whichever of the exporters it goes to. */
export function mergedBytesMax(config: Config, exporters: readonly string[], signal: SignalName): number {
  return exporters.some((name) => exporterSettings(config, signal, name).protocol === "grpc")
    ? GRPC_MERGED_BYTES_MAX
    : MERGED_INFLATED_BYTES_MAX;
}

function inGroup(name: string, { targets }: Routing): boolean {
  return targets.some(({ kind, members }) => kind !== "single" && members.some((member) => member.name === name));
}

function clientFor(
  { kind, members }: ExportTarget,
  signal: SignalName,
  form: ProvedForm,
  endpoints: Endpoints,
  opened: OpenedExporters,
  events: ExporterEvents & GroupEvents,
): ExportClient {
  const [first] = members;
  if (kind === "single" || first === undefined) return opened.clientsOf(first?.name ?? "")[signal];
  return new GroupClient({
    signal,
    kind,
    members: members.map(({ name, weight }) => ({ name, weight, ...endpoints.of(name, signal, form, events) })),
    events,
  });
}
