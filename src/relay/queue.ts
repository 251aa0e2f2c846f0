/**
 * The queue as configured: for several relays with the connections to their database.
 * @module
 */
import { hostname } from "node:os";
import process from "node:process";
import { formatHost, shownDatabase } from "../config/postgres_url.ts";
import type { Routing } from "../config/routes.ts";
import type { Config } from "../config/schema.ts";
import { Connector } from "../postgres/connector.ts";
import { durabilityOf, lossCosts } from "../postgres/server_facts.ts";
import { databaseSettings } from "../postgres/settings.ts";
import { type FleetSettings, openQueue } from "../queue/open.ts";
import { postgresInspector } from "../queue/postgres/inspect.ts";
import type { SendingQueue } from "../queue/queue.ts";
import type { Fault } from "../queue/sqlite/injected_faults.ts";
import type { Log } from "../telemetry/log.ts";
import { FleetWatch } from "./fleet.ts";
import { keepCalendar } from "./expiry.ts";

/** How a queue is opened. */
export interface OpenQueueOptions {
  readonly faults?: readonly Fault[];
  readonly startThread?: () => Worker;
  /** Nothing is done between requests, and as little as can be is held: for hosts that freeze a process. */
  readonly frozenBetween?: boolean;
}

/** A queue, and the database that it is in. */
export interface OpenedQueue {
  readonly queue: SendingQueue;
  /** Undefined where it is in none. */
  readonly database: Connector | undefined;
  /** The other relays that use it; undefined where there can be none, or where nothing is asked between requests. */
  readonly fleet: FleetWatch | undefined;
}

/**
 * Opens it; what is to be closed goes to the stack.
 * @throws {StorageError} {@link ConnectError} {@link ConfigError}
 */
export async function openRelayQueue(
  config: Config,
  routing: Routing,
  log: Log,
  stack: AsyncDisposableStack,
  { faults = [], startThread, frozenBetween = false }: OpenQueueOptions,
): Promise<OpenedQueue> {
  const { storage, path, queue_size: bytesMax, max_age: maxAgeMs, dead_letters: deadLetters } = config.sending_queue;
  const database = storage === "postgres" ? stack.use(new Connector(databaseSettings(config), log)) : undefined;
  const queue = await openQueue({
    storage,
    path,
    bytesMax,
    ...(maxAgeMs === undefined ? {} : { maxAgeMs }),
    deadLetterBytesMax: deadLetters.max_size,
    targets: routing.targets.map(({ name, required }) => ({ name, required })),
    log,
    faults,
    ...(startThread === undefined ? {} : { startThread }),
    ...(database === undefined ? {} : { fleet: fleetSettings(config, database, frozenBetween, log) }),
  });
  stack.defer(() => queue[Symbol.asyncDispose]());
  if (database !== undefined) {
    if (!frozenBetween) {
      database.watch();
      stack.use(keepCalendar(() => database.expiries(), log));
    }
  }
  const inspector = database === undefined || frozenBetween ? undefined : postgresInspector({
    path: shownDatabase(databaseSettings(config)),
    connect: () => database.connect(),
  });
  const managed = config.sending_queue.postgres.durability === "managed";
  return {
    queue,
    database,
    fleet: inspector === undefined || database === undefined ? undefined : new FleetWatch(inspector, database, managed),
  };
}

function fleetSettings(config: Config, database: Connector, frozenBetween: boolean, log: Log): FleetSettings {
  return {
    opened: () => sayWhatIsKept(config, database, log),
    connect: () => database.connect(),
    name: `${nameOfHost()}[${process.pid}]`,
    role: config.role,
    ...(frozenBetween ? { connectionsMax: 1, background: false } : {}),
  };
}

/** For people; several relays of a machine are told apart by their processes. Containers have it in a variable; a host of functions may not say. */
function nameOfHost(): string {
  const { HOSTNAME } = process.env;
  if (HOSTNAME !== undefined && HOSTNAME !== "") return HOSTNAME;
  try {
    return hostname();
  } catch {
    return "unnamed";
  }
}

/** What a loss would cost is best known before it. */
function sayWhatIsKept({ sending_queue }: Config, { server, encrypted }: Connector, log: Log): void {
  if (server === undefined) return;
  const { host, facts } = server;
  const managed = sending_queue.postgres.durability === "managed";
  log.info("The queue is in PostgreSQL", {
    server: formatHost(host),
    version: facts.version,
    role: facts.role,
    tls: encrypted,
    kept_by: durabilityOf(facts, managed),
  });
  if (managed) {
    log.warn("sending_queue.postgres.durability is managed: that the service keeps what it commits is not checked", {
      fsync: facts.fsync,
    });
  }
  for (const cost of Object.values(lossCosts(facts, managed))) log.info(cost);
}
