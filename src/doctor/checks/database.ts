/**
 * The steps behind the door, where several relays share a database: its name, its port, TLS, the role, its settings, the queue's tables,
 * room and clock.
 * @module
 */
import { lookup } from "node:dns/promises";
import { formatHost } from "../../config/postgres_url.ts";
import { formatSize } from "../../config/units.ts";
import { databaseFault } from "../../diagnosis/database_faults.ts";
import { CertificateError, codeOf, ConfigError, messageOf } from "../../errors.ts";
import { ConnectError, type ConnectFault } from "../../postgres/connect_error.ts";
import { Connector } from "../../postgres/connector.ts";
import { type Client, DatabaseError } from "../../postgres/driver.ts";
import { durabilityOf, lossCosts } from "../../postgres/server_facts.ts";
import type { DatabaseSettings } from "../../postgres/settings.ts";
import { endClient } from "../../queue/postgres/connections.ts";
import { type FleetInspector, postgresInspector } from "../../queue/postgres/inspect.ts";
import {
  checkRights,
  checkSchema,
  checkStatements,
  INSUFFICIENT_PRIVILEGE,
  schemaState,
} from "../../queue/postgres/schema.ts";
import { StorageError } from "../../queue/storage_error.ts";
import { createLog } from "../../telemetry/log.ts";
import { within } from "../../within.ts";
import { type Check, faultFrom, type Finding, ok, warning } from "../finding.ts";

/** How far the clocks may differ, in ms. */
const CLOCK_MS_MAX = 5_000;
/** How long the database may take to answer for one step, in ms. */
const ANSWER_MS = 8_000;
/** The share of the queue from which on it is nearly full. */
const FULL_SHARE = 0.9;

/** Which step a reason for no connection belongs to; those before it have passed. */
const STEPS = ["database_port", "database_tls", "database_role", "database_settings"] as const;
const STEP_OF: Readonly<Record<ConnectFault, typeof STEPS[number]>> = {
  unknown_host: "database_port",
  unreachable: "database_port",
  not_permitted: "database_port",
  starting: "database_port",
  failed: "database_port",
  too_many_connections: "database_role",
  no_tls: "database_tls",
  untrusted: "database_tls",
  client_certificate: "database_tls",
  wrong_password: "database_role",
  no_password: "database_role",
  role_refused: "database_role",
  no_database: "database_role",
  read_only: "database_settings",
  not_durable: "database_settings",
};

/** The database that is examined; what one step has found, others read. */
export class DatabaseSubject implements AsyncDisposable {
  readonly settings: DatabaseSettings;
  readonly now: () => Date;
  readonly connector: Connector;
  /** By how many ms the database's clock differed when the connection was made. */
  clockMs = NaN;
  #attempt: Promise<Client | ConnectError | CertificateError | ConfigError> | undefined;

  constructor(settings: DatabaseSettings, now: () => Date) {
    this.settings = settings;
    this.now = now;
    this.connector = new Connector(settings, createLog({ write: () => {} }));
  }

  /** One connection, or why there is none; tried once. */
  attempt(): Promise<Client | ConnectError | CertificateError | ConfigError> {
    return this.#attempt ??= this.connector.connect().then((client) => {
      // Later steps may take long.
      this.clockMs = Math.abs((this.connector.server?.facts.now ?? NaN) - this.now().getTime());
      return client;
    }).catch((error: unknown) => {
      const told = [ConnectError, CertificateError, ConfigError].some((kind) => error instanceof kind);
      if (told) return error as ConnectError | CertificateError | ConfigError;
      throw error;
    });
  }

  /** It is there once the steps before have passed. */
  async client(): Promise<Client> {
    const client = await this.attempt();
    if (client instanceof Error) throw client;
    return client;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.connector[Symbol.asyncDispose]();
  }
}

/** What a step finds by asking on connections, which are given up where there is no answer. */
async function answered(asking: Promise<Finding>, connections: readonly Client[]): Promise<Finding> {
  if (await within(asking, ANSWER_MS)) return await asking;
  asking.catch(() => {});
  await Promise.all(connections.map(endClient));
  return {
    status: "fault",
    fault: "database_silent",
    finding: `PostgreSQL has not answered for ${ANSWER_MS / 1_000} s`,
  };
}

/** What the attempt says of a step: that it failed there, or that it got past it. */
async function stepOf(subject: DatabaseSubject, step: typeof STEPS[number], passed: () => Finding): Promise<Finding> {
  const found = await subject.attempt();
  if (found instanceof CertificateError) {
    const at = STEPS.indexOf("database_tls") - STEPS.indexOf(step);
    return at === 0 ? faultFrom(found, "certificate") : passed();
  }
  if (found instanceof ConfigError) {
    return step === "database_role" ? { status: "fault", fault: "bad_config", finding: found.message } : passed();
  }
  if (!(found instanceof ConnectError)) return passed();
  if (STEP_OF[found.code] !== step) return passed();
  return {
    status: "fault",
    fault: databaseFault(found.code),
    finding: `${found.what}: ${found.state}`,
    ...(found.remedy === undefined ? {} : { remedy: found.remedy }),
    ...(found.cause === undefined ? {} : { evidence: [messageOf(found.cause)] }),
  };
}

