/**
 * What a server says of itself, and what that means for "200 means safe".
 * Source: PostgreSQL 15, 20.5 "Write Ahead Log" and 20.6 "Replication".
 * @module
 */
import type { Client } from "./driver.ts";

/** The facts that every role may read. */
export interface ServerFacts {
  /** As `server_version` has it. */
  readonly version: string;
  readonly role: string;
  readonly fsync: boolean;
  readonly fullPageWrites: boolean;
  /** `synchronous_standby_names`; empty where commits wait for no standby. */
  readonly synchronousStandbys: string;
  /** What the role's sessions begin with; each writing statement of the relay sets `on` for itself. */
  readonly synchronousCommit: string;
  readonly standby: boolean;
  readonly readOnly: boolean;
  /** The server's clock, in ms since the Unix epoch. */
  readonly now: number;
}

/** One statement, which needs no session and no right: it passes a pooler of transactions too. */
const QUESTION = `SELECT current_setting('server_version') AS version, current_user::text AS role,
  current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
  current_setting('synchronous_standby_names') AS standbys, current_setting('synchronous_commit') AS synchronous_commit,
  pg_is_in_recovery() AS standby, current_setting('transaction_read_only') AS read_only,
  extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`;

/** Asks it. */
export async function readServerFacts(client: Client): Promise<ServerFacts> {
  const row = (await client.query(QUESTION)).rows[0] ?? {};
  const text = (name: string): string => String(row[name] ?? "");
  return {
    version: text("version"),
    role: text("role"),
    fsync: text("fsync") === "on",
    fullPageWrites: text("full_page_writes") === "on",
    synchronousStandbys: text("standbys").trim(),
    synchronousCommit: text("synchronous_commit"),
    standby: row["standby"] === true,
    readOnly: text("read_only") === "on",
    now: Number(row["now"]),
  };
}

/** What keeps a 200 safe here; undefined: nothing does. */
export function durabilityOf(facts: ServerFacts, managed: boolean): "disk" | "standby" | "managed" | undefined {
  if (managed) return "managed";
  if (facts.fsync) return facts.synchronousStandbys === "" ? "disk" : "standby";
  return facts.synchronousStandbys === "" ? undefined : "standby";
}

/** What works and a person should know, a sentence each. */
export function durabilityWarnings(facts: ServerFacts, managed: boolean): string[] {
  if (managed) return [];
  return [
    ...(facts.fsync ? [] : [
      "PostgreSQL has fsync = off: what is queued is in the memory of two machines, and lost when both stop at one moment; set fsync = on",
    ]),
    ...(facts.fullPageWrites ? [] : [
      "PostgreSQL has full_page_writes = off: a power cut in the middle of a write can damage its files, unless the disk writes 8 kB at once; set it on",
    ]),
  ];
}

/** What a loss would cost as it is set up, a sentence each: the machine or disk, a standby, the region. */
export function lossCosts(facts: ServerFacts, managed: boolean): { disk: string; standby: string; region: string } {
  if (managed) {
    return {
      disk: "A lost disk: the service answers for it, for sending_queue.postgres.durability is managed",
      standby: "A lost standby: the service answers for it",
      region: "A lost region: what is queued is lost, unless the service keeps a synchronous copy in another",
    };
  }
  const names = facts.synchronousStandbys;
  if (names === "") {
    return {
      disk: "A lost disk of the database: all that is queued is lost, for no synchronous standby is named",
      standby: "A lost standby: nothing, for commits wait for none",
      region: "A lost region: all that is queued is lost",
    };
  }
  return {
    disk: `A lost disk of the primary: nothing is lost where a synchronous standby (${names}) is promoted`,
    standby: "A lost standby: senders are answered 503 until as many as synchronous_standby_names wants are back",
    region: "A lost region: all that is queued is lost, unless a synchronous standby stands in another",
  };
}
