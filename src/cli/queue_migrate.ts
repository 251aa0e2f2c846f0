/**
 * `queue migrate`: makes the queue's tables in PostgreSQL, or brings them up to this version. It runs as their owner; relays do not, and
 * never make or change a table.
 * @module
 */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { parsePostgresUrl, POSTGRES_URL_WANTED } from "../config/postgres_url.ts";
import { shownPath } from "../config/shown.ts";
import { codeOf } from "../errors.ts";
import { Connector } from "../postgres/connector.ts";
import type { DatabaseSettings } from "../postgres/settings.ts";
import { migrate } from "../queue/postgres/schema.ts";
import { createLog } from "../telemetry/log.ts";
import { FaultFound, type Io } from "./io.ts";

interface MigrateFlags {
  readonly config?: string;
  readonly url?: string;
  readonly passwordFile?: string;
  readonly grant?: string;
  readonly json?: true;
}

/** Adds it to the family. @param databaseOf what the configuration that `--config` names says */
export function addMigrateCommand(
  io: Io,
  family: Command,
  databaseOf: (config: string | undefined) => Promise<DatabaseSettings | undefined>,
): void {
  family.command("migrate")
    .description("Make the queue's tables in PostgreSQL, or bring them up to this version, as their owner")
    .option("--url <url>", "the database, with the owner as user (default: sending_queue.postgres.url)")
    .option("--password-file <file>", "the owner's password, where the URL has none")
    .option(
      "--grant <role>",
      "the relays' role, which gets what it needs (default: the user of sending_queue.postgres.url)",
    )
    .option("--config <file>", "the configuration file (default: config/relay.yaml, if it is there)")
    .option("--json", "print JSON")
    .action(async (flags: MigrateFlags) => {
      const relay = await databaseOf(flags.config);
      if (relay === undefined) {
        throw new FaultFound(
          "Cannot migrate: sending_queue.storage is not postgres; its tables are made by the relay when it starts",
        );
      }
      const owner = await ownerOf(relay, flags);
      const role = flags.grant ?? (owner.user === relay.user ? undefined : relay.user);
      await using connector = new Connector(
        owner,
        createLog({ level: "warn", write: (line) => io.err(line.trimEnd()) }),
      );
      const client = await connector.connect();
      const { from, to } = await migrate(client, role === undefined ? {} : { relayRole: role });
      if (flags.json) return io.out(JSON.stringify({ from, to, granted: role ?? null }, null, 2));
      io.out(
        from === to
          ? `The queue's tables have version ${to} already`
          : from === 0
          ? `Made the queue's tables, version ${to}`
          : `Brought the queue's tables from version ${from} to ${to}`,
      );
      if (role !== undefined) io.out(`Role ${role} may use them`);
    });
}

async function ownerOf(relay: DatabaseSettings, { url: text, passwordFile }: MigrateFlags): Promise<DatabaseSettings> {
  const url = text === undefined ? undefined : parsePostgresUrl(text);
  if (text !== undefined && url === undefined) {
    throw new FaultFound(`Cannot use --url: it must be ${POSTGRES_URL_WANTED}`);
  }
  const named = passwordFile === undefined ? undefined : { text: await passwordIn(passwordFile) };
  if (url === undefined) return named === undefined ? relay : { ...relay, password: named };
  const { hosts, user, database, password } = url;
  const own = password === undefined ? named : { text: password };
  // The relays' password is theirs alone.
  return { ...relay, hosts, user, database, password: own ?? (user === relay.user ? relay.password : undefined) };
}

async function passwordIn(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  } catch (error) {
    throw new FaultFound(
      `Cannot read --password-file ${shownPath(file)}: ${codeOf(error) ?? "it is no file"}; correct the path`,
    );
  }
}
