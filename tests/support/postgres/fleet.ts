/** Relays that share a queue in a PostgreSQL: receivers, exporters, or both in one, each a process of its own. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { Client } from "../../../src/postgres/driver.ts";
import { migrate } from "../../../src/queue/postgres/schema.ts";
import type { TestCertificates } from "../files/certificates.ts";
import { runProgram } from "../program/program.ts";
import { RestartableRelay, ROOT, type Settings } from "../relay/restartable_relay.ts";
import { merged } from "../relay/config.ts";
import type { Postgres } from "./postgres.ts";

/** Makes the tables by the command, as their owner, and lets the role `relay` use them. */
export function migrateQueue(postgres: Postgres): Promise<readonly string[]> {
  return queueCommand(["migrate", "--url", postgres.url("owner")], databaseVariables(postgres.url("relay")));
}

/** Makes the tables without the command, for tests of something else. @param grants whether the role `relay` may use them */
export async function makeTables(postgres: Postgres, grants = true): Promise<void> {
  const client = new Client(postgres.config("owner"));
  await client.connect();
  await migrate(client, grants ? { relayRole: "relay" } : {});
  await client.end();
}

/** Runs `queue …` and answers what it printed. */
export async function queueCommand(
  words: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  return await runProgram({
    command: Deno.execPath(),
    args: ["run", "-A", "--quiet", `--config=${join(ROOT, "deno.json")}`, join(ROOT, "src/main.ts"), "queue", ...words],
    cwd: "/",
    env,
  });
}

/** What sets the queue of a command or relay to this database. */
export function databaseVariables(url: string): Record<string, string> {
  return { EDGEFERRY_SENDING_QUEUE_STORAGE: "postgres", EDGEFERRY_SENDING_QUEUE_POSTGRES_URL: url };
}

export interface FleetMember {
  readonly role: "both" | "receiver" | "exporter";
  readonly certs: TestCertificates;
  /** `https://localhost:PORT`; a receiver is told of none. */
  readonly collectorUrl: string;
  /** As `Postgres.url` has it. */
  readonly url: string;
  readonly settings?: Settings;
}

/** What a receiver is not to need: there is no such file, and nobody listens there. */
const NOWHERE: Settings = {
  endpoint: "https://127.0.0.1:9",
  tls: { ca_file: "/nowhere/ca.crt", cert_file: "/nowhere/client.crt", key_file: "/nowhere/client.key" },
};

/** Starts one and resolves when it is ready. */
export async function startMember({ role, certs, collectorUrl, url, settings = {} }: FleetMember) {
  const own: Settings = {
    role,
    sending_queue: { storage: "postgres", postgres: { url } },
    ...(role === "receiver" ? { exporter: NOWHERE } : {}),
  };
  const relay = await RestartableRelay.prepare({ certs, collectorUrl, settings: merged<Settings>(own, settings) });
  try {
    if (role === "exporter") await relay.launch().line(/ Ready /);
    else await relay.start();
  } catch (error) {
    await relay[Symbol.asyncDispose]();
    throw error;
  }
  return relay;
}

/** A dead relay's records are another's within 30 s. */
const DRAIN_MS = 90_000;

/** Resolves when nothing is queued; the books of the database then balance. */
export async function drained(postgres: Postgres): Promise<void> {
  const until = performance.now() + DRAIN_MS;
  for (;;) {
    const [row] = await postgres.query("SELECT count(*)::int AS waiting FROM edgeferry.deliveries");
    if (row?.["waiting"] === 0) break;
    assert(performance.now() < until, `${row?.["waiting"]} deliveries still wait`);
    await after(200);
  }
  const [books] = await postgres.query(
    `SELECT sum(accepted)::bigint = sum(delivered + rejected + dead + expired + abandoned + queued)::bigint AS balanced,
       sum(accepted)::text AS accepted
     FROM (SELECT accepted, delivered, rejected, dead, expired, abandoned, queued FROM edgeferry.totals
       UNION ALL SELECT accepted, delivered, rejected, dead, expired, abandoned, queued FROM edgeferry.ledger) books`,
  );
  assert.equal(books?.["balanced"], true, JSON.stringify(books));
}
