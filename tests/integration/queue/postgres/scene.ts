/** Queues on a real PostgreSQL, one database a test. */
import { Client } from "../../../../src/postgres/driver.ts";
import { openPostgresQueue } from "../../../../src/queue/postgres/queue.ts";
import { migrate } from "../../../../src/queue/postgres/schema.ts";
import type { PostgresQueueSettings } from "../../../../src/queue/postgres/settings.ts";
import { TestLog } from "../../../queue/records.ts";
import type { Postgres } from "../../../support/postgres/postgres.ts";

/** A database of its own, with the tables of the queue. */
export class Database {
  readonly server: Postgres;
  readonly name: string;

  private constructor(server: Postgres, name: string) {
    this.server = server;
    this.name = name;
  }

  /** One that has its tables. */
  static on(server: Postgres, name: string): Database {
    return new Database(server, name);
  }

  static async make(server: Postgres, name: string): Promise<Database> {
    await server.query(`CREATE DATABASE ${name} OWNER owner`);
    const database = new Database(server, name);
    const client = await database.connect("owner");
    try {
      await migrate(client, { relayRole: "relay" });
    } finally {
      await client.end();
    }
    return database;
  }

  async connect(role: "owner" | "relay" | "postgres" = "relay", application = "edgeferry"): Promise<Client> {
    const client = new Client({
      ...this.server.config(role),
      database: this.name,
      application_name: application,
      connectionTimeoutMillis: 5_000,
    });
    client.on("error", () => {});
    await client.connect();
    return client;
  }

  /** Rows of a statement on a connection of its own. */
  async query(text: string, values: readonly unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = await this.connect("postgres", "test");
    try {
      return (await client.query({ text, values })).rows;
    } finally {
      await client.end();
    }
  }

  open(settings: Partial<PostgresQueueSettings> = {}) {
    return openPostgresQueue({
      bytesMax: 1 << 30,
      deadLetterBytesMax: 1 << 20,
      log: new TestLog(),
      connect: () => this.connect(),
      name: "test",
      ...settings,
    });
  }
}