/** Behind the door, where a database is. */
export const DATABASE_CHECKS: readonly Check<DatabaseSubject>[] = [
  {
    id: "database_dns",
    title: "name of the database's host",
    needs: [],
    async run({ settings: { hosts } }) {
      const evidence: string[] = [];
      let known = false;
      for (const { host } of hosts) {
        try {
          evidence.push(`${host}: ${(await lookup(host, { all: true })).map(({ address }) => address).join(", ")}`);
          known = true;
        } catch (error) {
          // Deno may not look it up by itself; the next step connects by the name.
          known ||= codeOf(error) === "EPERM";
          evidence.push(`${host}: ${messageOf(error)}`);
        }
      }
      return known ? ok("The database's host has an address", ...evidence) : {
        status: "fault",
        fault: databaseFault("unknown_host"),
        finding: "The database's host has no address",
        evidence,
      };
    },
  },
  {
    id: "database_port",
    title: "port of the database",
    needs: ["database_dns"],
    run: (subject) =>
      stepOf(subject, "database_port", () => ok(`${subject.settings.hosts.map(formatHost).join(", ")} answers`)),
  },
  {
    id: "database_tls",
    title: "TLS to the database",
    needs: ["database_port"],
    run: (subject) =>
      stepOf(
        subject,
        "database_tls",
        () =>
          subject.settings.tls === undefined
            ? ok("No TLS: the database is on this machine, or tls.insecure is true")
            : ok("The database's certificate is trusted"),
      ),
  },
  {
    id: "database_role",
    title: "role in the database",
    needs: ["database_tls"],
    run: (subject) => stepOf(subject, "database_role", () => ok(`The role ${subject.settings.user} may connect`)),
  },
  {
    id: "database_settings",
    title: "what the database promises",
    needs: ["database_role"],
    run: (subject) => stepOf(subject, "database_settings", () => promised(subject)),
  },
  {
    id: "database_tables",
    title: "tables of the queue",
    needs: ["database_settings"],
    async run(subject) {
      const client = await subject.client();
      const ask = async () => {
        await checkSchema(client);
        await checkRights(client);
        await checkStatements(client);
        return ok(`The queue's tables have version ${(await schemaState(client))?.version}`);
      };
      try {
        return await answered(ask(), [client]);
      } catch (error) {
        if (error instanceof StorageError) {
          return {
            status: "fault",
            fault: error.code === "no_rights" ? "database_rights" : "database_tables",
            finding: `${error.what}: ${error.state}`,
            ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
          };
        }
        if (error instanceof DatabaseError && error.code === INSUFFICIENT_PRIVILEGE) {
          return rights(subject, messageOf(error));
        }
        throw error;
      }
    },
  },
  {
    id: "database_room",
    title: "room in the queue",
    needs: ["database_tables"],
    run(subject) {
      const connections: Client[] = [];
      const connect = async () => {
        const client = await subject.connector.connect();
        connections.push(client);
        return client;
      };
      return answered(roomIn(postgresInspector({ path: "", connect })), connections);
    },
  },
  {
    id: "database_clock",
    title: "clock of the database",
    needs: ["database_settings"],
    run({ clockMs }) {
      return clockMs <= CLOCK_MS_MAX
        ? ok("The database's clock is this machine's")
        : warning("database_clock", `The database's clock differs by ${Math.round(clockMs / 1_000)} s`);
    },
  },
];

async function roomIn({ stats, relays }: FleetInspector): Promise<Finding> {
  const { records, bytes, bytesMax } = await stats();
  const living = (await relays()).filter(({ alive }) => alive);
  const evidence = [
    `${records} records, ${bytes} of ${formatSize(bytesMax)} bytes`,
    `${living.length} relays live: ${living.map(({ name, role }) => `${name} (${role})`).join(", ") || "none"}`,
    "the room on the database's own disk cannot be asked for: see that it has some more than queue_size",
  ];
  return bytesMax > 0 && bytes > FULL_SHARE * bytesMax
    ? warning("database_full", "The queue is nearly full", ...evidence)
    : ok("The queue has room", ...evidence);
}

function rights({ settings: { user } }: DatabaseSubject, ...evidence: string[]): Finding {
  return {
    status: "fault",
    fault: "database_rights",
    finding: `The role ${user} may not use the queue's tables`,
    evidence,
  };
}

function promised({ connector, settings: { managed } }: DatabaseSubject): Finding {
  const facts = connector.server?.facts;
  if (facts === undefined) return ok("Not asked");
  const costs = Object.values(lossCosts(facts, managed));
  const evidence = [`PostgreSQL ${facts.version}`, ...costs];
  if (managed) {
    return warning("database_unchecked", "A 200 is as safe as the managed service keeps it", ...evidence);
  }
  if (!facts.fsync) {
    return warning("database_memory_only", "A 200 is kept by a synchronous standby's memory", ...evidence);
  }
  if (!facts.fullPageWrites) {
    return warning("database_power_cut", "A power cut can damage the database's files", ...evidence);
  }
  return ok(
    durabilityOf(facts, managed) === "standby"
      ? "A 200 is on the disks of the primary and a synchronous standby"
      : "A 200 is on the database's disk",
    ...evidence,
  );
}
