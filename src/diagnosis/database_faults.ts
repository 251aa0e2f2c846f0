/**
 * Faults of the queue's database, by name: each reason for no connection, and what is found once there is one.
 * @module
 */
import { CONNECT_FAULTS, type ConnectFault } from "../postgres/connect_error.ts";

/** A row of them. */
export interface DatabaseFault {
  readonly code: string;
  readonly what: string;
  readonly remedy: string;
  readonly knownAs: readonly string[];
}

/** The name of the fault for a reason. */
export const databaseFault = (code: ConnectFault): string => `database_${code}`;

const FOUND: readonly DatabaseFault[] = [
  {
    code: "database_tables",
    what: "The queue's tables are missing, or of another version",
    remedy: "run queue migrate, as the owner of the tables",
    knownAs: ["relation does not exist"],
  },
  {
    code: "database_silent",
    what: "PostgreSQL takes connections, and does not answer what is asked of the queue's tables",
    remedy:
      "see in pg_stat_activity and pg_locks who holds the tables of the schema edgeferry; or its host or disk hangs",
    knownAs: ["PostgreSQL has not answered"],
  },
  {
    code: "database_rights",
    what: "The role may not use the queue's tables",
    remedy: "run queue migrate with --grant and the name of the relays' role, as the owner of the tables",
    knownAs: ["permission denied for table", "permission denied for schema edgeferry"],
  },
  {
    code: "database_power_cut",
    what: "PostgreSQL has full_page_writes = off: a power cut can damage its files",
    remedy: "set full_page_writes = on there, unless its disk writes 8 kB at once",
    knownAs: ["full_page_writes = off"],
  },
  {
    code: "database_memory_only",
    what: "PostgreSQL has fsync = off, and a synchronous standby: what is queued is in the memory of two machines",
    remedy: "set fsync = on there",
    knownAs: ["fsync = off"],
  },
  {
    code: "database_unchecked",
    what: "Whether the database keeps what it commits is not checked: durability is managed",
    remedy: "remove sending_queue.postgres.durability where PostgreSQL runs on a disk of its own",
    knownAs: [],
  },
  {
    code: "database_full",
    what: "The queue in the database is nearly full",
    remedy: "see why nothing is sent, start another exporter, or raise sending_queue.queue_size",
    knownAs: [],
  },
  {
    code: "database_clock",
    what: "The clocks of this machine and of the database differ",
    remedy: "set both by NTP; leases go by the database's clock alone, and only ages look wrong here",
    knownAs: [],
  },
];

/** All of them. */
export const DATABASE_FAULTS: readonly DatabaseFault[] = [
  ...Object.entries(CONNECT_FAULTS).map(([code, { state, remedy, knownAs }]) => ({
    code: `database_${code}`,
    what: `The queue's PostgreSQL cannot be used: ${state}`,
    remedy,
    knownAs,
  })),
  ...FOUND,
];
